"""Supervision of consumers as their users see it, in one appliance: a frame that kills, a leak, more and fewer members.

A detector and four groups: `first` and `second` are a chain that is scaled, `sick` dies of one frame, `leaky` needs
more and more memory. The consumers of `second` write down what they saw. The PVs of a consumer are looked at only when
it is not to die any more: until then, the supervisor's say how it is.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ioc.core.quarantine import parse
from tests.support.appliance import RunningAppliance, appliance
from tests.support.clients import User, user_of

BAD, EXITS = 40, 41
PROCESSORS = f'''
"""One processor that writes down what it saw, one that dies, one that leaks."""

import ctypes

import numpy as np

from consumers.processor import Processor, Setting, Statistic


class Recorder(Processor):
    def start(self, context):
        self.out = (context.folder / "ids").open("ab", buffering=0)

    def process(self, frame, metadata):
        self.out.write(f"{{frame.unique_id}}\\n".encode())
        return frame


class Sick(Processor):
    declared_settings = (Setting("Bad", {BAD}),)
    declared_statistics = (Statistic("Seen", int), Statistic("Word", str), Statistic("Even", bool))

    def process(self, frame, metadata):
        if frame.unique_id == self.settings["Bad"]:
            ctypes.string_at(0)
        if frame.unique_id == {EXITS}:
            raise SystemExit(3)
        self.report(Seen=frame.unique_id, Word="text", Even=frame.unique_id % 2 == 0)
        return frame


class Leaky(Processor):
    def start(self, context):
        self.kept = []
        self.leaks = not (context.folder / "lived").exists()
        (context.folder / "lived").touch()

    def process(self, frame, metadata):
        if self.leaks and len(self.kept) < 100:
            self.kept.append(np.ones(4 << 20, np.uint8))
        return frame
'''
CONFIG = """
[detector]
frame_rate = 200.0
size = [32, 32]
acquire_at_start = false
[groups.first]
processor = "passthrough"
[groups.second]
input = "groups.first"
processor = "workers.py:Recorder"
[groups.sick]
processor = "workers.py:Sick"
[groups.leaky]
processor = "workers.py:Leaky"
memory_limit = 400000000
"""
STATES = ("Absent", "Starting", "Running", "Draining", "Stopped", "Failed", "Quarantining")
BESIDE = {
    "State": "state",
    "StatusMessage": "message",
    "LastError": "lastError",
    "Pid": "pid",
    "Rate": "rate",
    "Received": "received",
    "Processed": "processed",
    "Failed": "failed",
    "Queued": "queued",
}
"""Fields of the status structure by the names of their records; all other records of the status are its figures."""
MOVING = {"Uptime", "Rate", "RSS", "PSS", "PrivateMemory", "CPU"}
"""What changes by itself while nothing flows."""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[RunningAppliance, User]]:
    (tmp_path / "workers.py").write_text(PROCESSORS)
    (tmp_path / "rayfan.toml").write_text(CONFIG)
    with appliance(tmp_path, "rayfan.toml") as run:
        run.wait_running("detector", "Cons1", "Cons2", "Cons3", "Cons4")
        with user_of(run) as user:
            yield run, user


def slot_of(user: User, name: str) -> str:
    """Return the records of a process at the supervisor."""
    for number in range(1, 9):
        if user.get(f"Process{number}:Name_RBV") == name:
            return f"Process{number}:"
    raise AssertionError(f"{name} has no slot")


def test_supervision_of_what_dies_leaks_and_is_scaled(running: tuple[RunningAppliance, User]) -> None:
    run, user = running
    sick, leaky = slot_of(user, "Cons3"), slot_of(user, "Cons4")
    for slot in (sick, leaky):
        user.ask("monitor", f"{slot}State_RBV")
    user.put_plain("cam1:Acquire", 1)
    check_frame_that_kills(run, user, sick)
    check_leak(user, leaky)
    check_scaling(run, user)
    user.put("cam1:Acquire", 0)
    published = int(user.get("cam1:ArrayCounter_RBV"))
    run.wait_until(lambda: finished(run, "Cons3") == published - 1, "all frames are done")
    check_status(run, user)
    report = run.stop()
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert stages["Cons3"]["dropped"] == {"quarantined": 1}
    assert stages["Cons3"]["failed"] == 1
    assert (stages["Cons3"]["restarts"], stages["Cons4"]["restarts"]) == (2, 1)
    assert not any(stages[name]["dropped"] for name in stages if name != "Cons3"), "nothing else was lost"
    seen = [int(line) for path in (run.run_dir / "files").glob("*/ids") for line in path.read_text().split()]
    assert sorted(seen) == list(range(1, report["published"] + 1)), "each frame went through the chain, once"


def finished(run: RunningAppliance, name: str) -> int:
    """Return the frames that a consumer has finished with."""
    stage = run.status(name).get("stage", {})
    return stage.get("processed", 0) + stage.get("failed", 0)


def states(user: User, slot: str) -> list[str]:
    """Return the states that a process went through, as a monitor saw them."""
    return [STATES[value] for value in user.ask("events", f"{slot}State_RBV", 1)]


def in_order(found: list[str], *wanted: str) -> bool:
    """Return whether some states came in this order, others between them or not."""
    left = iter(found)
    return all(any(state == one for state in left) for one in wanted)


def check_frame_that_kills(run: RunningAppliance, user: User, slot: str) -> None:
    """The frame is in a file, on a channel, in PVs; the stream goes on; the states were shown."""
    user.wait("Quarantine:Frames_RBV", 1)
    run.wait_until(lambda: finished(run, "Cons3") > EXITS, "the stream goes on behind the frame that kills")
    user.wait("Cons3:Quarantined_RBV", 1)
    user.wait("Cons3:LastErrorId_RBV", EXITS)
    assert user.get("Cons3:LastError_RBV") == "SystemExit: 3"
    assert user.get("Cons3:LastErrorTime_RBV").count(":") == 2
    assert user.get("Cons3:QuarantineIds_RBV").endswith(f":{BAD}")
    user.watch("Cons3:Quarantine:Image")
    assert user.images("Cons3:Quarantine:Image", 1)[-1].unique_id == BAD
    path = user.get("Quarantine:LastFile_RBV")
    assert path == user.get("Cons3:QuarantineFile_RBV")
    frame, report = parse(Path(path).read_bytes())
    assert report is not None
    assert (frame.unique_id, report.settings, len(report.deaths)) == (BAD, {"Bad": BAD}, 2)
    for death in report.deaths:
        assert (death.signal, "in process" in death.trace) == ("SIGSEGV", True), death
    user.wait(f"{slot}State_RBV", "Running")
    assert (user.get(f"{slot}Restarts_RBV"), user.get(f"{slot}Failures_RBV")) == (2, 2)
    found = states(user, slot)
    assert in_order(found, "Starting", "Quarantining", "Running"), found
    user.put("Quarantine:MostFrames", 0)
    user.wait("Quarantine:Frames_RBV", 0)
    user.wait("Cons3:Quarantined_RBV", 0)


def check_leak(user: User, slot: str) -> None:
    """What needs too much memory finishes what it has and starts anew, and says why."""
    user.wait(f"{slot}Restarts_RBV", 1)
    assert "bytes of memory, memory_limit = 400000000" in user.get(f"{slot}LastError_RBV")
    user.wait(f"{slot}State_RBV", "Running")
    found = states(user, slot)
    assert in_order(found, "Draining", "Starting", "Running"), found
    user.wait_until(f"{slot}PrivateMemory_RBV", lambda size: 0 < size < 400_000_000, "below its limit")
    assert user.get(f"{slot}RSS_RBV") >= user.get(f"{slot}PSS_RBV") > 0
    assert (user.get(f"{slot}PrivateLimit_RBV"), user.get(f"{slot}MemoryState_RBV")) == (400_000_000, "OK")
    assert "memory_limit" in user.get("Cons4:LastError_RBV")


def check_scaling(run: RunningAppliance, user: User) -> None:
    """Both groups of the chain get a member more, and lose one, while frames flow."""
    assert (user.get("Chain1:Name_RBV"), user.get("Chain1:Input_RBV")) == ("second", "groups.first")
    user.put("Chain1:Count", 2)
    user.put("Dist1:Count", 2)
    user.wait("Chain1:Running_RBV", 2)
    user.wait("Dist1:Members_RBV", 2)
    later = [name for name in ("Cons5", "Cons6") if finished(run, name) == 0]
    run.wait_until(lambda: all(finished(run, name) > 20 for name in ("Cons5", "Cons6")), f"{later} work, too")
    user.put("Chain1:Count", 1)
    user.put("Dist1:Count", 1)
    user.wait("Chain1:Running_RBV", 1)
    user.wait("Dist1:Members_RBV", 1)
    count = finished(run, "Cons2")
    run.wait_until(lambda: finished(run, "Cons2") > count + 20, "frames flow through those that are left")


def check_status(run: RunningAppliance, user: User) -> None:
    """The status structure says what the records say, once both were shown after the last frame."""
    found: list[str] = []

    def differ() -> list[str]:
        found[:] = differences(user)
        return found

    try:
        run.wait_until(lambda: not differ(), "status and records agree")
    except AssertionError as error:
        raise AssertionError(f"{found}; {error}") from None


def differences(user: User) -> list[str]:
    """Return where a record is not what the status structure says."""
    told: dict[str, Any] = user.ask("pva_status", "Cons3:Status")
    figures = {one["name"]: one["text"] if math.isnan(one["value"]) else one["value"] for one in told["figures"]}
    assert (figures["Stat:Word"], figures["Errors"]) == ("text", 1)
    still = {name: value for name, value in figures.items() if name not in MOVING}
    still |= {record: told[field] for record, field in BESIDE.items() if record not in MOVING}
    assert len(still) > 30
    found = {name: user.get(f"Cons3:{name}_RBV") for name in still}
    return [f"{name}: {found[name]!r}, {told!r}" for name, told in still.items() if not same(found[name], told)]


def same(record: Any, told: Any) -> bool:
    """Return whether a record by CA shows what a figure says; a truth is a text there."""
    if isinstance(told, str):
        return (record or "") == told
    if record in ("Yes", "No"):
        return (record == "Yes") == told
    return float(record) == pytest.approx(float(told), rel=1e-9)
