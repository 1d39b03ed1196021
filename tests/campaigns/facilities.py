"""Two facilities: frames by EJFAT through a load balancer to three workers, their results back; the ledger's verdict.

    python -m tests.campaigns.facilities [--frames 600] [--seed N] [--only clean,loss,...]

Runs ops/examples/facility-a.toml once and facility-b.toml three times, each a whole appliance, on two network
namespaces where the machine allows that, else on loopback (the reason is printed). Each case is one series of frames
under one kind of trouble: packets lost, delayed, overtaken, doubled (by the fault settings of the lab's load balancer,
which are the same on every machine), a worker killed, one joining, one leaving, the load balancer killed and started
anew in mid-stream. Of each series is told
what was sent, what each worker got and what came back, from the ledgers of all appliances together. Without loss and
kill nothing may be missing at the workers; whatever is missing has its id in the ledger.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.appliance import RunningAppliance, count_ids
from tests.support.epics import free_port, isolated_environment
from tests.support.namespaces import Host, Hosts, two_hosts

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "ops" / "examples"
WORKERS = 3
PUT_SECONDS = 20.0
SETTLE_SECONDS = 20.0
CALM = {"Loss": 0.0, "Duplicate": 0.0, "Reorder": 0.0, "Delay": 0.0, "Jitter": 0.0}
FAULTS: dict[str, dict[str, float]] = {
    "clean": {},
    "loss": {"Loss": 0.002},
    "delay": {"Delay": 0.02},
    "reorder": {"Reorder": 0.2, "Jitter": 0.005},
    "duplicate": {"Duplicate": 0.2},
    "all four": {"Loss": 0.002, "Delay": 0.005, "Reorder": 0.1, "Jitter": 0.005, "Duplicate": 0.1},
    "kill": {},
    "join": {},
    "leave": {},
    "balancer": {},
}
ENDLESS = 10_000_000
MAY_LOSE = {"loss", "all four", "kill", "balancer"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One case: its series, frames sent, got by each worker, and came back as results."""

    case: str
    series: int
    sent: int
    got: tuple[int, ...]
    back: int

    @property
    def lost(self) -> int:
        """Frames that no worker got."""
        return self.sent - sum(self.got)

    @property
    def good(self) -> bool:
        """Whether what may not be lost was not, and results came back."""
        return self.lost >= 0 and (self.lost == 0 or self.case in MAY_LOSE) and 0 < self.back <= sum(self.got)


