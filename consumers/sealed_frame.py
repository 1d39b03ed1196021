"""A sealed frame: `data[1, n]` uint8, the sealed bytes of the whole frame with its attributes.

Series, id and time stamp stay readable, because the ledger counts by them; they are signed, so that a frame given out
as another one is refused. The attribute says under which key it is, for people to read.
"""

import struct

import numpy as np

from consumers.sealing import Opener, Sealer
from ioc.core.codec import decode, encode
from ioc.core.errors import ProtocolError, mismatch
from ioc.core.frame import Frame

KEY = "RayfanSealed"
"""The attribute that says that a frame is sealed, and the name of the key."""
_CONTEXT = struct.Struct(">qQq")


def seal_frame(frame: Frame, sealer: Sealer) -> Frame:
    """Return a frame that shows nothing of this one but its series, id and time stamp."""
    head, pixels = encode(frame)
    content = sealer.seal(b"".join((head, pixels)), _context(frame))
    data = np.frombuffer(content, np.uint8).reshape(1, -1)
    return Frame(frame.series, frame.unique_id, frame.timestamp_ns, data, {KEY: sealer.key.name})


def open_frame(frame: Frame, opener: Opener) -> Frame:
    """Return the frame that was sealed.

    Raises:
        ProtocolError: it is not sealed, not with a known key, or not as it was sealed.
    """
    if KEY not in frame.attributes or frame.data.dtype != np.uint8 or frame.data.ndim != 2:
        raise ProtocolError(mismatch(f"frame {frame.unique_id}", "a sealed frame", frame.data.shape))
    content = np.ascontiguousarray(frame.data).reshape(-1)
    found = decode(opener.open(content.data, _context(frame)))
    if not isinstance(found, Frame):
        raise ProtocolError(mismatch(f"frame {frame.unique_id}", "a sealed frame", "a sealed end marker"))
    return found


def _context(frame: Frame) -> bytes:
    return _CONTEXT.pack(frame.series, frame.unique_id, frame.timestamp_ns)
