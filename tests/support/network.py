"""A tiny network in ONNX's format, made byte by byte: the same number of images out as in, each pixel's magnitude.

Fields of the messages: onnx.proto3 of https://github.com/onnx/onnx (ModelProto, GraphProto, NodeProto, ValueInfoProto).
"""

from collections.abc import Sequence

FLOAT = 1
"""TensorProto.DataType.FLOAT."""


def magnitude(shape: Sequence[int | str]) -> bytes:
    """Return a network with one input and one output of this shape that computes Abs; a text is an open dimension."""
    node = _bytes(1, b"in") + _bytes(2, b"out") + _bytes(4, b"Abs")
    graph = _bytes(1, node) + _bytes(2, b"g") + _bytes(11, _value(b"in", shape)) + _bytes(12, _value(b"out", shape))
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _number(2, 13))


def _value(name: bytes, shape: Sequence[int | str]) -> bytes:
    sizes = b"".join(
        _bytes(1, _number(1, size) if isinstance(size, int) else _bytes(2, size.encode())) for size in shape
    )
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, FLOAT) + _bytes(2, sizes)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
