"""Every way in with every way out, PvaPy's unmodified tools at both ends; run as a module, it prints a table.

    pvapy-ad-sim-server -> pvapy-hpc-consumer -> intake of Rayfan -> consumer of Rayfan -> pvapy-hpc-consumer

For each way in, one appliance with a group for each way out. Then collector and mirror of PvaPy between two of ours,
and the examples of a bridge and of a chain over pvAccess.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tests.support.appliance import RunningAppliance, appliance
from tests.support.clients import User, user_of
from tests.support.epics import random_prefix
from tests.support.pvapy_tools import Tools

EXAMPLES = Path(__file__).parents[2] / "ops" / "examples"
BRIDGE, CHAIN = EXAMPLES / "bridge.toml", EXAMPLES / "chain-pva.toml"
CHAINED = 500
"""Frames that go through the chain."""
RATE = 50.0
SECONDS = 30.0
WAYS_IN = {"monitor": ("pvas", "pva://"), "put": ("pva", "put://"), "rpc": ("rpc", "rpc://")}
"""How PvaPy puts out what we take: its output mode, and our URL."""
WAYS_OUT = {"monitor": "pva", "put": "pvas", "rpc": "rpc"}
"""How PvaPy takes what we put out: its input mode."""
CONFIG = """
[detector]
acquire_at_start = false
size = [32, 32]
[intake.x]
url = "{url}"
[groups.monitor]
input = "intake.x"
processor = "passthrough"
[groups.put]
input = "intake.x"
processor = "passthrough"
outputs = ["put://{channels}put"]
[groups.rpc]
input = "intake.x"
processor = "passthrough"
outputs = ["rpc://{channels}rpc"]
"""
KILLED = """
[detector]
acquire_at_start = false
size = [32, 32]
[intake.x]
url = "file://{file}"
frame_rate = 500
loop = true
[groups.first]
input = "intake.x"
count = 2
processor = "passthrough"
[groups.second]
input = "intake.x"
policy = "bounded"
queue_size = 8
processor = "statistics"
[collectors.all]
input = "groups.first"
wait = 4.0
[egress.out]
input = "collectors.all"
ingress = "in"
[ingress.in]
[groups.far]
input = "ingress.in"
processor = "passthrough"
"""
VICTIMS = ("In1", "In1", "In1", "Cons1", "Coll1", "EjfatIn1")
"""Who is killed in turn, the intake more often than others."""
BETWEEN = """
[detector]
acquire_at_start = false
frame_rate = {rate}
size = [32, 32]
image_mode = "Multiple"
num_images = 100
[groups.pair]
count = 2
processor = "passthrough"
[intake.back]
url = "pva://{back}"
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One pair: frames of ours, merged on the way in, taken by PvaPy, different ones, and the ledger's residue."""

    way_in: str
    way_out: str
    frames: int
    merged: int
    arrived: int
    different: int
    residue: int

    @property
    def good(self) -> bool:
        """Whether PvaPy was given every frame, by a way on which PvaPy itself overwrites nothing."""
        return self.residue == 0 and self.frames > 0 and self.arrived >= self.frames


def pairs(way_in: str) -> Iterator[Row]:
    """Run one way in, and all ways out."""
    mode, scheme = WAYS_IN[way_in]
    channels = random_prefix()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rayfan.toml").write_text(CONFIG.format(url=f"{scheme}{channels}in", channels=channels))
        with appliance(folder, "rayfan.toml") as run, Tools(folder, run.environment) as tools:
            first = ("--skip-initial-updates", "0")
            tools.consumer(1, f"{run.prefix}Cons1:Image", "pva")
            tools.consumer(2, f"{channels}put", "pvas", *first)
            tools.consumer(3, f"{channels}rpc", "rpc", *first)
            run.wait_running("detector", "In1", "Cons1", "Cons2", "Cons3")
            tools.consumer(9, f"{channels}sim", "pva", "--output-mode", mode, "--output-channel", f"{channels}in")
            tools.simulator(f"{channels}sim", RATE, SECONDS)
            run.wait_until(lambda: frames(run) > 0, "frames come in" + tools.logs(), 60.0)
            run.wait_until(lambda: steady(run), "the simulator ends", SECONDS + 60.0)
            figures = run.status("In1")["figures"]
            enough = [figures["Frames"], figures["Frames"]]
            wait_quietly(run, lambda: [len(tools.ids(2)), len(tools.ids(3))] >= enough)
            got = {out: tools.ids(number) for number, out in enumerate(WAYS_OUT, 1)}
            report = run.stop()
    for out, ids in got.items():
        yield Row(way_in, out, figures["Frames"], figures["Merged"], len(ids), len(set(ids)), report["residue"])


