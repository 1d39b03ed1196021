"""Follows journals and books from sample to sample, closes the accounts of lives that are over, and stores them.

How it works: the books of members are read before and after the detector's journal, whose commit covers all seats at
once. What a member finished by the first reading was given to it by then. When a detector was killed, what it had
dealt out and its members had not finished is *pending*: by series and id. A member that lives may still finish some of
it; once it has another link, or is gone, the rest is lost, and named.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ioc.channels.book import Counts
from ioc.channels.journal import ABORTED, ENDED, FAILED, MOVED, REASONS, Figures, JournalReader
from ioc.core.config import IMAGE_GROUP, PLUGINS_GROUP, egress_group, writer_group
from ioc.core.status import ProcessSpec, Role
from ioc.supervisor.appliance import SeriesView
from ioc.supervisor.balancers import BalancerAccount, Passage, account_of, book_lost
from ioc.supervisor.beside import Beside
from ioc.supervisor.chain import ChainAccounts, is_behind
from ioc.supervisor.ledger_store import LedgerStore
from ioc.supervisor.plan import balancer_of, is_fed, keeps_book, needs_port_of
from ioc.supervisor.readers import Readers
from ioc.supervisor.report import Chain, IngressAccount, MemberBook, Moment, Seat, Sources
from ioc.supervisor.series import DETECTOR_STAGE, Ended, Place, SeriesBook
from ioc.supervisor.tracks import MemberTrack, Track, before_of, kept, remaining, runs_of, without_last
from ioc.supervisor.wires import LOST, Wire, split
from ioc.supervisor.worker import Worker

MEMBERS = (Role.CONSUMER, Role.PLUGINS, Role.WRITER, Role.EGRESS)
BOOKED = (Role.INGRESS, *MEMBERS)
"""Who has a book, in the order of reading: what arrived was sent by then."""
SAVE_SECONDS = 0.2
NOBODY = "nobody"


@dataclass(slots=True)
class Pending:
    """What a killed detector had dealt out to one member, by series; `link` is the member's link at that time."""

    link: int
    ids: dict[int, set[int]] = field(default_factory=dict)


@dataclass(slots=True)
class SeatTrack:
    """The trails of one account of the detector, followed."""

    came: Track = field(default_factory=Track)
    left: Track = field(default_factory=Track)
    done: Track = field(default_factory=Track)


