"""Which ids something happened to, in order, as runs in mapped memory: what survives a kill is what was committed.

How it works: a trail is a ring of entries of five words, `base series first step mark`. Entry k is about the ids
`first, first + step, ...` of `series`, as many as lie between its `base` (how many ids came before it) and that of the
next. The last one ends at the trail's `total`, which its owner commits elsewhere (a book, a journal): entries written
for ids that were never committed have no length. A run that goes on costs no write; a member that is dealt every
second frame needs one entry a series. One process writes, any may read.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ioc.core.frame import Frame, Item

ENTRY = 5
HEAD = 8
"""Words in front of the entries; the first is the number of entries ever written."""
RETURNED = -1
"""Mark of an entry without ids: the last `first` ids before it went back, when `step` had gone back before."""
JOINED = -2
"""Mark of an entry without ids: what comes behind it came by the link whose number is its `series`."""


def words_for(entries: int) -> int:
    """Return how many 64-bit words a trail of so many entries takes."""
    return HEAD + ENTRY * entries


@dataclass(frozen=True, slots=True)
class Run:
    """`count` ids of a series from `first` on, `step` apart; `mark` says what happened to them.

    `series` None: the ring ran over before it was read; how many they were is known, which they were is not. A run
    marked JOINED has the number of the link as its series, and as `first` the place of its entry in the trail.
    """

    series: int | None
    first: int
    step: int
    count: int
    mark: int = 0

    @property
    def last(self) -> int:
        """The last id."""
        return self.first + self.step * (self.count - 1)

    def split(self, count: int) -> "tuple[Run, Run]":
        """Return the first `count` ids and the rest, either of which may be empty."""
        first = Run(self.series, self.first, self.step, count, self.mark)
        return first, Run(self.series, self.first + self.step * count, self.step, self.count - count, self.mark)


class Trail:
    """The writer's side. `total` is how many ids there are; commit it for others to see them."""

    __slots__ = ("_alone", "_end", "_first", "_mark", "_next", "_room", "_series", "_step", "_words", "total")

    def __init__(self, words: memoryview, room: int) -> None:
        """Write to `words` (native int64), a ring of `room` entries; `resume` if there may be something in it."""
        self._words = words
        self._room = room
        self._end = words[0]
        self.total = 0
        self._begin_anew()

    def resume(self, total: int, returned: int) -> None:
        """Go on behind what was committed: `total` ids, `returned` of them gone back."""
        words = self._words
        end = words[0]
        while end > 0:
            at = self._place(end - 1)
            base, mark = words[at], words[at + 4]
            if base < total or (base == total and (mark == JOINED or (mark == RETURNED and words[at + 3] < returned))):
                break
            end -= 1
        words[0] = self._end = end
        self.total = total
        self._begin_anew()

    def add(self, series: int, unique_id: int, mark: int = 0) -> None:
        """Note an id."""
        if unique_id == self._next and series == self._series and mark == self._mark:
            self._next = unique_id + self._step
            self.total += 1
        else:
            self._turn(series, unique_id, mark)

    def add_range(self, series: int, first: int, last: int, mark: int = 0) -> None:
        """Note the ids `first` to `last`, both included."""
        if first != self._next or self._step != 1 or series != self._series or mark != self._mark:
            self._write(series, first, 1, mark)
            self._series, self._first, self._mark, self._step, self._alone = series, first, mark, 1, False
        self.total += last - first + 1
        self._next = last + 1

    def extend(self, items: Iterable[Item]) -> int:
        """Note the frames among items, in order; return how many there were."""
        before = self.total
        for item in items:
            if isinstance(item, Frame):
                if item.unique_id == self._next and item.series == self._series and not self._mark:
                    self._next += self._step
                    self.total += 1
                else:
                    self._turn(item.series, item.unique_id, 0)
        return self.total - before

    def went_back(self, count: int, returned: int) -> None:
        """Note that the last `count` ids went back, `returned` others having done so before."""
        if count:
            self._write(0, count, returned, RETURNED)
            self._begin_anew()

    def joined(self, link: int) -> None:
        """Note that what follows comes by another link; links are numbered by CLOCK_MONOTONIC, in ns."""
        self._write(link, 0, 0, JOINED)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._series = self._mark = self._first = self._next = 0
        self._step = 1
        self._alone = False

    def _turn(self, series: int, unique_id: int, mark: int) -> None:
        if self._alone and series == self._series and mark == self._mark and unique_id > self._first:
            self._step = unique_id - self._first
            self._words[self._place(self._end - 1) + 3] = self._step  # before the second id is committed
            self._alone = False
        else:
            self._write(series, unique_id, 1, mark)
            self._series, self._first, self._mark, self._step = series, unique_id, mark, 1
            self._alone = True
            self._next = 0  # ids count from 1: the second one says what the step is
            self.total += 1
            return
        self._next = unique_id + self._step
        self.total += 1

    def _write(self, series: int, first: int, step: int, mark: int) -> None:
        at, words = self._place(self._end), self._words
        words[at], words[at + 1], words[at + 2], words[at + 3], words[at + 4] = self.total, series, first, step, mark
        self._end += 1
        words[0] = self._end  # last: what is below it is whole

    def _place(self, entry: int) -> int:
        return HEAD + ENTRY * (entry % self._room)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a trail was read: entries, and ids."""

    entry: int = 0
    ordinal: int = 0


class TrailReader:
    """The reader's side, of a trail that another process writes, or wrote."""

    def __init__(self, words: memoryview, room: int) -> None:
        self._words = words
        self._room = room

    def read(self, cursor: Cursor, total: int, returned: int = 0) -> tuple[list[Run], Cursor]:
        """Return the runs from `cursor` to `total` committed ids, and the place behind them.

        A run marked RETURNED or JOINED has no ids of its own. `returned`: how many ids had gone back at that commit.
        """
        while True:
            runs: list[Run] = []
            oldest = self._oldest()
            place = self._collect(runs, self._skip(runs, cursor, oldest, total), total, returned)
            if self._words[0] - self._room < max(cursor.entry, oldest):
                return runs, place  # else the writer ran over what was being read

    def start(self, total: int) -> Cursor:
        """Return the place of the oldest entry that can be read."""
        oldest = self._oldest()
        base = self._words[self._place(oldest)] if oldest < self._words[0] else total
        return Cursor(oldest, min(base, total))

    def _oldest(self) -> int:
        """Return the oldest entry that the writer will not run over in a moment."""
        return max(0, self._words[0] - self._room + self._room // 8)

    def _skip(self, runs: list[Run], cursor: Cursor, oldest: int, total: int) -> Cursor:
        if cursor.entry >= oldest:
            return cursor
        base = min(self._words[self._place(oldest)], total)
        if base > cursor.ordinal:
            runs.append(Run(None, 0, 0, base - cursor.ordinal))
        return Cursor(oldest, max(base, cursor.ordinal))

    def _collect(self, runs: list[Run], cursor: Cursor, total: int, returned: int) -> Cursor:
        end = self._words[0]
        entry, ordinal = cursor.entry, cursor.ordinal
        while entry < end:
            base, series, first, step, mark = self._words[self._place(entry) : self._place(entry) + ENTRY].tolist()
            if mark in (RETURNED, JOINED):
                if base > ordinal or (mark == RETURNED and step + first > returned):
                    break
                runs.append(Run(None, 0, 0, first, mark) if mark == RETURNED else Run(series, entry, 0, 0, mark))
                entry += 1
                continue
            following = self._words[self._place(entry + 1)] if entry + 1 < end else total
            upper = min(following, total)
            if upper > ordinal:
                runs.append(Run(series, first + step * (ordinal - base), step, upper - ordinal, mark))
                ordinal = upper
            if entry + 1 == end or following > ordinal:
                break
            entry += 1
        return Cursor(entry, ordinal)

    def _place(self, entry: int) -> int:
        return HEAD + ENTRY * (entry % self._room)