def between(tool: str) -> Row:
    """Send frames of ours through a tool of PvaPy back to us."""
    back = f"{random_prefix()}back"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rayfan.toml").write_text(BETWEEN.format(back=back, rate=RATE))
        with appliance(folder, "rayfan.toml") as run, Tools(folder, run.environment) as tools, user_of(run) as user:
            run.wait_running("detector", "In1", "Cons1", "Cons2")
            if tool == "mirror":
                tools.mirror(f"{run.prefix}Pva1:Image", back)
            else:
                tools.collector(f"{run.prefix}Cons*:Image", "1,2", back)
            warm(run, user, tools)
            before = run.status("In1")["figures"]
            user.put("cam1:Acquire", 1)
            run.wait_until(lambda: run.published() > 0, "published")
            wait_quietly(run, lambda: run.status("In1")["figures"]["UniqueId"] == 100)
            after = run.status("In1")["figures"]
            report = run.stop()
    came, merged = (after[key] - before[key] for key in ("Frames", "Merged"))
    return Row("monitor", f"pvapy-{tool} -> monitor", 100, merged, came, came, report["residue"])


def bridge() -> Row:
    """Send PvaPy's images through the example of a bridge, to a consumer of PvaPy behind its collector."""
    channel = random_prefix() + "sim"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = [str(BRIDGE), "--set", f"detector.source.channel={channel}"]
        with appliance(folder, *options) as run, Tools(folder, run.environment) as tools:
            run.wait_running("detector", "Cons1", "Cons2", "Coll1")
            tools.consumer(1, f"{run.prefix}Coll1:Image", "pva")
            tools.simulator(channel, RATE, SECONDS)
            run.wait_until(lambda: run.published() > 0, "frames come in" + tools.logs(), 60.0)
            run.wait_until(lambda: ended(run), "the simulator ends", SECONDS + 60.0)
            missed = int(run.status("detector")["figures"]["SourceMissed"])
            report = run.stop()
        ids = tools.ids(1)
    return Row(
        "mirror", "collector -> monitor", report["published"], missed, len(ids), len(set(ids)), report["residue"]
    )


