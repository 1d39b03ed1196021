"""`rayfan bench table`: the cases that Rayfan promises something for, and how cost grows with what a user adds."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ioc.bench.case import Case
from ioc.bench.knee import Plan, alternate, figures
from ioc.bench.limits import measure as measure_limits
from ioc.core.frame import DataType

log = logging.getLogger(__name__)

CASES: tuple[tuple[Case, float], ...] = (
    (Case(512), 6.0),
    (Case(512, consumers=4), 6.0),
    (Case(4096), 3.5),
    (Case(4096, fresh=True), 3.5),
    (Case(128, DataType.UINT16, batch=8), 8.0),
)
"""Cases against the peer, and the least ratio that each is to reach."""

SIZES = (64, 128, 256, 512, 1024, 2048, 4096)
CONSUMERS = (1, 2, 4, 8)
IDLE_GROUPS = (0, 3, 6)
LIMIT_SECONDS = 2.0
GROWTH_SECONDS = 5.0
HEAD = """\
| case | Rayfan, frames/s | peer, frames/s | ratio | at least | GB/s | CPU per frame, us | peer's |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
GROWTH_HEAD = """\
| what grows | value | frames/s | GB/s | CPU per frame, us |
| --- | --- | --- | --- | --- |
"""


def measure(folder: Path, plan: Plan, quick: bool) -> dict[str, Any]:
    """Return all cases, the growth of cost and the machine's limits; `quick`: fewer points."""
    limits = measure_limits(folder, min(LIMIT_SECONDS, plan.seconds))
    rows = []
    for case, least in CASES:
        knees = alternate(folder, case, plan)
        rows.append({"title": case.title, "at_least": least, **figures(case, knees), "peer_absent": knees.absent})
    return {
        "cases": rows,
        "growth": growth(folder, plan, quick),
        "limits": limits,
        "seconds": plan.seconds,
        "repeats": plan.repeats,
    }


def growth(folder: Path, plan: Plan, quick: bool) -> list[dict[str, Any]]:
    """Return Rayfan's rate and cost as frame size, consumers and idle groups grow, the rest being the first case."""
    plain = Case()
    series: dict[str, list[tuple[int, Case]]] = {
        "size": [(size, replace(plain, size=size)) for size in SIZES],
        "consumers": [(count, replace(plain, consumers=count)) for count in CONSUMERS],
        "idle_groups": [(count, replace(plain, idle_groups=count)) for count in IDLE_GROUPS],
    }
    alone = Plan(min(plan.seconds, GROWTH_SECONDS), 1 if quick else min(plan.repeats, 3), peer=False)
    points = []
    for name, steps in series.items():
        for value, case in steps[:: len(steps) - 1] if quick else steps:
            knees = alternate(folder, case, alone)
            points.append({"of": name, "value": value, "title": case.title, **figures(case, knees)})
    return points


def markdown(result: dict[str, Any]) -> str:
    """Return the result of `measure` as tables."""
    limits = result["limits"]
    bare = ", ".join(f"{value or 0:.1f} GB/s at MTU {mtu}" for mtu, value in limits["udp_bare_gbps"].items())
    where = limits["conditions"]
    lines = [
        f"{where['cpus']} CPUs ({where['cpu_model']}), Linux {where['kernel']}, Python {where['python']}; ",
        f"runs of {result['seconds']:g} s, medians of {result['repeats']}, nothing lost, residue 0.\n\n",
        f"Limits of the machine: memory copy {limits['memcpy_gbps']:.1f} GB/s, ",
        f"TCP on loopback {limits['tcp_loopback_gbps']:.1f} GB/s, bare UDP {bare}.\n\n",
        HEAD,
        *(_row(row) for row in result["cases"]),
        "\n",
        GROWTH_HEAD,
        *(_growth_row(point) for point in result["growth"]),
    ]
    return "".join(lines)


def _row(row: dict[str, Any]) -> str:
    cells = [
        row["title"],
        f"{row['knee_fps']:.0f}",
        _number(row["peer_knee_fps"], ".0f"),
        _number(row["ratio"], ".1f"),
        f"{row['at_least']:g}",
        f"{row['gbytes_per_s']:.2f}",
        _number(row["cpu_seconds_per_frame"], ".1f", 1e6),
        _number(row["peer_cpu_seconds_per_frame"], ".1f", 1e6),
    ]
    return _line(cells)


def _growth_row(point: dict[str, Any]) -> str:
    cells = [
        point["of"].replace("_", " "),
        str(point["value"]),
        f"{point['knee_fps']:.0f}",
        f"{point['gbytes_per_s']:.2f}",
        _number(point["cpu_seconds_per_frame"], ".1f", 1e6),
    ]
    return _line(cells)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _number(value: float | None, form: str, times: float = 1.0) -> str:
    return "-" if value is None else format(value * times, form)
