"""What workers reported, over time: bounded series with paths such as `/lb/1/session/2/fillPercent`."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ioc.balancer.reservation import Worker
from ioc.channels.ejfat_control_model import TOTALS

MOST_SAMPLES = 900
"""At one sample an epoch a quarter of an hour."""


@dataclass(slots=True)
class Series:
    """Milliseconds since 1970 and values; `whole`: integers."""

    path: str
    unit: str
    whole: bool
    samples: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=MOST_SAMPLES))


class History:
    """The series of the workers that are there."""

    def __init__(self) -> None:
        self._series: dict[str, Series] = {}

    def sample(self, lb_id: str, workers: Iterable[tuple[Worker, int]], wall_ns: int) -> None:
        """Note the state of the workers of a load balancer, each with its number of slots."""
        root = f"/lb/{lb_id}/"
        fresh = {}
        for worker, slots in workers:
            for name, unit, whole, value in _quantities(worker, slots):
                path = f"{root}session/{worker.number}/{name}"
                series = self._series.get(path) or Series(path, unit, whole)
                series.samples.append((wall_ns // 1_000_000, value))
                fresh[path] = series
        self.forget(lb_id)
        self._series.update(fresh)

    def forget(self, lb_id: str) -> None:
        """Drop the series of a load balancer."""
        root = f"/lb/{lb_id}/"
        self._series = {path: series for path, series in self._series.items() if not path.startswith(root)}

    def find(self, selectors: Iterable[str]) -> list[Series]:
        """Return the series whose path fits one of the selectors; `*` fits any part of a path."""
        wanted = list(selectors)
        return [one for path, one in self._series.items() if any(fnmatchcase(path, pattern) for pattern in wanted)]


def _quantities(worker: Worker, slots: int) -> Iterator[tuple[str, str, bool, float]]:
    yield "fillPercent", "", False, worker.state.fill
    yield "controlSignal", "", False, worker.state.control_signal
    yield "slotsAssigned", "slot", True, slots
    for ours, theirs in TOTALS:
        yield theirs, "", True, getattr(worker.state.totals, ours)
