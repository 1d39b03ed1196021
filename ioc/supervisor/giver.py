"""The account of a process that gives frames, over all its lives: what it dealt out to whom, and what became of it.

How it works: the books of members are read before and after the giver's journal, whose commit covers all seats at
once. What a member finished by the first reading was given to it by then. When a life of the giver is over, what it
had dealt out and its members had not finished is *pending*: by series and id. A member may still finish some of it;
once it is gone, or takes frames from a later life and has none of the earlier ones in its hands, the rest is lost, and
named.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ioc.channels.book import Counts
from ioc.channels.journal import ABORTED, ELSEWHERE, ENDED, FAILED, MOVED, REASONS, Figures, JournalReader
from ioc.channels.trail import Cursor, Run, TrailReader
from ioc.supervisor.readers import Readers
from ioc.supervisor.report import NOBODY, Given, MemberBook, Seat
from ioc.supervisor.series import Ended, Place, SeriesBook
from ioc.supervisor.tracks import MemberTrack, Track, before_of, by_series, difference, received, runs_of, without_last
from ioc.supervisor.wires import LOST

END_OF_TIME = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Taker:
    """A member with its accounts of one giver: a book, and an account of ids in its journal."""

    name: str
    place: Place
    alive: bool
    book: Path
    journal: Path
    account: str


@dataclass(slots=True)
class Pending:
    """What lives that are over had dealt out to one member, and nobody has finished: how many frames, and which.

    `before_ns`: by links with lower numbers they came, if they still did; None while no later life has begun.
    """

    count: int
    ids: dict[int, Counter[int]]
    before_ns: int | None

    def finish(self, run: Run) -> None:
        """Take note that the member has finished some of it after all."""
        self.count -= run.count
        left = self.ids.get(run.series or 0, Counter())
        for at in range(run.count) if left else ():
            left[run.first + run.step * at] -= 1

    def runs(self) -> Iterator[Run]:
        """Yield the ids that are left; one that was given twice comes twice."""
        for series, ids in self.ids.items():
            left = +ids
            while left:
                yield from runs_of(series, sorted(left))
                left -= Counter(list(left))


@dataclass(slots=True)
class SeatTrack:
    """The trails of one account of the giver, followed; `begin` is where they stood when the present life began."""

    came: Track = field(default_factory=Track)
    left: Track = field(default_factory=Track)
    done: Track = field(default_factory=Track)
    begin: list[Cursor] = field(default_factory=lambda: [Cursor(), Cursor(), Cursor()])

    def life(self, trails: Sequence[TrailReader], end: Figures) -> list[list[Run]]:
        """Return what came, left and was done in the life that has ended with `end`, and begin the next one."""
        found = []
        for at, (trail, total) in enumerate(zip(trails, (end.came, end.left, end.done), strict=True)):
            runs, self.begin[at] = trail.read(self.begin[at], total)
            found.append(runs)
        return found

    def state(self) -> list[list[int]]:
        """Return what `of` needs to go on from here."""
        places = [track.cursor for track in (self.came, self.left, self.done)]
        return [[cursor.entry, cursor.ordinal] for cursor in (*places, *self.begin)]

    @classmethod
    def of(cls, state: Iterable[Sequence[int]]) -> "SeatTrack":
        """Return tracks that go on from a state."""
        came, left, done, *begin = (Cursor(*one) for one in state)
        return cls(Track(came), Track(left), Track(done), begin)


@dataclass(frozen=True, slots=True)
class Over:
    """A life that is over: its last figures, and when the next one began; None: it has not."""

    figures: Sequence[Figures]
    before_ns: int | None


class GiverAccounts:
    """One process that gives, followed by the supervisor's thread."""

    def __init__(self, name: str, book: SeriesBook, is_source: bool = False) -> None:
        """Keep accounts in `book`; a giver that `is_source` tells of the series that it begins and ends, too."""
        self.name = name
        self.figures: list[Figures] = []
        self.alive = False
        self.counts: dict[str, tuple[Counts, Counts]] = {}
        self.takers: dict[str, Taker] = {}
        self.done: dict[str, list[Run]] = {}
        self.failed: dict[str, list[Run]] = {}
        self._book = book
        self._is_source = is_source
        self._seats: dict[Place, SeatTrack] = {}
        self._members: dict[str, MemberTrack] = {}
        self._lost: Counter[Place] = Counter()
        self._pending: dict[Place, Pending] = {}
        self._life = 1
        self._opened_ns = 0
        self._closed = False

    @property
    def places(self) -> Iterable[Place]:
        """The places in the ledger that it gives to, its own included if it is a source."""
        return self._seats

    def sample(self, journal: Path, alive: bool, takers: Sequence[Taker], readers: Readers) -> None:
        """Read everything once; `done` and `failed` tell what its members finished since the last time."""
        self.alive = alive
        self.takers = {taker.name: taker for taker in takers}
        before = {taker.name: self._read(taker, readers) for taker in takers}
        reader = readers.journal(journal)
        over = self._follow(reader) if reader is not None else None
        self.counts |= {taker.name: (before[taker.name], self._read(taker, readers)) for taker in takers}
        self.done, self.failed = {}, {}
        for taker in takers:
            self._follow_member(taker, readers)
        if over is None and not alive and self.figures and not self._closed:
            over = Over(self.figures, None)
        if reader is not None and over is not None:
            self._close(reader, over, readers)
        self._resolve()

    def settle(self) -> None:
        """Close what nobody is left to finish; every process has ended."""
        self._resolve()

    def given(self) -> Given:
        """Return what the ledger is made from."""
        seats = [self._seat(one) for one in self.figures]
        members = [self.member(taker) for taker in self.takers.values()]
        return Given(self.name, seats, members, self.alive and not self._closed)

    def member(self, taker: Taker) -> MemberBook:
        """Return the two readings of a member's book."""
        earlier, counts = self.counts.get(taker.name, (Counts(), Counts()))
        return MemberBook(taker.name, taker.place.group, counts, earlier, taker.alive)

    def state(self) -> dict[str, Any]:
        """Return what `recall` needs."""
        return {
            "life": self._life,
            "opened": self._opened_ns,
            "closed": self._closed,
            "lost": [[list(place), count] for place, count in self._lost.items()],
            "seats": [[list(place), seat.state()] for place, seat in self._seats.items()],
            "members": {name: track.state() for name, track in self._members.items()},
            "pending": [
                [
                    list(place),
                    one.count,
                    one.before_ns,
                    [[run.series, run.first, run.step, run.count] for run in one.runs()],
                ]
                for place, one in self._pending.items()
            ],
        }

    def recall(self, state: Mapping[str, Any]) -> None:
        """Go on with what an earlier supervisor stored."""
        self._life, self._opened_ns, self._closed = state["life"], state["opened"], state["closed"]
        self._lost = Counter({Place(*place): count for place, count in state["lost"]})
        self._seats = {Place(*place): SeatTrack.of(seat) for place, seat in state["seats"]}
        self._members = {name: MemberTrack.of(track) for name, track in state["members"].items()}
        for place, count, before_ns, runs in state["pending"]:
            pending = self._pending[Place(*place)] = Pending(count, {}, before_ns)
            for series, first, step, many in runs:
                ids = pending.ids.setdefault(series, Counter())
                ids.update(first + step * at for at in range(many))

    def _seat(self, one: Figures) -> Seat:
        place = place_of(one)
        return Seat(one, self._lost[place], place in self._pending)

    def _read(self, taker: Taker, readers: Readers) -> Counts:
        return readers.book(taker.book, self.counts.get(taker.name, (Counts(), Counts()))[1])

    def _follow(self, journal: JournalReader) -> "Over | None":
        """Book what is new in the journal; return the life that is over, if one is that was not closed yet."""
        life, opened_ns, figures = snapshot(journal)
        over = None
        if life > self._life:
            if not self._closed:  # it died and was started again while nobody looked
                over = Over([before_of(one) for one in figures], opened_ns)
            for pending in self._pending.values():
                pending.before_ns = pending.before_ns or opened_ns
            self._closed = False
        if over is None:
            self._begin(opened_ns)
        self._life = life
        self.figures = figures
        for number, one in enumerate(figures):
            self._advance(one, journal.trails(number))
        return over

    def _begin(self, opened_ns: int) -> None:
        """Take note of when the present life began."""
        if opened_ns != self._opened_ns:
            self._opened_ns = opened_ns
            for track in self._members.values():
                track.forget(opened_ns)

    def _advance(self, one: Figures, trails: Sequence[TrailReader]) -> None:
        came, left, done = trails
        place = place_of(one)
        seat = self._seats.setdefault(place, SeatTrack())
        if not one.group:
            self._book.published(seat.came.follow(came, one.came))
            for run in seat.left.follow(left, one.left):
                if run.mark in (ENDED, ABORTED) and run.series is not None:
                    self._book.end(run.series, Ended.NORMAL if run.mark == ENDED else Ended.ABORTED)
            return
        self._book.give(place, seat.came.follow(came, one.came))
        self._book.finish(place, seat.done.follow(done, one.done))
        for run in seat.left.follow(left, one.left):
            if run.mark == MOVED:
                self._book.give(place, [run], -1)
            elif run.mark == FAILED:
                self._book.fail(place, run)
            else:
                if one.name == NOBODY:
                    self._book.give(place, [run])
                self._book.drop(place, run, REASONS[run.mark].value)

    def _follow_member(self, taker: Taker, readers: Readers) -> None:
        trails, counts = readers.trails(taker.journal, taker.account), self.counts[taker.name][0]
        if trails is None:
            return
        track = self._members.setdefault(taker.name, MemberTrack())
        finished = track.follow(trails[0], counts)
        done = self.done[taker.name] = [one.run for one in finished]
        failed = self.failed[taker.name] = track.left.follow(trails[1], counts.failed)
        self._book.finish(taker.place, done)
        for run in failed:
            self._book.fail(taker.place, run)
        pending = self._pending.get(taker.place)
        if pending is not None:
            limit = END_OF_TIME if pending.before_ns is None else pending.before_ns
            for one in finished:
                if one.link < limit:
                    pending.finish(one.run)

    def _close(self, journal: JournalReader, over: "Over", readers: Readers) -> None:
        """Name what a life that is over had dealt out and nobody has finished."""
        before_ns = over.before_ns
        if self._is_source:
            self._book.crash()
        for number, end in enumerate(over.figures):
            place = place_of(end)
            if not end.group or end.name == NOBODY:
                continue
            came, left, done = self._seats[place].life(journal.trails(number), end)
            gone = [run for run in left if run.mark != FAILED]
            taker = self.takers.get(end.name)
            if taker is not None and taker.place == place:
                done = self._finished(taker, readers, before_ns)
            count = sum(run.count for run in came) - sum(run.count for run in (*gone, *done))
            pending = self._pending.setdefault(place, Pending(0, {}, before_ns))
            pending.count += max(count, 0)
            pending.before_ns = before_ns
            given, *over_with = (by_series(runs) for runs in (came, gone, done))
            for series in given if count > 0 else ():
                left = difference(series, given[series], *(runs[series] for runs in over_with))
                pending.ids.setdefault(series, Counter()).update(left)
        self._closed = before_ns is None
        if before_ns is not None:
            self._begin(before_ns)

    def _finished(self, taker: Taker, readers: Readers, before_ns: int | None) -> list[Run]:
        """Return what a member finished, by now, of what the life gave that is over."""
        track, trails = self._members.get(taker.name), readers.trails(taker.journal, taker.account)
        start = track.since(self._opened_ns) if track is not None else None
        if track is None or trails is None or start is None:
            return []
        counts = self.counts[taker.name][0]
        limit = END_OF_TIME if before_ns is None else before_ns
        runs = received(trails[0].read(start, counts.received, counts.returned)[0])
        return without_last([one.run for one in runs if one.link < limit], track.in_hand(limit))

    def _resolve(self) -> None:
        for place, pending in list(self._pending.items()):
            taker, track = self.takers.get(place.stage), self._members.get(place.stage)
            if pending.count > 0 and taker is not None and taker.alive:
                limit = pending.before_ns
                if limit is None or track is None or track.link < limit or track.in_hand(limit):
                    continue
            self._lose(place, pending)
            del self._pending[place]

    def _lose(self, place: Place, pending: Pending) -> None:
        if pending.count <= 0:
            return
        self._lost[place] += pending.count
        runs = list(pending.runs())
        if sum(run.count for run in runs) == pending.count:
            for run in runs:
                self._book.drop(place, run, LOST)
            return
        row = self._book.row(max(pending.ids, default=None), place)
        row.exact = False
        row.dropped[LOST] += pending.count


def place_of(one: Figures) -> Place:
    """Return the place in the ledger of an account."""
    return Place(one.group, one.group if one.name == ELSEWHERE else one.name)


def snapshot(journal: JournalReader) -> tuple[int, int, list[Figures]]:
    """Return the life of a journal, when it began, and its accounts, all of one life."""
    while True:
        life, opened_ns, figures = journal.life, journal.opened_ns, journal.read()
        if journal.life == life and journal.opened_ns == opened_ns:
            return life, opened_ns, figures
