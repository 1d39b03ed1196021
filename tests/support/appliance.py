"""A whole appliance in a subprocess, isolated on loopback, for tests that look at it as its users do."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.epics import isolated_environment, random_prefix

RAYFAN = Path(sys.executable).with_name("rayfan")
START_SECONDS = 60.0
CHAINED = ("Cons", "Coll", "In", "EjfatIn")
"""What the names of processes begin with that may give frames to others, besides the detector."""
DEALT = {"Cons", "Ejfat", "HDF", "Plug"}
"""Members of groups that deal out every frame once, or show it to all of a set."""


class RunningAppliance:
    """`rayfan up` (or `mirror`) as a subprocess: its prefix, EPICS environment, run folder and what it printed."""

    def __init__(
        self,
        folder: Path,
        arguments: list[str],
        environment: dict[str, str],
        prefix: str,
        within: Sequence[str] = (),
    ) -> None:
        """Start it; `within` is a command that runs it elsewhere, for example in a network namespace."""
        self.folder = folder
        self.prefix = prefix
        self.environment = environment
        self.report_file = folder / "ledger.json"
        self.run_dir = folder / "run"
        verb = [] if arguments[:1] == ["mirror"] else ["up"]
        command = [*within, str(RAYFAN), *verb, *arguments, "--report", str(self.report_file)]
        command += ["--set", f"prefix={prefix}", "--set", f"run_dir={self.run_dir}"]
        if not any("web." in argument for argument in arguments):
            command += ["--set", "web.enabled=false"]  # its start costs a second of a core
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

    def wait_until(self, true: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
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
        return status.get("state") == "Running" and is_ours(status["pid"], self.folder)

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
        assert_closed(report, self._together())
        return report

    def _together(self) -> dict[str, int]:
        """Return how many members make up a set, by group, for sets of several, as the givers said in the end."""
        groups = [group for path in self.run_dir.glob("*.status") for group in self.status(path.stem).get("groups", [])]
        even = [group for group in groups if group["count"] > group["sets"] and group["count"] % group["sets"] == 0]
        return {group["name"]: group["count"] // group["sets"] for group in even}

    def kill_everything(self) -> None:
        """Leave nothing behind, whatever happened."""
        pids = [self.process.pid] if self.process.poll() is None else []
        pids += [json.loads(path.read_text())["pid"] for path in self.run_dir.glob("*.status")]
        for pid in pids:
            if is_ours(pid, self.folder):
                with suppress(ProcessLookupError):  # it ended meanwhile
                    os.kill(pid, signal.SIGKILL)
        if self.process.poll() is None:
            self.process.wait(40)
        self.output.close()


def is_ours(pid: int, folder: Path | None = None) -> bool:
    """Return whether a process id is that of a process of an appliance, started in `folder` if one is given.

    Ids come again soon where there are 32768 of them, and threads have some, too.
    """
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if folder is not None and Path(f"/proc/{pid}/cwd").readlink() != folder.resolve():
            return False
    except OSError:
        return False
    return any(
        word in command
        for word in (b"detector_sim.app", b"consumers.app", b"ioc.supervisor.app", b"ioc.web.app", b"rayfan")
    )


def assert_closed(report: dict[str, Any], together: Mapping[str, int] | None = None) -> None:
    """Check the conservation of frames from the report alone: by stage, by group, and by series and group.

    `together` is how many members make up a set, and see the same frames, by group; left out: one.
    """
    assert report["residue"] == 0, report
    together = together or {}
    behind = {hop["name"].partition(" -> ")[2] for hop in report["hops"] if hop["name"].startswith(CHAINED)}
    for hop in report["hops"]:
        assert hop["residue"] == 0, hop
        if hop["name"].startswith(CHAINED):
            _assert_dealt_out(report, hop, together)
    for stage in report["stages"]:
        assert stage["received"] == stage["processed"] + stage["failed"] + stage["queued"], stage
        if not _has_ids(report, stage):
            continue
        dropped = count_ids(stage["missed"]) + stage["missed_left_out"]
        failed = count_ids(stage["failed_ids"]) + stage["failed_left_out"]
        assert dropped == sum(stage["dropped"].values()), f"a drop without an id: {stage}"
        assert failed == stage["failed"], f"a failure without an id: {stage}"
    _assert_series_closed(report, behind, together)
    groups = {one["group"] for one in report["stages"] if one["name"].rstrip("0123456789") in DEALT}
    for group in groups - behind:
        meant = sum(
            stage["received"] + sum(stage["dropped"].values())
            for stage in report["stages"]
            if stage["group"] == group and not stage["name"].startswith("EjfatIn")
        )
        many = together.get(group, 1)
        assert meant == report["published"] * many, f"group {group}: {meant} frames of {report['published']} x {many}"


def _has_ids(report: dict[str, Any], stage: dict[str, Any]) -> bool:
    """Return whether the ledger names what a stage missed.

    Behind a load balancer only the number is kept where an egress was killed: what it sent twice may have gone to two
    workers.
    """
    if stage["name"].startswith("EjfatLb"):
        return not any(one["restarts"] for one in report["stages"] if one["name"].rstrip("0123456789") == "Ejfat")
    return True


def _assert_dealt_out(report: dict[str, Any], hop: dict[str, Any], together: Mapping[str, int]) -> None:
    """Check that a process in a chain dealt out what it published: to one member each, or to all of a set."""
    giver, _, group = hop["name"].partition(" -> ")
    stage = next(one for one in report["stages"] if one["name"] == giver)
    if stage["restarts"]:
        return  # what it put out a moment before it was killed is in the books of those behind only
    many = together.get(group, 1)
    assert hop["given"] == stage["published"] * many, f"{hop}: of {stage['published']} frames x {many}"


def _assert_series_closed(report: dict[str, Any], behind: set[str], together: Mapping[str, int]) -> None:
    """Check that every series is accounted for in every group, and that the series make up the totals."""
    assert sum(one["published"] for one in report["series"]) == report["published"]
    published = {one["id"]: one["published"] for one in report["series"]}
    stages = {(stage["group"] or "", stage["name"]): stage for stage in report["stages"]}
    # PVA members beside them count, too; groups of PVA members alone may have larger sets
    groups = {row["group"] for row in report["accounts"] if row["stage"].rstrip("0123456789") in DEALT}
    dealt: dict[tuple[str, int], int] = {}
    for row in report["accounts"]:
        assert row["exact"], row
        assert row["waiting"] == 0, f"frames of a series are on their way at the end: {row}"
        assert row["given"] == row["processed"] + row["failed"] + sum(row["dropped"].values()), row
        if row["group"] in groups - behind and not row["stage"].startswith("EjfatIn"):
            key = row["group"], row["series"]
            dealt[key] = dealt.get(key, 0) + row["received"] + sum(row["dropped"].values())
    for (group, series), count in dealt.items():
        meant = published[series] * together.get(group, 1)
        assert count == meant, f"series {series}, group {group}: {count} frames of {meant}"
    for key, stage in stages.items():
        rows = [row for row in report["accounts"] if (row["group"], row["stage"]) == key]
        if stage["name"] != "detector" and _has_ids(report, stage):
            found = [sum(row[what] for row in rows) for what in ("processed", "failed")]
            assert found == [stage["processed"], stage["failed"]], f"{stage} against its series {rows}"
            dropped = sum(sum(row["dropped"].values()) for row in rows)
            assert dropped == sum(stage["dropped"].values()), f"{stage} against its series {rows}"


def count_ids(ranges: list[list[int]]) -> int:
    """Return how many ids are in ranges [series, first, last]."""
    return sum(last - first + 1 for _, first, last in ranges)


@contextmanager
def appliance(folder: Path, *arguments: str, **environment: str) -> Iterator[RunningAppliance]:
    """Yield a started `rayfan up` with these arguments; whatever is left of it is killed at the end."""
    prefix = random_prefix()
    running = RunningAppliance(folder, list(arguments), {**isolated_environment(), **environment}, prefix)
    try:
        yield running
    finally:
        running.kill_everything()
