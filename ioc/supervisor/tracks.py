"""Follows the trails of one account from sample to sample: what is new since the last one, as runs of ids."""

from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioc.channels.book import Counts
from ioc.channels.journal import Figures
from ioc.channels.trail import RETURNED, Cursor, Run, TrailReader

LONGEST = 1 << 21
"""Ids that are looked at, from the newest back, to find out which were lost: 16 MB for a moment."""


class Track:
    """One trail, followed."""

    def __init__(self, cursor: Cursor | None = None) -> None:
        self.cursor = cursor or Cursor()

    def follow(self, reader: TrailReader, total: int, returned: int = 0) -> list[Run]:
        """Return the runs that are new."""
        runs, self.cursor = reader.read(self.cursor, total, returned)
        return runs

    def state(self) -> list[int]:
        """Return what `of` needs to go on from here."""
        return [self.cursor.entry, self.cursor.ordinal]

    @classmethod
    def of(cls, state: Iterable[int]) -> "Track":
        """Return a track that goes on from a state."""
        return cls(Cursor(*state))


class MemberTrack:
    """What a member received and finished; frames are finished in the order in which they were received."""

    def __init__(self) -> None:
        self.came = Track()
        self.left = Track()
        self.finished = 0
        self.hand: deque[Run] = deque()

    def follow(self, reader: TrailReader, counts: Counts) -> list[Run]:
        """Return the runs that were finished since the last time."""
        done: list[Run] = []
        for run in self.came.follow(reader, counts.received, counts.returned):
            if run.mark == RETURNED:
                done += self._finish_all_but(run.count)
            else:
                self.hand.append(run)
        done += self._take(counts.processed + counts.failed - self.finished)
        return done

    def has(self, series: Iterable[int]) -> bool:
        """Return whether frames of one of these series are in the member's hands."""
        wanted = set(series)
        return any(run.series in wanted for run in self.hand)

    def state(self) -> dict[str, Any]:
        """Return what `of` needs to go on from here."""
        hand = [[run.series, run.first, run.step, run.count] for run in self.hand]
        return {"came": self.came.state(), "left": self.left.state(), "finished": self.finished, "hand": hand}

    @classmethod
    def of(cls, state: dict[str, Any]) -> "MemberTrack":
        """Return a track that goes on from a state."""
        track = cls()
        track.came, track.left = Track.of(state["came"]), Track.of(state["left"])
        track.finished = state["finished"]
        track.hand = deque(Run(*run) for run in state["hand"])
        return track

    def _finish_all_but(self, returned: int) -> list[Run]:
        in_hand = sum(run.count for run in self.hand)
        done = self._take(in_hand - returned)
        self.hand.clear()
        return done

    def _take(self, count: int) -> list[Run]:
        taken: list[Run] = []
        self.finished += count
        while count > 0 and self.hand:
            run = self.hand.popleft()
            if run.count > count:
                run, rest = run.split(count)
                self.hand.appendleft(rest)
            taken.append(run)
            count -= run.count
        if count > 0:
            taken.append(Run(None, 0, 0, count))
        return taken


def kept(runs: Iterable[Run]) -> list[Run]:
    """Return runs without those that went back."""
    left: list[Run] = []
    for run in runs:
        if run.mark != RETURNED:
            left.append(run)
            continue
        left = without_last(left, run.count)
    return left


def without_last(runs: list[Run], count: int) -> list[Run]:
    """Return runs without their last `count` ids."""
    left = list(runs)
    while count > 0 and left:
        last = left.pop()
        if last.count > count:
            left.append(last.split(last.count - count)[0])
        count -= last.count
    return left


def remaining(series: int, given: Iterable[Run], *gone: Iterable[Run]) -> NDArray[np.int64]:
    """Return the ids of a series that were given and are not gone, ascending; of the last `LONGEST` that were given."""
    ids = ids_of(series, given)
    for runs in gone:
        ids = np.setdiff1d(ids, ids_of(series, runs), assume_unique=False)
    return ids


def ids_of(series: int, runs: Iterable[Run]) -> NDArray[np.int64]:
    """Return the ids of one series in runs, the newest `LONGEST` of them."""
    pieces, room = [np.zeros(0, np.int64)], LONGEST
    for run in reversed([run for run in runs if run.series == series]):
        count = min(run.count, room)
        pieces.append(run.last - run.step * np.arange(count, dtype=np.int64))
        room -= count
        if room == 0:
            break
    return np.concatenate(pieces)


def runs_of(series: int, ids: Iterable[int], mark: int = 0) -> list[Run]:
    """Return ascending ids as runs, each as long as its step stays the same."""
    runs: list[Run] = []
    for unique_id in ids:
        last = runs[-1] if runs else None
        if last is not None and last.count == 1:
            runs[-1] = Run(series, last.first, unique_id - last.first, 2, mark)
        elif last is not None and unique_id == last.last + last.step:
            runs[-1] = Run(series, last.first, last.step, last.count + 1, mark)
        else:
            runs.append(Run(series, unique_id, 1, 1, mark))
    return runs


def before_of(one: Figures) -> Figures:
    """Return figures as the life before left them."""
    return Figures(
        one.group, one.name, one.came_before, one.left_before, one.done, 0, one.turns, 0, 0, one.dropped
    )  # fmt: skip
