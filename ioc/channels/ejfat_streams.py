"""The event numbers of one source (data id): which were lost, which are repeated, and when the source began anew.

Rules
- A number between two completed events of which nothing completed is missed, until it arrives late.
- An event that was given up is not missed but incomplete.
- The numbers of events closed last are remembered. A datagram for one of them is a repeat (of a completed event), late
  (of one that was given up), or the sign of a sender that has started again and counts anew: it has another tick, or,
  where the load balancer has taken the tick away, comes more than `LINGER_NS` later.
- A number below all that is remembered also means a new start, and so does one that is `NEW_START` or more ahead: of a
  sender that begins each life with a number of its own.
- Behind a load balancer the numbers between belong to other workers: without `gaps` nothing is missed.
- Where a source is heard for the first time, the account begins with the first event that completes.
"""

from enum import Enum
from typing import NamedTuple

from ioc.core.sequence import Ranges

MOST_CLOSED = 1024
"""Numbers remembered of each source."""

REORDER = 1024
"""How far before the first number heard an event may still be late rather than of a new start."""

NEW_START = 1 << 31
"""Events that nothing came of in a row, from which on it is no loss: more than a day's at 10 kHz."""

LINGER_NS = 2_000_000_000


class Verdict(Enum):
    """What a datagram is whose event is not being put together."""

    NEW = "new"
    REPEAT = "repeat"
    LATE = "late"


class _Closed(NamedTuple):
    tick: int | None
    at_ns: int
    complete: bool


class Stream:
    """The account of one source."""

    __slots__ = ("_ahead", "_closed", "_first", "_gaps", "_highest", "_lost_before", "lives", "missed")

    def __init__(self, gaps: bool = True) -> None:
        self._gaps = gaps
        self.lives = 0
        """How often the source has begun anew."""
        self.missed = Ranges()
        self._closed: dict[int, _Closed] = {}
        self._ahead: set[int] = set()
        self._first: int | None = None
        self._highest = 0
        self._lost_before = 0

    @property
    def lost(self) -> int:
        """Events of which the number is missing, over all starts of the source."""
        return self._lost_before + self.missed.count()

    @property
    def highest(self) -> int:
        """The greatest number that completed."""
        return self._highest

    def missed_behind(self, number: int, most: int) -> list[int]:
        """Return the greatest `most` missed numbers behind `number`, the greatest first."""
        found: list[int] = []
        for first, last in reversed(list(self.missed)):
            down = range(last, max(first - 1, number), -1)
            found += down[: most - len(found)]
            if first <= number or len(found) >= most:
                break
        return found

    def ends_at(self, number: int) -> None:
        """Miss what did not come up to the last event; one that is further off than events can be late is not."""
        if self._first is not None and self._highest < number <= self._highest + REORDER:
            self._skip(self._highest + 1, number)
            self._highest = number

    def judge(self, number: int, tick: int | None, now_ns: int) -> Verdict:
        """Say what a datagram of event `number` is that belongs to no unfinished event."""
        closed = self._closed.get(number)
        if closed is None:
            if self._long_gone(number):
                self._restart()
            return Verdict.NEW
        if not _same(closed, tick, now_ns):
            self._restart()
            return Verdict.NEW
        return Verdict.REPEAT if closed.complete else Verdict.LATE

    def completed(self, number: int, tick: int | None, now_ns: int) -> None:
        """Book an event that is whole."""
        if self._gaps and self._first is not None and number - self._highest >= NEW_START:
            self._restart()
        self._close(number, _Closed(tick, now_ns, complete=True))
        if self._first is None:
            self._first = self._highest = number
        elif number > self._highest:
            self._skip(self._highest + 1, number - 1)
            self._highest = number
        elif number < self._first:
            if self._first - number <= REORDER:  # more: of the life before, which it has outlived
                self._skip(number + 1, self._first - 1)
                self._first = number
        else:
            self.missed.discard(number)

    def given_up(self, number: int, tick: int | None, now_ns: int) -> None:
        """Book an event that stays incomplete."""
        self._close(number, _Closed(tick, now_ns, complete=False))
        if self._gaps and not self.missed.discard(number):
            self._ahead.add(number)
            if len(self._ahead) > MOST_CLOSED:  # made-up numbers; forgetting them only makes `lost` too high
                self._ahead.clear()

    def _long_gone(self, number: int) -> bool:
        if not self._gaps or self._first is None or number > self._highest or number in self.missed:
            return False
        return number >= self._first or self._first - number > REORDER

    def _skip(self, first: int, last: int) -> None:
        if first > last or not self._gaps:
            return
        self.missed.add(first, last)
        for number in [number for number in self._ahead if first <= number <= last]:
            self.missed.discard(number)
            self._ahead.discard(number)

    def _close(self, number: int, closed: _Closed) -> None:
        self._closed.pop(number, None)
        self._closed[number] = closed
        if len(self._closed) > MOST_CLOSED:
            del self._closed[next(iter(self._closed))]

    def _restart(self) -> None:
        self.lives += 1
        self._lost_before = self.lost
        self.missed = Ranges()
        self._closed.clear()
        self._ahead.clear()
        self._first = None


def _same(closed: _Closed, tick: int | None, now_ns: int) -> bool:
    if tick is not None and closed.tick is not None:
        return tick == closed.tick
    return now_ns - closed.at_ns <= LINGER_NS
