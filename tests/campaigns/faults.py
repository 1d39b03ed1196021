"""Random faults against every process of a running appliance; the ledger has the last word.

    python -m tests.campaigns.faults [--faults 200] [--seed N] [--only kill,stop,slow] [--spare detector,...]

Each fault hits one random process while frames flow: `kill` (SIGKILL), `stop` (SIGSTOP until the supervisor or we end
it) or `slow` (stopped and continued in turn for a second). Then everything must run again. At the end: residue 0,
every drop with a reason, no process and no socket left.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.support.appliance import RunningAppliance, appliance

CONFIG = """
[detector]
frame_rate = 1000.0
size = [128, 128]
[detector.source]
pattern = "counter"
[groups.lossless]
count = 2
processor = "passthrough"
[groups.acknowledged]
count = 2
policy = "acknowledged"
processor = "statistics"
[groups.bounded]
count = 1
policy = "bounded"
queue_size = 100
processor = "passthrough"
[egress.out]
ingress = "in"
rate = 4.0
[ingress.in]
"""
NAMES = ("detector", "Cons1", "Cons2", "Cons3", "Cons4", "Cons5", "Ejfat1", "EjfatIn1")
REPAIR_SECONDS = 30.0
STOP_SECONDS = 4.0
MOST_A_MINUTE = 4
"""Faults against one process within a minute; the supervisor gives a process up that fails more often."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What was done to which process, and how long until everything ran again, in s."""

    kind: str
    name: str
    repaired: float
    at: float


def pid_of(running: RunningAppliance, name: str) -> int:
    """Return the process id that a process's status tells."""
    return int(running.status(name)["pid"])


def rested(names: list[str], done: list[Fault]) -> list[str]:
    """Return the processes that may be hit again."""
    lately = Counter(fault.name for fault in done if fault.at > time.monotonic() - 60.0)
    return [name for name in names if lately[name] < MOST_A_MINUTE] or names


def strike(running: RunningAppliance, kind: str, name: str) -> None:
    """Do one thing to one process."""
    pid = pid_of(running, name)
    if kind == "kill":
        os.kill(pid, signal.SIGKILL)
    elif kind == "stop":
        os.kill(pid, signal.SIGSTOP)
        limit = time.monotonic() + STOP_SECONDS
        while time.monotonic() < limit and pid_of(running, name) == pid:
            time.sleep(0.05)  # until the supervisor has replaced it
        _signal(pid, signal.SIGCONT)
    else:
        for _ in range(10):
            _signal(pid, signal.SIGSTOP)
            time.sleep(0.08)
            _signal(pid, signal.SIGCONT)
            time.sleep(0.02)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # replaced meanwhile


def run(faults: int, seed: int, kinds: list[str], names: list[str]) -> int:
    """Run the campaign; return the exit code."""
    dice = random.Random(seed)
    done: list[Fault] = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "campaign.toml").write_text(CONFIG)
        with appliance(Path(folder), "campaign.toml") as running:
            running.wait_running(*NAMES)
            for number in range(1, faults + 1):
                kind, name = dice.choice(kinds), dice.choice(rested(names, done))
                before = pid_of(running, name)
                begun = time.monotonic()
                strike(running, kind, name)
                if kind == "kill":
                    running.wait_until(
                        lambda name=name, before=before: running.status(name).get("pid") != before, "a new life", 30.0
                    )
                running.wait_running(*NAMES)
                seen = running.published()
                running.wait_until(lambda seen=seen: running.published() > seen + 50, "frames flow again", 30.0)
                done.append(Fault(kind, name, time.monotonic() - begun, begun))
                print(f"{number:4d} {kind:5s} {name:9s} {done[-1].repaired:5.1f} s", flush=True)
                time.sleep(dice.uniform(0.0, 0.5))  # frames between two faults
            report = running.stop()
            left = [path.name for path in running.run_dir.glob("frames")]
    print(f"seed {seed}: {Counter(fault.kind for fault in done)}")
    for stage in report["stages"]:
        print(f"  {stage['name']:9s} received {stage['received']:8d} dropped {stage['dropped']}")
    print(f"published {report['published']}, residue {report['residue']}, sockets left: {left or 'none'}")
    return 0 if report["residue"] == 0 and not left else 1


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--only", default="kill,stop,slow", help="kinds of faults")
    parser.add_argument("--spare", default="", help="processes that are left alone")
    given = parser.parse_args()
    names = [name for name in NAMES if name not in given.spare.split(",")]
    return run(given.faults, given.seed, given.only.split(","), names)


if __name__ == "__main__":
    sys.exit(main())
