"""`rayfan bench ejfat --table`: all cases that Rayfan promises a rate over EJFAT for, in one go."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ioc.bench import pvapy
from ioc.bench.ejfat import beside_pva, measure
from ioc.bench.ejfat_pair import Load
from ioc.bench.machine import conditions, load_average
from ioc.core.errors import PeerError

log = logging.getLogger(__name__)

BARE, ONE_WORKER, PVA = "ratio_to_bare", "ratio_to_one_worker", "ratio_to_pva"
SMALL, LARGE = 1 << 20, 1 << 24
IMAGE = 512 * 512


@dataclass(frozen=True, slots=True)
class Row:
    """A case, the least ratio that it is to reach, and to what."""

    load: Load
    least: float
    ratio: str = BARE

    @property
    def title(self) -> str:
        """The case in a few words."""
        load = self.load
        size = "512x512" if load.frame_bytes == IMAGE else f"{load.frame_bytes >> 20} MiB"
        whole = ", IOC to IOC" if load.whole else ""
        plain = ", packet by packet" if load.plain else ""
        workers = f", load balancer, {load.workers} workers" if load.workers else ""
        return f"{size}, MTU {load.mtu}{whole}{plain}{workers}"


ROWS = (
    *(Row(Load(size, mtu), 0.7) for size in (SMALL, LARGE) for mtu in (1500, 9000)),
    Row(Load(SMALL, 1500, whole=True), 0.7),
    Row(Load(IMAGE, 1500), 0.7),
    Row(Load(IMAGE, 1500, whole=True), 1.0, PVA),
    Row(Load(SMALL, 1500, workers=4), 0.8, ONE_WORKER),
    Row(Load(SMALL, 1500, plain=True), 0.8),
)
WORDS = {BARE: "a bare pair", ONE_WORKER: "one worker", PVA: "pvAccess"}
HEAD = """\
| case | GB/s | frames/s | ratio | to | at least | to bare, placed | CPU s a GB | bare | lost |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def measure_all(folder: Path, seconds: float, repeats: int) -> dict[str, Any]:
    """Return all rows, what was measured for each, and the conditions; a row that failed says why."""
    before = conditions()
    rows = [
        {"title": row.title, "least": row.least, "of": row.ratio, **_row(folder, row, seconds, repeats)} for row in ROWS
    ]
    return {"rows": rows, "seconds": seconds, "repeats": repeats, "conditions": before, "load_after": load_average()}


def markdown(result: Mapping[str, Any]) -> str:
    """Return the result of `measure_all` as a table."""
    where = result["conditions"]
    load = f"load {where['load_before']:.1f} before, {result['load_after']:.1f} after"
    lines = [
        f"{where['cpus']} CPUs ({where['cpu_model']}), Linux {where['kernel']}, {load}; ",
        f"runs of {result['seconds']:g} s, medians of {result['repeats']}, nothing lost.\n\n",
        HEAD,
        *(_line(row) for row in result["rows"]),
    ]
    return "".join(lines)


def _row(folder: Path, row: Row, seconds: float, repeats: int) -> dict[str, Any]:
    missing = pvapy.missing() if row.ratio == PVA else None
    if missing:
        return {"absent": missing}
    side = beside_pva if row.ratio == PVA else measure
    try:
        found = side(folder, row.load, seconds, repeats)
    except PeerError as error:
        log.warning("%s is left out: %s", row.title, error)
        return {"absent": str(error)}
    return {**found, "ratio": found[row.ratio]}


def _line(row: Mapping[str, Any]) -> str:
    if "absent" in row:
        return f"| {row['title']} | {row['absent']} |" + " |" * 8 + "\n"
    cells = [
        row["title"],
        _number(row.get("gbytes_per_s"), ".2f"),
        _number(row.get("frames_per_s", row.get("ejfat_fps")), ".0f"),
        _number(row["ratio"], ".2f"),
        WORDS[row["of"]],
        f"{row['least']:g}",
        _number(row.get("ratio_to_bare_placed"), ".2f"),
        _number(row.get("cpu_seconds_per_gbyte"), ".2f"),
        _number(row.get("bare_cpu_seconds_per_gbyte"), ".2f"),
        _number(row.get("lost"), "d"),
    ]
    return f"| {' | '.join(cells)} |\n"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
