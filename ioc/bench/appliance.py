"""Rayfan's side: `rayfan up` on a generated configuration, looked at through its books, status files and report."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ioc.bench import workplace
from ioc.bench.case import PROCESSOR, Case, processor_text, toml
from ioc.bench.process import Started, cpu_seconds, part, wait_while
from ioc.bench.search import Trial
from ioc.channels.book import BookReader
from ioc.core.errors import PeerError

log = logging.getLogger(__name__)

START_SECONDS = 60.0
WARM_SECONDS = 0.5
"""s of frames before the measurement begins."""
SERIES_SECONDS = 0.1
"""What the acquisition of one frame may take."""
DRAIN_SECONDS = 60.0
SPARE_SECONDS = 120.0
"""An appliance stops by itself so long after its run, whatever becomes of the benchmark."""
WITHOUT_PAGE = ("web.enabled=false",)
"""What is measured is the stream, not the web page."""
HARMLESS = ("duplicate",)
"""Reasons in the ledger that are no loss."""
APPLIANCE_WORDS = (b"detector_sim.app", b"consumers.app", b"ioc.supervisor.app")


@dataclass(frozen=True, slots=True)
class Reading:
    """Frames processed by all members, and CPU s of all processes, at one moment (monotonic s)."""

    at: float
    frames: int
    cpu: float


class Appliance:
    """One `rayfan up`; a context that leaves nothing of it behind."""

    def __init__(self, folder: Path, configuration: str, seconds: float) -> None:
        self.run_dir = folder / "run"
        self._report = folder / "ledger.json"
        file = folder / "bench.toml"
        self.prefix = workplace.prefix()
        self.environment = workplace.environment()
        file.write_text(f'prefix = "{self.prefix}"\nrun_dir = "{self.run_dir}"\n{configuration}')
        command = [
            sys.executable,
            "-P",
            "-c",
            "import sys; from ioc.cli import main; sys.exit(main())",
            "up",
            str(file),
        ]
        command += [word for one in WITHOUT_PAGE for word in ("--set", one)]
        command += ["--report", str(self._report), "--duration", f"{seconds + SPARE_SECONDS:g}"]
        self._up = Started("rayfan up", command, folder / "up.log", self.environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._up.alive():
            self._up.signal(signal.SIGINT)
            try:
                self._up.process.wait(DRAIN_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning("the appliance did not drain within %g s and is killed", DRAIN_SECONDS)
        self._up.end()
        for pid in self.pids():
            if _is_of_an_appliance(pid):
                os.kill(pid, signal.SIGKILL)

    def status(self, name: str) -> dict[str, Any]:
        """Return the last status of a process, {} if it has none yet."""
        try:
            return json.loads((self.run_dir / f"{name}.status").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def pids(self) -> list[int]:
        """Return the ids of all its processes."""
        known = [self.status(path.stem).get("pid") for path in self.run_dir.glob("*.status")]
        return [pid for pid in known if pid]

    def wait(self, seconds: float) -> None:
        """Let it run on.

        Raises:
            PeerError: it ended.
        """
        wait_while([self._up], seconds)

    def wait_for_frames(self, names: Sequence[str]) -> None:
        """Wait until processes run and each has finished with a frame.

        Raises:
            PeerError: it ended, or took too long.
        """
        self._wait_for(self._flows, "frames", names)

    def wait_until_running(self, names: Sequence[str]) -> None:
        """Wait until processes run.

        Raises:
            PeerError: it ended, or took too long.
        """
        self._wait_for(lambda name: self.status(name).get("state") == "Running", "processes that run", names)

    def wait_for_channels(self, names: Sequence[str], channels: int) -> None:
        """Wait until each process is connected with so many metadata channels.

        Raises:
            PeerError: it ended, or took too long.
        """
        self._wait_for(lambda name: self._connected(name) == channels, "metadata channels", names)

    def unmatched(self, names: Sequence[str]) -> int:
        """Return how many frames lacked a value of a metadata channel."""
        return sum(self.status(name).get("figures", {}).get("MetaUnmatched", 0) for name in names)

    def stop(self) -> dict[str, Any]:
        """Ask it to drain and return its report.

        Raises:
            PeerError: it did not drain, or its ledger does not close.
        """
        self._up.signal(signal.SIGINT)
        try:
            code = self._up.process.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            raise PeerError(f"rayfan up: did not drain within {DRAIN_SECONDS:g} s; {self._words()}") from None
        if code != 0:
            raise PeerError(f"rayfan up: expected exit code 0, found {code}; {self._words()}")
        report = json.loads(self._report.read_text())
        if report["residue"] != 0:
            raise PeerError(f"rayfan up: expected residue 0 in the ledger, found {report['residue']}")
        return report

    def _wait_for(self, ready: Callable[[str], bool], what: str, names: Sequence[str]) -> None:
        limit = time.monotonic() + START_SECONDS
        while not all(ready(name) for name in names):
            if time.monotonic() > limit:
                raise PeerError(f"rayfan up: no {what} at {', '.join(names)} in {START_SECONDS:g} s; {self._words()}")
            wait_while([self._up], 0.05)

    def _flows(self, name: str) -> bool:
        status = self.status(name)
        return status.get("state") == "Running" and status["stage"]["processed"] > 0

    def _connected(self, name: str) -> int:
        figures = self.status(name).get("figures", {})
        return sum(value for key, value in figures.items() if key.startswith("Meta:") and key.endswith(":Connected"))

    def _words(self) -> str:
        logs = (path.read_text(errors="replace").strip() for path in sorted(self.run_dir.glob("*.log")))
        return " | ".join([self._up.words(), *(text.splitlines()[-1] for text in logs if text)])


class Books:
    """The counters of members, read where they are written: exact, and no burden to anybody."""

    def __init__(self, running: Appliance, names: Sequence[str]) -> None:
        self._readers = [BookReader(running.run_dir / f"{name}.book") for name in names]
        self._pids = running.pids()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers:
            reader.close()

    def read(self) -> Reading:
        """Return how far the members are."""
        return Reading(time.monotonic(), sum(one.read().processed for one in self._readers), cpu_seconds(self._pids))


def run(folder: Path, case: Case, frame_rate: float | None, seconds: float) -> Trial:
    """Return what one appliance did at `frame_rate` Hz (None: as fast as it goes) over `seconds` of its steady part.

    Raises:
        PeerError: it failed, or frames are unaccounted for.
    """
    if case.own_processor:
        (folder / PROCESSOR).write_text(processor_text(case))
    with Appliance(folder, toml(case, frame_rate), seconds) as running:
        if case.metadata:
            running.wait_for_channels(case.members(), case.metadata)
        if case.begins_later:
            make_series(running, folder, case.past_series)
        running.wait_for_frames(case.members())
        running.wait(WARM_SECONDS + case.age)
        with Books(running, case.members()) as books:
            first = books.read()
            running.wait(seconds)
            last = books.read()
        report = running.stop()
        lost = lost_frames(report) + running.unmatched(case.members())
    return trial(frame_rate, first, last, lost)


def make_series(running: Appliance, folder: Path, count: int) -> None:
    """Have that many series of one frame acquired, and an endless one begun.

    Raises:
        PeerError: the appliance does not run, or a series took too long.
    """
    running.wait_until_running(["detector", "Cons1"])
    settings = {"role": "series", "camera": f"{running.prefix}cam1:", "count": count}
    with part("series_maker", folder, running.environment, settings) as maker:
        maker.hear(START_SECONDS + SERIES_SECONDS * count)


def trial(asked: float | None, first: Reading, last: Reading, lost: int) -> Trial:
    """Return the trial between two readings."""
    frames = last.frames - first.frames
    if frames <= 0:
        return Trial(asked, 0.0, lost)
    return Trial(asked, frames / (last.at - first.at), lost, (last.cpu - first.cpu) / frames)


def lost_frames(report: Mapping[str, Any], groups: Sequence[str] = ("bench",)) -> int:
    """Return the frames of groups that failed, were dropped or are missing, by the report of an appliance."""
    stages = [stage for stage in report["stages"] if stage["group"] in groups]
    dropped = sum(count for one in stages for why, count in one["dropped"].items() if why not in HARMLESS)
    left = sum(one["failed"] + one["queued"] + one["in_flight"] for one in stages)
    taken = sum(one["processed"] for one in stages)
    return max(dropped + left, report["published"] - taken)


def _is_of_an_appliance(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return any(word in command for word in APPLIANCE_WORDS)
