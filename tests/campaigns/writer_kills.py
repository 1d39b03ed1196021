"""kill -9 of the file writer at random moments while it writes: what it said was flushed is there, and is finished.

    python -m tests.campaigns.writer_kills [--kills 20] [--seconds 150]

Frames flow all the time. Each round captures into a file of its own, asks for FlushNow, and kills the writer a random
moment later. Asked of each round: a reader beside the writer (SWMR) finds all frames that NumCaptured_RBV counted when
FlushNow was put, their ids without a gap, pixels that are those of the id; `rayfan repair` makes a whole file with at
least those; the next life names the file. Every other round the writer has the frames of a plug-in, compressed. In the
end the process of the plug-ins is killed, too. The ledger has the last word.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters that reading needs
from numpy.typing import NDArray

from detector_sim.counter import counter_of
from ioc.channels import hdf5_layout as layout
from tests.support.appliance import RAYFAN, appliance
from tests.support.clients import User, user_of

CONFIG = """
[detector]
frame_rate = 400
size = [64, 48]
acquire_at_start = false
source = { pattern = "counter" }
[writers.files]
policy = "lossless"
queue_size = 256
[plugins]
names = ["ROI1", "Codec1"]
policy = "lossless"
[supervision]
most_failures = 1000
longest_delay = 0.5
"""
IDS = f"{layout.ATTRIBUTES}/{layout.UNIQUE_ID}"
PORTS = ("SIM1", "CODEC1")


def prepare(user: User) -> None:
    """Let frames flow, also through the plug-ins."""
    for name, value in (("ROI1:SizeX", 32), ("Codec1:NDArrayPort", "ROI1"), ("Codec1:Compressor", "BSLZ4")):
        user.put(name, value)
    for name in ("ROI1", "Codec1"):
        user.put(f"{name}:QueueSize", 1000)
        user.put(f"{name}:EnableCallbacks", 1)
    user.put("HDF1:FilePath", str(user.run.folder))
    user.put("HDF1:FileTemplate", "%s%s.h5")
    user.put("HDF1:FileWriteMode", "Stream")
    user.put("HDF1:NumCapture", 0)
    user.put("HDF1:EnableCallbacks", 1)
    user.put("cam1:ImageMode", "Continuous")
    user.put_plain("cam1:Acquire", 1)


def read(path: Path, **options: Any) -> tuple[list[int], list[bool]]:
    """Return the ids in a file, and of each frame whether its pixels, all of them, are those of its id."""
    with h5py.File(path, "r", **options) as file:
        ids: Any = file[IDS]
        data: Any = file[layout.DATA]
        found = ids[:].tolist()
        return found, [shows(number, frame) for number, frame in zip(found, data, strict=False)]


def shows(number: int, frame: NDArray) -> bool:
    """Return whether a frame of the pattern `counter` is the one with this number, and whole."""
    try:
        return counter_of(frame) == number
    except ValueError:
        return False


def one_round(user: User, number: int, dice: random.Random) -> tuple[str, list[str]]:
    """Capture, kill, look, repair; return what was seen and what is wrong."""
    run, port = user.run, PORTS[number % 2]
    pid = run.status("HDF1")["pid"]
    user.put("HDF1:NDArrayPort", port)
    user.put("HDF1:FileName", f"killed{number}")
    user.put_plain("HDF1:Capture", 1)
    least = dice.randint(1, 300)
    user.wait_until("HDF1:NumCaptured_RBV", lambda count: count >= least, f"at least {least}")
    said = user.get("HDF1:NumCaptured_RBV")
    user.put("HDF1:FlushNow", 1)
    time.sleep(dice.uniform(0.0, 0.4))  # the moment of the kill is to be any
    os.kill(pid, signal.SIGKILL)
    path = run.folder / f"killed{number}.h5"
    run.wait_until(lambda: run.runs("HDF1") and run.status("HDF1")["pid"] != pid, "HDF1 is back")
    ids, good = read(path, swmr=True, libver="latest")
    wrong = [f"{len(ids)} frames can be read, {said} were flushed"] if len(ids) < said else []
    if ids != list(range(ids[0], ids[0] + len(ids))) if ids else True:
        wrong.append(f"ids with gaps: {ids[:3]} ... {ids[-3:]}, {len(ids)} of them")
    user.wait("HDF1:WriteStatus", "Write error")
    if f"rayfan repair {path}" not in user.get("HDF1:WriteMessage"):
        wrong.append(f"the next life says: {user.get('HDF1:WriteMessage')}")
    done = subprocess.run([RAYFAN, "repair", path], capture_output=True, text=True, timeout=60, check=False)
    repaired, still_good = read(path) if done.returncode == 0 else ([], [])
    if not all(good) or not all(still_good):
        wrong.append(f"{good.count(False)} frames are not those of their ids, {still_good.count(False)} repaired")
    if repaired[: len(ids)] != ids or len(still_good) != len(repaired):
        wrong.append(f"repair: {len(repaired)} of {len(ids)} frames: {done.stdout}{done.stderr}"[:400])
    return f"{port:6s} said {said:4d}, read {len(ids):4d}, repaired {len(repaired):4d}", wrong


def kill_plugins(user: User) -> None:
    """Kill the process of the plug-ins, too, once, and let frames flow through the next one."""
    run = user.run
    pid = run.status("Plug1")["pid"]
    os.kill(pid, signal.SIGKILL)
    run.wait_until(lambda: run.runs("Plug1") and run.status("Plug1")["pid"] != pid, "Plug1 is back")
    user.wait_until("Codec1:ArrayCounter_RBV", lambda count: count > 0, "above 0")


def campaign(kills: int, seconds: float, seed: int) -> int:
    """Run the campaign; return the exit code."""
    dice, until = random.Random(seed), time.monotonic() + seconds
    wrong: list[str] = []
    rounds = 0
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rayfan.toml").write_text(CONFIG)
        with appliance(Path(folder), "rayfan.toml") as run:
            run.wait_running("detector", "HDF1", "Plug1")
            with user_of(run) as user:
                prepare(user)
                for rounds in range(1, kills + 1):
                    seen, faults = one_round(user, rounds, dice)
                    print(f"{rounds:3d} {seen}{'  WRONG ' + '; '.join(faults) if faults else ''}", flush=True)
                    wrong += faults
                    if time.monotonic() > until:
                        break
                kill_plugins(user)
                user.put("cam1:Acquire", 0)
            report = run.stop()
    for stage in report["stages"]:
        print(
            f"  {stage['name']:14s} received {stage['received']:7d} failed {stage['failed']} dropped {stage['dropped']}"
        )
    print(
        f"seed {seed}: {rounds} kills, {len(wrong)} faults; {report['published']} frames, residue {report['residue']}"
    )
    return 0 if not wrong and report["residue"] == 0 and complete(report) else 1


def complete(report: dict[str, Any]) -> bool:
    """Return whether every frame that came to a plug-in, or to a writer behind one, came to an end that is named."""
    waiting = [row for row in report["accounts"] if row["group"] == "Plug1" and (row["waiting"] or not row["exact"])]
    for row in waiting:
        print(f"  not accounted for: {row}")
    return not waiting


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    given = parser.parse_args()
    return campaign(given.kills, given.seconds, given.seed)


if __name__ == "__main__":
    sys.exit(main())
