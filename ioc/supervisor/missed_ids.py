"""What a report lists of the ids that a stage missed: ranges by series, ascending, and how many ids are left out.

How it works: each run of ids counts +1 from its first to its last, one that was found after all -1; what counts more
than 0 is missed. All runs are sorted once, so that their number costs no more than n log n, and memory is bounded.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioc.channels.trail import Run
from ioc.supervisor.series import UNKNOWN

MOST_LISTED = 10_000
"""Ranges of one stage in a report; `rayfan ledger --missed` has all that are stored."""
MOST_SPREAD = 1 << 20
"""Ids of one stage that are looked at one by one, because their runs have gaps; those beyond are left out."""


class Listed(NamedTuple):
    """Ranges `[series, first, last]`, and how many further ids there are."""

    ranges: list[list[int]]
    left_out: int


@dataclass(slots=True)
class MissedIds:
    """The ids of one stage that met the same fate."""

    _whole: dict[int, array] = field(default_factory=dict)
    _spread: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict)
    _room: int = MOST_SPREAD
    _beyond: int = 0

    def note(self, run: Run, found: bool) -> None:
        """Take note of a run of missed ids, or of ids that were missed before and `found` now."""
        series, sign = run.series or UNKNOWN, -1 if found else 1
        if run.step == 1 or run.count == 1:
            self._whole.setdefault(series, array("q")).extend((run.first, run.last + 1, sign))
            return
        count = min(run.count, self._room)
        self._room -= count
        self._beyond += sign * (run.count - count)
        ids = run.first + run.step * np.arange(count, dtype=np.int64)
        self._spread.setdefault(series, []).append(np.column_stack((ids, ids + 1, np.full(count, sign))))

    def listed(self) -> Listed:
        """Return the first `MOST_LISTED` ranges."""
        ranges: list[list[int]] = []
        left_out = max(0, self._beyond)
        for series in sorted({*self._whole, *self._spread}):
            firsts, ends = self._ranges(series)
            many = MOST_LISTED - len(ranges)
            ranges += [[series, first, end - 1] for first, end in zip(firsts[:many], ends[:many], strict=True)]
            left_out += sum(ends[many:]) - sum(firsts[many:])
        return Listed(ranges, left_out)

    def _ranges(self, series: int) -> tuple[list[int], list[int]]:
        """Return where the ranges of a series begin, and the ids behind their ends."""
        pieces = np.concatenate(list(self._pieces(series)))
        places, which = np.unique(pieces[:, :2], return_inverse=True)
        changes = np.zeros(len(places), np.int64)
        np.add.at(changes, which.reshape(-1, 2), pieces[:, 2:] * (1, -1))
        missed = np.cumsum(changes) > 0
        before = np.concatenate(([False], missed[:-1]))
        return places[missed & ~before].tolist(), places[before & ~missed].tolist()

    def _pieces(self, series: int) -> Iterator[NDArray[np.int64]]:
        """Yield arrays `[n, 3]`: the first id, the one behind the last, and the sign."""
        yield np.frombuffer(self._whole.get(series, array("q")), np.int64).reshape(-1, 3)
        yield from self._spread.get(series, ())
