"""`rayfan bench knee`: the highest rate without a loss, of Rayfan and of a peer in turn, so that drift hits both."""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ioc.bench import appliance, pvapy
from ioc.bench.case import Case
from ioc.bench.limits import memcpy_gbps, tcp_loopback_gbps
from ioc.bench.machine import conditions
from ioc.bench.search import Effort, Run, Trial, knee
from ioc.core.errors import PeerError

log = logging.getLogger(__name__)

Side = Callable[[Path, Case, float | None, float], Trial]
"""Makes one run of a side in a folder: at a rate (None: as fast as it goes), for so many seconds."""
LIMIT_SECONDS = 1.0
PROBE_PART = 0.25
MATCHING_PEER = "pvapy-ad-sim-server; pvapy-hpc-consumer with a class that matches by time stamp and notes ids"
PEER_CLIENTS = "pvapy-ad-sim-server; each client a pvaccess Channel.monitor with a callback that notes ids"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long one run is (s), how often it is repeated, and whether the peer takes part."""

    seconds: float = 10.0
    repeats: int = 5
    peer: bool = True

    @property
    def effort(self) -> Effort:
        """What a search may take."""
        return Effort.of(self.seconds, PROBE_PART)


@dataclass(frozen=True, slots=True)
class Knees:
    """The good runs of both sides; `absent` says why there are none of the peer."""

    ours: list[Trial]
    peers: list[Trial]
    absent: str | None = None


def measure(folder: Path, case: Case, plan: Plan) -> dict[str, Any]:
    """Return the result of one case, with the limits of the machine measured in the same run.

    Raises:
        PeerError: Rayfan lost a frame in every run, or a process failed.
    """
    before = conditions()
    memory, tcp = memcpy_gbps(), tcp_loopback_gbps(folder, LIMIT_SECONDS)
    knees = alternate(folder, case, plan)
    result = figures(case, knees)
    return {**result, "memcpy_gbps": memory, "tcp_loopback_gbps": tcp} | {
        "memcpy_ratio": memcpy_ratio(case, result, memory),
        "case": _case_json(case),
        "seconds": plan.seconds,
        "repeats": plan.repeats,
        "peer": (MATCHING_PEER if case.metadata else PEER_CLIENTS) if plan.peer else None,
        "peer_absent": knees.absent,
        "conditions": before,
    }


def alternate(folder: Path, case: Case, plan: Plan, side: Side = appliance.run) -> Knees:
    """Return the knees of both sides, found in turn; `side` makes one run of ours."""
    absent = pvapy.missing() if plan.peer else "not asked for"
    if plan.peer and absent:
        log.warning("the peer is left out: %s", absent)
    ours: list[Trial] = []
    peers: list[Trial] = []
    for number in range(plan.repeats):
        log.info("%s, repeat %d of %d", case.title, number + 1, plan.repeats)
        ours.append(_ours(_in_turn(folder, case, side, "Rayfan"), case, plan, ours))
        if absent is None:
            try:
                peers.append(_peer(folder, case, plan, peers))
            except PeerError as error:
                absent = str(error)
                log.warning("the peer is left out from now on: %s", absent)
    return Knees(ours, peers, absent)


def figures(case: Case, knees: Knees) -> dict[str, Any]:
    """Return medians, ratio and the single runs; None where the peer has none."""
    ours = median(one.reached for one in knees.ours)
    peers = median(one.reached for one in knees.peers) if knees.peers else None
    return {
        "knee_fps": ours,
        "peer_knee_fps": peers,
        "ratio": ours / peers if peers else None,
        "gbytes_per_s": ours * case.frame_bytes / 1e9,
        "cpu_seconds_per_frame": _cpu(knees.ours),
        "peer_cpu_seconds_per_frame": _cpu(knees.peers),
        "runs": [_trial_json(one) for one in knees.ours],
        "peer_runs": [_trial_json(one) for one in knees.peers],
        "lost": sum(one.lost for one in knees.ours),
    }


def memcpy_ratio(case: Case, result: dict[str, Any], memory: float) -> float | None:
    """Return the rate at which frames were copied, as a part of the memory copy rate; None where none is copied.

    A frame that is written anew is copied once, by the detector, from private to shared memory: GB/s of pixels of the
    whole chain over GB/s of copying one large buffer to another, in one thread and the same run.
    """
    return result["gbytes_per_s"] / memory if case.fresh else None


def _ours(run: Run, case: Case, plan: Plan, earlier: list[Trial]) -> Trial:
    if not case.policy.may_drop:  # back-pressure finds the knee
        found = run(None, plan.seconds)
        if not found.good:
            raise PeerError(f"Rayfan, {case.title}: expected no loss under policy {case.policy.value}, found {found}")
        return found
    best = knee(run, plan.effort, earlier[-1] if earlier else None)
    if best is None:
        raise PeerError(f"Rayfan, {case.title}: no rate without a loss was found, see the progress above")
    return best


def _peer(folder: Path, case: Case, plan: Plan, earlier: list[Trial]) -> Trial:
    best = knee(_in_turn(folder, case, pvapy.run, "peer"), plan.effort, earlier[-1] if earlier else None)
    if best is None:
        raise PeerError(f"PvaPy, {case.title}: no rate without a loss was found")
    return best


def _in_turn(folder: Path, case: Case, side: Side, name: str) -> Run:
    def run(rate: float | None, seconds: float) -> Trial:
        with fresh(folder) as place:
            trial = side(place, case, rate, seconds)
        asked = "unpaced" if rate is None else f"{rate:.0f} Hz"
        log.info("  %s %s: %.0f frames/s over %g s, lost %d", name, asked, trial.reached, seconds, trial.lost)
        return trial

    return run


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """Yield an empty folder for one run."""
    place = folder / "one"
    place.mkdir(mode=0o700)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _cpu(trials: list[Trial]) -> float | None:
    known = [one.cpu_seconds for one in trials if one.cpu_seconds is not None]
    return median(known) if known else None


def _trial_json(trial: Trial) -> dict[str, Any]:
    return {
        "asked_fps": trial.asked,
        "fps": trial.reached,
        "lost": trial.lost,
        "cpu_seconds_per_frame": trial.cpu_seconds,
    }


def _case_json(case: Case) -> dict[str, Any]:
    return {
        "title": case.title,
        "size": case.size,
        "dtype": case.dtype.value,
        "consumers": case.consumers,
        "policy": case.policy.value,
        "batch": case.batch,
        "idle_groups": case.idle_groups,
        "fresh": case.fresh,
        "read": case.read,
        "metadata": case.metadata,
        "frame_bytes": case.frame_bytes,
    }
