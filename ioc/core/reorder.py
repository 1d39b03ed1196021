"""N streams of (series, position) put into one ordered stream, by a bounded wait; every gap is booked by id.

Rules: positions count from 1 within a series, series numbers grow. The next position goes out at once; one that came
early waits for those before it. What is missing before a waiting item is given up when

* no input can bring it any more: every input has got past it (only where each input is `ordered` in itself), has
  ended the series or is gone, or
* a waiting item has waited `seconds`, or more than `items` or `size_bytes` wait.

What was given up and comes later is *late*; what came before is a *duplicate*; neither goes out. A series ends, once,
when every input has ended it: by its end marker, by going on to a later series, or by leaving. A later series waits
for that; its items, too, wait no longer than the bounds say, and then close the series before. `missing` holds the
ids that never came, less those that a marker says were `filtered` on purpose: these are not lost.

    received = delivered + duplicates + late + waiting                                   always
    1 ... published = delivered + filtered + missing + late, as ids                      of a series that has ended
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from ioc.core.frame import EndOfSeries
from ioc.core.sequence import Ranges

SERIES_REMEMBERED = 32
"""Series that are over and whose ids are still known, to tell a late item from a duplicate."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long an item may wait (s), and how many items and bytes may wait together."""

    seconds: float = 1.0
    items: int = 1024
    size_bytes: int | None = None


