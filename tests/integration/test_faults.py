"""A running appliance that is hurt: what is killed or hangs is replaced, the ledger names every frame that was lost.

The consumers write down the ids that they processed, so that the ledger is compared with what really happened.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.appliance import RunningAppliance, appliance

PROCESSORS = '''
"""Processors that write down the ids that they processed, and some that fail."""

import os
import threading

from consumers.processor import Processor


class Recorder(Processor):
    def start(self, context):
        self.out = (context.folder / "ids").open("ab", buffering=0)

    def process(self, frame, metadata):
        self.out.write(f"{frame.series} {frame.unique_id}\\n".encode())


class Moody(Recorder):
    def process(self, frame, metadata):
        if frame.unique_id % 10 == 0:
            raise ValueError("not this one")
        super().process(frame, metadata)


class Suicidal(Recorder):
    def process(self, frame, metadata):
        if frame.unique_id == 100:
            os._exit(3)
        super().process(frame, metadata)


class Stuck(Recorder):
    def process(self, frame, metadata):
        super().process(frame, metadata)
        threading.Event().wait()


class Slow(Recorder):
    def process(self, frame, metadata):
        if frame.unique_id == 50:
            threading.Event().wait()
        super().process(frame, metadata)


class NoModel(Recorder):
    def start(self, context):
        raise RuntimeError("no model")


class CrashLoop(Recorder):
    def process(self, frame, metadata):
        os._exit(4)
'''
DETECTOR = "[detector]\nframe_rate = 300.0\nsize = [64, 64]\n"
KILLED = f"""{DETECTOR}
[groups.bounded]
count = 2
policy = "bounded"
queue_size = 32
processor = "processors.py:Recorder"
[groups.lossless]
count = 2
processor = "processors.py:Recorder"
[egress.out]
ingress = "in"
[ingress.in]
event_timeout = 0.2
"""
SICK = f"""{DETECTOR}
[supervision]
most_failures = 4
window = 600.0
[groups.hangs]
processor = "processors.py:Recorder"
[groups.raises]
processor = "processors.py:Moody"
[groups.exits]
processor = "processors.py:Suicidal"
[groups.stuck]
time_limit = 0.5
processor = "processors.py:Slow"
[groups.hopeless]
processor = "processors.py:CrashLoop"
"""
STUCK = f"""{DETECTOR}
[groups.a]
queue_size = 16
processor = "processors.py:Stuck"
"""
UNFIT = f"""{DETECTOR}
[groups.a]
processor = "processors.py:NoModel"
"""
PLAIN = f"""{DETECTOR}
[groups.a]
count = 2
processor = "processors.py:Recorder"
"""
FRAMES = 100
"""Frames after which it is believed that frames flow."""


def configured(folder: Path, config: str) -> str:
    """Write a configuration and the processors into a folder; return the name of the configuration's file."""
    (folder / "processors.py").write_text(PROCESSORS)
    (folder / "rayfan.toml").write_text(config)
    return "rayfan.toml"


def recorded(run: RunningAppliance, *names: str) -> list[tuple[int, int]]:
    """Return series and id of all frames that consumers wrote down, in order of name and time."""
    lines: list[str] = []
    for name in names:
        lines += (run.run_dir / "files" / name / "ids").read_text().splitlines()
    return [(int(series), int(unique_id)) for series, unique_id in map(str.split, lines)]


def everything(report: dict[str, Any]) -> set[tuple[int, int]]:
    """Return series and id of all frames that were published."""
    return {(one["id"], unique_id) for one in report["series"] for unique_id in range(1, one["published"] + 1)}


def missed(report: dict[str, Any], *names: str) -> set[tuple[int, int]]:
    """Return series and id of all frames that the ledger says stages missed."""
    ranges = [piece for name in names for piece in stage(report, name)["missed"]]
    return {(series, unique_id) for series, first, last in ranges for unique_id in range(first, last + 1)}


