"""`rayfan bench table`: the cases that Rayfan promises something for, and how cost grows with what a user adds."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ioc.bench.case import Case
from ioc.bench.knee import Plan, alternate, figures, memcpy_ratio
from ioc.bench.limits import measure as measure_limits
from ioc.bench.watched import measure as measure_watched
from ioc.core.errors import PeerError
from ioc.core.frame import DataType

log = logging.getLogger(__name__)

CASES: tuple[tuple[Case, float], ...] = (
    (Case(512), 6.0),
    (Case(512, consumers=4), 6.0),
    (Case(4096), 3.5),
    (Case(4096, fresh=True), 3.5),
    (Case(128, DataType.UINT16, batch=8), 8.0),
    (Case(512, read=True), 6.0),
    (Case(4096, fresh=True, read=True), 3.5),
    (Case(512, metadata=6), 3.0),
)
"""Cases against the peer, and the least ratio that each is to reach."""

SIZES = (64, 128, 256, 512, 1024, 2048, 4096)
CONSUMERS = (1, 2, 4, 8)
IDLE_GROUPS = (0, 3, 6)
PAST_SERIES = (0, 500, 2000)
AGES = (0, 30, 120)
"""s that frames flowed before."""
LIMIT_SECONDS = 2.0
GROWTH_SECONDS = 5.0
HEAD = """\
| case | Rayfan, frames/s | peer, frames/s | ratio | at least | GB/s | of memory copy | CPU per frame, us | peer's |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""
WATCHING = 50
WATCHED_HEAD = """\
| clients | frames/s | CPU per frame, us |
| --- | --- | --- |
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
        result = figures(case, knees)
        ratio = memcpy_ratio(case, result, limits["memcpy_gbps"])
        told = {"title": case.title, "at_least": least, "memcpy_ratio": ratio, "peer_absent": knees.absent}
        rows.append({**told, **result})
    return {
        "cases": rows,
        "growth": growth(folder, plan, quick),
        "watched": watched(folder, plan),
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
        "past_series": [(count, replace(plain, past_series=count)) for count in PAST_SERIES],
        "age": [(age, replace(plain, age=float(age))) for age in AGES],
    }
    alone = Plan(min(plan.seconds, GROWTH_SECONDS), 1 if quick else min(plan.repeats, 3), peer=False)
    points = []
    for name, steps in series.items():
        for value, case in steps[:: len(steps) - 1] if quick else steps:
            knees = alternate(folder, case, alone)
            points.append({"of": name, "value": value, "title": case.title, **figures(case, knees)})
    return points


def watched(folder: Path, plan: Plan) -> dict[str, Any]:
    """Return what clients that watch every status PV cost; `absent` says why that is not known."""
    try:
        return measure_watched(folder, WATCHING, min(plan.seconds, GROWTH_SECONDS), plan.repeats)
    except PeerError as error:
        log.warning("the cost of watching is left out: %s", error)
        return {"absent": str(error)}


def markdown(result: dict[str, Any]) -> str:
    """Return the result of `measure` as tables."""
    limits = result["limits"]
    bare, sent = (
        ", ".join(f"{value or 0:.1f} GB/s at MTU {mtu}" for mtu, value in limits[name].items())
        for name in ("udp_bare_gbps", "sendmsg_gbps")
    )
    where = limits["conditions"]
    lines = [
        f"{where['cpus']} CPUs ({where['cpu_model']}), Linux {where['kernel']}, Python {where['python']}; ",
        f"runs of {result['seconds']:g} s, medians of {result['repeats']}, nothing lost, residue 0.\n\n",
        f"Limits of the machine: memory copy {limits['memcpy_gbps']:.1f} GB/s, ",
        f"TCP on loopback {limits['tcp_loopback_gbps']:.1f} GB/s, sendmsg of UDP {sent}, of which arrive {bare}.\n\n",
        HEAD,
        *(_row(row) for row in result["cases"]),
        "\n",
        GROWTH_HEAD,
        *(_growth_row(point) for point in result["growth"]),
        "\n",
        *watched_lines(result["watched"]),
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
        _number(row["memcpy_ratio"], ".2f"),
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


def watched_lines(result: dict[str, Any]) -> list[str]:
    """Return the result of the case with watching clients as lines of Markdown."""
    if "absent" in result:
        return [f"Clients that watch every status PV: {result['absent']}\n"]
    phases = [
        _line([name, f"{result[f'{name}_fps']:.0f}", f"{result[f'{name}_cpu_seconds_per_frame'] * 1e6:.1f}"])
        for name in ("unwatched", "watched", "control")
    ]
    return [
        f"{result['clients']} clients that monitor {result['names']} records each, ",
        f"{result['channels']} of {result['channels_wanted']} channels, {result['events_per_s']:.0f} events/s, ",
        f"{result['clients_cpu_per_s']:.2f} cores for the clients; control: the same clients elsewhere. ",
        f"Watched to unwatched {result['ratio']:.3f}, to control {result['ratio_to_control']:.3f}, ",
        f"at least {result['at_least']:g}.\n\n",
        WATCHED_HEAD,
        *phases,
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _number(value: float | None, form: str, times: float = 1.0) -> str:
    return "-" if value is None else format(value * times, form)
