"""An operator's day: start, change the size, acquire, lose frames, see it everywhere, find them, acknowledge, stop.

    python -m tests.campaigns.operators_day [--output FOLDER]

The loss is provoked: a consumer that is too slow, in a group that may drop (Bounded). Then every face must say so, with
the same number: the records and their severities by Channel Access, the status of the web page, `rayfan top`, the
figures for Prometheus, and `rayfan ledger --missed`, which names the ids. Acknowledging makes the alarm quiet and
leaves every account as it is; the next loss brings it back. What the commands print is kept in the folder; where
Chromium is installed, pictures of the web page, and where PHOEBUS names one (tests/campaigns/phoebus.py), of its
screens, too.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from tests.campaigns.phoebus import build_screens, show
from tests.support import browser
from tests.support.appliance import RAYFAN, RunningAppliance, appliance
from tests.support.clients import User, user_of
from tests.support.epics import free_port
from tests.support.phoebus_screens import screens
from tests.support.phoebus_stage import VARIABLE, missing

SLOW = """
import time
from consumers.processor import Processor, Setting


class Slow(Processor):
    declared_settings = (Setting("Pause", 0.0, unit="s", low=0.0),)

    def process(self, frame, metadata):
        time.sleep(self.settings["Pause"])
        return frame
"""
CONFIG = """
[detector]
size = [512, 512]
frame_rate = 50.0
acquire_at_start = false
[groups.slow]
processor = "slow.py:Slow"
policy = "bounded"
queue_size = 8
[groups.stats]
count = 2
[metrics]
port = {port}
[web]
port = 0
"""
OUTPUT = Path("test-output") / "operators-day"
NO_ALARM, MINOR = 0, 1
SHOWN = ("overview.bob", "ledger.bob", "consumer.bob", "group.bob")
COMMAND_SECONDS = 60.0


class Day:
    """What the steps share; `lost` frames by now."""

    def __init__(self, run: RunningAppliance, user: User, port: int, output: Path) -> None:
        self.run = run
        self.user = user
        self.port = port
        self.output = output
        self.lost = 0

    def rayfan(self, name: str, *arguments: str) -> str:
        """Return what a command prints, and keep it."""
        told = subprocess.run(
            [str(RAYFAN), *arguments],
            env={**self.run.environment, "COLUMNS": "80"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=COMMAND_SECONDS,
        ).stdout
        (self.output / f"{name}.txt").write_text(told)
        wide = [line for line in told.splitlines() if len(line) > 80]
        assert not wide, f"{name}: more than 80 columns: {wide}"
        return told

    def acquire(self) -> None:
        """Take a series, and wait until every frame of it has come to its end."""
        before = self.user.get("Ledger:Series_RBV")
        self.user.put("cam1:Acquire", 1)  # done when the last frame is out
        self.user.wait_until("Ledger:Series_RBV", lambda found: found != before, "that of the new series")
        self.user.wait("Ledger:SeriesComplete_RBV", "Yes")

    def morning(self) -> None:
        """Nothing is in alarm; the size is changed, and a series of 200 frames taken."""
        assert self.severities("Alarm_RBV", "Ledger:Dropped_RBV", "Cons1:Dropped_RBV") == [NO_ALARM] * 3
        self.user.put("cam1:SizeX", 256)
        self.user.put("cam1:SizeY", 128)
        self.user.put("cam1:ImageMode", "Multiple")
        self.user.put("cam1:NumImages", 200)
        self.acquire()
        assert self.user.get("cam1:NumImagesCounter_RBV") == 200
        assert (self.user.get("cam1:ArraySizeX_RBV"), self.user.get("cam1:ArraySizeY_RBV")) == (256, 128)
        assert self.user.get("Ledger:Dropped_RBV") == 0

    def a_loss(self) -> None:
        """A consumer becomes slow: its group drops, and the ledger says how many."""
        self.user.put("Cons1:Set:Pause", 0.2)
        self.acquire()
        self.user.put("Cons1:Set:Pause", 0.0)
        before, self.lost = self.lost, int(self.user.get("Ledger:Dropped_RBV"))
        assert self.lost > before, "the slow consumer lost nothing"
        self.user.wait("Ledger:Unseen_RBV", self.lost - before)

    def every_face_says_so(self) -> None:
        """Records, web page, top and Prometheus have the same number, and the alarm."""
        self.user.wait_until("Cons1:Dropped_RBV", lambda found: found == self.lost, str(self.lost))
        alarmed = ("Alarm_RBV", "Ledger:Dropped_RBV", "Ledger:Unseen_RBV", "Cons1:Dropped_RBV", "Dist1:Dropped_RBV")
        assert self.severities(*alarmed) == [MINOR] * len(alarmed)
        assert self.severities("Cons2:Dropped_RBV", "Dist2:Dropped_RBV", "Ledger:Residue_RBV") == [NO_ALARM] * 3
        assert re.search(rf"Cons1 .* {self.lost} ", self.rayfan("top", "top", "--once", self.run.prefix))
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=COMMAND_SECONDS) as answer:
            figures = answer.read().decode()
        for name in ("dropped_frames_total", "unseen_frames"):
            (value,) = re.findall(rf"^rayfan_{name}{{.*}} (\S+)$", figures, re.MULTILINE)
            assert float(value) == self.lost, f"{name}: {value}"
        address = self.run.status("Web1")["figures"]["Address"]
        with urllib.request.urlopen(f"{address}api/overview", timeout=COMMAND_SECONDS) as answer:
            view = json.load(answer)
        told = {one["name"]: one["lost"] for one in view["processes"]}
        assert (view["dropped"], told["Cons1"], told["Cons2"]) == (self.lost, self.lost, 0), view

    def they_are_found(self) -> None:
        """The ids are named, as many as there are, all of the consumer that was slow."""
        printed = self.rayfan("ledger", "ledger", "--missed", "--run-dir", str(self.run.run_dir))
        assert "Cons1" in printed and "queue_full" in printed, printed
        found = json.loads(
            self.rayfan("ledger-json", "ledger", "--missed", "--format", "json", "--run-dir", str(self.run.run_dir))
        )
        missed = found["missed"]
        assert {one["stage"] for one in missed} == {"Cons1"}
        assert sum(one["count"] for one in missed) == self.lost

    def acknowledged(self) -> None:
        """The alarm is quiet, the accounts are as they were, and the log of puts knows who did it."""
        self.user.put("Ledger:Acknowledge", 1)
        self.user.wait("Ledger:Unseen_RBV", 0)
        self.user.wait("Alarm_RBV", 0)
        assert self.severities("Alarm_RBV", "Ledger:Unseen_RBV", "Ledger:Dropped_RBV") == [NO_ALARM, NO_ALARM, MINOR]
        assert self.user.get("Ledger:Dropped_RBV") == self.lost
        puts = self.run.run_dir / "puts"  # lines are written together, some at a time
        self.run.wait_until(lambda: "Ledger:Acknowledge" in puts.read_text(), "the put is in the log", 10.0)

    def severities(self, *names: str) -> list[int]:
        """Return alarm severities by Channel Access."""
        return [self.user.ask("severity", name) for name in names]

    def pictures(self) -> None:
        """Take pictures of the alarm, where there is what takes them."""
        lacking = browser.missing()
        if lacking:
            print(f"no pictures of the web page: {lacking}")
        else:
            with browser.chromium() as one:
                at = browser.Watched(browser.context_of(one), self.run.status("Web1")["figures"]["Address"])
                for view in ("overview", "processes", "ledger"):
                    at.go(view)
                    at.wait_text("header [data-pv='Ledger:Dropped_RBV']", "text === given[0]", str(self.lost))
                    at.page.wait_for_timeout(2500)  # what is drawn once a second is there then; nothing is judged
                    at.page.screenshot(path=self.output / f"web-{view}.png", full_page=True)
        lacking = missing() if os.environ.get(VARIABLE) else f"{VARIABLE} names none"
        if lacking:
            print(f"no pictures of Phoebus: {lacking}")
            return
        shown = [screen for screen in screens() if screen.file in SHOWN]
        assert show(self.run, shown, build_screens(), self.output), "Phoebus: see above"


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    output = parser.parse_args().output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rayfan-day-") as name:
        folder, port = Path(name), free_port()
        (folder / "slow.py").write_text(SLOW)
        (folder / "rayfan.toml").write_text(CONFIG.format(port=port))
        with appliance(folder, "rayfan.toml", "--set", "web.enabled=true") as run, user_of(run) as user:
            run.wait_running("detector", "Cons1", "Cons2", "Cons3", "Web1")
            day = Day(run, user, port, output)
            for step in (
                *(day.morning, day.a_loss, day.every_face_says_so, day.pictures, day.they_are_found),
                *(day.acknowledged, day.a_loss, day.acknowledged),
            ):
                step()
                print(f"{step.__name__.replace('_', ' ')}: as expected", flush=True)
            report = run.stop()
    print(f"{report['published']} frames published, {day.lost} lost on purpose and named, residue {report['residue']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
