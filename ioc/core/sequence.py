"""Which ids of a series arrived: missed ranges, duplicates and late ones, in memory that stays small.

Rules: ids count from 1 by 1 within a series. A gap is missed the moment a later id is seen; an id that arrives late
leaves the missed ranges again. `Ranges` holds closed intervals, merged, sorted, at most `MOST_RANGES` of them; beyond
that of the older half those that lie nearest are joined and `exact` says so, because an account must never eat the
memory; an eighth of them at once, because looking for one costs as much as looking for many.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from enum import Enum

MOST_RANGES = 10_000
REMEMBERED = 65_536


class Ranges:
    """A set of integers kept as closed intervals `[first, last]`."""

    __slots__ = ("_firsts", "_lasts", "exact")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self.exact = True
        for first, last in ranges:
            self.add(first, last)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._firsts, self._lasts, strict=True))

    def __len__(self) -> int:
        """Return the number of intervals."""
        return len(self._firsts)

    def __contains__(self, value: int) -> bool:
        at = bisect_right(self._firsts, value) - 1
        return at >= 0 and value <= self._lasts[at]

    def count(self) -> int:
        """Return how many integers the intervals hold."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    def add(self, first: int, last: int) -> None:
        """Add all integers of `first` to `last`, both included."""
        if last < first:
            raise ValueError(f"range [{first}, {last}]: expected first <= last")
        low = bisect_right(self._lasts, first - 2)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]
        if len(self._firsts) > MOST_RANGES:
            self._join_nearest(MOST_RANGES // 8)

    def discard(self, value: int) -> bool:
        """Take one integer out; return whether it was there."""
        at = bisect_right(self._firsts, value) - 1
        if at < 0 or value > self._lasts[at]:
            return False
        first, last = self._firsts[at], self._lasts[at]
        left = [(first, value - 1)] if first < value else []
        right = [(value + 1, last)] if value < last else []
        self._firsts[at : at + 1] = [piece[0] for piece in left + right]
        self._lasts[at : at + 1] = [piece[1] for piece in left + right]
        return True

    def common(self, other: "Ranges") -> "Ranges":
        """Return the integers that both hold."""
        shared = Ranges()
        for first, last in self:
            for at in range(bisect_left(other._lasts, first), len(other._firsts)):
                if other._firsts[at] > last:
                    break
                shared.add(max(first, other._firsts[at]), min(last, other._lasts[at]))
        return shared

    def without(self, other: "Ranges") -> "Ranges":
        """Return the integers that this one holds and the other does not."""
        left = Ranges()
        for first, last in self:
            for at in range(bisect_left(other._lasts, first), len(other._firsts)):
                if other._firsts[at] > last:
                    break
                if other._firsts[at] > first:
                    left.add(first, other._firsts[at] - 1)
                first = other._lasts[at] + 1
            if first <= last:
                left.add(first, last)
        return left

    def _join_nearest(self, count: int) -> None:
        half = range(len(self._firsts) // 2)
        nearest = set(sorted(half, key=lambda at: self._firsts[at + 1] - self._lasts[at])[:count])
        self._firsts = [first for at, first in enumerate(self._firsts) if at - 1 not in nearest]
        self._lasts = [last for at, last in enumerate(self._lasts) if at not in nearest]
        self.exact = False


class Arrival(Enum):
    """What an id turned out to be."""

    NEW = "new"
    LATE = "late"
    DUPLICATE = "duplicate"


class SequenceTracker:
    """Follows the ids of one series as they arrive, in any order."""

    __slots__ = ("duplicates", "highest", "missed", "received")

    def __init__(self, first: int = 1) -> None:
        """Expect ids from `first` on."""
        self.highest = first - 1
        self.received = 0
        self.duplicates = 0
        self.missed = Ranges()

    def arrived(self, unique_id: int) -> Arrival:
        """Book one id (from 1) and say what it was."""
        if unique_id > self.highest:
            if unique_id > self.highest + 1:
                self.missed.add(self.highest + 1, unique_id - 1)
            self.highest = unique_id
            self.received += 1
            return Arrival.NEW
        if self.missed.discard(unique_id):
            self.received += 1
            return Arrival.LATE
        self.duplicates += 1
        return Arrival.DUPLICATE

    def ended(self, published: int) -> None:
        """Book the end marker: everything up to `published` that did not arrive is missed."""
        if published > self.highest:
            self.missed.add(self.highest + 1, published)
            self.highest = published


class DealtTracker(SequenceTracker):
    """Follows the ids of a series of which others get a part: what does not come is not missed here.

    Of the ids that came, the last `REMEMBERED` are known; one that comes again after that counts as new.
    """

    __slots__ = ("_recent",)

    def __init__(self, first: int = 1) -> None:
        super().__init__(first)
        self._recent: dict[int, None] = {}

    def arrived(self, unique_id: int) -> Arrival:
        """Book one id and say what it was: new or a duplicate."""
        if unique_id in self._recent:
            self.duplicates += 1
            return Arrival.DUPLICATE
        self._recent[unique_id] = None
        if len(self._recent) > REMEMBERED:
            del self._recent[next(iter(self._recent))]
        self.received += 1
        self.highest = max(self.highest, unique_id)
        return Arrival.NEW

    def ended(self, published: int) -> None:
        """Book the end marker."""
        self.highest = max(self.highest, published)
