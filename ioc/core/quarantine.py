"""A frame that was set aside, as bytes: the frame, then a report of what it did, then how long both are.

    frame      header and pixels (core/codec.py)
    report     JSON, a `Report`
    tail       bytes of the frame, bytes of the report (little-endian, 64 bits each), "RFQUAR01"

The report comes last, so that it is added by who knows it to a file that somebody else has written. Bytes are accepted
or raise ProtocolError.
"""

import struct
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ioc.core import codec
from ioc.core.errors import ProtocolError, mismatch
from ioc.core.frame import Frame

MAGIC = b"RFQUAR01"
TAIL = struct.Struct("<QQ8s")
MOST_REPORT_BYTES = 1 << 20
LONGEST_TRACE = 8192
"""Characters of what a process wrote when it died."""


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Death(_Told):
    """One end of a process that nobody had asked for. `wall_ns` counts from 1970, UTC.

    `signal` is the name of the one that killed it, None if it ended by itself; `trace` is what it wrote at its end:
    the stacks of its threads, or a traceback.
    """

    name: str
    pid: int
    wall_ns: int
    exit_code: int
    signal: str | None = None
    reason: str = ""
    trace: str = ""


class Report(_Told):
    """What a frame did: to which processor with which settings, and how the processes ended that had it in hand.

    `processor` is None where the frame went to a client that Rayfan knows nothing of. `time_limit` in s.
    """

    name: str
    series: int
    unique_id: int
    group: str | None = None
    processor: str | None = None
    settings: dict[str, Any] = {}
    time_limit: float | None = None
    deaths: list[Death] = []


def closing(frame_bytes: int, report: Report) -> bytes:
    """Return what comes behind a frame of so many bytes: the report, and the tail."""
    told = report.model_dump_json().encode()
    return told + TAIL.pack(frame_bytes, len(told), MAGIC)


def parse(payload: bytes | memoryview) -> tuple[Frame, Report | None]:
    """Return a frame, its data a read-only view of the payload, and the report; None: nobody has added it yet.

    Raises:
        ProtocolError: the payload is something else.
    """
    view = memoryview(payload).cast("B")
    told, report = _tail(view)
    item = codec.decode(view[:told])
    if not isinstance(item, Frame):
        raise ProtocolError(mismatch("quarantined frame", "a frame", "an end marker"))
    item.data.flags.writeable = False
    return item, report


def _tail(view: memoryview) -> tuple[int, Report | None]:
    """Return the bytes of the frame, and the report."""
    if len(view) < TAIL.size or bytes(view[-len(MAGIC) :]) != MAGIC:
        return len(view), None
    frame_bytes, report_bytes, _ = TAIL.unpack(view[-TAIL.size :])
    if report_bytes > MOST_REPORT_BYTES or frame_bytes + report_bytes + TAIL.size != len(view):
        expected = f"{frame_bytes} bytes of a frame and {report_bytes} of a report"
        raise ProtocolError(mismatch("quarantined frame", expected, len(view) - TAIL.size))
    try:
        return frame_bytes, Report.model_validate_json(bytes(view[frame_bytes : frame_bytes + report_bytes]))
    except ValidationError as error:
        raise ProtocolError(f"report of a quarantined frame: {error}") from None
