"""`rayfan bench ejfat`: the highest rate from egress to ingress that loses nothing, beside a bare pair of sockets."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from ioc.bench import ejfat_pair, pva
from ioc.bench.appliance import WARM_SECONDS, Appliance, lost_frames
from ioc.bench.case import Case, detector_toml
from ioc.bench.ejfat_pair import BITS, Load
from ioc.bench.knee import fresh
from ioc.bench.limits import Bare, bare_udp
from ioc.bench.machine import conditions
from ioc.bench.process import cpu_seconds
from ioc.bench.search import Effort, Run, Trial, knee
from ioc.core.errors import PeerError, UserError, mismatch

log = logging.getLogger(__name__)

BARE_SECONDS = 2.0
PROBE_PART = 0.25
EGRESS, INGRESS = "Ejfat1", "EjfatIn1"
TABLES = """
[egress.bench]
ingress = "bench"
mtu = {mtu}
policy = "lossless"
{rate}
[ingress.bench]
"""


def measure(folder: Path, load: Load, seconds: float, repeats: int) -> dict[str, Any]:
    """Return goodput, the bare pairs', their ratios and the single runs; rates in GB/s of pixels.

    Raises:
        PeerError: no rate without a loss was found, or a process failed.
        UserError: the size cannot be used with a whole appliance.
    """
    before = conditions()
    bare: list[dict[str, float]] = []
    placed: list[dict[str, float]] = []
    ours: list[Trial] = []
    one_worker: list[Trial] = []
    for number in range(repeats):
        log.info("EJFAT %s, repeat %d of %d", _words(load), number + 1, repeats)
        bare.append(bare_udp(folder, Bare(load.mtu, load.frame_bytes, not load.plain), min(BARE_SECONDS, seconds)))
        placed.append(
            bare_udp(folder, Bare(load.mtu, load.frame_bytes, not load.plain, placed=True), min(BARE_SECONDS, seconds))
        )
        if load.workers > 1:
            one_worker.append(_knee(folder, replace(load, workers=1), seconds, one_worker))
        ours.append(_knee(folder, load, seconds, ours))
    figures = _figures(load, ours, bare, placed)
    if one_worker:
        rate = median(one.reached for one in one_worker)
        figures |= {"one_worker_gbytes_per_s": rate, "ratio_to_one_worker": figures["gbytes_per_s"] / rate}
    return {**figures, "seconds": seconds, "repeats": repeats, "conditions": before}


def beside_pva(folder: Path, load: Load, seconds: float, repeats: int) -> dict[str, Any]:
    """Return frames/s of the whole appliance over EJFAT and, in turn with it, over pvAccess to one PvaPy client.

    Raises:
        PeerError: no rate without a loss was found, or a process failed.
        UserError: no square frame has as many bytes.
    """
    side = _side(load.frame_bytes)
    ours: list[Trial] = []
    over_pva: list[float] = []
    for number in range(repeats):
        log.info("EJFAT beside pvAccess, %s, repeat %d of %d", _words(load), number + 1, repeats)
        with fresh(folder) as place:
            over_pva.append(pva.run(place, Case(side), None, seconds).reached)
        ours.append(_knee(folder, replace(load, whole=True), seconds, ours))
    frames = median(one.reached for one in ours) * 1e9 / load.frame_bytes
    rate = median(over_pva)
    return {"ejfat_fps": frames, "pva_fps": rate, "ratio_to_pva": frames / rate if rate else None}


def _knee(folder: Path, load: Load, seconds: float, earlier: Sequence[Trial]) -> Trial:
    best = knee(_logged(folder, load), Effort.of(seconds, PROBE_PART), earlier[-1] if earlier else None)
    if best is None:
        raise PeerError(f"EJFAT, {_words(load)}: no rate without a loss was found, see the progress above")
    return best


def _words(load: Load) -> str:
    path = ", packet by packet" if load.plain else ""
    through = f", load balancer, {load.workers} workers" if load.workers else ""
    return f"{load.frame_bytes} bytes, MTU {load.mtu}{path}{through}"


def _figures(
    load: Load, ours: list[Trial], bare: list[dict[str, float]], placed: list[dict[str, float]]
) -> dict[str, Any]:
    rate = median(one.reached for one in ours)
    cpu = median(one.cpu_seconds or 0.0 for one in ours)
    limit, limit_placed = (median(one["gbps"] for one in some) for some in (bare, placed))
    bare_cpu, placed_cpu = (median(one["cpu"] for one in some) for some in (bare, placed))
    return {
        "gbytes_per_s": rate,
        "bare_gbytes_per_s": limit,
        "ratio_to_bare": rate / limit if limit else None,
        "bare_placed_gbytes_per_s": limit_placed,
        "ratio_to_bare_placed": rate / limit_placed if limit_placed else None,
        "lost": sum(one.lost for one in ours),
        "bit_exact": True,  # a frame whose checksum is wrong counts as lost
        "frames_per_s": rate * 1e9 / load.frame_bytes,
        "cpu_seconds_per_frame": cpu,
        "cpu_seconds_per_gbyte": cpu * 1e9 / load.frame_bytes,
        "bare_cpu_seconds_per_gbyte": bare_cpu,
        "bare_placed_cpu_seconds_per_gbyte": placed_cpu,
        "size": load.frame_bytes,
        "mtu": load.mtu,
        "whole": load.whole,
        "plain": load.plain,
        "workers": load.workers,
        "runs": [{"asked_gbytes_per_s": one.asked, "gbytes_per_s": one.reached, "lost": one.lost} for one in ours],
        "bare_runs": bare,
        "bare_placed_runs": placed,
    }


def _logged(folder: Path, load: Load) -> Run:
    side: Callable[[Path, Load, float | None, float], Trial] = _whole if load.whole else ejfat_pair.run

    def run(rate: float | None, seconds: float) -> Trial:
        with fresh(folder) as place:
            trial = side(place, load, rate, seconds)
        asked = "unpaced" if rate is None else f"{rate:.2f} GB/s"
        log.info("  %s: %.2f GB/s over %g s, lost %d", asked, trial.reached, seconds, trial.lost)
        return trial

    return run


def _whole(folder: Path, load: Load, rate: float | None, seconds: float) -> Trial:
    """Return what an appliance's egress and ingress did at `rate` GB/s, over the steady part."""
    with Appliance(folder, whole_toml(load, rate), seconds) as running:
        running.wait_for_frames([EGRESS, INGRESS])
        running.wait(WARM_SECONDS)
        pids = running.pids()
        first, cpu, begun = running.status(INGRESS), cpu_seconds(pids), time.monotonic()
        running.wait(seconds)
        last, cpu, ended = running.status(INGRESS), cpu_seconds(pids) - cpu, time.monotonic()
        report = running.stop()
    frames = last["stage"]["processed"] - first["stage"]["processed"]
    elapsed = (last["heartbeat_ns"] - first["heartbeat_ns"]) / 1e9
    if frames <= 0 or elapsed <= 0:
        return Trial(rate, 0.0, 0)
    cost = cpu / (frames * (ended - begun) / elapsed)
    return Trial(rate, frames * load.frame_bytes / elapsed / 1e9, lost_frames(report, ("bench",)), cost)


def whole_toml(load: Load, rate: float | None) -> str:
    """Return the configuration of an appliance with one egress and one ingress; `rate` in GB/s.

    Raises:
        UserError: no square frame has as many bytes.
    """
    line = "" if rate is None else f"rate = {rate * BITS}\n"
    return detector_toml(Case(_side(load.frame_bytes)), None) + TABLES.format(mtu=load.mtu, rate=line)


def _side(frame_bytes: int) -> int:
    """Return the side of the square frame of so many bytes."""
    side = math.isqrt(frame_bytes)
    if side * side != frame_bytes:
        expected = "the bytes of a square frame with --whole or --beside-pva, for example 262144 (512x512)"
        raise UserError(mismatch("--size", expected, frame_bytes))
    return side
