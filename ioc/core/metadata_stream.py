"""The values of one channel that wait for their frames: what both kinds of streams, by id and by time, have in common.

    take(values), expect(frame) -> find(frame): what was found; None, it is worth waiting -> left(frame)

Rules: frames are asked for in order, each until it is found or its wait is over. A value that has gone unused is named
when it is forgotten: by its id, or by its number in the stream, from 1. What is kept is bounded; the oldest goes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from ioc.core.clock_offset import ClockOffset
from ioc.core.frame import Frame
from ioc.core.metadata import MetadataValue, Quality, Update
from ioc.core.sequence import Ranges

OVERTAKEN = 8
"""Later values after which one that has not come is not waited for any more; values may come out of order by less."""
MOST_VALUES = 4096
"""Values of a channel that are kept for frames to come."""
RECENTLY = 1024
"""Frames that left without their value, and values that were given out, which are remembered."""


class Late(Enum):
    """What becomes of a frame whose value has not come when its wait is over."""

    MISSING = "missing"
    HOLD = "hold"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Rule:
    """How values of a channel are matched; times in ns.

    A value within `window_ns` of a frame is its match (by id: None does not ask), one within `reach_ns` the nearest.
    """

    window_ns: int | None = None
    reach_ns: int = 0
    interpolate: bool = False
    wait_ns: int = 0
    late: Late = Late.MISSING


class Found(NamedTuple):
    """A value with its quality; None: there is none."""

    value: MetadataValue | None
    quality: Quality


@dataclass(slots=True)
class StreamCounts:
    """What became of frames (`matched` to `missing`) and of values (`received` to `discarded`) of one channel.

    `unused_values` names the `unused` ones, which no frame was given, `unmatched_frames` ids of the present series.
    """

    frames: dict[Quality, int] = field(default_factory=lambda: dict.fromkeys(Quality, 0))
    received: int = 0
    late: int = 0
    duplicates: int = 0
    discarded: int = 0
    unused: int = 0
    unused_values: Ranges = field(default_factory=Ranges)
    unmatched_frames: Ranges = field(default_factory=Ranges)

    def never_used(self, number: int) -> None:
        """Name a value that no frame was given, nor will be."""
        self.unused += 1
        self.unused_values.add(number, number)

    @property
    def matched(self) -> int:
        """Frames that have the value that was asked for: matched, interpolated or nearest."""
        return sum(count for quality, count in self.frames.items() if quality.found)

    @property
    def unmatched(self) -> int:
        """Frames that do not: ambiguous, late, missing or disconnected."""
        return sum(count for quality, count in self.frames.items() if not quality.found)


class Stream(Protocol):
    """The values of one channel, by whatever they are matched."""

    rule: Rule
    offset: ClockOffset
    counts: StreamCounts

    def take(self, updates: Sequence[Update], now_ns: int) -> None:
        """Take values that came at `now_ns`, on any steady clock."""
        ...

    def expect(self, frame: Frame, now_ns: int) -> None:
        """Take notice of a frame that came at `now_ns` by the same clock, and will be asked for."""
        ...

    def certain(self, frames: Sequence[Frame]) -> list[MetadataValue]:
        """Return the values of frames that follow each other, from the first on, as far as they are matched for sure.

        That is: `find` would give each of them this value as matched. Nothing is changed; `give` has to follow.
        """
        ...

    def give(self, frames: Sequence[Frame]) -> None:
        """Take notice that frames, at least one, left with the values that `certain` has just returned for them."""
        ...

    def find(self, frame: Frame, final: bool) -> Found | None:
        """Return the value of a frame; None: it is worth waiting, which nobody does if this is `final`."""
        ...

    def left(self, frame: Frame, quality: Quality) -> None:
        """Count a frame that goes on with what was found, and forget what is of no use to later ones."""
        ...

    def waiting(self) -> int:
        """Return how many values are kept."""
        ...

    def series_over(self) -> None:
        """Forget what only frames of the series that is over could have used."""
        ...
