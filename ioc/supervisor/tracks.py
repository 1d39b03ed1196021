"""Follows the trails of one account from sample to sample: what is new since the last one, as runs of ids."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioc.channels.book import Counts
from ioc.channels.journal import Figures
from ioc.channels.trail import JOINED, RETURNED, Cursor, Run, TrailReader

JOINS_KEPT = 64
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


@dataclass(frozen=True, slots=True)
class Came:
    """Frames that came to a member by the link of a number; 0: it is not known by which."""

    link: int
    run: Run


class MemberTrack:
    """What a member received and finished; frames are finished in the order in which they were received.

    `joins` are the links by which it received lately, each with the place in its trail from which on it did.
    """

    def __init__(self) -> None:
        self.came = Track()
        self.left = Track()
        self.finished = 0
        self.hand: deque[Came] = deque()
        self.joins: list[tuple[int, Cursor]] = []

    def follow(self, reader: TrailReader, counts: Counts) -> list[Came]:
        """Return the runs that were finished since the last time."""
        done: list[Came] = []
        ordinal = self.came.cursor.ordinal
        for run in self.came.follow(reader, counts.received, counts.returned):
            if run.mark == RETURNED:
                done += self._finish_all_but(run.count)
            elif run.mark == JOINED:
                self.joins.append((run.series or 0, Cursor(run.first, ordinal)))
            else:
                self.hand.append(Came(self.link, run))
                ordinal += run.count
        del self.joins[1:-JOINS_KEPT]
        done += self._take(counts.processed + counts.failed - self.finished)
        return done

    @property
    def link(self) -> int:
        """The number of the link by which it receives now; 0: it is not known."""
        return self.joins[-1][0] if self.joins else 0

    def since(self, opened_ns: int) -> Cursor | None:
        """Return the place from which on came what a life gave that began at `opened_ns`; None if nothing did.

        Of a member that has noted no link, all came from that life.
        """
        if not self.joins:
            return Cursor()
        return next((cursor for link, cursor in self.joins if link >= opened_ns), None)

    def forget(self, opened_ns: int) -> None:
        """Forget the links of lives before the one that began at `opened_ns`, but for the last one."""
        old = sum(link < opened_ns for link, _ in self.joins[:-1])
        del self.joins[:old]

    def in_hand(self, before_ns: int) -> int:
        """Return how many frames are in its hands that came by a link made before `before_ns`."""
        return sum(came.run.count for came in self.hand if came.link < before_ns)

    def state(self) -> dict[str, Any]:
        """Return what `of` needs to go on from here."""
        hand = [[one.link, one.run.series, one.run.first, one.run.step, one.run.count] for one in self.hand]
        joins = [[link, cursor.entry, cursor.ordinal] for link, cursor in self.joins]
        return {
            "came": self.came.state(),
            "left": self.left.state(),
            "finished": self.finished,
            "hand": hand,
            "joins": joins,
        }

    @classmethod
    def of(cls, state: dict[str, Any]) -> "MemberTrack":
        """Return a track that goes on from a state."""
        track = cls()
        track.came, track.left = Track.of(state["came"]), Track.of(state["left"])
        track.finished = state["finished"]
        track.hand = deque(Came(link, Run(*run)) for link, *run in state["hand"])
        track.joins = [(link, Cursor(*cursor)) for link, *cursor in state["joins"]]
        return track

    def _finish_all_but(self, returned: int) -> list[Came]:
        in_hand = sum(one.run.count for one in self.hand)
        done = self._take(in_hand - returned)
        self.hand.clear()
        return done

    def _take(self, count: int) -> list[Came]:
        taken: list[Came] = []
        self.finished += count
        while count > 0 and self.hand:
            link, run = self.hand[0].link, self.hand[0].run
            self.hand.popleft()
            if run.count > count:
                run, rest = run.split(count)
                self.hand.appendleft(Came(link, rest))
            taken.append(Came(link, run))
            count -= run.count
        if count > 0:
            taken.append(Came(0, Run(None, 0, 0, count)))
        return taken


def kept(runs: Iterable[Run]) -> list[Run]:
    """Return runs without those that went back."""
    left: list[Run] = []
    for run in runs:
        if run.mark == RETURNED:
            left = without_last(left, run.count)
        elif run.mark != JOINED:
            left.append(run)
    return left


def received(runs: Iterable[Run]) -> list[Came]:
    """Return what came and did not go back, with the link by which it came."""
    link, left = 0, list[Came]()
    for run in runs:
        if run.mark == JOINED:
            link = run.series or 0
        elif run.mark == RETURNED:
            rest = without_last([one.run for one in left], run.count)
            left = [Came(one.link, run) for one, run in zip(left, rest, strict=False)]
        else:
            left.append(Came(link, run))
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


def by_series(runs: Iterable[Run]) -> defaultdict[int, list[Run]]:
    """Return runs by their series, those without one left out; so that time grows with their number, not its square."""
    found: defaultdict[int, list[Run]] = defaultdict(list)
    for run in runs:
        if run.series is not None:
            found[run.series].append(run)
    return found


def difference(series: int, given: Iterable[Run], *gone: Iterable[Run]) -> Counter[int]:
    """Return the ids of a series that were given more often than they are gone, and how often; as `remaining`."""
    ids, counts = np.unique(ids_of(series, given), return_counts=True)
    for runs in gone:
        others, many = np.unique(ids_of(series, runs), return_counts=True)
        _, ours, theirs = np.intersect1d(ids, others, assume_unique=True, return_indices=True)
        counts[ours] -= many[theirs]
    left = counts > 0
    return Counter(dict(zip(ids[left].tolist(), counts[left].tolist(), strict=True)))


def remaining(given: Iterable[Run], *gone: Iterable[Run]) -> dict[int, NDArray[np.int64]]:
    """Return by series the ids that were given and are not gone, ascending; of the last `LONGEST` that were given."""
    ours, *others = (by_series(runs) for runs in (given, *gone))
    found: dict[int, NDArray[np.int64]] = {}
    for series, runs in ours.items():
        ids = ids_of(series, runs)
        for other in others:
            ids = np.setdiff1d(ids, ids_of(series, other[series]), assume_unique=False)
        found[series] = ids
    return found


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
        one.group, one.name, one.came_before, one.left_before, one.done_before, 0, one.turns, 0, 0, one.dropped
    )  # fmt: skip
