"""The web page of a running appliance in headless Chromium; run as a module, it leaves pictures of every view.

One appliance: two consumers in turn, a third one behind them, one that compresses, EJFAT over loopback. Each step is
what an operator does, and what he sees is compared with what an EPICS client of somebody else sees. At the end the
ledger has the last word: a browser that never reads what it asked for changes nothing in it.
"""

import argparse
import json
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.support.appliance import RunningAppliance, appliance
from tests.support.browser import NAMELESS, PALE, REPEATED_IDS, Watched, chromium, context_of, missing
from tests.support.clients import User, user_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser  # pyright: ignore[reportMissingImports]

TOKEN = "correct horse battery staple"
CONFIG = f"""
[web]
port = 0
token = "{TOKEN}"
[detector]
frame_rate = 200
size = [256, 192]
data_type = "UInt16"
[groups.stats]
count = 2
queue_size = 64
[groups.behind]
input = "groups.stats"
processor = "bin"
[groups.packed]
processor = "compress"
[groups.packed.settings]
Codec = "bslz4"
[egress.demo]
ingress = "demo"
rate = 8.0
[ingress.demo]
"""
VIEWS = ("overview", "images", "plots", "processes", "ledger", "log")
OUTPUT = Path("test-output") / "web"


class Stage:
    """What the steps share."""

    def __init__(self, run: RunningAppliance, user: User, browser: "Browser", output: Path) -> None:
        self.run = run
        self.user = user
        self.browser = browser
        self.output = output
        self.url = str(run.status("Web1")["figures"]["Address"])
        self.at = Watched(context_of(browser), self.url)

    def page_follows_the_pvs(self) -> None:
        """A put of somebody else is seen on the page."""
        self.at.go("overview")
        boxes = self.at.page.eval_on_selector_all("[data-process]", "all => all.map((one) => one.dataset.process)")
        assert sorted(boxes) == ["Cons1", "Cons2", "Cons3", "Cons4", "Ejfat1", "EjfatIn1", "detector"], boxes
        assert self.at.page.locator("#links path").count() == 7, "a line for each passage"
        self.user.put("cam1:FrameRate", 170.0)
        self.at.wait_text("#frame-rate-readback", "text === '170 Hz'")
        before = self.at.text("header [data-pv='Ledger:Published_RBV']")
        self.at.wait_text("header [data-pv='Ledger:Published_RBV']", "text !== given[0]", before)

    def a_click_leads_on(self) -> None:
        """A box of the picture leads to the row of its process, by mouse and by keyboard."""
        self.at.page.click("[data-process=Cons2]")
        self.at.page.wait_for_function("() => document.activeElement.dataset.row === 'Cons2'")
        self.at.go("overview")
        self.at.page.focus("[data-process=Cons1]")
        self.at.page.keyboard.press("Enter")
        self.at.page.wait_for_function("() => document.activeElement.dataset.row === 'Cons1'")

    def pictures_change(self) -> None:
        """Pictures follow the stream, in other colours too; the cursor tells the true value of a pixel."""
        self.at.go("images")
        content = "() => document.getElementById('picture').toDataURL()"
        for channel in ("Pva1:Image", "Cons3:Image", "Cons4:Image", "EjfatIn1:Image"):
            self.at.page.wait_for_selector(f"#channel option[value='{channel}']", state="attached")
            self.at.page.select_option("#channel", channel)
            self.at.wait_text("#picture-facts", "text.startsWith('frame ')")
            first, facts = self.at.page.evaluate(content), self.at.text("#picture-facts")
            self.at.wait_text("#picture-facts", "text.startsWith('frame ') && text !== given[0]", facts)
            self.at.page.wait_for_function(f"(first) => ({content})() !== first", arg=first)
        self.at.page.select_option("#channel", "Pva1:Image")
        self.user.put("cam1:Acquire", 0)
        self.at.page.focus("#picture")
        for _ in range(3):
            self.at.page.keyboard.press("Shift+ArrowRight")
        self.at.wait_text("#cursor", "text.startsWith('x 176, y 96: ')")
        shown = self.at.page.evaluate("() => document.getElementById('picture-facts').textContent")
        newest = int(self.user.get("cam1:UniqueId_RBV"))
        self.at.wait_text("#picture-facts", "text.replace(/\\u2009/g, '').startsWith(`frame ${given[0]} `)", newest)
        assert "256 x 192 uint16" in shown, shown
        grey = self.at.page.evaluate(content)
        self.at.page.select_option("#palette", "viridis")
        assert self.at.page.evaluate(content) != grey
        self.at.page.fill("#high", "30000")
        self.at.wait_text("#histogram-facts", "text.includes('white at 30k')")
        assert re.fullmatch(r"x 176, y 96: \d+", self.at.text("#cursor"))
        self.at.page.click("#automatic")
        self.user.put_plain("cam1:Acquire", 1)

    def writing_needs_the_token(self) -> None:
        """Without the token nothing is written, whatever a page tries; with it, it is, and it is written down."""
        self.at.go("overview")
        assert self.at.page.is_disabled("#frame-rate")
        answer = self.at.page.evaluate(
            """([url, pv]) => new Promise((done) => {
              const socket = new WebSocket(url);
              socket.onopen = () => {
                socket.send(JSON.stringify({ type: "subscribe", pvs: [pv] }));
                socket.send(JSON.stringify({ type: "write", pv, value: 55 }));
              };
              socket.onmessage = ({ data }) => data.includes("error") && (socket.close(), done(JSON.parse(data)));
            })""",
            [f"ws://{urlsplit(self.url).netloc}/pvws/pv", f"{self.run.prefix}cam1:FrameRate"],
        )
        assert "show the token first" in answer["message"], answer
        assert self.user.get("cam1:FrameRate_RBV") == 170.0
        self.at.page.click("#lock")
        self.at.page.fill("#token", "not the token")
        self.at.page.keyboard.press("Enter")
        self.at.wait_text("#token-fault", "text.includes('not the token')")
        self.at.page.fill("#token", TOKEN)
        self.at.page.keyboard.press("Enter")
        self.at.wait_text("#lock", "text === 'Writing is open'")
        self.at.page.fill("#frame-rate", "140")
        self.at.page.keyboard.press("Enter")
        self.user.wait("cam1:FrameRate_RBV", 140.0)
        self.at.wait_text("#frame-rate-readback", "text === '140 Hz'")
        puts = (self.run.run_dir / "puts").read_text()
        host = socket.gethostname()
        assert f" web:127.0.0.1 {host} {self.run.prefix}cam1:FrameRate new=140.0 old=170.0\n" in puts, puts
        assert "cam1:FrameRate refused: " in puts, puts

    def processes_obey(self) -> None:
        """A consumer stops, starts and is started anew, after a question."""
        self.at.go("processes")
        self.at.page.click("button[aria-label='Stop Cons2']")
        self.user.wait("Cons2:State_RBV", "Stopped")
        self.at.page.click("button[aria-label='Start Cons2']")
        self.user.wait("Cons2:State_RBV", "Running")
        pid = self.user.get("Cons3:Pid_RBV")
        assert not self.at.page.locator("button[aria-label='Restart EjfatIn1']").count(), "packets come all the time"
        assert self.at.page.get_by_text("no restart: packets that come meanwhile would be lost").count() == 1
        for name in ("Cons1", "Ejfat1"):  # both give frames to others
            self._restart(name)
        self.at.page.click("button[aria-label='Restart Cons3']")
        self.at.page.click("#sure-dialog button[value=no]")
        assert self.run.status("Cons3")["pid"] == pid
        self._restart("Cons3")
        self.at.page.wait_for_function(
            "() => [...document.querySelectorAll('#process-rows tr')]"
            ".find((row) => row.textContent.startsWith('Cons3'))?.cells[8].textContent === '1'"
        )

    def _restart(self, name: str) -> None:
        pid = self.run.status(name)["pid"]
        self.at.page.click(f"button[aria-label='Restart {name}']")
        self.at.page.click("#sure-dialog button[value=yes]")
        self.run.wait_until(
            lambda: self.run.runs(name) and self.run.status(name)["pid"] != pid, f"{name} is started anew"
        )

    def a_lost_connection_heals(self) -> None:
        """The web page's process is killed: the page says so, and goes on by itself when there is another one."""
        os.kill(self.run.status("Web1")["pid"], signal.SIGKILL)
        self.at.page.wait_for_selector("#connection.gone")
        assert self.at.page.is_disabled("button[aria-label='Stop Cons2']")
        self.at.wait_connected()
        self.at.wait_text("#lock", "text === 'Writing is open'")
        self.at.go("overview")
        self.user.put("cam1:FrameRate", 120.0)
        self.at.wait_text("#frame-rate-readback", "text === '120 Hz'")
        self.at.faults.clear()  # the browser has complained of the connections that it lost

    def ledger_and_log_are_shown(self) -> None:
        """The ledger has its rows, and the log those that are wanted."""
        self.at.go("ledger")
        self.at.page.wait_for_function("() => document.querySelectorAll('#account-rows tr').length >= 5")
        self.at.wait_text("#ledger-verdict", "text.startsWith('Series ')")
        self.at.wait_text("#ledger [data-pv='Ledger:Unseen_RBV']", "text === '0'")
        self.at.go("log")
        self.at.page.select_option("#log-process", "puts")
        self.at.page.fill("#log-text", "web:127")
        self.at.page.wait_for_function(
            "() => { const rows = [...document.querySelectorAll('#log-rows tr')];"
            " return rows.length && rows.every((row) => row.textContent.includes('web:127.0.0.1')); }"
        )

    def everybody_can_use_it(self) -> None:
        """Every view has names for all that is there, contrast in light and dark, no overflow; and is photographed."""
        for dark in (False, True):
            for width in (1280, 800, 390):
                context = context_of(self.browser, width, dark)
                at = Watched(context, self.url)
                for view in VIEWS:
                    self._look_over(at, view, f"{view}-{'dark' if dark else 'light'}-{width}")
                if width == 1280:
                    self._tab_through(at)
                    at.page.select_option("#theme", "light" if dark else "dark")
                    assert not at.page.evaluate(PALE), "the switch of colours"
                assert not at.faults, at.faults
                context.close()

    def _look_over(self, at: Watched, view: str, name: str) -> None:
        at.go(view)
        at.page.wait_for_function(
            """(view) => ({
              overview: () => document.querySelectorAll("[data-process]").length > 3,
              images: () => document.getElementById("picture").width > 16,
              plots: () => document.querySelectorAll("#charts li").length > 5,
              processes: () => document.querySelectorAll("#process-rows tr").length > 3,
              ledger: () => document.querySelectorAll("#account-rows tr").length > 3,
              log: () => document.querySelectorAll("#log-rows tr").length > 3,
            })[view]()""",
            arg=view,
        )
        at.page.screenshot(path=self.output / f"{name}.png", full_page=True)
        for what, script in (("no name", NAMELESS), ("an id twice", REPEATED_IDS), ("too pale", PALE)):
            found = at.page.evaluate(script)
            assert not found, f"{name}: {what}: {found}"
        over = at.page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, f"{name}: {over} pixels wider than the window"

    def _tab_through(self, at: Watched) -> None:
        """See that the keyboard reaches every view and the first control, and shows where it is."""
        at.page.goto("about:blank")  # else Tab would go on from what was clicked last
        at.page.goto(self.url)
        at.wait_connected()
        seen = []
        for _ in range(12):
            at.page.keyboard.press("Tab")
            seen.append(at.page.evaluate("() => document.activeElement.hash || document.activeElement.id"))
            shown = at.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
            assert shown != "none", f"no focus to be seen at {seen[-1]}"
        assert [one for one in seen if one[1:] in VIEWS] == [f"#{view}" for view in VIEWS], seen

    def a_browser_that_never_reads_changes_nothing(self) -> None:
        """Many connections ask for pictures and never read them; the stream goes on as before."""
        place = urlsplit(self.url)
        silent = []
        for _ in range(8):
            one = socket.create_connection((place.hostname, place.port))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            ask = f"GET /api/image?channel=Pva1:Image&most=2048 HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n"
            one.sendall(ask.encode() * 20)
            silent.append(one)
        before = self.run.published()
        self.run.wait_until(lambda: self.run.published() > before + 300, "the stream goes on")
        for one in silent:
            one.close()

    def steps(self) -> list[Callable[[], None]]:
        """Return what is done, in order."""
        return [
            self.page_follows_the_pvs,
            self.a_click_leads_on,
            self.pictures_change,
            self.writing_needs_the_token,
            self.processes_obey,
            self.a_lost_connection_heals,
            self.ledger_and_log_are_shown,
            self.everybody_can_use_it,
            self.a_browser_that_never_reads_changes_nothing,
        ]


