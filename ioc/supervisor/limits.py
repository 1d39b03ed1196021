"""What processes may take up, and what happens when they take more: an alarm, and for memory a new start.

A process that has more memory of its own than its limit in two looks in turn finishes what it has in hand and is
started anew. A busy processor only raises an alarm: the frames that it takes too long for have a limit of their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ioc.core.status import ProcessSpec, Role
from ioc.supervisor.usage import Usage
from ioc.supervisor.worker import Worker

HIGH_PART = 0.8
LOOKS = 2
OK, HIGH, OVER = LEVELS = ("OK", "High", "Over")


@dataclass(frozen=True, slots=True)
class Limits:
    """`memory` in bytes, `cpu` in cores; None: any."""

    memory: int | None = None
    cpu: float | None = None

    @classmethod
    def of(cls, spec: ProcessSpec) -> "Limits":
        """Return the limits of a process."""
        tables = {Role.CONSUMER: spec.config.groups, Role.COLLECTOR: spec.config.collectors}.get(spec.role)
        if tables is None or spec.table is None:
            return cls()
        return cls(tables[spec.table].memory_limit, tables[spec.table].cpu_limit)


def level(used: float, limit: float | None) -> str:
    """Return how near something is to its limit: OK, High or Over."""
    if limit is None or used <= HIGH_PART * limit:
        return OK
    return HIGH if used <= limit else OVER


def usage_figures(usage: Usage, limits: Limits) -> dict[str, float | int | str]:
    """Return what is shown of a process, by the names of the records of records/usage_records.py."""
    return {
        "RSS": usage.rss,
        "PSS": usage.pss,
        "PrivateMemory": usage.private,
        "PrivateLimit": limits.memory or 0,
        "MemoryState": level(usage.private, limits.memory),
        "CPU": round(100 * usage.cpu, 1),
        "CPULimit": 100 * (limits.cpu or 0.0),
        "CPUState": level(usage.cpu, limits.cpu),
    }


@dataclass(slots=True)
class Patrol:
    """Has processes started anew that take too much memory; used by the supervisor's thread."""

    _seen: dict[str, tuple[Usage, int]] = field(default_factory=dict)

    def look(self, workers: Iterable[Worker], now_ns: int) -> None:
        """Look at each process whose usage is new."""
        for worker in workers:
            usage, over = self._seen.get(worker.name, (None, 0))
            if worker.usage is usage:
                continue
            limit = Limits.of(worker.spec).memory
            over = over + 1 if level(worker.usage.private, limit) == OVER else 0
            self._seen[worker.name] = worker.usage, over
            if over >= LOOKS and worker.running:
                worker.renew(now_ns, f"{worker.usage.private} bytes of memory, memory_limit = {limit}")
