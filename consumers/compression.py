"""The codecs: bytes of pixels to fewer bytes and back, each as areaDetector's NDPluginCodec writes it.

    lz4     one LZ4 block without a size in front                                (lz4)
    bslz4   bitshuffle's blocks of its default size, each as LZ4 with its length (bitshuffle)
    blosc   a Blosc 1 buffer, which says itself which compressor is inside       (numcodecs)
    zstd    one Zstandard frame; stock areaDetector clients do not know it       (zstandard)

What is unpacked comes from outside: every length is compared with what the frame says before a library sees it, and
whatever is wrong is one ProtocolError.
"""

from dataclasses import dataclass

import bitshuffle
import lz4.block
import numpy as np
import zstandard
from numcodecs import Blosc
from numpy.typing import NDArray

from ioc.core.compressed import Codec
from ioc.core.compressed_content import check_blocks, check_blosc
from ioc.core.errors import ProtocolError, mismatch

BLOSC_COMPRESSORS = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")


@dataclass(frozen=True, slots=True)
class Options:
    """How hard to try: `level` 0 to 9; `compressor` and `shuffle` are Blosc's own."""

    level: int = 5
    compressor: str = "lz4"
    shuffle: str = "byte"


def compress(name: str, pixels: NDArray, options: Options) -> NDArray[np.uint8]:
    """Return the bytes `[n]` that codec `name` makes of C-ordered pixels."""
    if name == "lz4":
        content: object = lz4.block.compress(pixels.data, store_size=False)
    elif name == "bslz4":
        content = bitshuffle.compress_lz4(np.array(pixels.reshape(-1), copy=False), 0)
    elif name == "blosc":
        shuffle = {"none": Blosc.NOSHUFFLE, "byte": Blosc.SHUFFLE, "bit": Blosc.BITSHUFFLE}[options.shuffle]
        content = Blosc(cname=options.compressor, clevel=options.level, shuffle=shuffle).encode(pixels)
    else:
        content = zstandard.ZstdCompressor(level=max(1, options.level)).compress(pixels.data)
    return np.frombuffer(content, np.uint8)  # type: ignore[call-overload]


def decompress(codec: Codec, content: NDArray[np.uint8]) -> NDArray:
    """Return the pixels of `codec.shape` and type that the bytes `[n]` hold.

    Raises:
        ProtocolError: they are damaged, or hold more or less than that.
    """
    unpack = {"lz4": _lz4, "bslz4": _bslz4, "blosc": _blosc, "zstd": _zstd}[codec.name]
    try:
        pixels = unpack(codec, content)
    except (RuntimeError, ValueError, lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
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


def _zstd(codec: Codec, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    said = zstandard.frame_content_size(content.data)
    if said != codec.nbytes:
        raise ProtocolError(mismatch("compressed frame, zstd", f"a frame of {codec.nbytes} bytes", said))
    return np.frombuffer(zstandard.ZstdDecompressor().decompress(content.data), np.uint8)
