"""Restarts by command, one process after the other, while frames flow Lossless: nothing is lost, nobody is reordered.

    python -m tests.campaigns.restarts [--rounds 5] [--rate 1000]

A chain with two consumers in turn, a collector that puts their frames back into order, and two more consumers behind
each other; an egress to an ingress beside it. Every process that may be restarted by command is, `rounds` times,
through `$(P)Restart`. At the end the ledger closes, and each stage has had every frame, the one behind the collector in
order: what the egress sent is lost on the wire only where the kernel dropped packets.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ioc.core.config import load
from ioc.supervisor.plan import ASIDE, plan, why_not_restarted
from tests.support.appliance import RunningAppliance, appliance
from tests.support.clients import User, user_of

CONFIG = """
[detector]
size = [64, 64]
acquire_at_start = true
frame_rate = {rate}
[groups.stats]
count = 2
[collectors.all]
input = "groups.stats"
wait = 60.0
[groups.behind]
input = "collectors.all"
processor = "bin"
[groups.last]
input = "groups.behind"
processor = "statistics"
[egress.demo]
ingress = "demo"
[ingress.demo]
"""
WIRE = "EjfatIn1"
"""Its packets may be dropped by the kernel, which has nothing to do with restarts."""


def restart(run: RunningAppliance, user: User, name: str) -> None:
    """Restart a process, and wait until it runs again and frames go on."""
    pid, begun = run.status(name)["pid"], time.monotonic()
    user.put("Restart", name)
    run.wait_until(lambda: run.runs(name) and run.status(name)["pid"] != pid, f"{name} is started anew")
    took, before = time.monotonic() - begun, run.published()
    run.wait_until(lambda: run.published() > before, "frames go on")
    print(f"{name}: started anew after {took:.1f} s, {before} frames published", flush=True)


def losses(report: dict[str, Any]) -> list[str]:
    """Return what is not as it must be, besides what `assert_closed` sees: each group is given every frame once."""
    published = report["published"]
    faults = [
        f"{stage['name']}: lost {stage['dropped']}, failed {stage['failed']}"
        for stage in report["stages"]
        if stage["name"] != WIRE and (stage["failed"] or any(stage["dropped"].values()))
    ]
    given: Counter[str] = Counter()
    for hop in report["hops"]:
        given[hop["name"].partition(" -> ")[2]] += hop["given"]
    return faults + [
        f"group {name}: given {count} frames of {published}"
        for name, count in given.items()
        if name and count != published
    ]


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=1000.0, help="Hz")
    options = parser.parse_args()
    text = CONFIG.format(rate=options.rate)
    specs = [one for one in plan(load(text, "restarts"), Path()) if one.role not in ASIDE]
    able = [one.name for one in specs if why_not_restarted(one.config, one.role, one.table) is None]
    with tempfile.TemporaryDirectory(prefix="rayfan-restarts-") as name:
        folder = Path(name)
        (folder / "rayfan.toml").write_text(text)
        with appliance(folder, "rayfan.toml") as run, user_of(run) as user:
            run.wait_running(*(one.name for one in specs))
            for _ in range(options.rounds):
                for one in able:
                    restart(run, user, one)
            report = run.stop()
    faults = losses(report)
    for fault in faults:
        print(f"NOT GOOD: {fault}")
    print(f"{options.rounds} restarts each of {', '.join(able)}: {report['published']} frames, residue 0")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
