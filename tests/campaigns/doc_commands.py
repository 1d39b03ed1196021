"""Runs every command block of README.md and docs/, page by page, as somebody would who types it.

    python -m tests.campaigns.doc_commands [PAGE ...] [--list]

Each page has a fresh folder, EPICS ports and run folders of its own, with `ops/` and a file `scan.h5` in it. What goes
on until it is stopped (`rayfan up`, `mirror`, `work`, `ejfat-lb`, a command that ends in `&`) runs until the next one
of its kind or the end of the page, where it must drain and exit with 0. A page that asks PVs before it has started an
appliance gets the demonstration. What comments before the blocks say is described in tests/support/doc_blocks.py; what
is left out is listed with its reason. Exit code 1 if a command did not do what its page says.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from tests.support import epics_tools
from tests.support.appliance import is_ours
from tests.support.doc_blocks import ROOT, Block, blocks, pages
from tests.support.epics import isolated_environment

COMMAND_SECONDS = 300.0
START_SECONDS = 180.0
STOP_SECONDS = 180.0
SCAN = (50, 22, 26)
"""Shape of the images in scan.h5, `[n, y, x]` of uint16."""
STAYING = re.compile(r"^(?:rayfan (?:up|mirror|work|ejfat-lb)\b|make run\b)(?!.*(?:--print-config|--duration|--help))")
APPLIANCE = re.compile(r"^(?:rayfan (?:up|mirror)|make run)\b")
ASKS = re.compile(r"^(?:caget|caput|pvget|pvput|rayfan top)\b|\$\(caget")
DEMONSTRATION = "up"
MIRROR = "rayfan mirror"
"""Runs beside the appliance that it mirrors; any other appliance takes the place of the one before."""
BIN = Path(sys.executable).parent


class FailedError(Exception):
    """A command did not do what its page says."""


class Going:
    """A command that goes on until it is stopped."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        self.command = command
        self._file = (folder / f"going-{time.monotonic_ns()}.log").open("w+")
        self.process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=folder,
            env=environment,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def printed(self) -> str:
        """Return what it has printed."""
        return Path(self._file.name).read_text()

    def stop(self) -> None:
        """Ask it to stop; an appliance must drain.

        Raises:
            FailedError: it ended with another exit code than 0, or not at all.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise FailedError(f"{self.command}: did not stop within {STOP_SECONDS} s\n{self.printed()}") from None
        finally:
            self._file.close()
        if code not in (0, -signal.SIGTERM) or (APPLIANCE.match(self.command) and code):
            raise FailedError(f"{self.command}: exit code {code}\n{self.printed()[-3000:]}")


class Page:
    """What goes on while one page is worked through."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.environment = isolated_environment()
        self.going: list[Going] = []
        self.left_out: list[str] = []
        self.done = 0
        tools = folder / "bin"
        if shutil.which("caget") is None:
            epics_tools.install(tools, ROOT)
        runtime = folder / "runtime"
        runtime.mkdir(mode=0o700)
        self.environment |= {"PATH": f"{tools}:{BIN}:{os.environ['PATH']}", "XDG_RUNTIME_DIR": str(runtime)}
        self.work = folder / "work"
        self.work.mkdir()
        (self.work / "ops").symlink_to(ROOT / "ops")
        with h5py.File(self.work / "scan.h5", "w") as file:
            file["entry/data/data"] = np.random.default_rng(0).poisson(20, SCAN).astype(np.uint16)
        (self.work / ".venv").symlink_to(BIN.parent)

    def run(self) -> None:
        """Work through the page.

        Raises:
            FailedError: a command did not do what the page says.
        """
        try:
            for block in blocks(self.page):
                if "file" in block.said:
                    (self.work / block.said["file"]).write_text(block.text)
                elif "skip" in block.said:
                    self.left_out.append(f"{block.place}: {block.said['skip']}")
                elif block.is_commands:
                    self._block(block)
        finally:
            try:
                self._stop(lambda _one: True)
            finally:
                self._leave_nothing()

    def _leave_nothing(self) -> None:
        """Kill what is left of an appliance that did not end: its processes outlive its supervisor on purpose."""
        for path in Path(self.environment["XDG_RUNTIME_DIR"]).glob("rayfan/*/*.status"):
            pid = json.loads(path.read_text())["pid"]
            if is_ours(pid):
                os.kill(pid, signal.SIGKILL)

    def _block(self, block: Block) -> None:
        if needed := block.said.get("needs"):
            self._start(f"rayfan {needed}")
        printed = ""
        commands = block.commands()
        for number, command in enumerate(commands):
            if more := block.said.get("with"):
                command = re.sub(r"^(rayfan .*)$", rf"\1 {more}", command)
            if STAYING.match(command) or command.endswith("&"):
                self._start(command.removesuffix("&"))
                continue
            if APPLIANCE.match(command) and "--print-config" not in command:
                self._stop(lambda _one: True)  # it runs for a time that it says: the prefix must be free
            if ASKS.search(command) and not any(APPLIANCE.match(one.command) for one in self.going):
                self._start(f"rayfan {DEMONSTRATION}")
            fails = "fails" in block.said and number == len(commands) - 1
            printed += self._command(block, command, fails)
            self.done += 1
        if "ends" in block.said:
            self._ended()
        if (wanted := block.said.get("prints", "")) not in printed:
            raise FailedError(f"{block.place}: expected {wanted!r} in what is printed, found\n{printed}")

    def _command(self, block: Block, command: str, fails: bool) -> str:
        if command.startswith("export "):
            self._export(command)
            return ""
        if command.startswith("make "):
            command = f"make -n -C {ROOT} {command.removeprefix('make ')}"  # a stage of its own: that it is there
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.work,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if (done.returncode != 0) is not fails:
            expected = "a failure" if fails else "exit code 0"
            raise FailedError(
                f"{block.place}: {command}\nexpected {expected}, found {done.returncode}\n{done.stdout[-3000:]}\n"
                + "\n".join(f"--- {one.command}\n{one.printed()[-1500:]}" for one in self.going)
            )
        return done.stdout

    def _export(self, command: str) -> None:
        told = ["bash", "-c", f"{command} && env -0"]
        done = subprocess.run(told, cwd=self.work, env=self.environment, stdout=subprocess.PIPE, text=True, check=True)
        pairs = (one.partition("=") for one in done.stdout.split("\0") if one)
        self.environment |= {name: value for name, _, value in pairs}

    def _start(self, command: str) -> None:
        if APPLIANCE.match(command):
            self._stop(lambda one: not command.startswith(MIRROR) or one.command.startswith(MIRROR))
        elif command.startswith("rayfan"):
            self._stop(lambda one: one.command.split()[:2] == command.split()[:2])
        if command.startswith("make run"):
            command = f"rayfan up {' '.join(re.findall(r'--set [^ ]+', command))}".strip()
        begun_ns = time.monotonic_ns()
        going = Going(command, self.work, self.environment)
        self.going.append(going)
        self.done += 1
        if APPLIANCE.match(command):
            self._wait_running(going, begun_ns)

    def _wait_running(self, going: Going, begun_ns: int) -> None:
        """Wait until all processes ran once, as the appliance itself says."""
        limit = time.monotonic() + START_SECONDS
        while not self._runs(begun_ns):
            if going.process.poll() is not None or time.monotonic() > limit:
                raise FailedError(f"{going.command}: does not run\n{going.printed()[-3000:]}")
            time.sleep(0.1)  # polled: another process writes the file

    def _runs(self, begun_ns: int) -> bool:
        for path in Path(self.environment["XDG_RUNTIME_DIR"]).glob("rayfan/*/appliance.json"):
            try:
                view = json.loads(path.read_text())
            except (OSError, ValueError):
                continue
            if view["started_ns"] >= begun_ns and view["running_since_ns"] is not None:
                return True
        return False

    def _ended(self) -> None:
        """Wait until the appliance has ended by itself."""
        for one in self.going:
            one.process.wait(STOP_SECONDS)

    def _stop(self, chosen: Callable[[Going], bool]) -> None:
        faults = []
        for one in [one for one in reversed(self.going) if chosen(one)]:
            self.going.remove(one)
            try:
                one.stop()
            except FailedError as error:
                faults.append(str(error))
        if faults:
            raise FailedError("\n".join(faults))