def chain() -> Row:
    """Send frames of ours through the example of a chain over pvAccess."""
    limits = {
        "detector.image_mode": "Multiple",
        "detector.num_images": str(CHAINED),
        "detector.acquire_at_start": "false",
    }
    options = [word for name, value in limits.items() for word in ("--set", f"{name}={value}")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with appliance(folder, str(CHAIN), *options) as run, user_of(run) as user:
            run.wait_running("detector", "Cons1", "In1", "Cons2", "Cons3")
            run.wait_until(lambda: run.status("In1")["figures"].get("Connected") == 1, "In1 monitors Cons1:Image")
            user.put("cam1:Acquire", 1)
            wait_quietly(run, lambda: run.status("In1")["figures"]["UniqueId"] == CHAINED)
            figures = run.status("In1")["figures"]
            report = run.stop()
    taken = sum(one["processed"] for one in report["stages"] if one["name"] in ("Cons2", "Cons3"))
    return Row("monitor", "Cons1 -> Cons2, Cons3", CHAINED, figures["Merged"], taken, taken, report["residue"])


def killed(kills: int) -> tuple[int, int, int]:
    """Kill an intake and others behind it so often; return frames taken in, lost with their ids, and the residue."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with h5py.File(folder / "images.h5", "w") as file:
            file["data"] = np.zeros((2000, 8, 8), np.uint16)
        (folder / "rayfan.toml").write_text(KILLED.format(file=folder / "images.h5"))
        with appliance(folder, "rayfan.toml", "--set", "supervision.most_failures=1000") as run:
            everybody = ("In1", "Cons1", "Cons2", "Cons3", "Cons4", "Coll1", "Ejfat1", "EjfatIn1")
            run.wait_running(*everybody)
            for at in range(kills):
                before = frames(run)
                run.wait_until(lambda before=before: frames(run) not in (0, before), "frames come in")
                victim = VICTIMS[at % len(VICTIMS)]
                pid = run.status(victim)["pid"]
                os.kill(pid, signal.SIGKILL)
                run.wait_until(lambda victim=victim, pid=pid: run.status(victim)["pid"] != pid, f"{victim} lives again")
                run.wait_running(*everybody)
            report = run.stop()
    lost = sum(stage["dropped"].get("lost", 0) for stage in report["stages"])
    return next(one["received"] for one in report["stages"] if one["name"] == "In1"), lost, report["residue"]


def ended(run: RunningAppliance) -> bool:
    """Return whether nothing was published for 2 s."""
    before = run.published()
    time.sleep(2.0)  # what does not happen cannot be waited for
    return run.published() == before


def warm(run: RunningAppliance, user: User, tools: Tools) -> None:
    """Acquire until the tool serves something that comes back."""
    limit = time.monotonic() + 60.0
    while not frames(run):
        assert time.monotonic() < limit, tools.logs() + run.logs()
        user.put("cam1:Acquire", 1)
        wait_quietly(run, lambda: not user.get("cam1:Acquire_RBV"), 10.0)
    wait_quietly(run, lambda: run.status("In1")["figures"]["UniqueId"] == 100, 15.0)


def frames(run: RunningAppliance) -> int:
    """Return how many frames came in."""
    return run.status("In1").get("figures", {}).get("Frames", 0)


def steady(run: RunningAppliance) -> bool:
    """Return whether nothing came in for 2 s."""
    before = frames(run)
    time.sleep(2.0)  # what does not happen cannot be waited for
    return frames(run) == before


def wait_quietly(run: RunningAppliance, true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that need not come: the table says what did."""
    limit = time.monotonic() + seconds
    while not true() and time.monotonic() < limit and run.process.poll() is None:
        time.sleep(0.1)


def show(row: Row) -> None:
    """Print a line of the table."""
    verdict = "whole" if row.good else "see below"
    print(
        f"{row.way_in:8} {row.way_out:28} {row.frames:7} {row.merged:7} {row.arrived:8} {row.different:9} "
        f"{row.residue:8}  {verdict}",
        flush=True,
    )


def main() -> int:
    """Run all pairs; return 1 if a ledger does not close or a way brings nothing."""
    parser = argparse.ArgumentParser(description="every way in with every way out, PvaPy at both ends")
    ways = [*WAYS_IN, "mirror", "collector", "bridge", "kills"]
    parser.add_argument("--only", choices=ways, help="one way in, one tool, or the kills")
    parser.add_argument("--kills", type=int, default=12, help="how often a process is killed")
    options = parser.parse_args()
    only = options.only
    print("in       out                           frames  merged  arrived different  residue")
    rows: list[Row] = []
    for way_in in [way for way in WAYS_IN if only in (None, way)]:
        for row in pairs(way_in):
            rows.append(row)
            show(row)
    for tool in [tool for tool in ("mirror", "collector") if only in (None, tool)]:
        rows.append(between(tool))
        show(rows[-1])
    if only in (None, "bridge"):
        for example in (bridge, chain):
            rows.append(example())
            show(rows[-1])
    residue = 0
    if only in (None, "kills"):
        taken, lost, residue = killed(options.kills)
        print(f"{options.kills} kills of intake, consumer, collector, ingress: {taken} frames, {lost} lost, {residue=}")
    print("\n`monitor` has no back-pressure: what PvaPy is too slow for, or was not there for, is merged.")
    print("`put`: PvaPy works on a frame in place, the next put may overwrite it: fewer different ones than arrived.")
    print("EJFAT with PvaPy needs its module e2sar_py: see the tests of EJFAT.")
    return int(bool(residue) or any(row.residue or not row.arrived for row in rows))


if __name__ == "__main__":
    sys.exit(main())
