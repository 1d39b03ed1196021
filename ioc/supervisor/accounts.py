"""Reads the books of the members in the order that the ledger needs: before and after the detector's status."""

from collections import deque
from collections.abc import Iterable, Sequence

from ioc.channels.book import BookReader, Counts
from ioc.core.errors import PeerError
from ioc.core.status import ProcessSpec, Role, StageStatus
from ioc.supervisor.plan import needs_port_of
from ioc.supervisor.report import IngressAccount, MemberBook, Sources
from ioc.supervisor.worker import Worker

MEMBERS = (Role.CONSUMER, Role.EGRESS)
SETTLING = 1.0
"""s that a detector's status may be behind the books of its members."""


class Accounts:
    """The books of all members over the last seconds."""

    def __init__(self, settling: float) -> None:
        """Keep readings for `settling` seconds: longer than any status, or frame on a wire, may be late."""
        self._settling_ns = round(settling * 1e9)
        self._readers: dict[str, BookReader] = {}
        self._read: dict[str, deque[tuple[int, Counts]]] = {}

    def sample(self, workers: Iterable[Worker], now_ns: int) -> None:
        """Read the books of all members once."""
        for worker in workers:
            if worker.spec.role not in MEMBERS:
                continue
            readings = self._read.setdefault(worker.name, deque([(0, Counts())]))
            readings.append((now_ns, self._counts(worker.spec, readings[-1][1])))
            while readings[1][0] <= now_ns - self._settling_ns:
                readings.popleft()

    def sources(self, workers: Sequence[Worker], settled: bool) -> Sources:
        """Return what the ledger is made from; `settled`: every process is over, the last reading is exact."""
        detector = next((worker.status for worker in workers if worker.spec.role is Role.DETECTOR), None)
        members = [self._book(worker, settled) for role in MEMBERS for worker in workers if worker.spec.role is role]
        ingresses = [_ingress(worker, workers) for worker in workers if worker.spec.role is Role.INGRESS]
        return Sources(detector, members, ingresses)

    def close(self) -> None:
        """Let go of the books."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

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


def _ingress(worker: Worker, workers: Iterable[Worker]) -> IngressAccount:
    feeders = tuple(
        other.name
        for other in workers
        if other.spec.role is Role.EGRESS and needs_port_of(other.spec) == worker.spec.table
    )
    stage = worker.status.stage if worker.status is not None else StageStatus()
    return IngressAccount(worker.name, worker.spec.table or "", stage, feeders)
