"""What the configuration says about metadata: channels whose values go with the frames of a group."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ioc.core.clock_offset import ClockOffset
from ioc.core.config_table import Table
from ioc.core.id_stream import IdStream
from ioc.core.metadata_stream import Late, Rule, Stream
from ioc.core.time_stream import TimeStream

PREFIX_MACRO = "$(P)"
TIME_WINDOW = 0.0005
ID_WINDOW = 1.0
LONGEST_WAIT = 60.0
_PATH = r"[A-Za-z_]\w*(\[\d{1,6}\])?(\.[A-Za-z_]\w*(\[\d{1,6}\])?)*"
ChannelName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]{0,15}$")]
"""A letter, then letters and digits, at most 16: it becomes part of PV names and attributes."""
_ADDRESS = re.compile(r"(?:(ca|pva)://)?([^\s/:][^\s/]*)")


class ChannelConfig(Table):
    """One channel and how its values are matched to frames."""

    channel: str
    """`pva://NAME` or `ca://NAME`; a NAME without either is Channel Access, as with PvaPy's `--metadata-channels`.
    `$(P)` in it stands for the prefix of this appliance."""
    field: str = Field(default="value", pattern=f"^{_PATH}$")
    """pva: where the value is in the structure, for example `value`, `position.x` or `value[3]`."""
    match: Literal["time", "id"] = "time"
    """By time stamp, or (pva only) by an id that equals the frame's uniqueId."""
    id_field: str = Field(default="timeStamp.userTag", pattern=f"^{_PATH}$")
    """id: where the id is in the structure."""
    window: float | None = Field(default=None, ge=0, le=3600)
    """s that the stamps of a frame and of its value may differ. time: left out, 0.0005; at most half the time between
    two frames where each has a value of its own. id: left out, 1: a guard against ids of another run."""
    reach: float = Field(default=0.0, ge=0, le=86400)
    """s; time: a value that is no match is taken as the nearest one if it is no further away; for slow channels."""
    interpolate: bool = False
    """time: numbers are interpolated between the two values around the frame, if both are within window or reach."""
    offset: float | Literal["estimate"] = 0.0
    """s that the channel's clock is ahead of the frames', or `estimate`: found out, and followed as it drifts."""
    wait: float = Field(default=0.1, ge=0, le=LONGEST_WAIT)
    """s that a frame waits for the value, from when it comes; 0: what is there is taken."""
    late: Literal["missing", "hold", "drop"] = "missing"
    """What becomes of a frame whose value has not come by then: it goes on without (`missing`), with the last one
    before it (`hold`), or not at all (`drop`: booked as filtered)."""

    @property
    def protocol(self) -> str:
        """`ca` or `pva`."""
        return self.channel.partition("://")[0] if "://" in self.channel else "ca"

    @property
    def name(self) -> str:
        """The name of the PV."""
        return self.channel.partition("://")[2] or self.channel

    def under(self, prefix: str) -> Self:
        """Return this channel with the prefix put in."""
        return self.model_copy(update={"channel": self.channel.replace(PREFIX_MACRO, prefix)})

    def stream(self) -> Stream:
        """Return what matches the values of this channel."""
        fixed = None if self.offset == "estimate" else round(self.offset * 1e9)
        window = self.window if self.window is not None else ID_WINDOW if self.match == "id" else TIME_WINDOW
        window_ns, reach_ns, wait_ns = (round(one * 1e9) for one in (window, self.reach, self.wait))
        rule = Rule(window_ns, reach_ns, self.interpolate, wait_ns, Late(self.late))
        return IdStream(rule, ClockOffset(fixed)) if self.match == "id" else TimeStream(rule, ClockOffset(fixed))

    @model_validator(mode="after")
    def _holds(self) -> Self:
        if not _ADDRESS.fullmatch(self.channel):
            raise ValueError(f"channel: expected pva://NAME, ca://NAME or NAME, found {self.channel!r}")
        if self.protocol == "ca" and self.match == "id":
            raise ValueError("match: expected 'time' with a ca:// channel, which carries no id, found 'id'")
        if self.protocol == "ca" and self.field != "value":
            raise ValueError(f"field: expected none with a ca:// channel, which has only a value, found {self.field!r}")
        if self.match == "id" and (self.interpolate or self.reach):
            raise ValueError("interpolate and reach: expected with match = 'time' only, found with match = 'id'")
        return self


class SimulatedChannel(Table):
    """A channel of the simulator: its value is the frame's uniqueId as a double, plus `shift`."""

    protocol: Literal["pva", "ca"] = "pva"
    """pva: NTScalar with the frame's time stamp, and its uniqueId as userTag. ca: a record, stamped when it is put."""
    shift: float = 0.0
    """What is added to the uniqueId."""
    every: int = Field(default=1, ge=1)
    """Frames that make one update."""
    delay: float = Field(default=0.0, ge=0, le=60)
    """s after its frame that an update is sent."""
    offset: float = Field(default=0.0, ge=-3600, le=3600)
    """pva: s that the clock of the stamps is ahead."""
    drift: float = Field(default=0.0, ge=-1000, le=1000)
    """pva: microseconds in a second that this clock gains."""
    jitter: float = Field(default=0.0, ge=0, le=1)
    """pva: s; stamps are wrong by up to this, either way."""
    gaps: float = Field(default=0.0, ge=0, le=1)
    """Part of the updates that is not sent."""
    doubles: float = Field(default=0.0, ge=0, le=1)
    """Part of the updates that is sent twice."""
    swaps: float = Field(default=0.0, ge=0, le=1)
    """Part of the updates that is sent after the one that follows it."""


class MetadataConfig(Table):
    """The channels of a group, and how many frames may wait for their values."""

    channels: dict[ChannelName, ChannelConfig] = {}
    """One table a channel; the table's name is that of the value in `metadata` and among the attributes."""
    most_waiting: int = Field(default=256, ge=1, le=65536)
    """Frames that may wait for values together; the queue of the group sets a limit, too."""
    waiting_bytes: int | None = Field(default=None, ge=1)
    """Bytes of frames that may wait; left out: no limit but most_waiting and the queue's."""
    attributes: bool = True
    """Put values and their qualities (`NAME`, `NAMEQuality`) among the attributes of the frames."""


def channel_pvs(
    node: str, inputs: Mapping[str, str], tables: Mapping[str, MetadataConfig], prefix: str
) -> dict[str, str]:
    """Return the PVs whose values go with the frames in `node`, its own and those of the ones before it, by name."""
    own = tables.get(node, MetadataConfig())
    found = {name: channel.under(prefix).name for name, channel in own.channels.items()}
    giver = inputs.get(node)
    if giver is None:
        return found
    before = channel_pvs(giver, inputs, tables, prefix)
    carried = set(carried_names(giver, inputs, tables))
    return {name: pv for name, pv in before.items() if name in carried} | found


def carried_names(giver: str, inputs: Mapping[str, str], tables: Mapping[str, MetadataConfig]) -> tuple[str, ...]:
    """Return the names of the channels whose values come as attributes with the frames of `giver`.

    `inputs` says who gives to whom, `tables` has the metadata of each `groups.NAME`.
    """
    names: dict[str, None] = {}
    while giver in inputs:
        table = tables.get(giver)
        if table is not None and table.attributes:
            names |= dict.fromkeys(table.channels)
        giver = inputs[giver]
    return tuple(names)