def play(output: Path) -> None:
    """Run all steps.

    Raises:
        AssertionError: one of them failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rayfan.toml").write_text(CONFIG)
        with appliance(folder, "rayfan.toml", "--set", "web.enabled=true") as run, user_of(run) as user:
            run.wait_running("detector", "Cons1", "Cons2", "Cons3", "Cons4", "EjfatIn1", "Web1")
            with chromium() as browser:
                stage = Stage(run, user, browser, output)
                for step in stage.steps():
                    try:
                        step()
                    except BaseException:
                        stage.at.page.screenshot(path=output / "failed.png")
                        sys.stderr.write(run.logs())
                        raise
                    print(f"{step.__name__.replace('_', ' ')}: as expected")
                assert not stage.at.faults, f"the browser complained: {stage.at.faults}"
            report = run.stop()
    lost = {stage["name"]: stage["dropped"] for stage in report["stages"] if stage["dropped"]}
    print(json.dumps({"published": report["published"], "residue": report["residue"], "lost": lost}))
    assert not lost, lost


def main() -> int:
    """Run the stage; return 0 if all is well, 1 if not, 2 if something is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"where the pictures go; default {OUTPUT}")
    options = parser.parse_args()
    lacking = missing()
    if lacking:
        print(f"the web page cannot be tried in a browser: {lacking}", file=sys.stderr)
        return 2
    options.output.mkdir(parents=True, exist_ok=True)
    play(options.output.absolute())
    print(f"pictures of every view are in {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
