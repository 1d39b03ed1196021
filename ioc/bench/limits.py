"""The machine's own limits in GB/s (1e9 bytes): copying memory, TCP over loopback, bare offloaded UDP."""

import logging
import os
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ioc.bench.machine import conditions
from ioc.bench.process import part
from ioc.bench.raw_ends import EVENTS, IP_UDP_BYTES
from ioc.core.errors import PeerError

log = logging.getLogger(__name__)

COPY_BYTES = 256 << 20
"""Larger than the caches."""
COPIES = 5
MTUS = (1500, 9000)
EVENT_BYTES = 1 << 20
ANSWER_SECONDS = 30.0


def memcpy_gbps(size: int = COPY_BYTES) -> float:
    """Return GB/s of copying `size` bytes from one buffer to another, one thread, the median of a few."""
    source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)
    rates = []
    for _ in range(COPIES):
        begun = time.perf_counter()
        np.copyto(target, source)
        rates.append(size / (time.perf_counter() - begun) / 1e9)
    return median(rates)


def tcp_loopback_gbps(folder: Path, seconds: float, readers: int = 1) -> float:
    """Return GB/s of TCP between processes, to `readers` at the same time, each with a sender of its own, summed up."""
    places = [folder / f"tcp{number}" for number in range(readers)]
    for place in places:
        place.mkdir()
    with ThreadPoolExecutor(readers, "tcp pair") as pool:
        pairs = [pool.submit(_pair, "tcp", place, {"seconds": seconds}) for place in places]
        rates = [_rate(pair.result()[0]) for pair in pairs]
    for place in places:
        shutil.rmtree(place)
    return sum(rates)


@dataclass(frozen=True, slots=True)
class Bare:
    """How a bare pair moves events of `event_bytes` in packets of `mtu` bytes.

    `offload`: 64 KiB a call, else a call a packet. `placed`: different events are sent in turn, and every byte lands at
    its own place in the memory of an event, as with a receiver that hands events out; otherwise one buffer, which the
    caches hold, is sent and received again and again.
    """

    mtu: int
    event_bytes: int = EVENT_BYTES
    offload: bool = True
    placed: bool = False


def bare_udp(folder: Path, bare: Bare, seconds: float) -> dict[str, float]:
    """Return what a bare pair moves unpaced: GB/s that arrive and that `sendmsg` took, and the part lost.

    What arrives (`gbps`) is what counts: a pair that loses shows the most that the receiving end can take. `cpu` is the
    CPU s of sender and receiver for each GB that they handled.
    """
    size = bare.event_bytes
    received = {"offload": bare.offload, "event_bytes": size if bare.placed else 0}
    settings = {"packet_bytes": bare.mtu - IP_UDP_BYTES, "event_bytes": size, "offload": bare.offload}
    settings |= {"seconds": seconds, "events": EVENTS if bare.placed else 1}
    got, sent = _pair("udp", folder, settings, received)
    lost = max(0.0, 1 - got["bytes"] / max(1, sent["bytes"]))
    cpu = sent["cpu"] / max(1, sent["bytes"]) + got["cpu"] / max(1, got["bytes"])
    return {"gbps": _rate(got), "sendmsg_gbps": _rate(sent), "lost_part": lost, "cpu": cpu * 1e9}


def measure(folder: Path, seconds: float) -> dict[str, Any]:
    """Return all limits and the conditions that they were measured under."""
    udp = {str(mtu): _bare_or_none(folder, mtu, seconds) for mtu in MTUS}
    return {
        "memcpy_gbps": memcpy_gbps(),
        "tcp_loopback_gbps": tcp_loopback_gbps(folder, seconds),
        "sendmsg_gbps": {mtu: one and one["sendmsg_gbps"] for mtu, one in udp.items()},
        "udp_bare_gbps": {mtu: one and one["gbps"] for mtu, one in udp.items()},
        "udp_bare_lost_part": {mtu: one and one["lost_part"] for mtu, one in udp.items()},
        "conditions": conditions(),
    }


def _bare_or_none(folder: Path, mtu: int, seconds: float) -> dict[str, float] | None:
    """Return what a bare pair moves; None where the kernel has no segmentation offload."""
    try:
        return bare_udp(folder, Bare(mtu), seconds)
    except PeerError as error:
        log.warning("bare UDP at MTU %d left out: %s", mtu, error)
        return None


def _pair(
    kind: str, folder: Path, settings: dict[str, Any], received: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the receiver and the sender of a bare pair said; `received` are settings of the receiver."""
    wait = settings["seconds"] + ANSWER_SECONDS
    with part("raw_ends", folder, os.environ, {"role": f"{kind}-receive", **(received or {})}) as receiver:
        port = receiver.hear(ANSWER_SECONDS)["port"]
        with part("raw_ends", folder, os.environ, {"role": f"{kind}-send", "port": port, **settings}) as sender:
            sent = sender.hear(wait)
            return receiver.hear(wait), sent


def _rate(got: dict[str, Any]) -> float:
    return got["bytes"] / got["seconds"] / 1e9 if got["seconds"] > 0 else 0.0