class Fate(Enum):
    """What became of an item that was put in."""

    WAITS = "waits"
    DUPLICATE = "duplicate"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item belongs: `position` (from 1) of a series."""

    series: int
    position: int


@dataclass(slots=True)
class Account:
    """What is known of one series; all are positions. `published` None: no end marker has come."""

    delivered: Ranges = field(default_factory=Ranges)
    late: Ranges = field(default_factory=Ranges)
    missing: Ranges = field(default_factory=Ranges)
    filtered: Ranges = field(default_factory=Ranges)
    published: int | None = None
    ended: bool = False

    @property
    def complete(self) -> bool:
        """Return whether the series is over and nothing of it is missing or came too late."""
        return self.ended and self.published is not None and not self.missing and not self.late


@dataclass(slots=True)
class _Input:
    """How far one input has got: all series up to `past` are over for it; `at` is its highest place in the next."""

    past: int = -1
    at: Place = Place(-1, 0)


@dataclass(slots=True)
class _Open(Generic[T]):
    """A series that is not over: `given` positions have gone out or were given up."""

    account: Account
    given: int = 0
    heap: list[int] = field(default_factory=list)
    waiting: dict[int, tuple[T, int]] = field(default_factory=dict)


class Reorder(Generic[T]):
    """The reordering of one stream: `put` and `end` what comes, then take what is `ready`."""

    def __init__(self, bounds: Bounds, ordered: bool = True) -> None:
        """Make an empty one; `ordered`: each input brings rising positions, so what it has passed it cannot bring."""
        self.bounds = bounds
        self.delivered = self.duplicates = self.late = self.missing = self.filtered = 0
        self.accounts: OrderedDict[int, Account] = OrderedDict()
        self.size_bytes = 0
        self._ordered = ordered
        self._inputs: dict[str, _Input] = {}
        self._open: dict[int, _Open[T]] = {}
        self._arrivals: deque[tuple[int, Place]] = deque()
        self._closed = -1
        self._resumed = Place(-1, 0)

    @property
    def closed(self) -> int:
        """Return the last series that is over; all before it are, too."""
        return self._closed

    @property
    def waiting(self) -> int:
        """Return how many items wait."""
        return sum(len(series.waiting) for series in self._open.values())

    def resume(self, place: Place) -> None:
        """Go on behind the last item that an earlier life put out."""
        self._resumed = place
        self._closed = place.series - 1

    def join(self, name: str) -> None:
        """Expect an input from now on."""
        self._inputs.setdefault(name, _Input())

    def leave(self, name: str) -> None:
        """Expect an input no longer."""
        self._inputs.pop(name, None)

    def put(self, name: str, place: Place, item: T, size: int, now_ns: int) -> Fate:
        """Take in an item of `size` bytes from an input; a fate other than WAITS means that it will not go out."""
        source = self._inputs.setdefault(name, _Input())
        source.past = max(source.past, place.series - 1)
        if (place.series, place.position) > (source.at.series, source.at.position):
            source.at = place
        series = self._series(place.series)
        if series is None:
            return self._too_late(self.accounts.get(place.series), place.position)
        if place.position in series.waiting or place.position in series.account.delivered:
            self.duplicates += 1
            return Fate.DUPLICATE
        if place.position <= series.given:
            return self._too_late(series.account, place.position)
        series.waiting[place.position] = (item, size)
        heapq.heappush(series.heap, place.position)
        self.size_bytes += size
        self._arrivals.append((now_ns, place))
        return Fate.WAITS

    def end(self, name: str, marker: EndOfSeries) -> None:
        """Take in an input's end marker of a series."""
        source = self._inputs.setdefault(name, _Input())
        source.past = max(source.past, marker.series)
        series = self._series(marker.series)
        if series is None:
            return
        account = series.account
        account.published = max(account.published or 0, marker.published)
        for first, last in marker.filtered:
            account.filtered.add(first, last)

    def ready(self, now_ns: int) -> Iterator[T | EndOfSeries]:
        """Yield what goes out now, in order."""
        while self._open:
            number = min(self._open)
            series = self._open[number]
            yield from self._run(series, number)
            if series.waiting and self._give_up(number, series, now_ns):
                continue
            if series.waiting or not (self._over(number) or self._pressed(number, now_ns)):
                return
            marker = self._close(number, series)
            if marker is not None:
                yield marker

    def deadline_ns(self) -> int | None:
        """Return when something is given up at the latest; None if nothing waits."""
        oldest = self._oldest()
        return None if oldest is None else oldest[0] + round(self.bounds.seconds * 1e9)

    def oldest_wait(self, now_ns: int) -> float:
        """Return how long the oldest item has waited, in s."""
        oldest = self._oldest()
        return 0.0 if oldest is None else max(0, now_ns - oldest[0]) / 1e9

    def _series(self, number: int) -> "_Open[T] | None":
        """Return an open series, opened if it is new; None if it is over."""
        if number <= self._closed:
            return None
        series = self._open.get(number)
        if series is None:
            series = self._open[number] = _Open(Account())
            if number == self._resumed.series:
                series.given = self._resumed.position
                if series.given:
                    series.account.delivered.add(1, series.given)
            self.accounts[number] = series.account
            while len(self.accounts) > SERIES_REMEMBERED + len(self._open):
                self.accounts.popitem(last=False)
        return series

    def _too_late(self, account: Account | None, position: int) -> Fate:
        if account is not None and (position in account.delivered or position in account.late):
            self.duplicates += 1
            return Fate.DUPLICATE
        self.late += 1
        if account is not None:
            account.late.add(position, position)
            self.missing -= account.missing.discard(position)
            self.filtered -= account.ended and account.filtered.discard(position)
        return Fate.LATE

    def _run(self, series: _Open[T], number: int) -> Iterator[T]:
        """Yield what follows without a gap."""
        first = series.given + 1
        while series.heap and series.heap[0] == series.given + 1:
            position = heapq.heappop(series.heap)
            item, size = series.waiting.pop(position)
            series.given = position
            self.size_bytes -= size
            self.delivered += 1
            series.account.delivered.add(position, position)
            self._closed = max(self._closed, number - 1)  # whatever comes of an earlier series is late
            yield item
        if series.given >= first:
            self._forget_arrivals()

    def _give_up(self, number: int, series: _Open[T], now_ns: int) -> bool:
        """Give up what is missing before the lowest waiting item, if a rule says so; return whether one does."""
        lowest = series.heap[0]
        if not (self._over(number) or self._passed(number, lowest - 1) or self._pressed(number, now_ns)):
            return False
        self._lose(series, lowest - 1)
        return True

    def _lose(self, series: _Open[T], last: int) -> None:
        """Book all positions up to `last` that have not gone out as missing."""
        if last > series.given:
            series.account.missing.add(series.given + 1, last)
            self.missing += last - series.given
            series.given = last

    def _over(self, number: int) -> bool:
        return all(source.past >= number for source in self._inputs.values())

    def _passed(self, number: int, position: int) -> bool:
        """Return whether no input can bring a position, or one before it, any more."""
        if not self._ordered:
            return False
        return all(
            source.past >= number or (source.at.series == number and source.at.position >= position)
            for source in self._inputs.values()
        )

    def _pressed(self, number: int, now_ns: int) -> bool:
        """Return whether the bounds say that series `number` has to move on."""
        if self.waiting > self.bounds.items:
            return True
        if self.bounds.size_bytes is not None and self.size_bytes > self.bounds.size_bytes and self.waiting > 1:
            return True
        oldest = self._oldest()
        if oldest is None or now_ns - oldest[0] < self.bounds.seconds * 1e9:
            return False
        return oldest[1].series >= number

    def _close(self, number: int, series: _Open[T]) -> EndOfSeries | None:
        """End a series of which nothing waits; return its end marker, None if all inputs went on without one."""
        account = series.account
        over = self._over(number)
        del self._open[number]
        self._closed = number
        account.ended = True
        if account.published is None:
            return None if over else EndOfSeries(number, series.given)
        self._lose(series, account.published)
        account.filtered = account.filtered.common(account.missing)
        account.missing = account.missing.without(account.filtered)
        known = account.filtered.count()
        self.missing -= known
        self.filtered += known
        return EndOfSeries(number, account.published, tuple(account.filtered))

    def _oldest(self) -> tuple[int, Place] | None:
        """Return the arrival of the item that has waited longest."""
        while self._arrivals:
            place = self._arrivals[0][1]
            series = self._open.get(place.series)
            if series is not None and place.position in series.waiting:
                return self._arrivals[0]
            self._arrivals.popleft()
        return None

    def _forget_arrivals(self) -> None:
        """Keep the list of arrivals short: those of items that went out are of no more use."""
        if len(self._arrivals) > 2 * self.waiting + 64:
            self._arrivals = deque(
                (at, place)
                for at, place in self._arrivals
                if (series := self._open.get(place.series)) is not None and place.position in series.waiting
            )
