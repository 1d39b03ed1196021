"""The peer: PvaPy's stock area detector simulator and its clients, each in a process of its own, on loopback."""

import json
import logging
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ioc.bench import workplace
from ioc.bench.case import PREPARED, Case
from ioc.bench.machine import installed
from ioc.bench.process import Started, cpu_seconds, part, wait_while
from ioc.bench.search import Trial

log = logging.getLogger(__name__)

SERVER = "pvapy-ad-sim-server"
CONSUMER = "pvapy-hpc-consumer"
CHANNEL = "bench:image"
START_DELAY = 3.0
"""s after its start until the simulator publishes: the clients have joined by then."""
WARM_SECONDS = 0.5
QUEUE_BYTES = 2 << 30
QUEUE_SIZES = (64, 2000)
"""Frames that the simulator may queue for one client: at least and at most; PvaPy's own default is 2."""
ANSWER_SECONDS = 20.0
UNPACED = 0.0
"""What the simulator takes for as fast as it goes."""
LATE_SECONDS = 1.5
"""s that simulator and clients may need for their own start before that."""
SETTLE_SECONDS = 0.3
"""s after the measurement for frames that one client has before another."""


def missing() -> str | None:
    """Return why there is no peer, None if there is one."""
    if installed("pvapy") is None or server_path() is None:
        return f"PvaPy is not installed in {sys.prefix}: pip install 'rayfan[bench]'"
    return None


def server_path() -> str | None:
    """Return the simulator of this Python environment, else the one on the PATH."""
    return tool_path(SERVER)


def tool_path(name: str) -> str | None:
    """Return a command of PvaPy of this Python environment, else the one on the PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.is_file() else shutil.which(name)


def run(folder: Path, case: Case, frame_rate: float | None, seconds: float) -> Trial:
    """Return what simulator and clients did at `frame_rate` Hz (None: as fast as it goes).

    Raises:
        PeerError: one of the processes failed.
    """
    environment = workplace.environment()
    with ExitStack() as stack:
        begun = time.monotonic()
        command = _command(case, frame_rate, seconds)
        server = stack.enter_context(Started(SERVER, command, folder / "server.log", environment))
        clients = [stack.enter_context(_client(folder, number, case, environment)) for number in range(case.consumers)]
        for client in clients if not case.metadata else ():
            client.hear(ANSWER_SECONDS)
        wait_while([server, *clients], begun + START_DELAY + LATE_SECONDS + WARM_SECONDS - time.monotonic())
        window, cpu, server_cpu = _measure([server, *clients], seconds)
        for client in clients if not case.metadata else ():
            client.finish_input()
        for client in clients if not case.metadata else ():
            client.hear(ANSWER_SECONDS)
    notes = [_notes(_notes_file(folder, number)) for number in range(case.consumers)]
    return with_server(judge(case, notes, window, cpu, frame_rate), server_cpu, window)


def judge(
    case: Case, notes: list[NDArray[np.int64]], window: tuple[int, int], cpu: float, asked: float | None
) -> Trial:
    """Return the trial of the clients of a case: of all together, or where each gets all frames of the one with least.

    A frame that one of those did not get is lost, whoever else got it.
    """
    if not case.broadcast:
        return judged(notes, window, cpu, asked)
    each = [judged([one], window, cpu / len(notes), asked) for one in notes]
    return replace(min(each, key=lambda one: one.reached), lost=sum(one.lost for one in each))


def with_server(trial: Trial, cpu: float, window: tuple[int, int]) -> Trial:
    """Return a trial with the CPU s of the sending processes, for each frame that came."""
    frames = trial.reached * (window[1] - window[0]) / 1e9
    return replace(trial, server_cpu_seconds=cpu / frames) if frames else trial


def judged(notes: list[NDArray[np.int64]], window: tuple[int, int], cpu: float, asked: float | None) -> Trial:
    """Return the trial of clients that noted ids and times `notes[client][0 or 1]`, in a window of monotonic ns.

    Frames count that came within the window. All ids from the first to the last of them must have come to one client,
    at any time: what one client has after the last common moment is not yet a loss of the others.
    """
    times = np.concatenate([one[1] for one in notes])
    ids = np.concatenate([one[0] for one in notes])
    inside = ids[(times >= window[0]) & (times <= window[1])]
    if not len(inside):
        return Trial(asked, 0.0, 0)
    seconds = (window[1] - window[0]) / 1e9
    return Trial(asked, len(inside) / seconds, lost_ids(ids, inside), cpu / len(inside))


def lost_ids(ids: NDArray[np.int64], inside: NDArray[np.int64]) -> int:
    """Return how many ids in the range of `inside` are not in `ids`, plus how many came twice."""
    low, high = int(inside.min()), int(inside.max())
    span = np.sort(ids[(ids >= low) & (ids <= high)])
    different = len(np.unique(span))
    return (high - low + 1 - different) + (len(span) - different)


def _client(folder: Path, number: int, case: Case, environment: Mapping[str, str]) -> Started:
    file = _notes_file(folder, number)
    if case.metadata:
        return _matching_client(folder, file, case, environment)
    settings = {
        "role": f"client{number}",
        "channel": CHANNEL,
        "request": request(case),
        "file": str(file),
        "read": case.read,
    }
    return part("pvapy_monitor", folder, {**environment, "EPICS_PVAS_SERVER_PORT": "0"}, settings)


def _matching_client(folder: Path, file: Path, case: Case, environment: Mapping[str, str]) -> Started:
    """Return a stock consumer of PvaPy with a class that matches frames and metadata."""
    path = tool_path(CONSUMER)
    assert path is not None, "missing() was asked before"
    arguments: dict[str, object] = {
        "-ic": CHANNEL,
        "-pf": Path(__file__).with_name("pvapy_matching.py"),
        "-pc": "Matching",
        "-pa": json.dumps({"file": str(file)}),
        "-mc": metadata_channels(case),
        "-sqs": QUEUE_SIZES[1],
        "-rqs": QUEUE_SIZES[1],
        "-rp": 0,
    }
    command = [path, "-dc", *(str(word) for pair in arguments.items() for word in pair)]
    return Started(CONSUMER, command, folder / "consumer.log", {**environment, "EPICS_PVAS_SERVER_PORT": "0"})


def metadata_channels(case: Case) -> str:
    """Return the metadata channels as PvaPy's commands take them."""
    return ",".join(f"pva://bench:{name}" for name in case.channels())


