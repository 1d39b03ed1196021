"""Lets every frame pass once: de-duplication by series and id where streams of at-least-once meet.

Rules: an id of a series passes the first time, in any order. Memory is bounded: ids that passed are kept as ranges, at
most `sequence.MOST_RANGES` a series, and the last `most_series` series are kept. What belongs to a series older than
those does not pass (`late`): it may have passed before. `exact` says whether the ranges had to be joined, which holds
back ids between them; a stream with fewer gaps at a time than that never comes there.
"""

from ioc.core.sequence import Ranges


class Once:
    """Says of every frame whether it is here for the first time."""

    def __init__(self, most_series: int = 1000) -> None:
        """Remember `most_series` series, 1 or more."""
        self.passed = 0
        self.duplicates = 0
        self.late = 0
        self._most_series = most_series
        self._newest_forgotten: int | None = None
        self._seen: dict[int, Ranges] = {}

    def passes(self, series: int, unique_id: int) -> bool:
        """Book an id; return whether it is the first time that it is here."""
        ranges = self._seen.get(series) or self._begin(series)
        if ranges is None:
            self.late += 1
            return False
        if unique_id in ranges:
            self.duplicates += 1
            return False
        ranges.add(unique_id, unique_id)
        self.passed += 1
        return True

    def missing(self, series: int, published: int) -> list[tuple[int, int]]:
        """Return the ranges of 1 to `published` that have not passed, of a series that is remembered."""
        holes, following = [], 1
        for first, last in self._seen.get(series, ()):
            if first > published:
                break
            if first > following:
                holes.append((following, first - 1))
            following = last + 1
        if following <= published:
            holes.append((following, published))
        return holes

    def complete(self, series: int, published: int) -> bool:
        """Return whether all of 1 to `published` have passed."""
        return not self.missing(series, published)

    @property
    def exact(self) -> bool:
        """Whether every id that did not pass was a duplicate or late."""
        return all(ranges.exact for ranges in self._seen.values())

    def _begin(self, series: int) -> Ranges | None:
        if self._newest_forgotten is not None and series <= self._newest_forgotten:
            return None
        ranges = self._seen[series] = Ranges()
        if len(self._seen) > self._most_series:
            oldest = min(self._seen)
            del self._seen[oldest]
            self._newest_forgotten = max(oldest, self._newest_forgotten or oldest)
            if oldest == series:
                return None
        return ranges
