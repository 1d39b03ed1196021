"""One run of an EJFAT publisher and its receivers at a set rate: directly, or through a lab's load balancer."""

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ioc.bench.process import Started, part
from ioc.bench.search import Trial
from ioc.core.errors import PeerError

ANSWER_SECONDS = 30.0
READY_SECONDS = 15.0
BITS = 8


@dataclass(frozen=True, slots=True)
class Load:
    """Frames of `frame_bytes` in packets of `mtu` bytes.

    `whole`: between the IOCs of an appliance. `plain`: the kernel does not cut packets, as with a device that refuses
    it. `workers`: how many receivers a load balancer deals the frames to; 0: there is none, and one receiver.
    """

    frame_bytes: int
    mtu: int
    whole: bool = False
    plain: bool = False
    workers: int = 0


def run(folder: Path, load: Load, rate: float | None, seconds: float) -> Trial:
    """Return what a publisher and its receivers did at `rate` GB/s (None: as fast as it goes).

    Raises:
        PeerError: a process failed.
    """
    settings = {
        "role": "publish",
        "mtu": load.mtu,
        "rate_gbps": None if rate is None else rate * BITS,
        "frame_bytes": load.frame_bytes,
        "seconds": seconds,
        "offload": not load.plain,
    }
    with ExitStack() as stack:
        balancer = stack.enter_context(_part(folder, "balance", 0)) if load.workers else None
        uri = {} if balancer is None else {"uri": balancer.hear(ANSWER_SECONDS)["uri"]}
        receivers = [
            stack.enter_context(_part(folder, "receive", number, uri)) for number in range(max(1, load.workers))
        ]
        ports = [receiver.hear(ANSWER_SECONDS)["port"] for receiver in receivers]
        if balancer is not None:
            _wait_ready(balancer, load.workers)
        sender = stack.enter_context(_part(folder, "publish", 0, {**settings, "port": ports[0], **uri}))
        sent = sender.hear(seconds + ANSWER_SECONDS)
        got = [receiver.hear(ANSWER_SECONDS) for receiver in receivers]
        between = 0.0 if balancer is None else _end(balancer)
    return _trial(rate, sent, got, between)


def _trial(rate: float | None, sent: dict[str, Any], got: Sequence[dict[str, Any]], between: float) -> Trial:
    frames = sum(one["frames"] for one in got)
    seconds = max(one["seconds"] for one in got)
    reached = sum(one["bytes"] for one in got) / seconds / 1e9 if seconds > 0 else 0.0
    lost = abs(sent["frames"] - frames) + sum(one["figures"]["corrupt"] + one["disordered"] for one in got)
    cpu = sent["cpu"] + sum(one["cpu"] for one in got) + between
    return Trial(rate, reached, lost, cpu / max(1, sent["frames"]))


def _part(folder: Path, role: str, number: int, settings: dict[str, Any] | None = None) -> Started:
    place = folder / f"{role}{number}"
    place.mkdir(exist_ok=True)
    return part("ejfat_ends", place, os.environ, {**(settings or {}), "role": role})


def _wait_ready(balancer: Started, workers: int) -> None:
    """Wait until slots are dealt to all workers."""
    limit = time.monotonic() + READY_SECONDS
    ready = 0
    while ready < workers:
        if time.monotonic() > limit:
            raise PeerError(f"load balancer: expected {workers} workers within {READY_SECONDS:g} s, found {ready}")
        balancer.say({"ask": "workers"})
        ready = balancer.hear(ANSWER_SECONDS)["ready"]


def _end(balancer: Started) -> float:
    """Let the load balancer end; return the CPU s that it used."""
    balancer.finish_input()
    return balancer.hear(ANSWER_SECONDS)["cpu"]
