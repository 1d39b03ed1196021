"""The collectors of a configuration, the tables [collectors.*]: one stream in order out of what a group puts out."""

from typing import Literal

from pydantic import Field

from ioc.core.config_modes import Output, Remote
from ioc.core.config_supervision import Limited


class CollectorConfig(Remote, Limited):
    """One stream in order out of what several consumers put out."""

    input: str
    """Where the frames come from: `groups.NAME`, `collectors.NAME`, `intake.NAME` or `ingress.NAME`."""
    wait: float = Field(default=1.0, ge=0, le=3600)
    """s that a frame waits for those before it; then these are missing, and late should they still come."""
    most_waiting: int = Field(default=1024, ge=1, le=65536)
    """Frames (or tiles) that may wait together; beyond, the oldest gap is given up."""
    waiting_bytes: int | None = Field(default=None, ge=1)
    """Bytes that may wait together; left out: no limit but most_waiting and the windows of its givers."""
    tiles: int | None = Field(default=None, ge=1, le=4096)
    """Tiles that make up a frame, to be stitched (see the processor `split`); left out: frames are passed on as
    they are."""
    incomplete: Literal["drop", "deliver"] = "drop"
    """What becomes of a frame of which tiles are missing: `drop`, or `deliver` with zeros in their place and the
    attribute `TilesMissing`. It is booked as incomplete, by id, in either case."""
    outputs: list[Output] = ["pva"]
    """Where the frames go besides those that name this collector as their `input`: `pva` is the channel
    `$(P)Coll1:Image`, for the others see [groups.*]."""
