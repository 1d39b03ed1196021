"""What others may see of the flow: who is told of its edges, and what it looked like a moment ago."""

from dataclasses import dataclass
from typing import Protocol

from ioc.core.status import GroupStatus, SeriesStatus


class Listener(Protocol):
    """Who wants to know the moment that something changes; called in the flow's thread, must not wait."""

    def acquiring(self, on: bool) -> None:
        """An acquisition began or ended; every edge is told."""
        ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the flow looked like at `taken_ns` (monotonic)."""

    taken_ns: int
    series: list[SeriesStatus]
    groups: list[GroupStatus]
    published: int
    waiting_for: str = ""
