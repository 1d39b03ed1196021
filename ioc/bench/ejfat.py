"""`rayfan bench ejfat`: the highest rate from egress to ingress that loses nothing, beside a bare pair of sockets."""

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ioc.bench.appliance import WARM_SECONDS, Appliance, lost_frames
from ioc.bench.case import Case, detector_toml
from ioc.bench.knee import fresh
from ioc.bench.limits import bare_udp
from ioc.bench.machine import conditions
from ioc.bench.process import cpu_seconds, part
from ioc.bench.search import Effort, Run, Trial, knee
from ioc.core.errors import PeerError, UserError, mismatch

log = logging.getLogger(__name__)

ANSWER_SECONDS = 30.0
BARE_SECONDS = 2.0
PROBE_PART = 0.25
BITS = 8
EGRESS, INGRESS = "Ejfat1", "EjfatIn1"
TABLES = """
[egress.bench]
ingress = "bench"
mtu = {mtu}
policy = "lossless"
{rate}
[ingress.bench]
"""


@dataclass(frozen=True, slots=True)
class Load:
    """Frames of `frame_bytes` in packets of `mtu` bytes; `whole`: between the IOCs of an appliance."""

    frame_bytes: int
    mtu: int
    whole: bool = False


def measure(folder: Path, load: Load, seconds: float, repeats: int) -> dict[str, Any]:
    """Return goodput, the bare pair's, their ratio and the single runs; rates in GB/s of pixels.

    Raises:
        PeerError: no rate without a loss was found, or a process failed.
        UserError: the size cannot be used with a whole appliance.
    """
    before = conditions()
    bare: list[dict[str, float]] = []
    ours: list[Trial] = []
    effort = Effort(seconds, min(seconds, max(1.0, PROBE_PART * seconds)))
    run = _logged(folder, load)
    for number in range(repeats):
        log.info("EJFAT %d bytes, MTU %d, repeat %d of %d", load.frame_bytes, load.mtu, number + 1, repeats)
        bare.append(bare_udp(folder, load.mtu, load.frame_bytes, min(BARE_SECONDS, seconds)))
        best = knee(run, effort, ours[-1] if ours else None)
        if best is None:
            raise PeerError(f"EJFAT, {load}: no rate without a loss was found, see the progress above")
        ours.append(best)
    return {**_figures(load, ours, bare), "seconds": seconds, "repeats": repeats, "conditions": before}


def _figures(load: Load, ours: list[Trial], bare: list[dict[str, float]]) -> dict[str, Any]:
    rate, limit = median(one.reached for one in ours), median(one["gbps"] for one in bare)
    return {
        "gbytes_per_s": rate,
        "bare_gbytes_per_s": limit,
        "ratio_to_bare": rate / limit if limit else None,
        "lost": sum(one.lost for one in ours),
        "bit_exact": True,  # a frame whose checksum is wrong counts as lost
        "frames_per_s": rate * 1e9 / load.frame_bytes,
        "cpu_seconds_per_frame": median(one.cpu_seconds or 0.0 for one in ours),
        "size": load.frame_bytes,
        "mtu": load.mtu,
        "whole": load.whole,
        "runs": [{"asked_gbytes_per_s": one.asked, "gbytes_per_s": one.reached, "lost": one.lost} for one in ours],
        "bare_runs": bare,
    }


def _logged(folder: Path, load: Load) -> Run:
    side: Callable[[Path, Load, float | None, float], Trial] = _whole if load.whole else _pair

    def run(rate: float | None, seconds: float) -> Trial:
        with fresh(folder) as place:
            trial = side(place, load, rate, seconds)
        asked = "unpaced" if rate is None else f"{rate:.2f} GB/s"
        log.info("  %s: %.2f GB/s over %g s, lost %d", asked, trial.reached, seconds, trial.lost)
        return trial

    return run


def _pair(folder: Path, load: Load, rate: float | None, seconds: float) -> Trial:
    """Return what a publisher and a receiver did at `rate` GB/s."""
    settings = {
        "role": "publish",
        "mtu": load.mtu,
        "rate_gbps": None if rate is None else rate * BITS,
        "frame_bytes": load.frame_bytes,
        "seconds": seconds,
    }
    with part("ejfat_ends", folder, os.environ, {"role": "receive"}) as receiver:
        port = receiver.hear(ANSWER_SECONDS)["port"]
        with part("ejfat_ends", folder, os.environ, {**settings, "port": port}) as sender:
            sent = sender.hear(seconds + ANSWER_SECONDS)
            got = receiver.hear(ANSWER_SECONDS)
    reached = got["bytes"] / got["seconds"] / 1e9 if got["seconds"] > 0 else 0.0
    lost = abs(sent["frames"] - got["frames"]) + got["figures"]["corrupt"] + got["disordered"]
    return Trial(rate, reached, lost, (sent["cpu"] + got["cpu"]) / max(1, sent["frames"]))


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
    side = math.isqrt(load.frame_bytes)
    if side * side != load.frame_bytes:
        expected = "the bytes of a square frame with --whole, for example 262144 (512x512) or 1048576 (1024x1024)"
        raise UserError(mismatch("--size", expected, load.frame_bytes))
    line = "" if rate is None else f"rate = {rate * BITS}\n"
    return detector_toml(Case(side), None) + TABLES.format(mtu=load.mtu, rate=line)