class Accounts:
    """All accounts of an appliance; used by the supervisor's thread."""

    def __init__(self, store: LedgerStore, settling: float) -> None:
        """Keep accounts in `store`; a frame on a wire may be `settling` seconds late."""
        self.book = SeriesBook(store)
        self.chain = ChainAccounts()
        self._store = store
        self._settling_ns = round(settling * 1e9)
        self._readers = Readers()
        self._counts: dict[str, tuple[Counts, Counts]] = {}
        self._sent: dict[str, deque[tuple[int, int]]] = {}
        self._figures: list[Figures] = []
        self._seats: dict[Place, SeatTrack] = {}
        self._members: dict[str, MemberTrack] = {}
        self._wires: dict[str, Wire] = {}
        self._beside = Beside()
        self._lost: Counter[Place] = Counter()
        self._pending: dict[Place, Pending] = {}
        self._life: int | None = None
        self._closed = False
        self._saved_ns = 0

    def recall(self, state: dict[str, Any]) -> None:
        """Go on with what an earlier supervisor stored."""
        if not state:
            return
        self._life, self._closed = state["life"], state["closed"]
        self.chain.recall(state.get("chain", {}))
        self._lost = Counter({Place(*place): count for place, count in state["lost"]})
        for place, tracks in state["seats"]:
            self._seats[Place(*place)] = SeatTrack(*(Track.of(one) for one in tracks))
        self._members = {name: MemberTrack.of(track) for name, track in state["members"].items()}
        for name, place, wire in state["wires"]:
            self._wires[name] = Wire(Place(*place), self._settling_ns)
            self._wires[name].resume(wire)
        for place, link, pieces in state["pending"]:
            pending = self._pending[Place(*place)] = Pending(link)
            for series, first, step, count in pieces:
                pending.ids.setdefault(series, set()).update(range(first, first + step * count, step))
        self._beside.recall(state)
        for number in self._store.unsettled():
            self.book.series(number)
        self.book.newest = state["newest"]

    def sample(self, workers: Iterable[Worker], now_ns: int) -> None:
        """Read everything once, and store what is new."""
        workers = list(workers)
        booked = [worker for role in BOOKED for worker in workers if worker.spec.role is role]
        booked = [worker for worker in booked if not is_behind(worker.spec) and keeps_book(worker.spec)]
        before = {worker.name: self._read(worker.spec) for worker in booked}
        detector = next((worker for worker in workers if worker.spec.role is Role.DETECTOR), None)
        if detector is not None:
            self._follow_detector(detector.spec, workers)
        self._counts = {worker.name: (before[worker.name], self._read(worker.spec)) for worker in booked}
        for worker in reversed(booked):
            if worker.spec.role in MEMBERS:
                self._follow_member(worker, workers, now_ns)
            else:
                self._follow_ingress(worker, now_ns)
        self._beside.follow(workers, self._readers, self.book)
        if detector is not None and not detector.alive and self._figures and not self._closed:
            self._close_life(workers)
        self._resolve(workers)
        self.chain.sample(workers, now_ns)
        if now_ns - self._saved_ns >= SAVE_SECONDS * 1e9:
            self.save(now_ns)

    def save(self, now_ns: int) -> None:
        """Store what changed since the last time."""
        self._saved_ns = now_ns
        changed = {number: one for number, one in self.book if number in self.book.changed}
        self._store.save(changed, self.book.missed, self._state())
        self.book.stored()

    def finish(self, workers: Iterable[Worker], now_ns: int) -> None:
        """Close what nobody is left to finish, and store it."""
        workers = list(workers)
        for name, wire in self._wires.items():
            trails = self._readers.trails(name)
            if wire.open and trails is not None:
                wire.close(trails, self._counts[name][1], self.book)
        self._resolve(workers)
        self._beside.finish(self.book)
        for worker in workers:
            if worker.spec.role is Role.BALANCER:
                self._name_lost(account_of(worker, workers))
        self.save(now_ns)

    def _name_lost(self, balancer: BalancerAccount) -> None:
        passage = Passage()
        for names, take in ((balancer.feeders, passage.went_in), (balancer.ingresses, passage.came_out)):
            for name in names:
                trails = self._readers.trails(name)
                if trails is not None:
                    take(trails, self._counts[name][1])
        book_lost(balancer, passage, self.book)

    def sources(self, workers: Sequence[Worker], over: bool) -> Sources:
        """Return what the ledger is made from; `over`: every process has ended."""
        names = {worker.name: worker for worker in workers}
        seats = [
            Seat(one, self._lost[Place(one.group, one.name)], Place(one.group, one.name) in self._pending)
            for one in self._figures
        ]
        members = [
            self._member(worker)
            for role in MEMBERS
            for worker in workers
            if worker.spec.role is role and not is_behind(worker.spec) and keeps_book(worker.spec)
        ]
        ingresses = [self._ingress(worker, workers) for worker in workers if worker.spec.role is Role.INGRESS]
        detector = names.get(DETECTOR_STAGE)
        alive = detector is not None and detector.alive and not self._closed
        balancers = [account_of(worker, workers) for worker in workers if worker.spec.role is Role.BALANCER]
        hops = self.chain.hops(over)
        chain = Chain(hops, [*self._beside.stages(), *self.chain.stages(hops)], self.chain.withheld())
        return Sources(seats, members, ingresses, self._moment(alive, over), balancers, chain)

    def newest(self) -> SeriesView | None:
        """Return the account of the newest series over all groups but that of the image channel."""
        number = self.book.newest
        one = self.book.look(number) if number is not None else None
        if one is None or number is None:
            return None
        groups = {place.group for place in self._seats if place.group not in ("", IMAGE_GROUP)}
        return SeriesView(
            id=number,
            published=one.published,
            processed=one.processed(groups),
            dropped=one.dropped(groups),
            complete=one.complete,
            ended=one.ended.value if one.ended else None,
        )

    def _moment(self, alive: bool, over: bool) -> Moment:
        newest = self.book.newest
        one = self.book.look(newest) if newest is not None else None
        series = [] if one is None or newest is None else [(newest, one.published)]
        return Moment(alive, over, series, self.book.excess(self._seats))

    def close(self) -> None:
        """Let go of books and journals."""
        self.chain.close()
        self._beside.close()
        self._readers.close()

    def _member(self, worker: Worker) -> MemberBook:
        earlier, counts = self._readings(worker.name)
        return MemberBook(worker.name, place_of(worker.spec).group, counts, earlier, worker.alive)

    def _readings(self, name: str) -> tuple[Counts, Counts]:
        return self._counts.get(name, (Counts(), Counts()))

    def _read(self, spec: ProcessSpec) -> Counts:
        return self._readers.book(spec, self._readings(spec.name)[1])

    def _follow_detector(self, spec: ProcessSpec, workers: list[Worker]) -> None:
        journal = self._readers.journal(spec)
        if journal is None:
            return
        figures, life = journal.read(), journal.life
        if self._life is not None and life > self._life:
            if not self._closed:  # it died and was started again while nobody looked
                self._figures = [before_of(one) for one in figures]
                self._advance(journal, self._figures)
                self._close_life(workers)
            self._closed = False
        self._life = life
        self._figures = figures
        self._advance(journal, figures)

    def _advance(self, journal: JournalReader, figures: list[Figures]) -> None:
        for number, one in enumerate(figures):
            place = Place(one.group, one.name)
            came, left, done = journal.trails(number)
            seat = self._seats.setdefault(place, SeatTrack())
            if not one.group:
                self.book.published(seat.came.follow(came, one.came))
                for run in seat.left.follow(left, one.left):
                    if run.mark in (ENDED, ABORTED) and run.series is not None:
                        self.book.end(run.series, Ended.NORMAL if run.mark == ENDED else Ended.ABORTED)
                continue
            self.book.give(place, seat.came.follow(came, one.came))
            self.book.finish(place, seat.done.follow(done, one.done))
            for run in seat.left.follow(left, one.left):
                if run.mark == MOVED:
                    self.book.give(place, [run], -1)
                    continue
                if run.mark == FAILED:
                    self.book.fail(place, run)
                    continue
                if one.name == NOBODY:
                    self.book.give(place, [run])
                self.book.drop(place, run, REASONS[run.mark].value)

    def _follow_member(self, worker: Worker, workers: list[Worker], now_ns: int) -> None:
        trails, place = self._readers.trails_of(worker.spec), place_of(worker.spec)
        counts = self._counts[worker.name][0]
        if trails is None:
            return
        track = self._members.setdefault(worker.name, MemberTrack())
        done = track.follow(trails[0], counts)
        self.book.finish(place, done)
        pending = self._pending.get(place)
        for run in done:
            if pending is not None and run.series in pending.ids:
                pending.ids[run.series].difference_update(range(run.first, run.last + 1, run.step))
        failed = track.left.follow(trails[1], counts.failed)
        for run in failed:
            self.book.fail(place, run)
        if worker.spec.role is Role.EGRESS:
            wire = self._wire_behind(worker, workers)
            if wire is not None:
                self.book.give(wire.place, done)
                self.book.give(wire.place, failed, -1)
                wire.sent(done, now_ns)

    def _wire_behind(self, egress: Worker, workers: list[Worker]) -> Wire | None:
        table = needs_port_of(egress.spec)
        for worker in workers:
            if table is not None and worker.spec.role is Role.INGRESS and worker.spec.table == table:
                return self._wires.setdefault(worker.name, Wire(place_of(worker.spec), self._settling_ns))
        return None

    def _follow_ingress(self, worker: Worker, now_ns: int) -> None:
        wire = self._wires.setdefault(worker.name, Wire(place_of(worker.spec), self._settling_ns))
        wire.fed = is_fed(worker.spec)
        if worker.status is not None:
            wire.told_by(worker.status.pid, worker.status.stage.dropped)
        trails = self._readers.trails_of(worker.spec)
        if trails is None:
            return
        counts = self._counts[worker.name][0]
        wire.follow(trails, counts, self.book)
        if balancer_of(worker.spec) is not None:
            return  # what was sent while it was away may have gone to another worker
        if wire.watch(worker.alive, worker.running, now_ns):
            wire.close(trails, counts, self.book)

    def _close_life(self, workers: list[Worker]) -> None:
        """Name what a detector that is gone had dealt out and nobody has finished."""
        self._closed = True
        self.book.crash()
        members = {worker.name: worker for worker in workers if worker.spec.role in MEMBERS and keeps_book(worker.spec)}
        for number, one in enumerate(self._figures):
            place = Place(one.group, one.name)
            for series in self.book.unsettled(place) if one.group else ():
                worker = members.get(one.name)
                ids = self._unfinished(number, one, series, worker)
                if worker is None:
                    self._lose(place, series, ids)
                    continue
                pending = self._pending.setdefault(place, Pending(0))
                pending.link = self._readings(worker.name)[0].link  # the newest: what is older came by it, or before
                pending.ids[series] = set(ids)

    def _unfinished(self, number: int, one: Figures, series: int, worker: Worker | None) -> list[int]:
        came, left, done = self._readers.opened(DETECTOR_STAGE).trails(number)
        given = came.read(came.start(one.came), one.came)[0]
        gone = left.read(left.start(one.left), one.left)[0]
        finished = done.read(done.start(one.done), one.done)[0]
        if worker is not None and (trails := self._readers.trails_of(worker.spec)) is not None:
            counts = self._readings(worker.name)[0]
            received = kept(trails[0].read(trails[0].start(counts.received), counts.received, counts.returned)[0])
            finished = without_last(received, counts.in_hand)
        return remaining(series, given, gone, finished).tolist()

    def _resolve(self, workers: Iterable[Worker]) -> None:
        by_name = {worker.name: worker for worker in workers}
        for place, pending in list(self._pending.items()):
            worker, track = by_name.get(place.stage), self._members.get(place.stage)
            if worker is not None and worker.alive:
                same = self._readings(worker.name)[0].link == pending.link
                if same or (track is not None and track.has(pending.ids)):
                    continue
            for series, ids in pending.ids.items():
                self._lose(place, series, sorted(ids))
            del self._pending[place]

    def _lose(self, place: Place, series: int, ids: list[int]) -> None:
        row = self.book.row(series, place)
        count = row.waiting
        if count <= 0:
            return
        self._lost[place] += count
        if len(ids) == count:
            for run in runs_of(series, ids):
                self.book.drop(place, run, LOST)
        else:
            row.exact = False
            row.dropped[LOST] += count

    def _ingress(self, worker: Worker, workers: Iterable[Worker]) -> IngressAccount:
        feeders = [
            other
            for other in workers
            if other.spec.role is Role.EGRESS
            and not is_behind(other.spec)
            and needs_port_of(other.spec) == worker.spec.table
        ]
        wire = self._wires.get(worker.name)
        dropped = split(wire.missed + wire.away, wire.told + wire.told_last) if wire is not None else {}
        return IngressAccount(
            self._member(worker),
            dropped,
            tuple(other.name for other in feeders),
            wire is not None and wire.open,
            wire.overdue if wire is not None else 0,
        )

    def _state(self) -> dict[str, Any]:
        return {
            "life": self._life,
            "closed": self._closed,
            "newest": self.book.newest,
            "lost": [[list(place), count] for place, count in self._lost.items()],
            "seats": [
                [list(place), [track.state() for track in (seat.came, seat.left, seat.done)]]
                for place, seat in self._seats.items()
            ],
            "chain": self.chain.state(),
            "members": {name: track.state() for name, track in self._members.items()},
            **self._beside.state(),
            "wires": [[name, list(wire.place), wire.state()] for name, wire in self._wires.items()],
            "pending": [
                [
                    list(place),
                    one.link,
                    [
                        [run.series, run.first, run.step, run.count]
                        for series, ids in one.ids.items()
                        for run in runs_of(series, sorted(ids))
                    ],
                ]
                for place, one in self._pending.items()
            ],
        }


def place_of(spec: ProcessSpec) -> Place:
    """Return the place of a process in the ledger."""
    if spec.role is Role.PLUGINS:
        return Place(PLUGINS_GROUP, spec.name)
    group_of = {Role.EGRESS: egress_group, Role.WRITER: writer_group}.get(spec.role, str)
    return Place(group_of(spec.table or ""), spec.name)
