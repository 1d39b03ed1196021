"""The codecs: bytes of pixels to fewer bytes and back, each as areaDetector's NDPluginCodec writes it.

    lz4     one LZ4 block without a size in front                                (lz4)
    bslz4   bitshuffle's blocks of its default size, each as LZ4 with its length (bitshuffle)
    blosc   a Blosc 1 buffer, which says itself which compressor is inside       (numcodecs)
    zlib    one zlib stream                                                      (zlib)
    lz4hdf5 what HDF5's LZ4 filter stores: lengths, then blocks with theirs      (lz4)
    zstd    one Zstandard frame; stock areaDetector clients do not know it       (zstandard)

What is unpacked comes from outside: every length is compared with what the frame says before a library sees it, and
whatever is wrong is one ProtocolError.
"""

import zlib
from dataclasses import dataclass

import bitshuffle
import lz4.block
import numpy as np
import zstandard
from numcodecs import Blosc
from numpy.typing import NDArray

from ioc.core.compressed import Codec
from ioc.core.compressed_content import LZ4_BLOCK, LZ4_HEAD, check_blocks, check_blosc, lz4_blocks
from ioc.core.errors import ProtocolError, mismatch

BLOSC_COMPRESSORS = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")


@dataclass(frozen=True, slots=True)
class Options:
    """How hard to try: `level` 0 to 9; `compressor` and `shuffle` are Blosc's own, `block` lz4hdf5's, bytes, 0: one."""

    level: int = 5
    compressor: str = "lz4"
    shuffle: str = "byte"
    block: int = 0


def compress(name: str, pixels: NDArray, options: Options) -> NDArray[np.uint8]:
    """Return the bytes `[n]` that codec `name` makes of C-ordered pixels."""
    if name == "lz4":
        content: object = lz4.block.compress(pixels.data, store_size=False)
    elif name == "bslz4":
        content = bitshuffle.compress_lz4(np.array(pixels.reshape(-1), copy=False), 0)
    elif name == "blosc":
        shuffle = {"none": Blosc.NOSHUFFLE, "byte": Blosc.SHUFFLE, "bit": Blosc.BITSHUFFLE}[options.shuffle]
        content = Blosc(cname=options.compressor, clevel=options.level, shuffle=shuffle).encode(pixels)
    elif name == "zlib":
        content = zlib.compress(pixels.data, options.level)
    elif name == "lz4hdf5":
        content = _lz4_stored(pixels.reshape(-1).view(np.uint8), options.block)
    else:
        content = zstandard.ZstdCompressor(level=max(1, options.level)).compress(pixels.data)
    return np.frombuffer(content, np.uint8)  # type: ignore[call-overload]


def decompress(codec: Codec, content: NDArray[np.uint8]) -> NDArray:
    """Return the pixels of `codec.shape` and type that the bytes `[n]` hold.

    Raises:
        ProtocolError: they are damaged, or hold more or less than that.
    """
    unpack = {
        "lz4": _lz4,
        "bslz4": _bslz4,
        "blosc": _blosc,
        "zlib": _zlib,
        "lz4hdf5": _lz4hdf5,
        "zstd": _zstd,
    }[codec.name]
    try:
        pixels = unpack(codec, content)
    except (RuntimeError, ValueError, lz4.block.LZ4BlockError, zlib.error, zstandard.ZstdError) as error:
        raise ProtocolError(f"compressed frame, {codec.name}: {error}") from None
    if len(pixels) != codec.nbytes:
        raise ProtocolError(mismatch(f"compressed frame, {codec.name}", f"{codec.nbytes} bytes", len(pixels)))
    return pixels.view(codec.data_type.dtype).reshape(codec.shape)


def _lz4(codec: Codec, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.frombuffer(lz4.block.decompress(content.data, uncompressed_size=codec.nbytes), np.uint8)


def _bslz4(codec: Codec, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = codec.data_type.dtype.itemsize
    check_blocks(codec, content)
    pixels = bitshuffle.decompress_lz4(content, (codec.nbytes // size,), codec.data_type.dtype, 0)
    return pixels.view(np.uint8)


def _blosc(codec: Codec, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    check_blosc(codec, content)
    pixels = np.empty(codec.nbytes, np.uint8)
    Blosc().decode(content, pixels)
    return pixels


def _zlib(codec: Codec, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    undoing = zlib.decompressobj()
    pixels = np.frombuffer(undoing.decompress(content.data, codec.nbytes + 1), np.uint8)
    if not undoing.eof and len(pixels) <= codec.nbytes:
        raise ProtocolError(mismatch("compressed frame, zlib", "a whole stream", "a part of one"))
    return pixels


def _lz4hdf5(codec: Codec, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels, at = np.empty(codec.nbytes, np.uint8), 0
    for start, stored, size in lz4_blocks(codec, content):
        block = content[start : start + stored]
        if stored != size:  # else it could not be made smaller, and lies there as it was
            block = np.frombuffer(lz4.block.decompress(block.data, uncompressed_size=size), np.uint8)
        if len(block) != size:
            raise ProtocolError(mismatch("compressed frame, lz4hdf5, block", f"{size} bytes", len(block)))
        pixels[at : at + size] = block
        at += size
    return pixels


def _lz4_stored(pixels: NDArray[np.uint8], block: int) -> bytes:
    """Return pixels as HDF5's LZ4 filter stores them (H5Zlz4.c), in blocks of so many bytes, 0: in one."""
    step = min(block or len(pixels), len(pixels))
    parts = [LZ4_HEAD.pack(len(pixels), step)]
    for at in range(0, len(pixels), step):
        whole = pixels[at : at + step]
        small = lz4.block.compress(whole.data, store_size=False)
        kept = small if len(small) < len(whole) else whole.tobytes()
        parts += [LZ4_BLOCK.pack(len(kept)), kept]
    return b"".join(parts)


def _zstd(codec: Codec, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    said = zstandard.frame_content_size(content.data)
    if said != codec.nbytes:
        raise ProtocolError(mismatch("compressed frame, zstd", f"a frame of {codec.nbytes} bytes", said))
    return np.frombuffer(zstandard.ZstdDecompressor().decompress(content.data), np.uint8)