def check(page: Path) -> Page:
    """Work through one page.

    Raises:
        FailedError: a command did not do what the page says.
    """
    with tempfile.TemporaryDirectory(prefix="rayfan-docs-") as folder:
        worked = Page(page, Path(folder))
        worked.run()
    return worked


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path, help="left out: all")
    parser.add_argument("--list", action="store_true", help="list what would be run and leave")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what goes on is stopped, then
    chosen = [path.resolve() for path in options.pages] or pages()
    if options.list:
        for block in (block for page in chosen for block in blocks(page) if block.is_commands):
            print(f"{block.place}\n    " + "\n    ".join(block.commands()))
        return 0
    failed, commands, left_out = [], 0, []
    begun = time.monotonic()
    for page in chosen:
        name = page.relative_to(ROOT)
        if not any(block.is_commands for block in blocks(page)):
            continue
        try:
            worked = check(page)
        except (FailedError, subprocess.TimeoutExpired) as error:
            failed.append(str(name))
            print(f"{name}: FAILED\n{error}", flush=True)
            continue
        commands += worked.done
        left_out += worked.left_out
        print(f"{name}: {worked.done} commands, {len(worked.left_out)} blocks left out", flush=True)
    for reason in left_out:
        print(f"left out: {reason}")
    verdict = f"failed: {', '.join(failed)}" if failed else "every one did what its page says"
    print(f"{commands} commands in {time.monotonic() - begun:.0f} s, {len(left_out)} blocks left out; {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