class Facilities:
    """All appliances; `workers` are those of facility B."""

    def __init__(self, folder: Path, hosts: Hosts, stack: ExitStack, seed: int) -> None:
        self._folder, self._hosts, self._stack = folder, hosts, stack
        self._control, self._viewer = free_port(), free_port()
        settings = ["detector.image_mode=Multiple", f"balancers.lab.seed={seed}", f"balancers.lab.port={self._control}"]
        settings += [f"balancers.lab.address={hosts.a.address}", f"ingress.viewer.address={hosts.a.address}"]
        settings += [f"ingress.viewer.port={self._viewer}", "egress.beam.warm_up=0.2"]
        self.a = self._start(hosts.a, "FA:", "facility-a.toml", settings)
        self.workers: list[RunningAppliance] = []
        self.reports: list[dict[str, Any]] = []
        """Of workers that have left."""
        self._made = 0

    def open(self) -> None:
        """Wait for the load balancer, start the workers, and wait for them."""
        self.a.wait_running("EjfatLb1", "EjfatIn1", "Ejfat1", "detector")
        for _ in range(WORKERS):
            self.add_worker()
        for worker in self.workers:
            worker.wait_running("EjfatIn1", "detector", "Cons1")
        self.wait_ready(WORKERS)

    def add_worker(self) -> RunningAppliance:
        """Start one more worker."""
        self._made += 1
        number = self._made
        prefix, address = f"FB{number}:", self._hosts.b.address
        uri = (self.a.run_dir / "lab.uri").read_text()
        viewer = f"ejfat://{self._hosts.a.address}?data={self._hosts.a.address}:{self._viewer}"
        settings = [f"ingress.beam.uri={uri}", f"ingress.beam.address={address}", "ingress.beam.linger=1.0"]
        settings += [f"detector.source.channel={prefix}EjfatIn1:Image", f"groups.work.settings.DataId={number}"]
        settings += [f"groups.work.settings.Uri={viewer}", f"groups.work.processor={EXAMPLES}/send_back.py:SendBack"]
        worker = self._start(self._hosts.b, prefix, "facility-b.toml", settings)
        self.workers.append(worker)
        return worker

    def wait_ready(self, count: int) -> None:
        """Wait until slots are dealt to so many workers, in an epoch that has begun."""
        figures = lambda: self.a.status("EjfatLb1").get("figures", {})  # noqa: E731
        self.a.wait_until(lambda: figures().get("WorkersReady", 0) >= count, f"{count} workers are ready", 60.0)
        epoch = figures()["Epoch"]
        self.a.wait_until(lambda: figures()["Epoch"] >= epoch + 3, "an epoch for all of them")

    def put(self, **values: float) -> None:
        """Put to records of facility A; `__` stands for a colon."""
        words = [f"FA:{name.replace('__', ':')}={value}" for name, value in values.items()]
        command = [*self._hosts.a.within, sys.executable, "-m", "tests.support.put", *words]
        subprocess.run(command, env=self.a.environment, check=True, timeout=PUT_SECONDS, cwd=ROOT)

    def series(self) -> list[int]:
        """Return the series of facility A."""
        return [one["id"] for one in self.a.status("detector").get("series", [])]

    def close(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Stop everything, with the flow of the frames; return the reports, A's last."""
        reports = [worker.stop() for worker in self.workers]
        return self.a.stop(), [*reports, *self.reports]

    def _start(self, host: Host, prefix: str, example: str, settings: list[str]) -> RunningAppliance:
        folder = self._folder / prefix.rstrip(":")
        folder.mkdir()
        words = [str(EXAMPLES / example), *(word for setting in settings for word in ("--set", setting))]
        running = RunningAppliance(folder, words, isolated_environment(), prefix, host.within)
        self._stack.callback(running.kill_everything)
        return running


def run_case(both: Facilities, case: str, frames: int) -> int:
    """Let one series flow under one kind of trouble; return its number."""
    faults = {f"EjfatLb1__{name}": value for name, value in {**CALM, **FAULTS[case]}.items()}
    before = set(both.series())
    both.put(**faults, cam1__NumImages=ENDLESS if case in WITH_WORKERS else frames, cam1__Acquire=1)
    both.a.wait_until(lambda: bool(set(both.series()) - before), "a new series")
    (series,) = set(both.series()) - before
    one = lambda: next(one for one in both.a.status("detector")["series"] if one["id"] == series)  # noqa: E731
    if case in WITH_WORKERS:
        both.a.wait_until(lambda: one()["published"] > frames, "frames before the trouble", 60.0)
        WITH_WORKERS[case](both)
        seen = one()["published"]
        both.a.wait_until(lambda: one()["published"] > seen + frames, "frames after the trouble", 60.0)
        both.put(cam1__Acquire=0)
    both.a.wait_until(lambda: one()["ended"], "the end of the series", 120.0)
    wait_still(lambda: sum(_frames(worker) for worker in (*both.workers, both.a)))
    return series


def kill(both: Facilities) -> None:
    """Kill the ingress of the first worker; wait until it is back and gets frames."""
    worker = both.workers[0]
    pid, before = int(worker.status("EjfatIn1")["pid"]), _frames(worker)
    os.kill(pid, signal.SIGKILL)
    worker.wait_until(
        lambda: worker.runs("EjfatIn1") and worker.status("EjfatIn1")["pid"] != pid, "the next life of the ingress"
    )
    worker.wait_until(lambda: _frames(worker) > before, "frames for the worker that was killed", 60.0)


def join(both: Facilities) -> None:
    """Let one more worker join; wait until it gets frames."""
    worker = both.add_worker()
    worker.wait_running("EjfatIn1", "detector", "Cons1")
    worker.wait_until(lambda: _frames(worker) > 0, "frames for the worker that joined", 60.0)


def leave(both: Facilities) -> None:
    """Let the newest worker leave as Ctrl-C does."""
    both.reports.append(both.workers.pop().stop())


def kill_balancer(both: Facilities) -> None:
    """Kill the load balancer; wait until it is back, all workers have registered again and get frames."""
    pid = int(both.a.status("EjfatLb1")["pid"])
    os.kill(pid, signal.SIGKILL)
    both.a.wait_until(
        lambda: both.a.runs("EjfatLb1") and both.a.status("EjfatLb1")["pid"] != pid, "the balancer's next life", 60.0
    )
    both.wait_ready(len(both.workers))
    before = [_frames(worker) for worker in both.workers]
    for worker, count in zip(both.workers, before, strict=True):
        worker.wait_until(lambda w=worker, c=count: _frames(w) > c, "frames through the balancer's next life", 60.0)


WITH_WORKERS: dict[str, Callable[[Facilities], None]] = {
    "kill": kill,
    "join": join,
    "leave": leave,
    "balancer": kill_balancer,
}
"""Cases in which something happens to workers or the load balancer in mid-stream: their series are ended when it is
over."""


def _frames(running: RunningAppliance) -> int:
    return int(running.status("EjfatIn1").get("figures", {}).get("Frames", 0))


def wait_still(count: Callable[[], int]) -> None:
    """Wait until nothing has come for a second."""
    limit, last, since = time.monotonic() + SETTLE_SECONDS, count(), time.monotonic()
    while time.monotonic() - since < 1.0 and time.monotonic() < limit:
        time.sleep(0.05)  # polled: files that other processes write
        if (now := count()) != last:
            last, since = now, time.monotonic()


def received(report: dict[str, Any], series: int) -> int:
    """Return how many frames of a series came to the ingress of a report."""
    rows = [row for row in report["accounts"] if row["stage"] == "EjfatIn1" and row["series"] == series]
    return sum(row["processed"] for row in rows)


def judge(cases: dict[str, int], a: dict[str, Any], workers: list[dict[str, Any]]) -> list[Verdict]:
    """Return what became of each series, from all ledgers together."""
    verdicts = []
    for case, series in cases.items():
        sent = sum(row["processed"] for row in a["accounts"] if row["stage"] == "Ejfat1" and row["series"] == series)
        got = tuple(received(report, series) for report in workers)
        verdicts.append(Verdict(case, series, sent, got, received(a, series)))
    return verdicts


def show(verdicts: list[Verdict], a: dict[str, Any], workers: list[dict[str, Any]]) -> bool:
    """Print the table; return whether all is well."""
    print(f"{'case':10s} {'sent':>6s} {'got by each worker':24s} {'lost':>5s} {'results back':>12s}")
    for one in verdicts:
        got = " ".join(f"{count:5d}" for count in one.got)
        print(f"{one.case:10s} {one.sent:6d} {got:24s} {one.lost:5d} {one.back:12d}  {'' if one.good else 'WRONG'}")
    balancer = next(stage for stage in a["stages"] if stage["name"] == "EjfatLb1")
    elsewhere = sum(sum(one.got) for one in verdicts)
    named = count_ids(balancer["missed"])
    print(f"ledger of A: sent on {balancer['dropped']['lost']}, by id {named}; got by facility B {elsewhere}")
    print(f"residues: A {a['residue']}, B {[report['residue'] for report in workers]}")
    viewer = next(stage for stage in a["stages"] if stage["name"] == "EjfatIn1")
    print(f"results: {viewer['received']} came, missed by id: {Counter(viewer['dropped'])}")
    return (
        all(one.good for one in verdicts)
        and named == balancer["dropped"]["lost"]
        and not any(report["residue"] for report in (a, *workers))
    )


def run(frames: int, seed: int, cases: list[str]) -> int:
    """Run the campaign; return the exit code."""
    with ExitStack() as stack:
        hosts = stack.enter_context(two_hosts())
        print(f"hosts: {'two network namespaces' if not hosts.why_not else f'loopback ({hosts.why_not})'}", flush=True)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        both = Facilities(folder, hosts, stack, seed)
        both.open()
        done = {}
        for case in cases:
            begun = time.monotonic()
            both.wait_ready(len(both.workers))
            done[case] = run_case(both, case, frames)
            print(f"{case}: series {done[case]}, {time.monotonic() - begun:.1f} s", flush=True)
        a, workers = both.close()
        return 0 if show(judge(done, a, workers), a, workers) else 1


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=400, help="frames of each series")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--only", default=",".join(FAULTS), help="cases")
    given = parser.parse_args()
    print(f"seed {given.seed}")
    return run(given.frames, given.seed, given.only.split(","))


if __name__ == "__main__":
    sys.exit(main())
