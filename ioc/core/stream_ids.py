"""Ids of frames that come from outside: which are new, which are missing, where a source begins again.

Rules: a stream numbers its frames, its id grows by `step` from one to the next (0: by anything). A larger jump is a
gap: the ids between are missing. A gap of more than `LARGEST_GAP` frames is not believed, and an id that is not above
the last one means that the source began again: an *epoch* ends and a new one begins, and with it a series of ours. The
same id again right after a reconnection is a repetition: servers show their newest image first. Who tells its series
counts from 1 in each: what is missing before the first of a new one is known, too. An epoch holds for all streams of
one table; the one that gets ahead begins it, what others still bring of the one before belongs there.
"""

from dataclasses import dataclass
from typing import NamedTuple

LARGEST_GAP = 1_000_000


class Source(NamedTuple):
    """How the source names a frame: its series (0: it has none) and its id."""

    series: int
    unique_id: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame belongs: the epoch of its stream; which ids are missing before it, as `first, last, step`."""

    epoch: int
    missing: tuple[int, int, int] | None = None

    @property
    def missed(self) -> int:
        """Return how many ids are missing."""
        if self.missing is None:
            return 0
        first, last, step = self.missing
        return (last - first) // step + 1


class StreamIds:
    """Follows the ids of one stream."""

    def __init__(self, step: int = 1, epoch: int = 0) -> None:
        """Expect ids that grow by `step`, 0: by anything; a stream that joins late begins in the present `epoch`."""
        self.epoch = epoch
        self.repeated = 0
        self._step = step
        self._last: Source | None = None
        self._reconnected = False

    def reconnected(self) -> None:
        """Expect that the next id may be a repetition."""
        self._reconnected = True

    def place(self, source: Source) -> Place | None:
        """Return where a frame belongs; None if it was here before."""
        last, again = self._last, self._reconnected
        if again and source == last:
            self._reconnected = False
            self.repeated += 1
            return None
        self._last, self._reconnected = source, False
        if last is None:
            return Place(self.epoch)
        missed = self._missed(last, source)
        if missed is None:
            self.epoch += 1
            return Place(self.epoch, None if again else self._from_the_start(last, source))
        if missed == 0:
            return Place(self.epoch)
        first = last.unique_id + self._step
        return Place(self.epoch, (first, first + (missed - 1) * self._step, self._step))

    def _from_the_start(self, last: Source, source: Source) -> tuple[int, int, int] | None:
        """Return what is missing of a series that began while we were there, of a source that counts from 1 in each."""
        told = source.series not in (0, last.series) and self._step == 1
        return (1, source.unique_id - 1, 1) if told and 1 < source.unique_id <= LARGEST_GAP else None

    def _missed(self, last: Source, source: Source) -> int | None:
        """Return how many ids lie between; None if the source began again."""
        gap = source.unique_id - last.unique_id
        if source.series != last.series or gap <= 0:
            return None
        missed = (gap - 1) // self._step if self._step else 0
        return missed if missed <= LARGEST_GAP else None
