"""Which bytes of an event have arrived: half-open intervals, merged, each byte counted once."""

from bisect import bisect_left, bisect_right


class Coverage:
    """A set of byte positions kept as sorted intervals that do not touch."""

    __slots__ = ("_ends", "_starts", "received")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.received = 0
        """Bytes covered."""

    @property
    def pieces(self) -> int:
        """The number of intervals."""
        return len(self._starts)

    @property
    def end(self) -> int:
        """The position behind the last byte that is covered."""
        return self._ends[-1] if self._ends else 0

    def add(self, start: int, end: int) -> int:
        """Cover bytes `start` to `end` (not included) and return how many were not covered before."""
        ends = self._ends
        if ends and start == ends[-1]:  # in order, as nearly always
            ends[-1] = end
            self.received += end - start
            return end - start
        low = bisect_left(ends, start)
        high = bisect_right(self._starts, end)
        known = 0
        if low < high:
            known = sum(ends[low:high]) - sum(self._starts[low:high])
            start = min(start, self._starts[low])
            end = max(end, ends[high - 1])
        self._starts[low:high] = [start]
        ends[low:high] = [end]
        self.received += end - start - known
        return end - start - known

    def gaps(self, length: int, most: int) -> list[tuple[int, int]]:
        """Return the first `most` intervals of `length` bytes that are not covered."""
        edges = zip([0, *self._ends[:most]], [*self._starts[: most + 1], length], strict=False)
        return [(start, end) for start, end in edges if start < end][:most]
