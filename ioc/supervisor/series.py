"""The accounts of the series: what each stage was given of each, what became of it, and which ids it missed.

Rules: a frame of a series is *given* to a stage, and there it is processed, failed, dropped for a reason, or it waits.
`given = processed + failed + dropped + waiting`, always. A series has *ended* when its end marker is out (`normal`,
or `aborted` before its time), or when its detector was killed (`crashed`); it is *settled* when nothing waits any more.
Settled series are kept in the store only, so that memory does not grow with their number.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from ioc.channels.trail import Run

UNKNOWN = 0
"""The series of frames whose ids were overwritten before anybody read them."""
NOT_DROPPED = "failed"
"""Reason of missed ids that were not dropped, but that a processor failed on."""


class Ended(Enum):
    """How a series came to its end."""

    NORMAL = "normal"
    ABORTED = "aborted"
    CRASHED = "crashed"


class Place(NamedTuple):
    """A stage of a group; a stage by itself has the group ""."""

    group: str
    stage: str


@dataclass(slots=True)
class Row:
    """One series at one stage, in frames; `exact` is false once ids were overwritten unread."""

    given: int = 0
    finished: int = 0
    failed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    exact: bool = True

    @property
    def processed(self) -> int:
        """Frames finished without an error."""
        return self.finished - self.failed

    @property
    def waiting(self) -> int:
        """Frames on their way to the stage, or in it; negative if it finished what it was not given."""
        return self.given - self.finished - sum(self.dropped.values())


@dataclass(slots=True)
class Series:
    """One series as a whole."""

    published: int = 0
    ended: Ended | None = None
    rows: dict[Place, Row] = field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """Return whether it is over and nothing of it waits."""
        return self.ended is not None and all(row.waiting == 0 for row in self.rows.values())

    @property
    def complete(self) -> bool:
        """Return whether its end marker is out and every stage has settled every id."""
        return self.ended in (Ended.NORMAL, Ended.ABORTED) and self.settled

    def processed(self, groups: Container[str]) -> int:
        """Return the frames that every one of some groups has processed for certain."""
        open_turns: Counter[str] = Counter()
        for place, row in self.rows.items():
            if place.group in groups:
                open_turns[place.group] += row.given - row.processed
        return max(0, self.published - max(open_turns.values(), default=0))

    def dropped(self, groups: Container[str]) -> int:
        """Return the frames that some groups dropped, all reasons; counted for every member that was to get one."""
        return sum(sum(row.dropped.values()) for place, row in self.rows.items() if place.group in groups)


class Shelf(Protocol):
    """Where series lie that are not in memory."""

    def load(self, number: int) -> Series | None:
        """Return a series that was stored; None if it never was."""
        ...


class SeriesBook:
    """The series of one run: those that change are in memory, the others on the shelf."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._open: dict[int, Series] = {}
        self.changed: set[int] = set()
        self.missed: list[tuple[Place, Run, str]] = []
        self.newest: int | None = None

    def __iter__(self) -> Iterator[tuple[int, Series]]:
        return iter(self._open.items())

    def series(self, number: int | None) -> Series:
        """Return a series, from the shelf if need be; it counts as changed."""
        known = UNKNOWN if number is None else number
        found = self._open.get(known)
        if found is None:
            found = self._open[known] = self._shelf.load(known) or Series()
        self.changed.add(known)
        return found

    def look(self, number: int) -> Series | None:
        """Return a series without changing anything."""
        return self._open.get(number) or self._shelf.load(number)

    def row(self, number: int | None, place: Place) -> Row:
        """Return one series at one stage."""
        rows = self.series(number).rows
        row = rows.get(place)
        if row is None:
            row = rows[place] = Row()
        row.exact = row.exact and number is not None
        return row

    def published(self, runs: Iterable[Run]) -> None:
        """Book what the detector published."""
        for run in runs:
            self.series(run.series).published += run.count
            self.newest = run.series or self.newest

    def end(self, number: int, how: Ended) -> None:
        """Book the end of a series."""
        self.series(number).ended = how

    def give(self, place: Place, runs: Iterable[Run], sign: int = 1) -> None:
        """Book what a stage was given, or with `sign` -1 what was taken away from it again."""
        for run in runs:
            self.row(run.series, place).given += sign * run.count

    def finish(self, place: Place, runs: Iterable[Run]) -> None:
        """Book what a stage has finished with."""
        for run in runs:
            self.row(run.series, place).finished += run.count

    def fail(self, place: Place, run: Run) -> None:
        """Book what a processor failed on, of what is finished."""
        self.row(run.series, place).failed += run.count
        self.missed.append((place, run, NOT_DROPPED))

    def drop(self, place: Place, run: Run, reason: str) -> None:
        """Book what was meant for a stage and dropped, by id."""
        self.row(run.series, place).dropped[reason] += run.count
        self.missed.append((place, run, reason))

    def unsettled(self, place: Place) -> list[int]:
        """Return the series of which something waits at a stage."""
        return [number for number, one in self._open.items() if (row := one.rows.get(place)) and row.waiting != 0]

    def crash(self) -> None:
        """Book that the detector was killed: what it published and has not ended never will."""
        for number, one in list(self._open.items()):
            if one.ended is None and one.published and number != UNKNOWN:
                self.end(number, Ended.CRASHED)

    def stored(self) -> None:
        """Forget what was written to the shelf and will not change."""
        for number in [number for number, one in self._open.items() if one.settled and number != self.newest]:
            del self._open[number]
        self.changed.clear()
        self.missed.clear()

    def excess(self, places: Container[Place]) -> int:
        """Return the frames that stages finished and were never given, of series that are over."""
        rows = ((place, row) for one in self._open.values() if one.ended for place, row in one.rows.items())
        return sum(max(0, -row.waiting) for place, row in rows if place in places)
