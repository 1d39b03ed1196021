"""The pixels of a frame as they are to be seen: those that a codec packed are unpacked, for display alone."""

from importlib import import_module
from typing import Any

from ioc.core.compressed import Codec, codec_of, unpacked
from ioc.core.errors import PeerError, mismatch
from ioc.core.frame import Frame

MOST_BYTES = 1 << 29
"""Bytes of an unpacked frame at most: this process has no part in the memory budget of the frames."""


def with_pixels(frame: Frame) -> Frame:
    """Return a frame with its pixels; one that was not packed as it came.

    Raises:
        ProtocolError: what is packed is damaged.
        PeerError: it is too large to be unpacked here, or the codecs are not installed.
    """
    codec = codec_of(frame)
    if codec is None:
        return frame
    if codec.nbytes > MOST_BYTES:
        todo = "look at the frames before the codec"
        raise PeerError(mismatch(f"frame packed by {codec.name}", f"at most {MOST_BYTES} bytes", codec.nbytes, todo))
    return unpacked(frame, _compression(codec).decompress(codec, frame.data.reshape(-1)))


def _compression(codec: Codec) -> Any:
    """Return the module of the codecs; late, because they are an extra that may not be installed."""
    try:
        return import_module("ioc.channels.compression")
    except ImportError as error:
        todo = "pip install 'rayfan[compress]'"
        raise PeerError(mismatch(f"frame packed by {codec.name}", "the codecs", f"no {error.name}", todo)) from None
