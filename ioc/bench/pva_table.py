"""All rows of the image server's speed table: `rayfan bench pva --all`.

    one_client, two_members, four_members    512x512, clients that take turns
    broadcast                                512x512, each frame to two clients
    one_client_4096, two_members_4096        4096x4096, beside raw TCP to as many readers
    slow_fast_lossless, slow_fast_bounded    512x512, one client that is slow and one that is not: what the group lost

A ratio is Rayfan's rate over the peer's, both without a loss; `server_cpu_ratio` is the same of the CPU time that the
sending processes take for a frame, where less is better.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ioc.bench.case import Case
from ioc.bench.knee import PEER_CLIENTS, Plan, alternate, fresh
from ioc.bench.limits import tcp_loopback_gbps
from ioc.bench.machine import conditions
from ioc.bench.pva import figures, run, run_with
from ioc.core.config_table import Policy
from ioc.core.frame import DataType

SMALL, LARGE = 512, 4096
TCP_SECONDS = 2.0
SLOW_SECONDS = 0.005
"""What a slow client takes for a frame."""
ROOM = 0.5
"""Of the rate that both take under Lossless, at which the fast one has room under Bounded, and the slow one has not."""
SLOW_SETTLE_SECONDS = 5.0
"""In which a slow client takes what waits for it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A case, and the least ratio to the peer that it is to reach."""

    name: str
    case: Case
    floor: float


ROWS = (
    Row("one_client", Case(SMALL, DataType.UINT8, 1), 1.0),
    Row("two_members", Case(SMALL, DataType.UINT8, 2), 1.0),
    Row("four_members", Case(SMALL, DataType.UINT8, 4), 1.0),
    Row("broadcast", Case(SMALL, DataType.UINT8, 2, broadcast=True), 1.0),
    Row("one_client_4096", Case(LARGE, DataType.UINT8, 1), 1.1),
    Row("two_members_4096", Case(LARGE, DataType.UINT8, 2), 1.6),
)
SLOW_FAST = "slow_fast"
NAMES = (*(row.name for row in ROWS), SLOW_FAST)


def measure(folder: Path, plan: Plan, names: Collection[str] = ()) -> dict[str, Any]:
    """Return the figures of rows, by name, none: of all; and the names of those that miss their floor, in `missed`.

    Raises:
        PeerError: Rayfan lost a frame, or a process failed.
    """
    result: dict[str, Any] = {"seconds": plan.seconds, "repeats": plan.repeats, "conditions": conditions()}
    for row in ROWS:
        if not names or row.name in names:
            result |= _row(folder, row, plan)
    if not names or SLOW_FAST in names:
        result |= _slow_and_fast(folder, plan.seconds)
    return result | {"peer": PEER_CLIENTS if plan.peer else None, "missed": missed(result)}


def missed(result: dict[str, Any]) -> list[str]:
    """Return what is below its floor, as far as it was measured."""
    floors = {f"ratio_{row.name}": row.floor for row in ROWS}
    below = [key for key, floor in floors.items() if result.get(key) is not None and result[key] < floor]
    ceilings = [f"server_cpu_ratio_{row.name}" for row in ROWS]
    below += [key for key in ceilings if result.get(key) is not None and result[key] >= 1.0]
    return below + [key for key, value in result.items() if key.startswith("lost_") and value]


def _row(folder: Path, row: Row, plan: Plan) -> dict[str, Any]:
    knees = alternate(folder, row.case, plan, run)
    found = {f"{key}_{row.name}": value for key, value in figures(knees).items()}
    if row.case.size == LARGE:
        raw = tcp_loopback_gbps(folder, TCP_SECONDS, row.case.consumers)
        rate = found[f"fps_{row.name}"] * row.case.frame_bytes / 1e9
        found |= {f"tcp_gbps_{row.name}": raw, f"tcp_ratio_{row.name}": rate / raw if raw else None}
    return found | {"peer_absent": knees.absent}


def _slow_and_fast(folder: Path, seconds: float) -> dict[str, Any]:
    """Return rate and losses of two clients of which one is slow: under Lossless unpaced, under Bounded with room."""
    result: dict[str, Any] = {}
    rate: float | None = None
    for policy in (Policy.LOSSLESS, Policy.BOUNDED):
        case = Case(SMALL, DataType.UINT8, 2, policy)
        with fresh(folder) as place:
            trial = run_with(place, case, (rate, seconds), (0.0, SLOW_SECONDS), SLOW_SETTLE_SECONDS)
        name = f"slow_fast_{policy.value}"
        result |= {f"fps_{name}": trial.reached, f"lost_{name}": trial.lost}
        rate = max(1.0, ROOM * trial.reached)
    return result
