"""Reads books and statuses in the order that the ledger needs, and keeps what processes said in earlier lives."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence

from ioc.channels.book import BookReader, Counts
from ioc.core.errors import PeerError
from ioc.core.status import ProcessSpec, Role, StageStatus, State, Status
from ioc.supervisor.lives import add_lives, close_life
from ioc.supervisor.plan import needs_port_of
from ioc.supervisor.report import IngressAccount, MemberBook, Sources
from ioc.supervisor.worker import Worker

MEMBERS = (Role.CONSUMER, Role.EGRESS)
SETTLING = 1.0
"""s that a detector's status may be behind the books of its members."""


class Accounts:
    """The books of all members over the last seconds, and the statuses of lives that are over."""

    def __init__(self, settling: float) -> None:
        """Keep readings for `settling` seconds: longer than any status, or frame on a wire, may be late."""
        self._settling_ns = round(settling * 1e9)
        self._readers: dict[str, BookReader] = {}
        self._read: dict[str, deque[tuple[int, Counts]]] = {}
        self._last: dict[str, Status] = {}
        self._past: Status | None = None
        self._received_in_past: Counter[str] = Counter()
        self._dropped_in_past: dict[str, Counter[str]] = {}

    def sample(self, workers: Iterable[Worker], now_ns: int) -> None:
        """Read everything once."""
        workers = list(workers)
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
        return Sources(self._detector(detector) if detector else None, members, ingresses)

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
        if worker.spec.role is Role.DETECTOR:
            received = self._received()
            closed = close_life(last, received)
            self._past = closed if self._past is None else add_lives(self._past, closed)
            self._received_in_past.update(received)
        elif worker.spec.role is Role.INGRESS:
            self._dropped_in_past.setdefault(worker.name, Counter()).update(last.stage.dropped)

    def _detector(self, worker: Worker) -> Status | None:
        status = worker.status
        if status is None:
            return self._past
        if not worker.alive and status.state is not State.STOPPED:
            status = close_life(status, self._received())
        return status if self._past is None else add_lives(self._past, status)

    def _received(self) -> dict[str, int]:
        """Return what each member received from the present life of the detector."""
        return {
            name: readings[-1][1].received - readings[-1][1].returned - self._received_in_past[name]
            for name, readings in self._read.items()
        }

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
        stage = worker.status.stage if worker.status is not None else StageStatus()
        past = self._dropped_in_past.get(worker.name)
        if past is not None:
            stage = stage.model_copy(update={"dropped": dict(past + Counter(stage.dropped))})
        return IngressAccount(worker.name, worker.spec.table or "", stage, feeders, worker.restarts)
