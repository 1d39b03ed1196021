"""Reads books and statuses in the order that the ledger needs, and keeps what processes said in earlier lives."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel

from ioc.channels.book import BookReader, Counts, book_name
from ioc.core.errors import PeerError
from ioc.core.status import GroupStatus, ProcessSpec, RangeStatus, Role, StageStatus, State, Status
from ioc.core.topology import DETECTOR, takers
from ioc.supervisor.lives import add_groups, add_lives, close_groups, close_life
from ioc.supervisor.plan import drain_step, needs_port_of, node_of
from ioc.supervisor.report import Giver, IngressAccount, MemberBook, Sources
from ioc.supervisor.run_folder import RunFolder
from ioc.supervisor.worker import Worker

MEMBERS = (Role.CONSUMER, Role.COLLECTOR, Role.EGRESS)
CHAINED = (Role.CONSUMER, Role.COLLECTOR)
"""Who may give frames to others, besides the detector."""
PAST = "past.json"
SETTLING = 1.0
"""s that a detector's status may be behind the books of its members."""


Pair = tuple[str, str]
"""A giver and one of its members: each pair has a book."""


class Past(BaseModel):
    """The accounts of lives that are over: of those that give frames, what members received then, what ingresses lost.

    `groups`, `received` by members and frames `published`, by name of the giver; the detector's groups are in its own
    status.
    """

    detector: Status | None = None
    groups: dict[str, list[GroupStatus]] = {}
    received: dict[str, dict[str, int]] = {}
    published: dict[str, int] = {}
    dropped: dict[str, dict[str, int]] = {}
    missed: dict[str, list[RangeStatus]] = {}


