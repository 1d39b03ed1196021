"""`rayfan bench pva`: frames over pvAccess to PvaPy's stock clients, from Rayfan and from PvaPy's simulator in turn.

Rayfan's side is a whole detector whose clients are members of Lossless groups by PvaPy's own request, so that
back-pressure finds the highest rate; the simulator's is searched for. The clients are the same processes on both sides.
Clients that take turns are members of one group; where each gets every frame, each has a group of its own.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioc.bench import pvapy
from ioc.bench.appliance import WARM_SECONDS, Appliance
from ioc.bench.case import Case, detector_toml
from ioc.bench.knee import PEER_CLIENTS, Knees, Plan, alternate
from ioc.bench.machine import conditions
from ioc.bench.process import Started, cpu_seconds, part, wait_while
from ioc.bench.search import Trial
from ioc.core.errors import PeerError
from ioc.core.frame import DataType

log = logging.getLogger(__name__)

CASES = {1: "one_client", 2: "two_members", 4: "four_members"}
"""How many clients take turns, and what the result calls that."""
GROUP = "bench"
QUEUE_SIZE = 64
JOIN_SECONDS = 30.0
LATE_BYTES_PER_SECOND = 1e7
"""How much longer a client may need than another for a frame that was sent at the same time."""


def measure(folder: Path, size: int, plan: Plan, counts: tuple[int, ...] = (1, 2, 4)) -> dict[str, Any]:
    """Return rates, ratios and CPU for square uint8 frames of `size` pixels, for each number of clients.

    Raises:
        PeerError: Rayfan lost a frame, or a process failed.
    """
    before = conditions()
    result: dict[str, Any] = {"size": size, "seconds": plan.seconds, "repeats": plan.repeats}
    for count in counts:
        knees = alternate(folder, Case(size, DataType.UINT8, count), plan, run)
        result |= {f"{key}_{CASES[count]}": value for key, value in figures(knees).items()}
        result["peer_absent"] = knees.absent
    return result | {"peer": PEER_CLIENTS if plan.peer else None, "conditions": before}


def figures(knees: Knees) -> dict[str, Any]:
    """Return medians of both sides, their ratio, and the frames that Rayfan lost; None where the peer has none."""
    ours = median(one.reached for one in knees.ours)
    peers = median(one.reached for one in knees.peers) if knees.peers else None
    server, peer_server = _server_cpu(knees.ours), _server_cpu(knees.peers)
    return {
        "ratio": ours / peers if peers else None,
        "fps": ours,
        "peer_fps": peers,
        "lost": sum(one.lost for one in knees.ours),
        "cpu_seconds_per_frame": _cpu(knees.ours),
        "peer_cpu_seconds_per_frame": _cpu(knees.peers),
        "server_cpu_seconds_per_frame": server,
        "peer_server_cpu_seconds_per_frame": peer_server,
        "server_cpu_ratio": server / peer_server if server and peer_server else None,
    }


def groups_of(case: Case) -> list[str]:
    """Return the group of each client."""
    return [f"{GROUP}{number if case.broadcast else ''}" for number in range(case.consumers)]


def configuration(case: Case, frame_rate: float | None) -> str:
    """Return the configuration of a detector with groups for clients that join by request."""
    table = f'count = 0\nplacement = "remote"\npolicy = "{case.policy.value}"\nqueue_size = {QUEUE_SIZE}\n'
    groups = dict.fromkeys(groups_of(case))
    return detector_toml(case, frame_rate) + "".join(f"\n[groups.{group}]\n{table}" for group in groups)


def run(folder: Path, case: Case, frame_rate: float | None, seconds: float) -> Trial:
    """Return what a detector and its clients did at `frame_rate` Hz (None: as fast as it goes) in `seconds`.

    Raises:
        PeerError: a process failed, or frames are unaccounted for.
    """
    late = pvapy.SETTLE_SECONDS + case.frame_bytes / LATE_BYTES_PER_SECOND
    return run_with(folder, case, (frame_rate, seconds), settle=late)


def run_with(
    folder: Path,
    case: Case,
    pace: tuple[float | None, float],
    delays: Sequence[float] = (),
    settle: float = pvapy.SETTLE_SECONDS,
) -> Trial:
    """Return what a detector and clients did at `pace` (Hz, s); client i waits `delays[i]` s over each frame.

    What comes within `settle` s after the measurement is no loss.

    Raises:
        PeerError: a process failed, or frames are unaccounted for.
    """
    frame_rate, seconds = pace
    with Appliance(folder, configuration(case, frame_rate), seconds) as running, ExitStack() as stack:
        running.wait_for_frames(["detector"])
        clients = [
            stack.enter_context(_client(folder, number, (running, group), delays))
            for number, group in enumerate(groups_of(case))
        ]
        for client in clients:
            client.hear(JOIN_SECONDS)
        _wait_joined(running, case)
        running.wait(WARM_SECONDS)
        servers, pids = running.pids(), [client.pid for client in clients]
        begin, server_cpu, cpu = time.monotonic_ns(), cpu_seconds(servers), cpu_seconds(pids)
        wait_while(clients, seconds)
        end, server_cpu, cpu = time.monotonic_ns(), cpu_seconds(servers) - server_cpu, cpu_seconds(pids) - cpu
        wait_while(clients, settle)
        for client in clients:
            client.finish_input()
        for client in clients:
            client.hear(pvapy.ANSWER_SECONDS)
        report = running.stop()
    notes = [_notes(folder, number) for number in range(case.consumers)]
    if not case.policy.may_drop:
        _check(report, groups_of(case))
    trial = pvapy.judge(case, notes, (begin, end), cpu + server_cpu, frame_rate)
    return pvapy.with_server(trial, server_cpu, (begin, end))


def _check(report: Mapping[str, Any], groups: Sequence[str]) -> None:
    """Look whether the ledger, too, says that members of the groups lost nothing before they left."""
    gone = {"member_gone", "no_member"}  # what was on its way when the clients ended, and what nobody was there for
    stages = [stage for stage in report["stages"] if stage["group"] in groups]
    lost = {why: count for one in stages for why, count in one["dropped"].items() if count and why not in gone}
    if lost:
        raise PeerError(f"Rayfan: expected that members lose nothing, found {lost}")


def _client(folder: Path, number: int, place: tuple[Appliance, str], delays: Sequence[float]) -> Started:
    running, group = place
    request = f"record[queueSize={QUEUE_SIZE}]field(_[pydistributor=group:{group};trigger:uniqueId])"
    settings = {
        "role": f"client{number}",
        "channel": f"{running.prefix}Pva1:Image",
        "request": request,
        "file": str(_notes_file(folder, number)),
        "read": False,
        "delay": delays[number] if number < len(delays) else 0.0,
    }
    return part("pvapy_monitor", folder, {**running.environment, "EPICS_PVAS_SERVER_PORT": "0"}, settings)


def _wait_joined(running: Appliance, case: Case) -> None:
    limit = time.monotonic() + JOIN_SECONDS
    while _members(running.status("detector"), groups_of(case)) < case.consumers:
        if time.monotonic() > limit:
            raise PeerError(f"Rayfan: expected {case.consumers} members within {JOIN_SECONDS:g} s")
        running.wait(0.05)


def _members(status: Mapping[str, Any], names: Sequence[str]) -> int:
    groups = [group for group in status.get("groups", []) if group["name"] in names]
    return sum(member["present"] for group in groups for member in group["members"])


def _notes_file(folder: Path, number: int) -> Path:
    return folder / f"notes{number}"


def _notes(folder: Path, number: int) -> NDArray[np.int64]:
    return np.fromfile(_notes_file(folder, number), np.int64).reshape(2, -1)


def _cpu(trials: list[Trial]) -> float | None:
    known = [one.cpu_seconds for one in trials if one.cpu_seconds is not None]
    return median(known) if known else None


def _server_cpu(trials: list[Trial]) -> float | None:
    known = [one.server_cpu_seconds for one in trials if one.server_cpu_seconds is not None]
    return median(known) if known else None
