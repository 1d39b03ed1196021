"""All accounts of an appliance: follows those who give and those who take from sample to sample, and stores it.

Each process that gives, the detector among them, has its accounts in giver.py; what goes over a wire to an ingress in
wires.py; what came in from outside, and what plug-ins did, in beside.py. An egress links them: what it has finished
was sent.
"""

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from ioc.channels.book import Counts
from ioc.channels.trail import TrailReader
from ioc.core.ledger import Stage
from ioc.core.status import ProcessSpec, Role
from ioc.core.topology import DETECTOR, IMAGE_GROUP
from ioc.supervisor.appliance import SeriesView
from ioc.supervisor.balancers import BalancerAccount, Passage, account_of, book_lost
from ioc.supervisor.beside import Beside
from ioc.supervisor.chain import giver_of, is_behind, place_of, taker_files, takers_from, withheld
from ioc.supervisor.giver import GiverAccounts, Taker
from ioc.supervisor.ledger_store import LedgerStore
from ioc.supervisor.plan import balancer_of, gives, is_fed, keeps_book, needs_port_of
from ioc.supervisor.readers import Readers
from ioc.supervisor.report import Chain, IngressAccount, MemberBook, Moment, Sources, chained, together
from ioc.supervisor.series import Place, SeriesBook
from ioc.supervisor.wires import Wire, split
from ioc.supervisor.worker import Worker

log = logging.getLogger(__name__)

SAVE_SECONDS = 0.2


