"""Reads books and statuses in the order that the ledger needs, and keeps what processes said in earlier lives."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence

from pydantic import BaseModel

from ioc.channels.book import BookReader, Counts
from ioc.core.errors import PeerError
from ioc.core.status import ProcessSpec, RangeStatus, Role, StageStatus, State, Status
from ioc.supervisor.lives import add_lives, close_life
from ioc.supervisor.plan import balancer_of, needs_port_of
from ioc.supervisor.report import BalancerAccount, IngressAccount, MemberBook, Sources
from ioc.supervisor.run_folder import RunFolder
from ioc.supervisor.worker import Worker

MEMBERS = (Role.CONSUMER, Role.EGRESS)
PAST = "past.json"
SETTLING = 1.0
"""s that a detector's status may be behind the books of its members."""


class Past(BaseModel):
    """The accounts of lives that are over: of the detector, what members received then, what ingresses lost."""

    detector: Status | None = None
    received: dict[str, int] = {}
    dropped: dict[str, dict[str, int]] = {}
    missed: dict[str, list[RangeStatus]] = {}


class Accounts:
    """The books of all members over the last seconds, and the statuses of lives that are over."""

    def __init__(self, folder: RunFolder, settling: float) -> None:
        """Keep readings for `settling` seconds: longer than any status, or frame on a wire, may be late."""
        self._folder = folder
        self._settling_ns = round(settling * 1e9)
        self._readers: dict[str, BookReader] = {}
        self._read: dict[str, deque[tuple[int, Counts]]] = {}
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
            if worker.spec.role not in MEMBERS:
                continue
            readings = self._read.setdefault(worker.name, deque([(0, Counts())]))
            readings.append((now_ns, self._counts(worker.spec, readings[-1][1])))
            while readings[1][0] <= now_ns - self._settling_ns:
                readings.popleft()

    def sources(self, workers: Sequence[Worker], settled: bool) -> Sources:
        """Return what the ledger is made from; `settled`: every process is over, the last reading is exact."""
        detector = next((worker for worker in workers if worker.spec.role is Role.DETECTOR), None)
        members = [self._book(worker, settled) for role in MEMBERS for worker in workers if worker.spec.role is role]
        ingresses = [self._ingress(worker, workers) for worker in workers if worker.spec.role is Role.INGRESS]
        balancers = [_balancer(worker, workers, settled) for worker in workers if worker.spec.role is Role.BALANCER]
        return Sources(self._detector(detector) if detector else None, members, ingresses, balancers)

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
        if worker.spec.role is Role.DETECTOR:
            received = self._received()
            closed = close_life(last, received, self._published(worker, last.pid))
            past.detector = closed if past.detector is None else add_lives(past.detector, closed)
            past.received = dict(Counter(past.received) + Counter(received))
        elif worker.spec.role is Role.INGRESS:
            past.dropped[worker.name] = self._dropped(worker.name, last)
            past.missed[worker.name] = self._missed(worker.name, last)
        self._folder.write(PAST, past.model_dump_json())

    def _detector(self, worker: Worker) -> Status | None:
        status, past = worker.status, self._past.detector
        if status is None:
            return past
        if not worker.current and status.state is not State.STOPPED:
            status = close_life(status, self._received(), self._published(worker, status.pid))
        return status if past is None else add_lives(past, status)

    def _published(self, worker: Worker, pid: int) -> int:
        """Return what the detector published in its life as process `pid`, from its book."""
        counts = self._counts(worker.spec, Counts())
        total = counts.published if counts.link == pid else counts.taken
        past = self._past.detector
        return total - (past.stage.processed if past is not None else 0)

    def _received(self) -> dict[str, int]:
        """Return what each member received from the present life of the detector."""
        past = self._past.received
        received = {}
        for name, readings in self._read.items():
            counts = readings[-1][1]
            back = counts.returned + (counts.in_hand if name in self._dead else 0)
            received[name] = counts.received - back - past.get(name, 0)
        return received

    def _dropped(self, name: str, status: Status) -> dict[str, int]:
        return dict(Counter(self._past.dropped.get(name, {})) + Counter(status.stage.dropped))

    def _missed(self, name: str, status: Status) -> list[RangeStatus]:
        return [*self._past.missed.get(name, []), *status.stage.missed]

    def _book(self, worker: Worker, settled: bool) -> MemberBook:
        readings = self._read.get(worker.name) or deque([(0, Counts())])
        latest = readings[-1][1]
        earlier = latest if settled else readings[0][1]
        return MemberBook(worker.name, worker.spec.table or "", latest, earlier, worker.alive)

    def _counts(self, spec: ProcessSpec, last: Counts) -> Counts:
        try:
            if spec.name not in self._readers:
                self._readers[spec.name] = BookReader(spec.book_file)
            return self._readers[spec.name].read()
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


def _balancer(worker: Worker, workers: Iterable[Worker], settled: bool) -> BalancerAccount:
    through = [one for one in workers if balancer_of(one.spec) == worker.spec.table]
    feeders = tuple(one.name for one in through if one.spec.role is Role.EGRESS)
    ingresses = tuple(one.name for one in through if one.spec.role is Role.INGRESS)
    return BalancerAccount(worker.name, worker.spec.table or "", feeders, ingresses, settled)
