"""Frames that arrive compressed as HDF5 chunks: the filter that undoes each codec, and the bytes as it wants them.

The bytes are never decompressed; HDF5's filters of LZ4 and bitshuffle want a header in front of them. Source: ADCore,
NDFileHDF5.cpp; the filters' own files H5Zlz4.c and bshuf_h5filter.c.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from ioc.core.compressed import codec_of
from ioc.core.compressed_content import check_content
from ioc.core.errors import ProtocolError, mismatch
from ioc.core.frame import Frame

_LZ4_HEAD = struct.Struct(">QII")
"""Bytes of pixels, bytes of pixels in a block, bytes of the block that follows."""
_BITSHUFFLE_HEAD = struct.Struct(">QI")
"""Bytes of pixels, bytes of pixels in a block."""
_BITSHUFFLE_BLOCK = 8192
_BLOSC_COMPRESSORS = ("blosclz", "lz4", "snappy", "zlib", "zstd")
"""By the number in bits 5 to 7 of a Blosc buffer's flags."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What all frames of a file have in common: shape and type of the pixels, and the codec, "" for none."""

    shape: tuple[int, ...]
    dtype: np.dtype
    codec: str = ""

    def __str__(self) -> str:
        return f"{self.shape} {self.dtype}{f', {self.codec}' if self.codec else ''}"


def kind_of(frame: Frame) -> Kind:
    """Return of which kind a frame is.

    Raises:
        ProtocolError: what it says of its codec cannot be.
    """
    codec = codec_of(frame)
    if codec is None:
        return Kind(frame.data.shape, frame.data.dtype)
    return Kind(codec.shape, codec.data_type.dtype, codec.name)


def filters_for(frame: Frame) -> Mapping[str, Any]:
    """Return what h5py's create_dataset takes for the filter that undoes a compressed frame.

    Raises:
        ProtocolError: its bytes are not of its codec.
    """
    codec = codec_of(frame)
    assert codec is not None, "only frames that are compressed have a filter of their own"
    content = frame.data.reshape(-1)
    check_content(codec, content)
    if codec.name in ("lz4", "lz4hdf5"):
        return dict(hdf5plugin.LZ4())
    if codec.name == "zlib":
        return {"compression": "gzip"}
    if codec.name == "bslz4":
        return dict(hdf5plugin.Bitshuffle(cname="lz4"))
    if codec.name == "zstd":
        return dict(hdf5plugin.Zstd())
    return dict(_blosc(int(content[2])))


def chunk_of(frame: Frame) -> NDArray[np.uint8] | bytes:
    """Return a compressed frame as the chunk that the filter of its codec undoes.

    Raises:
        ProtocolError: its bytes are not of its codec, or no chunk can hold them.
    """
    codec = codec_of(frame)
    assert codec is not None, "only frames that are compressed are chunks as they are"
    content = np.ascontiguousarray(frame.data.reshape(-1))
    check_content(codec, content)
    if codec.name == "lz4":
        if len(content) == codec.nbytes:  # to the filter a block of that length is pixels
            where = "compressed frame, lz4, for an HDF5 file"
            raise ProtocolError(mismatch(where, f"other than {codec.nbytes} bytes", len(content)))
        return _LZ4_HEAD.pack(codec.nbytes, codec.nbytes, len(content)) + content.tobytes()
    if codec.name == "bslz4":
        return _BITSHUFFLE_HEAD.pack(codec.nbytes, _BITSHUFFLE_BLOCK) + content.tobytes()
    return content


def _blosc(flags: int) -> hdf5plugin.Blosc:
    """Return the filter as a buffer's flags describe it; what it needs to undo a buffer, it takes from the buffer."""
    inner = flags >> 5
    if inner >= len(_BLOSC_COMPRESSORS):
        raise ProtocolError(mismatch("compressed frame, blosc, compressor", "0 to 4", inner))
    shuffle = hdf5plugin.Blosc.BITSHUFFLE if flags & 4 else hdf5plugin.Blosc.SHUFFLE if flags & 1 else 0
    name: Any = _BLOSC_COMPRESSORS[inner]
    return hdf5plugin.Blosc(name, shuffle=shuffle)
