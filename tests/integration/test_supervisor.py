"""The supervisor with real processes: fakes that speak the contract, and `rayfan up` in front of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ioc.core.status import ExitCode, State
from ioc.supervisor.appliance import Appliance, ProcessView
from ioc.supervisor.process import start_time
from ioc.supervisor.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
DEADLINE = 40.0
UP = """
import sys
from ioc.cli import command_line
from ioc.console import Options, read_config, up
options = command_line().parse_args(["up", *sys.argv[1:]])
chosen = Options(options.duration, options.report, options.debug)
try:
    code = up(read_config(options.config, options.set), chosen, "tests.support.fake_child")
except Exception as error:
    sys.stderr.write(f"{type(error).__name__}: {error}\\n")
    code = 2
sys.exit(code)
"""
PLAIN = "[groups.a]\ncount = 2\n"
WHOLE = PLAIN + '[egress.e]\ningress = "i"\n[ingress.i]\n'


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Return what `condition` returns once it is true."""
    limit = time.monotonic() + DEADLINE
    while time.monotonic() < limit:
        value = condition()
        if value:
            return value
        time.sleep(0.01)  # polling a condition with a deadline
    raise AssertionError(f"not within {DEADLINE} s: {what}")


class Up:
    """`rayfan up` on fakes, in a process of its own."""

    def __init__(self, folder: Path, config: str, prefix: str = "TS:") -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.run_dir = folder / "run"
        self.events_file = folder / "events"
        self.config = folder / "rayfan.toml"
        web = "" if "[web]" in config else "web.enabled = false\n"
        self.config.write_text(f'prefix = "{prefix}"\nrun_dir = "{self.run_dir}"\n{web}{config}')
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "FAKE_EVENTS": str(self.events_file),
            "COLUMNS": "80",
        }
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, **fakes: str) -> subprocess.Popen[str]:
        """Start the command; `fakes` tells the fakes what to do."""
        environment = self.environment | {f"FAKE_{name.upper()}": action for name, action in fakes.items()}
        process = subprocess.Popen(
            [sys.executable, "-c", UP, str(self.config), *arguments],
            env=environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Return exit code, output and errors of a command."""
        output, errors = process.communicate(timeout=DEADLINE)
        return process.returncode, output, errors

    def view(self) -> Appliance | None:
        """Return what the supervisor sees."""
        try:
            return Appliance.model_validate_json((self.run_dir / "appliance.json").read_bytes())
        except OSError:
            return None

    def until(self, condition: Callable[[Appliance], bool], what: str) -> Appliance:
        """Return the first view for which `condition` holds."""

        def looked() -> Appliance | None:
            view = self.view()
            return view if view is not None and condition(view) else None

        return wait_for(looked, f"{what}; seen: {self.view()}")

    def running(self) -> Appliance:
        """Return the view once everything runs."""
        return self.until(lambda view: view.state is State.RUNNING, "all processes run")

    def events(self) -> list[str]:
        """Return what the fakes wrote down."""
        return self.events_file.read_text().splitlines() if self.events_file.exists() else []

    def alive(self) -> list[int]:
        """Return the processes of the appliance that live."""
        births = [birth for birth in RunFolder(self.run_dir).births() if birth.started is not None]
        return [birth.pid for birth in births if birth.pid and start_time(birth.pid) == birth.started]

    def close(self) -> None:
        """End whatever is left."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for pid in self.alive():
            with suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A command that is ended with everything it started."""
    made = Up(tmp_path, PLAIN)
    yield made
    made.close()


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Up]:
    """The same with egress and ingress."""
    made = Up(tmp_path, WHOLE)
    yield made
    made.close()


def process(view: Appliance, name: str) -> ProcessView:
    """Return one process of a view."""
    return next(one for one in view.processes if one.name == name)


def stop(up: Up, command: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Ask for the end; return how it ended."""
    command.send_signal(signal.SIGINT)
    return up.finish(command)


def test_duration_ends_with_drain_in_flow_order_and_a_report(whole: Up) -> None:
    report = whole.folder / "report.json"
    fakes = dict.fromkeys(("cons1", "cons2"), "slow,frames=5")
    command = whole.start(
        "--duration", "0.3", "--report", str(report),
        detector="slow,frames=10", ejfat1="slow,frames=10", ejfatin1="frames=10", **fakes,
    )  # fmt: skip
    code, output, errors = whole.finish(command)
    assert (code, errors) == (0, "")
    ends = [event for event in whole.events() if event.endswith((" asked", " ended"))]
    consumers = sorted(ends[2:6])
    assert ends[:2] == ["detector asked", "detector ended"]
    assert consumers == ["Cons1 asked", "Cons1 ended", "Cons2 asked", "Cons2 ended"]
    assert ends[6:] == ["Ejfat1 asked", "Ejfat1 ended", "EjfatIn1 asked", "EjfatIn1 ended"]
    assert any(event.startswith("Ejfat1 destination 127.0.0.1:") for event in whole.events())
    told = json.loads(report.read_text())
    assert (told["prefix"], told["residue"], told["published"]) == ("TS:", 0, 10)
    assert told["series"] == [{"id": 7, "published": 10, "ended": "normal"}]
    assert [stage["name"] for stage in told["stages"]] == ["detector", "Cons1", "Cons2", "Ejfat1", "EjfatIn1"]
    assert told["complete"] and told["exit"] == 0
    assert "every frame is accounted for" in output
    assert "caget TS:Ledger:Residue_RBV" in output.replace("TS:Ledger:Published_RBV ", "")
    assert whole.alive() == []


def test_what_is_killed_or_hangs_is_started_again_and_counted(up: Up) -> None:
    command = up.start(cons2="silent")
    started = up.until(lambda view: process(view, "Cons1").state is State.RUNNING, "Cons1 runs")
    before = process(started, "Cons1")
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    view = up.until(
        lambda view: all(
            process(view, name).restarts == 1 and process(view, name).state is State.RUNNING
            for name in ("Cons1", "Cons2")
        ),
        "both run again",
    )
    assert process(view, "Cons1").pid != before.pid
    assert process(view, "Cons1").last_error == "was killed by SIGKILL"
    assert process(view, "Cons2").last_error == "no sign of life for 3 s: killed"
    code, output, _ = stop(up, command)
    assert code == 0
    assert "Cons1 is started again (1): was killed by SIGKILL" in output


def test_the_web_page_starts_last_and_what_becomes_of_it_is_no_matter_of_the_run(tmp_path: Path) -> None:
    up = Up(tmp_path, f"{PLAIN}[web]\nenabled = true\n")
    try:
        command = up.start(web1="crash")
        view = up.until(lambda view: process(view, "Web1").state is State.FAILED, "the web page is given up")
        assert (view.state, view.health, view.web) == (State.RUNNING, "OK", "")
        started = [event for event in up.events() if event.endswith(" started")]
        assert sorted(started[:3]) == ["Cons1 started", "Cons2 started", "detector started"]
        assert started[3:] == ["Web1 started"] * 3
        code, _, errors = stop(up, command)
        assert (code, errors) == (0, "")
    finally:
        up.close()


def test_bad_configuration_ends_everything_with_its_message(up: Up) -> None:
    code, _, errors = up.finish(up.start(cons1="bad"))
    assert code == ExitCode.BAD_CONFIGURATION
    assert errors == "rayfan: Cons1: key 'groups.a.processor': expected a processor, found 'nonsense'\n"
    assert up.alive() == []


def test_a_process_that_never_runs_is_given_up(up: Up) -> None:
    code, _, errors = up.finish(up.start(cons1="crash"))
    assert code == ExitCode.FAILED
    assert "rayfan: Cons1: ended with exit code 1" in errors
    assert up.events().count("Cons1 started") == 3
    assert up.alive() == []


def test_what_does_not_finish_is_killed_and_said(up: Up) -> None:
    up.environment["FAKE_DRAIN"] = "0.5"
    command = up.start(cons1="stubborn")
    up.running()
    code, _, errors = stop(up, command)
    assert code == ExitCode.NOT_DRAINED
    assert "Cons1: did not finish in time and was killed" in errors
    assert up.alive() == []


def test_a_process_that_could_not_drain_is_told(up: Up) -> None:
    command = up.start(detector="undrained")
    up.running()
    assert stop(up, command)[0] == ExitCode.NOT_DRAINED


def test_a_second_wish_to_stop_is_at_once(up: Up) -> None:
    command = up.start(detector="stubborn")
    up.running()
    command.send_signal(signal.SIGINT)
    up.until(lambda view: view.state is State.DRAINING, "it drains")
    code, _, errors = stop(up, command)
    assert code == ExitCode.NOT_DRAINED
    assert "detector: did not finish in time" in errors


def test_one_supervisor_has_a_prefix_is_replaced_and_drains_when_its_command_is_killed(up: Up) -> None:
    command = up.start()
    before = up.running()
    code, _, errors = up.finish(up.start())
    assert code == ExitCode.BAD_CONFIGURATION
    assert "prefix 'TS:'" in errors and f"process {before.pid}" in errors
    os.kill(before.pid, signal.SIGKILL)
    after = up.until(lambda view: view.pid != before.pid and view.state is State.RUNNING, "a new supervisor")
    assert {one.name: one.pid for one in after.processes} == {one.name: one.pid for one in before.processes}
    command.kill()
    pids = [after.pid, *(one.pid for one in after.processes)]
    wait_for(lambda: all(pid is None or start_time(pid) is None for pid in pids), "no process is left")
    assert "detector ended" in up.events()


def test_a_new_up_takes_over_what_a_killed_one_left(up: Up) -> None:
    first = up.start()
    before = up.running()
    first.send_signal(signal.SIGSTOP)
    os.kill(before.pid, signal.SIGKILL)
    first.kill()
    first.communicate()
    lost = process(before, "Cons2").pid
    assert lost is not None
    os.kill(lost, signal.SIGKILL)
    second = up.start()
    after = up.until(lambda view: view.pid != before.pid and view.state is State.RUNNING, "a new supervisor")
    assert process(after, "detector").pid == process(before, "detector").pid
    assert process(after, "Cons1").pid == process(before, "Cons1").pid
    assert process(after, "Cons2").pid != lost
    assert process(after, "Cons2").restarts == 1
    assert stop(up, second)[0] == 0


def test_survivors_with_another_configuration_are_drained_first(up: Up) -> None:
    first = up.start()
    before = up.running()
    first.send_signal(signal.SIGSTOP)
    os.kill(before.pid, signal.SIGKILL)
    first.kill()
    first.communicate()
    second = up.start("--set", "groups.a.count=1")
    after = up.until(lambda view: view.pid != before.pid and view.state is State.RUNNING, "a new appliance")
    assert [one.name for one in after.processes] == ["detector", "Cons1"]
    assert {one.pid for one in before.processes}.isdisjoint(one.pid for one in after.processes)
    assert "detector ended" in up.events()
    assert stop(up, second)[0] == 0


def test_the_number_of_consumers_follows_the_detector(up: Up) -> None:
    command = up.start()
    up.running()
    wish = up.folder / "count"
    wish.write_text("3")
    more = up.until(lambda view: len(view.processes) == 4 and process(view, "Cons3").state is State.RUNNING, "Cons3")
    wish.write_text("1")
    up.until(lambda view: process(view, "Cons2").state is State.STOPPED, "Cons2 has left")
    fewer = up.until(lambda view: process(view, "Cons3").state is State.STOPPED, "Cons3 has left")
    assert process(fewer, "Cons1").pid == process(more, "Cons1").pid
    wish.write_text("2")
    again = up.until(lambda view: process(view, "Cons2").state is State.RUNNING, "Cons2 is there again")
    assert process(again, "Cons2").restarts == 0
    code, output, _ = stop(up, command)
    assert (code, "started again" in output) == (0, False)


def test_output_that_nobody_reads_does_not_leave_processes(up: Up) -> None:
    command = up.start()
    up.running()
    assert command.stdout is not None
    command.stdout.close()
    os.kill(process(up.running(), "Cons1").pid or 0, signal.SIGKILL)  # makes it say something
    command.wait(DEADLINE)
    assert up.alive() == []
