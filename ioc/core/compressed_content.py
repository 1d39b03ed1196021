"""What can be told of compressed bytes without undoing them: that they are of the codec, and hold what they should.

    bslz4   bitshuffle's blocks of its default size, each as LZ4 with its length in front
    blosc   a Blosc 1 buffer: a header of 16 bytes says how long it is, and how long its content
    zstd    a Zstandard frame: it begins with a magic number
    zlib    a zlib stream: its first two bytes are a multiple of 31
    lz4hdf5 HDF5's LZ4 filter: how long the pixels and a block of them are, then blocks, each with its length in front
    lz4     one LZ4 block: it says nothing of itself

Sources: bitshuffle, bshuf_default_block_size; Blosc, README_CHUNK_FORMAT; RFC 8878, section 3.1.1;
RFC 1950, section 2.2; H5Zlz4.c.
"""

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ioc.core.compressed import Codec
from ioc.core.errors import ProtocolError, mismatch

LARGEST_LZ4 = 0x7E00_0000
"""Bytes that one LZ4 block holds at most (lz4.h, LZ4_MAX_INPUT_SIZE)."""
LZ4_HEAD = struct.Struct(">QI")
"""Of lz4hdf5: bytes of pixels, bytes of pixels in a block."""
LZ4_BLOCK = struct.Struct(">I")
"""Bytes of the block that follows."""
_BLOSC_HEADER = 16
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BSHUF_BLOCK_BYTES, _BSHUF_LEAST, _BSHUF_MULTIPLE = 8192, 128, 8


def check_content(codec: Codec, content: NDArray[np.uint8]) -> None:
    """Look whether the bytes `[n]` can be what codec says.

    Raises:
        ProtocolError: they cannot.
    """
    if codec.name == "bslz4":
        check_blocks(codec, content)
    elif codec.name == "blosc":
        check_blosc(codec, content)
    elif codec.name == "zstd" and content[:4].tobytes() != _ZSTD_MAGIC:
        raise ProtocolError(mismatch("compressed frame, zstd", _ZSTD_MAGIC.hex(), content[:4].tobytes().hex()))
    elif codec.name == "zlib" and (len(content) < 2 or int.from_bytes(content[:2].tobytes(), "big") % 31):
        raise ProtocolError(mismatch("compressed frame, zlib", "a zlib stream", content[:2].tobytes().hex()))
    elif codec.name == "lz4hdf5":
        for _ in lz4_blocks(codec, content):
            pass
    elif codec.name == "lz4" and codec.nbytes > LARGEST_LZ4:
        raise ProtocolError(mismatch("compressed frame, lz4", f"at most {LARGEST_LZ4} bytes", codec.nbytes))


def check_blocks(codec: Codec, content: NDArray[np.uint8]) -> None:
    """Walk over the lengths of all blocks: bitshuffle is not told how long its input is, and believes them.

    Raises:
        ProtocolError: they do not add up.
    """
    size = codec.data_type.dtype.itemsize
    count = codec.nbytes // size
    block = max(_BSHUF_LEAST, _BSHUF_BLOCK_BYTES // size // _BSHUF_MULTIPLE * _BSHUF_MULTIPLE)
    rest = count % block
    blocks = count // block + (rest >= _BSHUF_MULTIPLE)
    at, end = 0, len(content) - count % _BSHUF_MULTIPLE * size
    view = content.data
    for _ in range(blocks):
        if at + 4 > end:
            raise ProtocolError(mismatch("compressed frame, bslz4", f"{blocks} blocks", "fewer"))
        at += 4 + int.from_bytes(view[at : at + 4], "big")
    if at != end:
        raise ProtocolError(mismatch("compressed frame, bslz4", f"blocks of {end} bytes", at))


def check_blosc(codec: Codec, content: NDArray[np.uint8]) -> None:
    """Compare the lengths in the header with the true ones.

    Raises:
        ProtocolError: they differ.
    """
    if len(content) < _BLOSC_HEADER:
        raise ProtocolError(mismatch("compressed frame, blosc", f"at least {_BLOSC_HEADER} bytes", len(content)))
    said = tuple(int(word) for word in content[4:_BLOSC_HEADER].view("<u4"))
    if (said[0], said[2]) != (codec.nbytes, len(content)):
        expected = f"{len(content)} bytes that hold {codec.nbytes}"
        raise ProtocolError(mismatch("compressed frame, blosc", expected, (said[2], said[0])))


def lz4_blocks(codec: Codec, content: NDArray[np.uint8]) -> Iterator[tuple[int, int, int]]:
    """Yield where each block of lz4hdf5 begins, how many bytes are stored there, and of how many bytes of pixels.

    Raises:
        ProtocolError: they do not add up.
    """
    where, view = "compressed frame, lz4hdf5", content.data
    if len(content) < LZ4_HEAD.size:
        raise ProtocolError(mismatch(where, f"at least {LZ4_HEAD.size} bytes", len(content)))
    total, step = LZ4_HEAD.unpack_from(view)
    if total != codec.nbytes or not 0 < step <= LARGEST_LZ4:
        raise ProtocolError(mismatch(where, f"{codec.nbytes} bytes in blocks", (total, step)))
    at = LZ4_HEAD.size
    for done in range(0, total, step):
        if at + LZ4_BLOCK.size > len(content):
            raise ProtocolError(mismatch(where, f"{total} bytes", f"blocks of {done}"))
        (stored,) = LZ4_BLOCK.unpack_from(view, at)
        at += LZ4_BLOCK.size
        yield at, stored, min(step, total - done)
        at += stored
    if at != len(content):
        raise ProtocolError(mismatch(where, f"blocks of {len(content)} bytes", at))
