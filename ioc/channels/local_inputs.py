"""A member's end of several local channels as one: the members of the group before it.

Rules: frames of all givers come as they come, each giver's in order. The end of a series goes on, once, when every
giver has ended it: by its end marker, by going on to a later series, or by being gone; until then a giver that is
ahead is not read.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ioc.channels.local_givers import Companion, Input, LocalGivers, Member
from ioc.core.frame import EndOfSeries, Frame, Item
from ioc.core.sequence import Ranges


@dataclass(slots=True)
class _Ending:
    """The series that is under way: its end markers so far."""

    series: int
    published: int | None = None
    filtered: Ranges = field(default_factory=Ranges)
    markers: list[Input] = field(default_factory=list)


@dataclass(slots=True)
class _Debt:
    """What is to be released to an input when an item that was handed on is: items, and how many are frames."""

    source: Input
    items: int
    frames: int


class LocalInputs(LocalGivers):
    """All connections of one member, as one; implements base.Receiver. Used by one thread."""

    def __init__(self, member: Member, companion: Companion | None = None) -> None:
        super().__init__(member, companion)
        self._owed: deque[list[_Debt]] = deque()
        self._series: _Ending | None = None
        self._ended = -1
        self._first = 0

    def receive(self, max_items: int, timeout: float) -> Sequence[Item]:
        return self.wait_for(lambda: self._gather(max_items), timeout)

    def fail(self, frames: Sequence[Frame]) -> None:
        """Note the ids of frames that a processor failed on; they are released next."""
        for debts, frame in zip(self._owed, frames, strict=False):
            debts[0].source.receiver.fail([frame])

    def release(self, count: int) -> None:
        spread: dict[str, _Debt] = {}
        for _ in range(count):
            for debt in self._owed.popleft():
                total = spread.setdefault(debt.source.name, _Debt(debt.source, 0, 0))
                total.items += debt.items
                total.frames += debt.frames
        for total in spread.values():
            self.books.settle(total.source.name, total.frames)
            total.source.receiver.release(total.items)

    def _gather(self, max_items: int) -> list[Item]:
        names = list(self.inputs)
        self._first += 1
        items: list[Item] = []
        for at in range(len(names)):
            one = self.inputs[names[(self._first + at) % len(names)]]
            self.fill(one, max_items)
            while len(items) < max_items and self._may_go(one):
                item = one.ahead.popleft()
                if isinstance(item, Frame):
                    self._owed.append([_Debt(one, 1, 1)])
                    items.append(item)
                else:
                    self._note_end(one, item)
        if len(items) < max_items:
            items += self._end_if_all_did()
        return items

    def _may_go(self, one: Input) -> bool:
        """Return whether the next item of an input belongs to the series that is under way, or to one before it."""
        if not one.ahead:
            return False
        series = one.ahead[0].series
        one.past = max(one.past, series - 1)
        if self._series is None and series > self._ended:
            self._series = _Ending(series)
        return self._series is None or series <= self._series.series

    def _note_end(self, one: Input, marker: EndOfSeries) -> None:
        one.past = max(one.past, marker.series)
        under_way = self._series
        if under_way is None or marker.series != under_way.series or one in under_way.markers:
            self._let_go(one)  # of a series that was over for this member
            return
        under_way.published = max(under_way.published or 0, marker.published)
        for first, last in marker.filtered:
            under_way.filtered.add(first, last)
        under_way.markers.append(one)

    def _let_go(self, one: Input) -> None:
        """Release an item that is not handed on, in its place behind those that were."""
        for debts in reversed(self._owed):
            for debt in debts:
                if debt.source is one:
                    debt.items += 1
                    return
        one.receiver.release(1)

    def _end_if_all_did(self) -> list[Item]:
        under_way = self._series
        if under_way is None or not self._all_past(under_way.series):
            return []
        self.look_now()  # somebody may have come a moment ago
        if not self._all_past(under_way.series):
            return []
        self._series = None
        self._ended = under_way.series
        if under_way.published is None:
            return []
        self._owed.append([_Debt(one, 1, 0) for one in under_way.markers])
        return [EndOfSeries(under_way.series, under_way.published, tuple(under_way.filtered))]

    def _all_past(self, series: int) -> bool:
        return all(
            one.past >= series or (one.receiver.finished and self._leaving and not one.ahead)
            for one in self.inputs.values()
        )
