"""What was: rate, lag and latency of the last minutes and hours, sampled from what the processes tell of themselves.

How it works: once a second the files of the run folder are read, as the supervisor does, so that nothing is asked of
anybody. Fine samples go back `FINE` s, coarse ones, every `EVERY` s, `COARSE` times as far.
"""

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ioc.core.status import Role

FINE = 900
"""Samples of one second."""
EVERY = 10
COARSE = 2160
"""Samples of `EVERY` seconds: 6 hours."""
MOST_BYTES = 1 << 20
"""A file that is larger is not read."""
RATE, LAG, LOST, P50, P99 = "rate", "lag", "lost", "p50", "p99"
"""What is kept of a process: Hz, frames on their way, frames lost, median and 99th percentile of the latency in s."""
LAG_SECONDS = "lagSeconds"
"""What is kept of a group: s that its slowest member is behind."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures at `time` (s since 1970), by line: `Cons1 rate`, `stats lagSeconds`."""

    time: float
    figures: dict[str, float]


@dataclass(slots=True)
class History:
    """The samples; used by one thread."""

    folder: Path
    _fine: deque[Sample] = field(default_factory=lambda: deque(maxlen=FINE))
    _coarse: deque[Sample] = field(default_factory=lambda: deque(maxlen=COARSE))

    def sample(self, now: float) -> None:
        """Look once; `now` in s since 1970."""
        one = Sample(round(now, 3), dict(_figures(self.folder)))
        self._fine.append(one)
        if not self._coarse or now - self._coarse[-1].time >= EVERY:
            self._coarse.append(one)

    def since(self, after: float) -> dict[str, Any]:
        """Return all samples later than `after`: the times, and by line as many figures, None where there was none."""
        oldest = self._fine[0].time if self._fine else float("inf")
        samples = [
            one for one in (*(one for one in self._coarse if one.time < oldest), *self._fine) if one.time > after
        ]
        names = sorted({name for one in samples for name in one.figures})
        lines = {name: [one.figures.get(name) for one in samples] for name in names}
        return {"times": [one.time for one in samples], "lines": lines}


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a file that is replaced as a whole; {} if there is none that can be read."""
    try:
        content = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b"{}"
        found = json.loads(content)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _figures(folder: Path) -> Iterator[tuple[str, float]]:
    for process in read_json(folder / "appliance.json").get("processes", []):
        name = process["name"]
        if process["role"] == Role.WEB.value:
            continue
        yield f"{name} {RATE}", round(process["rate"], 3)
        yield f"{name} {LAG}", process["lag"]
        yield f"{name} {LOST}", process["lost"]
        status = read_json(folder / f"{name}.status")
        told = status.get("figures", {})
        for line, figure in ((P50, "LatencyP50"), (P99, "LatencyP99")):
            if isinstance(told.get(figure), int | float):
                yield f"{name} {line}", round(told[figure], 6)
        for group in status.get("groups", []):
            behind = [one["lag_seconds"] for one in group["members"] if one["present"]]
            if behind:
                yield f"{group['name']} {LAG_SECONDS}", round(max(behind), 6)
