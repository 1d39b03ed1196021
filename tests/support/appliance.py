"""A whole appliance in a subprocess, isolated on loopback, for tests that look at it as its users do."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.epics import isolated_environment, random_prefix

RAYFAN = Path(sys.executable).with_name("rayfan")
START_SECONDS = 60.0


class RunningAppliance:
    """`rayfan up` as a subprocess: its prefix, its EPICS environment, its run folder and what it printed."""

    def __init__(self, folder: Path, arguments: list[str], environment: dict[str, str], prefix: str) -> None:
        self.folder = folder
        self.prefix = prefix
        self.environment = environment
        self.report_file = folder / "ledger.json"
        self.run_dir = folder / "run"
        command = [str(RAYFAN), "up", *arguments, "--report", str(self.report_file)]
        command += ["--set", f"prefix={prefix}", "--set", f"run_dir={self.run_dir}"]
        self.output = (folder / "output").open("w+")
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=self.output, stderr=subprocess.STDOUT, text=True
        )

    def status(self, name: str) -> dict[str, Any]:
        """Return the last status of a process, {} if it has none yet."""
        try:
            return json.loads((self.run_dir / f"{name}.status").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def printed(self) -> str:
        """Return what it printed so far."""
        self.output.flush()
        return (self.folder / "output").read_text()

    def logs(self) -> str:
        """Return the ends of all logs, for the message of a failed test."""
        return "\n".join(f"== {log.name}\n{log.read_text()[-2000:]}" for log in sorted(self.run_dir.glob("*.log")))

    def wait_until(self, true: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        """Wait for something, with everything that was printed in the message if it does not come."""
        limit = time.monotonic() + seconds
        while not true():
            over = self.process.poll() is not None and not true()
            if over or time.monotonic() > limit:
                raise AssertionError(f"{what}: not within {seconds} s\n{self.printed()}\n{self.logs()}")
            time.sleep(0.02)  # polled: the condition is a file or a PV that another process changes

    def wait_running(self, *names: str) -> None:
        """Wait until processes say that they run."""
        for name in names:
            self.wait_until(lambda name=name: self.runs(name), f"{name} runs", START_SECONDS)

    def runs(self, name: str) -> bool:
        """Return whether a process says that it runs, and is there."""
        status = self.status(name)
        return status.get("state") == "Running" and _is_ours(status["pid"])

    def published(self) -> int:
        """Return the frames that the detector says it published."""
        return self.status("detector").get("stage", {}).get("processed", 0)

    def stop(self, expected: int = 0) -> dict[str, Any]:
        """Ask it to drain, wait for its end and return the report; its conservation is checked."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.finished(expected)

    def finished(self, expected: int = 0, seconds: float = 90.0) -> dict[str, Any]:
        """Wait for its end and return the report; its conservation is checked."""
        code = self.process.wait(seconds)
        assert code == expected, f"exit code {code}, expected {expected}\n{self.printed()}\n{self.logs()}"
        report = json.loads(self.report_file.read_text())
        assert_closed(report)
        return report

    def kill_everything(self) -> None:
        """Leave nothing behind, whatever happened."""
        pids = [self.process.pid] if self.process.poll() is None else []
        pids += [json.loads(path.read_text())["pid"] for path in self.run_dir.glob("*.status")]
        for pid in pids:
            if _is_ours(pid):
                os.kill(pid, signal.SIGKILL)
        if self.process.poll() is None:
            self.process.wait(10)
        self.output.close()


def _is_ours(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return any(word in command for word in (b"detector_sim.app", b"consumers.app", b"ioc.supervisor.app", b"rayfan"))


def assert_closed(report: dict[str, Any]) -> None:
    """Check the conservation of frames from the report alone, stage by stage and group by group."""
    assert report["residue"] == 0, report
    # what a killed giver had dealt out and nobody received is counted, but which ids it were died with it
    givers = {hop["name"].partition(" -> ")[0] for hop in report["hops"]}
    killed = any(stage["restarts"] for stage in report["stages"] if stage["name"] in givers)
    without_ids = {"duplicate", "lost"} if killed else {"duplicate"}
    for stage in report["stages"]:
        assert stage["received"] == stage["processed"] + stage["failed"] + stage["queued"], stage
        if stage["name"].startswith("EjfatIn") and stage["restarts"]:
            continue  # what was sent while nobody listened is counted at the sender; its ids were seen by nobody
        missed = sum(last - first + 1 for first, last in stage["missed_ranges"])
        dropped = {reason: count for reason, count in stage["dropped"].items() if reason not in without_ids}
        assert missed == sum(dropped.values()), stage
    for hop in report["hops"]:
        assert hop["residue"] == 0, hop
        if not hop["name"].startswith("Ejfat"):
            _assert_dealt_out(report, hop)


def _assert_dealt_out(report: dict[str, Any], hop: dict[str, Any]) -> None:
    """Check that a giver dealt out what it published: to one member each, or to all of a set."""
    giver = next(stage for stage in report["stages"] if stage["name"] == hop["name"].partition(" -> ")[0])
    published = giver["published"]
    if giver["name"] != "detector" and giver["restarts"]:
        return  # what it put out a moment before it was killed is in the books of those behind only
    if published:
        assert hop["given"] % published == 0 and hop["given"] >= published, f"{hop}: of {published} frames"
    else:
        assert hop["given"] == 0, hop


@contextmanager
def appliance(folder: Path, *arguments: str, **environment: str) -> Iterator[RunningAppliance]:
    """Yield a started `rayfan up` with these arguments; whatever is left of it is killed at the end."""
    prefix = random_prefix()
    running = RunningAppliance(folder, list(arguments), {**isolated_environment(), **environment}, prefix)
    try:
        yield running
    finally:
        running.kill_everything()