def stage(report: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one stage of a report."""
    return next(one for one in report["stages"] if one["name"] == name)


def pid(run: RunningAppliance, name: str) -> int:
    """Return the process id that a process told last."""
    return int(run.status(name)["pid"])


def wait_flowing(run: RunningAppliance) -> None:
    """Wait until the detector has published more frames."""
    seen = run.published()
    run.wait_until(lambda: run.published() > seen + FRAMES, "frames flow")


def wait_replaced(run: RunningAppliance, before: dict[str, int]) -> None:
    """Wait until each process of `before` runs with another process id; print how long that took."""
    begun = time.monotonic()
    for name, old in before.items():
        run.wait_until(lambda name=name, old=old: pid(run, name) != old and run.runs(name), f"{name} runs again")
        print(f"{name} runs again after {time.monotonic() - begun:.1f} s")


def hit(run: RunningAppliance, number: signal.Signals, *names: str) -> None:
    """Send a signal to processes, and wait until others have taken their place and frames flow."""
    before = {name: pid(run, name) for name in names}
    for old in before.values():
        os.kill(old, number)
    wait_replaced(run, before)
    wait_flowing(run)


def assert_restarts(report: dict[str, Any], expected: dict[str, int], others: Iterable[str]) -> None:
    """Check how often processes were started again."""
    found = {name: stage(report, name)["restarts"] for name in (*expected, *others)}
    assert found == {**dict.fromkeys(others, 0), **expected}


def test_killed_consumers_and_ends_of_the_network_are_replaced_and_the_ledger_names_what_was_lost(
    tmp_path: Path,
) -> None:
    with appliance(tmp_path, configured(tmp_path, KILLED)) as run:
        run.wait_running("detector", "Cons1", "Cons2", "Cons3", "Cons4", "Ejfat1", "EjfatIn1")
        wait_flowing(run)
        hit(run, signal.SIGKILL, "Cons1", "Cons3", "EjfatIn1")
        hit(run, signal.SIGKILL, "Ejfat1")
        came = stage_of(run, "EjfatIn1")["received"]
        run.wait_until(lambda: stage_of(run, "EjfatIn1")["received"] > came + FRAMES, "frames arrive again")
        report = run.stop()
    killed = ("Cons1", "Cons3", "Ejfat1", "EjfatIn1")
    assert_restarts(report, dict.fromkeys(killed, 1), ["detector", "Cons2", "Cons4"])
    assert_consumers_killed(run, report)
    assert stage(report, "Ejfat1")["processed"] == report["published"], "lossless: every frame was sent"
    there = stage(report, "EjfatIn1")
    assert there["dropped"].get("lost", 0) > 0, "what was sent while nobody listened is lost, and said to be"
    assert there["processed"] + len(missed(report, "EjfatIn1")) == report["published"]


def assert_consumers_killed(run: RunningAppliance, report: dict[str, Any]) -> None:
    """Check what a kill of one of two consumers may cost: frames with names under policy bounded, none if lossless."""
    published = everything(report)
    done = recorded(run, "Cons1", "Cons2")
    lost = missed(report, "Cons1", "Cons2")
    assert published - set(done) <= lost, "a frame was lost that the ledger does not name"
    # the kill may come between the end of a frame and its entry in the book: such a frame counts as lost
    assert len(lost & set(done)) <= 1, "the ledger names frames that were processed"
    kept = recorded(run, "Cons3", "Cons4")
    assert set(kept) == published, "lossless: every frame was processed"
    assert len(kept) - len(published) <= 1, "lossless: only the frame of the kill may be processed twice"
    assert not missed(report, "Cons3", "Cons4")


def stage_of(run: RunningAppliance, name: str) -> dict[str, Any]:
    """Return the account that a process told last."""
    return run.status(name)["stage"]


def put(run: RunningAppliance, name: str, value: str) -> None:
    """Put by Channel Access, and wait until autosave has kept it."""
    command = [sys.executable, "-m", "caproto.commandline.put", "--no-repeater", run.prefix + name, value]
    done = subprocess.run(command, env=run.environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    kept = run.run_dir / "detector.autosave"
    run.wait_until(lambda: kept.exists() and name in kept.read_text(), f"{name} is kept")


def test_frames_outlive_the_supervisor_and_consumers_the_detector(tmp_path: Path) -> None:
    names = ["detector", "Cons1", "Cons2"]
    config = configured(tmp_path, PLAIN)
    with appliance(tmp_path, config) as first:
        first.wait_running(*names)
        before = {name: pid(first, name) for name in names}
        first.process.send_signal(signal.SIGSTOP)  # the command would start another supervisor
        os.kill(pid(first, "supervisor"), signal.SIGKILL)
        wait_flowing(first)
        first.process.kill()
        first.process.wait(40)
        seen = first.published()
        second = RunningAppliance(tmp_path, [config], first.environment, first.prefix)
        try:
            second.wait_running("supervisor", *names)
            assert {name: pid(second, name) for name in names} == before, "what ran was taken over"
            assert second.published() > seen
            hit(second, signal.SIGKILL, "supervisor")
            assert {name: pid(second, name) for name in names} == before
            put(second, "cam1:FrameRate", "900")
            hit(second, signal.SIGKILL, "detector")
            assert "cam1:FrameRate: restored 900.0" in (second.run_dir / "detector.log").read_text()
            assert {name: pid(second, name) for name in names[1:]} == {name: before[name] for name in names[1:]}
            report = second.stop()
        finally:
            second.kill_everything()
    assert_restarts(report, {"detector": 1}, ["Cons1", "Cons2"])
    assert len(report["series"]) == 2, "the detector's second life begins a new series"
    done = recorded(first, "Cons1", "Cons2")
    assert len(done) == len(set(done))
    assert set(done) | missed(report, "Cons1", "Cons2") == everything(report)


def test_what_hangs_is_replaced_and_what_fails_costs_its_frames_only(tmp_path: Path) -> None:
    with appliance(tmp_path, configured(tmp_path, SICK)) as run:
        run.wait_running("detector", "Cons1", "Cons2")
        run.wait_until((run.run_dir / "Cons5.gone").exists, "the supervisor gives up what always dies", 90.0)
        run.wait_until(lambda: run.published() > 200, "the stream goes on behind the frames that kill or are stuck")
        run.wait_running("Cons3", "Cons4")
        hit(run, signal.SIGSTOP, "Cons1")
        report = run.stop(expected=1)
        assert "Cons5" in run.printed(), "who was given up"
    assert_restarts(report, {"Cons1": 1, "Cons3": 2, "Cons4": 2}, ["detector", "Cons2"])
    published = everything(report)
    assert set(recorded(run, "Cons1")) == published, "what the hanging consumer had in its hands went to its successor"
    (series,) = {series for series, _ in published}
    tenths = {one for one in published if one[1] % 10 == 0}
    assert set(recorded(run, "Cons2")) == published - tenths
    assert stage(report, "Cons2")["failed"] == len(tenths)
    for name, frame in (("Cons3", (series, 100)), ("Cons4", (series, 50))):
        assert set(recorded(run, name)) == published - {frame}
        assert stage(report, name)["dropped"] == {"quarantined": 1}
        assert missed(report, name) == {frame}
    assert stage(report, "Cons5")["processed"] == 0
    assert set(stage(report, "Cons5")["dropped"]) == {"quarantined", "member_gone"}


def test_asked_twice_what_cannot_finish_is_ended_and_accounted_for(tmp_path: Path) -> None:
    with appliance(tmp_path, configured(tmp_path, STUCK)) as run:
        run.wait_running("detector", "Cons1")
        run.wait_until(lambda: run.published() >= 16, "the consumer is stuck in its first frame")
        run.process.send_signal(signal.SIGINT)
        run.wait_until(lambda: run.status("detector")["state"] == "Draining", "the detector drains")
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(60) == 3, "exit code: stopped, but not drained"
        assert "did not finish in time and was killed" in run.printed()
        report = json.loads(run.report_file.read_text())
    assert report["residue"] == 0
    there = stage(report, "Cons1")
    assert there["processed"] == 0
    assert sum(there["dropped"].values()) == report["published"] > 0


def test_a_processor_that_does_not_start_is_told_with_its_line(tmp_path: Path) -> None:
    with appliance(tmp_path, configured(tmp_path, UNFIT)) as run:
        assert run.process.wait(60) == 2, run.printed()
        printed = run.printed()
    assert "groups.a.processor" in printed
    assert "processors.py, line" in printed
    assert "RuntimeError: no model" in printed
    assert "Traceback" not in printed