class Accounts:
    """The books of all members over the last seconds, and the statuses of lives that are over."""

    def __init__(self, folder: RunFolder, settling: float) -> None:
        """Keep readings for `settling` seconds: longer than any status, or frame on a wire, may be late."""
        self._folder = folder
        self._settling_ns = round(settling * 1e9)
        self._readers: dict[Path, BookReader] = {}
        self._read: dict[Pair, deque[tuple[int, Counts]]] = {}
        self._last: dict[str, Status] = {}
        self._past = Past()
        self._dead: set[str] = set()

    def recall(self) -> None:
        """Go on with what an earlier supervisor knew of lives that were over."""
        self._past = Past.model_validate_json(self._folder.read(PAST) or "{}")

    def sample(self, workers: Iterable[Worker], now_ns: int) -> None:
        """Read everything once."""
        workers = list(workers)
        self._dead = {worker.name for worker in workers if not worker.alive}
        for worker in workers:  # before the books are read again: what they say still is of the earlier life
            self._notice_new_life(worker)
        for worker in workers:
            for giver in givers_of(worker.spec, workers):
                readings = self._read.setdefault((giver, worker.name), deque([(0, Counts())]))
                readings.append((now_ns, self._counts(book_of(worker.spec, giver), readings[-1][1])))
                while readings[1][0] <= now_ns - self._settling_ns:
                    readings.popleft()

    def sources(self, workers: Sequence[Worker], settled: bool) -> Sources:
        """Return what the ledger is made from; `settled`: every process is over, the last reading is exact."""
        detector = next((worker for worker in workers if worker.spec.role is Role.DETECTOR), None)
        members = [
            self._book(worker, giver, settled)
            for worker in sorted(workers, key=lambda one: drain_step(one.spec))
            for giver in givers_of(worker.spec, workers)
        ]
        ingresses = [self._ingress(worker, workers) for worker in workers if worker.spec.role is Role.INGRESS]
        status = self._detector(detector) if detector else None
        givers = [self._giver(worker) for worker in workers if gives(worker.spec)]
        withheld = {worker.name: worker.status.stage.withheld for worker in workers if worker.status is not None}
        return Sources(status, members, ingresses, givers, withheld)

    def close(self) -> None:
        """Let go of the books."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _notice_new_life(self, worker: Worker) -> None:
        status = worker.status
        if status is None:
            return
        last = self._last.get(worker.name)
        self._last[worker.name] = status
        if last is None or last.pid == status.pid:
            return
        past = self._past
        if worker.spec.role is Role.DETECTOR or gives(worker.spec):
            self._close(worker, last)
        elif worker.spec.role is Role.INGRESS:
            past.dropped[worker.name] = self._dropped(worker.name, last)
            past.missed[worker.name] = self._missed(worker.name, last)
        self._folder.write(PAST, past.model_dump_json())

    def _close(self, worker: Worker, last: Status) -> None:
        """Close the life of a giver that ended with the status `last`."""
        past, name = self._past, worker.name
        received, published = self._received(name), self._published(worker, last.pid)
        if worker.spec.role is Role.DETECTOR:
            closed = close_life(last, received, published)
            past.detector = closed if past.detector is None else add_lives(past.detector, closed)
        else:
            groups, published = close_groups(last.groups, received, published)
            past.groups[name] = add_groups(past.groups.get(name, []), groups)
            past.published[name] = past.published.get(name, 0) + published
        past.received[name] = dict(Counter(past.received.get(name, {})) + Counter(received))

    def _giver(self, worker: Worker) -> Giver:
        """Return the groups of a process in a chain, over all its lives."""
        status, name = worker.status, worker.name
        past = self._past.groups.get(name, [])
        if status is None:
            return Giver(name, past)
        groups = status.groups
        if not worker.current and status.state is not State.STOPPED:
            groups, _ = close_groups(groups, self._received(name), self._published(worker, status.pid))
        return Giver(name, add_groups(past, groups))

    def _detector(self, worker: Worker) -> Status | None:
        status, past = worker.status, self._past.detector
        if status is None:
            return past
        if not worker.current and status.state is not State.STOPPED:
            status = close_life(status, self._received(worker.name), self._published(worker, status.pid))
        return status if past is None else add_lives(past, status)

    def _published(self, worker: Worker, pid: int) -> int:
        """Return what a giver published in its life as process `pid`, from its books."""
        if worker.spec.role is not Role.DETECTOR:
            books = [readings[-1][1].published for (_, name), readings in self._read.items() if name == worker.name]
            return sum(books) - self._past.published.get(worker.name, 0)
        counts = self._counts(worker.spec.book_file, Counts())
        total = counts.published if counts.link == pid else counts.taken
        past = self._past.detector
        return total - (past.stage.processed if past is not None else 0)

    def _received(self, giver: str) -> dict[str, int]:
        """Return what each member received from the present life of a giver."""
        past = self._past.received.get(giver, {})
        received = {}
        for (source, name), readings in self._read.items():
            if source != giver:
                continue
            counts = readings[-1][1]
            back = counts.returned + (counts.in_hand if name in self._dead else 0)
            received[name] = counts.received - back - past.get(name, 0)
        return received

    def _dropped(self, name: str, status: Status) -> dict[str, int]:
        return dict(Counter(self._past.dropped.get(name, {})) + Counter(status.stage.dropped))

    def _missed(self, name: str, status: Status) -> list[RangeStatus]:
        return [*self._past.missed.get(name, []), *status.stage.missed]

    def _book(self, worker: Worker, giver: str, settled: bool) -> MemberBook:
        readings = self._read.get((giver, worker.name)) or deque([(0, Counts())])
        latest = readings[-1][1]
        earlier = latest if settled else readings[0][1]
        return MemberBook(worker.name, worker.spec.table or "", latest, earlier, worker.alive, giver)

    def _counts(self, path: Path, last: Counts) -> Counts:
        try:
            if path not in self._readers:
                self._readers[path] = BookReader(path)
            return self._readers[path].read()
        except PeerError:  # not made yet: nothing was counted
            return last

    def _ingress(self, worker: Worker, workers: Iterable[Worker]) -> IngressAccount:
        feeders = tuple(
            other.name
            for other in workers
            if other.spec.role is Role.EGRESS and needs_port_of(other.spec) == worker.spec.table
        )
        stage = StageStatus()
        if worker.status is not None:
            lost = {
                "dropped": self._dropped(worker.name, worker.status),
                "missed": self._missed(worker.name, worker.status),
            }
            stage = worker.status.stage.model_copy(update=lost)
        return IngressAccount(worker.name, worker.spec.table or "", stage, feeders, worker.restarts)


def gives(spec: ProcessSpec) -> bool:
    """Return whether a process of a chain has takers for its frames."""
    return spec.role in CHAINED and bool(takers(spec.config.inputs, node_of(spec)))


def givers_of(spec: ProcessSpec, workers: Iterable[Worker]) -> list[str]:
    """Return the names of the processes that give frames to a member; none for who is no member."""
    if spec.role not in MEMBERS:
        return []
    source = spec.config.inputs[node_of(spec)] if spec.role in CHAINED else DETECTOR
    if source == DETECTOR:
        return [DETECTOR]
    return [one.name for one in workers if one.spec.role in CHAINED and node_of(one.spec) == source]


def book_of(spec: ProcessSpec, giver: str) -> Path:
    """Return the book that a member keeps with a giver."""
    return spec.run_dir / book_name(spec.name, None if giver == DETECTOR else giver)