def _notes(file: Path) -> NDArray[np.int64]:
    """Return ids and times `[2, n]`; the rest of a file that was made larger than needed is zeros."""
    notes = np.fromfile(file, np.int64).reshape(2, -1)
    return notes[:, : int(np.count_nonzero(notes[0]))]


def _notes_file(folder: Path, number: int) -> Path:
    return folder / f"notes{number}"


def _measure(running: Sequence[Started], seconds: float) -> tuple[tuple[int, int], float, float]:
    """Return the window (monotonic ns), and the CPU s that all, and the first, used in it."""
    pids = [one.pid for one in running]
    first, first_cpu, first_server = time.monotonic_ns(), cpu_seconds(pids), cpu_seconds(pids[:1])
    wait_while(running, seconds)
    last, last_cpu, last_server = time.monotonic_ns(), cpu_seconds(pids), cpu_seconds(pids[:1])
    wait_while(running, SETTLE_SECONDS)
    return (first, last), last_cpu - first_cpu, last_server - first_server


def request(case: Case) -> str:
    """Return a client's request: a queue on the server, and a place in a group if there are several."""
    least, most = QUEUE_SIZES
    queue = min(most, max(least, QUEUE_BYTES // case.frame_bytes))
    if case.consumers == 1 or case.broadcast:
        return f"record[queueSize={queue}]field()"
    return f"record[queueSize={queue}]field(_[pydistributor=group:bench;trigger:uniqueId;updates:1])"


def _command(case: Case, frame_rate: float | None, seconds: float) -> list[str]:
    path = server_path()
    assert path is not None, "missing() was asked before"
    runtime = START_DELAY + LATE_SECONDS + WARM_SECONDS + seconds + ANSWER_SECONDS
    arguments: dict[str, object] = {
        "-cn": CHANNEL,
        "-nx": case.size,
        "-ny": case.size,
        "-dt": case.dtype.value.lower(),
        "-nf": PREPARED,
        "-cs": PREPARED,
        "-fps": UNPACED if frame_rate is None else f"{frame_rate:.3f}",
        "-rt": f"{runtime:.1f}",
        "-std": START_DELAY,
        "-shd": 0,
        "-rp": 0,
    }
    if case.metadata:
        arguments["-mpv"] = metadata_channels(case)
    return [path, "-dc", *(str(word) for pair in arguments.items() for word in pair)]
