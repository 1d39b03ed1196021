"""Random faults against every process of a running appliance; the ledger has the last word.

    python -m tests.campaigns.faults [--faults 200] [--seed N] [--only kill,stop,slow] [--spare detector,...]
                                     [--kill-everything]

Each fault hits one random process while frames flow: `kill` (SIGKILL), `stop` (SIGSTOP until the supervisor or we end
it) or `slow` (stopped and continued in turn for a second). The supervisor is only killed: the next one takes over, with
all accounts. Then everything must run again. At the end: residue 0, every drop with a reason and an id, every series
closed, no process, no socket and no shared memory left. With `--kill-everything` every process is killed instead, and
the next start in the same run folder closes the account of the run before.
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
from typing import Any

from ioc.supervisor.ledger_report import LedgerReader, accounts_json
from ioc.supervisor.ledger_store import FILE
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
SUPERVISOR = "supervisor"
MOST_SUPERVISORS = 4
"""Times that the supervisor is killed; `rayfan up` starts it again five times."""
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
    if sum(fault.name == SUPERVISOR for fault in done) >= MOST_SUPERVISORS:
        names = [name for name in names if name != SUPERVISOR]
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


def run(faults: int, seed: int, kinds: list[str], names: list[str], everything: bool) -> int:
    """Run the campaign; return the exit code."""
    dice = random.Random(seed)
    done: list[Fault] = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "campaign.toml").write_text(CONFIG)
        with appliance(Path(folder), "campaign.toml") as running:
            running.wait_running(*NAMES)
            for number in range(1, faults + 1):
                kind, name = dice.choice(kinds), dice.choice(rested(names, done))
                kind = "kill" if name == SUPERVISOR else kind
                before = pid_of(running, name)
                begun = time.monotonic()
                strike(running, kind, name)
                if kind == "kill":
                    running.wait_until(
                        lambda name=name, before=before: running.status(name).get("pid") != before, "a new life", 30.0
                    )
                running.wait_running(*NAMES, SUPERVISOR)
                seen = running.published()
                running.wait_until(lambda seen=seen: running.published() > seen + 50, "frames flow again", 30.0)
                done.append(Fault(kind, name, time.monotonic() - begun, begun))
                print(f"{number:4d} {kind:5s} {name:9s} {done[-1].repaired:5.1f} s", flush=True)
                time.sleep(dice.uniform(0.0, 0.5))  # frames between two faults
            pids = {name: pid_of(running, name) for name in (*NAMES, SUPERVISOR)}
            report = kill_everything(running, pids) if everything else running.stop()
            left = [path.name for path in running.run_dir.glob("frames")]
            left += [f"process {name}" for name, pid in pids.items() if _lives(pid)]
            left += [path.name for path in Path("/dev/shm").glob("*rayfan*")]
    print(f"seed {seed}: {Counter(fault.kind for fault in done)}")
    for stage in report["stages"]:
        print(f"  {stage['name']:9s} received {stage['received']:8d} dropped {stage['dropped']}")
    print(f"published {report['published']}, residue {report['residue']}, left behind: {left or 'nothing'}")
    return 0 if report["residue"] == 0 and not left else 1


def _lives(pid: int) -> bool:
    """Return whether a process is there and is more than an entry that nobody has asked for yet (proc(5), Z)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def kill_everything(running: RunningAppliance, pids: dict[str, int]) -> dict[str, Any]:
    """Kill every process, start anew in the same run folder, and return the report of the new run.

    The account of the run before must be closed then, from what the killed processes left behind.
    """
    running.process.kill()
    for pid in pids.values():
        _signal(pid, signal.SIGKILL)
    running.process.wait(10)
    second = RunningAppliance(running.folder, ["campaign.toml"], running.environment, running.prefix)
    try:
        second.wait_running(*NAMES)
        report = second.stop()
    finally:
        second.kill_everything()
    reader = LedgerReader(running.run_dir / FILE)
    try:
        before = reader.runs()[-2]
        print(f"the run that was killed: {before.published} frames, residue {before.residue}")
        assert before.residue == 0 and before.published > 0, before
        for number, one in reader.series(before.run):
            rows = [row for row in accounts_json(number, one) if row["waiting"] or not row["exact"]]
            assert one.ended is not None and not rows, f"series {number} does not close: {rows}"
    finally:
        reader.close()
    return report


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--only", default="kill,stop,slow", help="kinds of faults")
    parser.add_argument("--spare", default="", help="processes that are left alone")
    parser.add_argument("--kill-everything", action="store_true", help="kill all processes at the end, and start anew")
    given = parser.parse_args()
    names = [name for name in (*NAMES, SUPERVISOR) if name not in given.spare.split(",")]
    return run(given.faults, given.seed, given.only.split(","), names, given.kill_everything)


if __name__ == "__main__":
    sys.exit(main())