class Accounts:
    """All accounts of an appliance; used by the supervisor's thread."""

    def __init__(self, store: LedgerStore, settling: float) -> None:
        """Keep accounts in `store`; a frame on a wire may be `settling` seconds late."""
        self.book = SeriesBook(store)
        self._store = store
        self._settling_ns = round(settling * 1e9)
        self._readers = Readers()
        self._givers = {DETECTOR: GiverAccounts(DETECTOR, self.book, is_source=True)}
        self._arrived: dict[str, tuple[Counts, Counts]] = {}
        self._wires: dict[str, Wire] = {}
        self._beside = Beside()
        self._saved_ns = 0
        self.fault = ""
        """Why the ledger cannot be stored, empty: it is."""

    def recall(self, state: dict[str, Any]) -> None:
        """Go on with what an earlier supervisor stored."""
        if not state:
            return
        for name, giver in state["givers"].items():
            self._giver(name).recall(giver)
        for name, place, wire in state["wires"]:
            self._wires[name] = Wire(Place(*place), self._settling_ns)
            self._wires[name].resume(wire)
        self._beside.recall(state)
        for number in self._store.unsettled():
            self.book.series(number)
        self.book.newest = state["newest"]

    def sample(self, workers: Iterable[Worker], now_ns: int) -> None:
        """Read everything once, and store what is new."""
        workers = list(workers)
        ingresses = [worker for worker in workers if worker.spec.role is Role.INGRESS]
        arrived = {worker.name: self._read(worker.spec) for worker in ingresses}  # first: it was sent by then
        giving = [worker for worker in workers if worker.spec.role is Role.DETECTOR or gives(worker.spec)]
        givers = [self._follow_giver(worker, workers) for worker in giving]
        self._arrived |= {worker.name: (arrived[worker.name], self._read(worker.spec)) for worker in ingresses}
        for worker in workers:
            if worker.spec.role is Role.EGRESS:
                self._follow_egress(worker, workers, givers, now_ns)
        for worker in ingresses:
            self._follow_ingress(worker, now_ns)
        self._beside.follow(workers, self._readers, self.book)
        if now_ns - self._saved_ns >= SAVE_SECONDS * 1e9:
            self.save(now_ns)

    def save(self, now_ns: int) -> None:
        """Store what changed since the last time."""
        self._saved_ns = now_ns
        try:
            self._store_changes()
            self.fault = ""
        except sqlite3.OperationalError as error:  # a full disk: what changed is kept, and stored when there is room
            if not self.fault:
                log.error("the ledger cannot be stored: %s; it will be when it can", error)
            self.fault = f"the ledger cannot be stored: {error}"

    def _store_changes(self) -> None:
        changed = {number: one for number, one in self.book if number in self.book.changed}
        self._store.save(changed, self.book.missed, self._state())
        self.book.stored()

    def finish(self, workers: Iterable[Worker], now_ns: int) -> None:
        """Close what nobody is left to finish, and store it."""
        workers = list(workers)
        for worker in workers:
            wire, trails = self._wires.get(worker.name), self._trails(worker.spec)
            if wire is not None and wire.open and trails is not None:
                wire.close(trails, self._arrived[worker.name][1], self.book)
        for giver in self._givers.values():
            giver.settle()
        self._beside.finish(self.book)
        for worker in workers:
            if worker.spec.role is Role.BALANCER:
                self._name_lost(account_of(worker, workers), workers)
        self.save(now_ns)

    def sources(self, workers: Sequence[Worker], over: bool) -> Sources:
        """Return what the ledger is made from; `over`: every process has ended."""
        detector = self._givers[DETECTOR].given()
        names = {member.name for member in detector.members}
        unborn = [one for one in workers if giver_of(one.spec) == DETECTOR and one.name not in names]
        members = [*detector.members, *(_nothing(one) for one in unborn if keeps_book(one.spec))]
        ingresses = [self._ingress(worker, workers) for worker in workers if worker.spec.role is Role.INGRESS]
        balancers = [account_of(worker, workers) for worker in workers if worker.spec.role is Role.BALANCER]
        return Sources(
            detector.seats,
            members,
            ingresses,
            self._moment(detector.alive, over),
            balancers,
            self._chain(workers, over),
        )

    def newest(self) -> SeriesView | None:
        """Return the account of the newest series over all groups but that of the image channel."""
        number = self.book.newest
        one = self.book.look(number) if number is not None else None
        if one is None or number is None:
            return None
        groups = {place.group for place in self._givers[DETECTOR].places if place.group not in ("", IMAGE_GROUP)}
        return SeriesView(
            id=number,
            published=one.published,
            processed=one.processed(groups),
            dropped=one.dropped(groups),
            complete=one.complete,
            ended=one.ended.value if one.ended else None,
        )

    def close(self) -> None:
        """Let go of books and journals."""
        self._beside.close()
        self._readers.close()

    def _chain(self, workers: Sequence[Worker], over: bool) -> Chain:
        behind = [giver.given() for name, giver in self._givers.items() if name != DETECTOR]
        unheard = [Stage(one.name, place_of(one.spec).group) for one in workers if is_behind(one.spec)]
        chain = chained(behind, [*self._beside.stages(), *unheard], over)
        sent: dict[str, list[MemberBook]] = {}
        egresses = {one.name for one in workers if one.spec.role is Role.EGRESS}
        for giver in behind:
            for member in giver.members:
                if member.name in egresses:
                    sent.setdefault(member.name, []).append(member)
        counts = {name: together(books) for name, books in sent.items()}
        return Chain(chain.hops, chain.stages, withheld(workers), counts)

    def _moment(self, alive: bool, over: bool) -> Moment:
        newest = self.book.newest
        one = self.book.look(newest) if newest is not None else None
        series = [] if one is None or newest is None else [(newest, one.published)]
        places = {place for giver in self._givers.values() for place in giver.places}
        return Moment(alive, over, series, self.book.excess(places))

    def _giver(self, name: str) -> GiverAccounts:
        if name not in self._givers:
            self._givers[name] = GiverAccounts(name, self.book)
        return self._givers[name]

    def _read(self, spec: ProcessSpec) -> Counts:
        return self._readers.book(spec.book_file, self._arrived.get(spec.name, (Counts(), Counts()))[1])

    def _trails(self, spec: ProcessSpec) -> list[TrailReader] | None:
        return self._readers.trails(spec.journal_file, spec.name)

    def _follow_giver(self, worker: Worker, workers: Sequence[Worker]) -> GiverAccounts:
        spec = worker.spec
        journal = spec.journal_file if spec.role is Role.DETECTOR else spec.given_file
        takers = [_taker(one, worker.name) for one in takers_from(worker, workers)]
        giver = self._giver(worker.name)
        giver.sample(journal, worker.alive, takers, self._readers)
        return giver

    def _follow_egress(
        self, worker: Worker, workers: Sequence[Worker], givers: Iterable[GiverAccounts], now_ns: int
    ) -> None:
        wire = self._wire_behind(worker, workers)
        if wire is None:
            return
        for giver in givers:
            done, failed = giver.done.get(worker.name, []), giver.failed.get(worker.name, [])
            self.book.give(wire.place, done)
            self.book.give(wire.place, failed, -1)
            wire.sent(done, now_ns, self.book)

    def _wire_behind(self, egress: Worker, workers: Iterable[Worker]) -> Wire | None:
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
        trails = self._trails(worker.spec)
        if trails is None:
            return
        counts = self._arrived[worker.name][0]
        wire.follow(trails, counts, self.book)
        if balancer_of(worker.spec) is not None:
            return  # what was sent while it was away may have gone to another worker
        if wire.watch(worker.alive, worker.running, now_ns):
            wire.close(trails, counts, self.book)

    def _ingress(self, worker: Worker, workers: Iterable[Worker]) -> IngressAccount:
        feeders = [
            other.name
            for other in workers
            if other.spec.role is Role.EGRESS and needs_port_of(other.spec) == worker.spec.table
        ]
        wire = self._wires.get(worker.name)
        dropped = split(wire.missed + wire.away, wire.told + wire.told_last) if wire is not None else {}
        earlier, counts = self._arrived.get(worker.name, (Counts(), Counts()))
        return IngressAccount(
            MemberBook(worker.name, worker.spec.table or "", counts, earlier, worker.alive),
            dropped,
            tuple(feeders),
            wire is not None and wire.open,
            wire.overdue if wire is not None else 0,
        )

    def _name_lost(self, balancer: BalancerAccount, workers: Iterable[Worker]) -> None:
        passage = Passage()
        for worker in workers:
            if worker.name in balancer.feeders:
                for giver in self._givers.values():
                    self._went_in(passage, giver, worker.name)
            trails = self._trails(worker.spec) if worker.name in balancer.ingresses else None
            if trails is not None:
                passage.came_out(trails, self._arrived[worker.name][1])
        book_lost(balancer, passage, self.book)

    def _went_in(self, passage: Passage, giver: GiverAccounts, name: str) -> None:
        taker = giver.takers.get(name)
        trails = self._readers.trails(taker.journal, taker.account) if taker is not None else None
        if trails is not None:
            passage.went_in(trails, giver.counts[name][1])

    def _state(self) -> dict[str, Any]:
        return {
            "newest": self.book.newest,
            "givers": {name: giver.state() for name, giver in self._givers.items()},
            **self._beside.state(),
            "wires": [[name, list(wire.place), wire.state()] for name, wire in self._wires.items()],
        }


def _nothing(worker: Worker) -> MemberBook:
    """Return the book of a process before anybody has looked for it."""
    return MemberBook(worker.name, place_of(worker.spec).group, Counts(), Counts(), worker.alive)


def _taker(worker: Worker, giver: str) -> Taker:
    spec = worker.spec
    book, account = taker_files(spec, giver)
    return Taker(worker.name, place_of(spec), worker.alive, spec.run_dir / book, spec.journal_file, account)
