"""What the console prints at 80 columns, and when it asks for the end."""

import os
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from ioc.console import Watch, commands, display_for, read_config
from ioc.console_display import OTHER_LINES, Facts, Lines, LiveTable, drawing, ledger_table, line
from ioc.core.config import Config, load
from ioc.core.errors import ConfigError
from ioc.core.status import Role, State
from ioc.supervisor.appliance import DEGRADED, Appliance, ProcessView
from ioc.supervisor.toml_text import toml_text


def view(**changes: object) -> Appliance:
    """Return an appliance that runs."""
    processes = [
        ProcessView(name="detector", role=Role.DETECTOR, state=State.RUNNING, rate=1000.04, processed=123456789),
        ProcessView(name="Cons1", role=Role.CONSUMER, state=State.RUNNING, rate=500.0, lag=12, processed=61728394),
        ProcessView(name="EjfatIn1", role=Role.INGRESS, state=State.STARTING, failed=3, lost=17, restarts=2),
    ]
    known: dict[str, object] = {
        "prefix": "RF:",
        "pid": 1,
        "state": State.RUNNING,
        "heartbeat_ns": 1,
        "started_ns": 0,
        "running_since_ns": 1,
        "published": 123456789,
        "series_published": 40,
        "processes": processes,
    }
    return Appliance.model_validate(known | changes)


def text_of(picture: RenderableType) -> str:
    """Return a picture as it is drawn on 80 columns without colour."""
    console = Console(file=StringIO(), width=80, color_system=None, force_terminal=True)
    console.print(picture)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_table_fits_into_80_columns_and_shows_every_process() -> None:
    drawn = text_of(drawing(view(), 12.0, Facts(60.0)))
    assert all(len(row) <= 80 for row in drawn.splitlines())
    rows = {row.split()[0]: row.split()[1:] for row in drawn.splitlines() if row.split()}
    assert rows["Process"] == ["state", "rate/Hz", "lag", "processed", "failed", "lost", "restarts"]
    assert rows["detector"] == ["Running", "1000.0", "0", "123456789", "0", "0", "0"]
    assert rows["EjfatIn1"] == ["Starting", "0.0", "0", "0", "3", "17", "2"]
    assert "12 of 60 s" in drawn


def test_on_a_small_terminal_who_is_in_trouble_is_shown_and_the_rest_is_counted() -> None:
    crowd = [ProcessView(name=f"Cons{at}", role=Role.CONSUMER, state=State.RUNNING) for at in range(1, 25)]
    crowd[20].lost, crowd[22].state = 3, State.FAILED
    drawn = text_of(drawing(view(processes=crowd), 12.0, Facts(60.0), 24 - OTHER_LINES))
    lines = drawn.splitlines()
    assert len(lines) <= 24 and "residue 0" in drawn
    names = [row.split()[0] for row in lines if row.startswith("Cons")]
    assert names == [*(f"Cons{at}" for at in range(1, 15)), "Cons21", "Cons23"]
    assert "and 8 more" in drawn
    assert "Cons24" in text_of(drawing(view(processes=crowd), 12.0, Facts(60.0))), "all of them where there is room"


def test_trouble_is_said_below_the_table() -> None:
    broken = view(health=DEGRADED)
    broken.processes[1].last_error = "was killed by SIGKILL"
    drawn = text_of(drawing(broken, 1.0, Facts()))
    assert "Degraded" in drawn
    assert "Cons1: was killed by SIGKILL" in drawn


def test_the_bar_is_about_time_or_frames() -> None:
    facts = Facts.of(load('[detector]\nimage_mode = "Multiple"\nnum_images = 50\n', "test"), None)
    assert facts.progress(view(), 3.0) == (40, 50, "frames")
    assert Facts(10.0).progress(view(), 30.0) == (10.0, 10.0, "s")
    assert Facts(10.0).progress(view(), None) == (0.0, 10.0, "s")
    assert Facts.of(Config(), None).progress(view(), 3.0) is None


def test_a_line_tells_rate_lag_lost_and_residue_only_if_there_is_one() -> None:
    assert line(view(queued=5, dropped=17, failed=3), 12.0, Facts(60.0)) == (
        "    12 of 60 s  Running  123456789 frames, 1000 Hz, waiting 5, lost 17, failed 3"
    )
    assert line(view(residue=2), 1.0, Facts()).endswith("unaccounted for 2")


def test_lines_come_every_few_seconds_and_at_every_change() -> None:
    console = Console(file=StringIO(), width=80)
    lines = Lines(console)
    for elapsed in (0.0, 0.25, 2.9, 3.1, 3.3):
        lines.show(view(), elapsed, Facts())
    again = view()
    again.processes[0].restarts = 1
    again.processes[0].last_error = "was killed by SIGSEGV"
    lines.show(again, 3.4, Facts())
    lines.show(view(state=State.DRAINING), 3.5, Facts())
    assert isinstance(console.file, StringIO)
    printed = console.file.getvalue().splitlines()
    assert [row.split("  ")[-2].strip() for row in printed if "frames" in row] == ["Running", "Running", "Draining"]
    assert "detector is started again (1): was killed by SIGSEGV" in printed
    assert "EjfatIn1 is started again (2)" in printed


def test_only_a_terminal_gets_a_live_table() -> None:
    assert isinstance(display_for(Console(file=StringIO(), force_terminal=True)), LiveTable)
    assert isinstance(display_for(Console(file=StringIO())), Lines)


def test_the_ledger_fits_into_80_columns_and_names_reasons() -> None:
    stage = {"received": 123456789, "processed": 123456789, "failed": 0, "queued": 0}
    stage |= {"missed_ranges": [[4, 6], [9, 9]], "missed_left_out": 3}
    stages = [
        {"name": "detector", "dropped": {}, **stage},
        {"name": "Cons12", "dropped": {"queue_full": 1234567, "member_gone": 4}, **stage},
    ]
    drawn = text_of(ledger_table({"residue": 0, "published": 123456789, "stages": stages}))
    assert all(len(row) <= 80 for row in drawn.splitlines())
    assert "1234567 queue_full" in drawn
    assert "4 member_gone" in drawn
    assert drawn.splitlines()[2].split()[-1] == "7"
    assert "residue 0: every frame is accounted for" in drawn
    assert "3 are NOT accounted for" in text_of(ledger_table({"residue": 3, "published": 9, "stages": []}))


class Scripted:
    """An appliance that ends when it has been asked to."""

    def __init__(self, views: list[Appliance | None], descriptor: int) -> None:
        self.restarts = 0
        self.stops = 0
        self._views = views
        self._descriptor = descriptor

    def view(self) -> Appliance | None:
        """Return the next view; the last one stays."""
        return self._views.pop(0) if len(self._views) > 1 else self._views[0]

    def ended(self) -> int | None:
        """Return 0 once asked to stop."""
        return 0 if self.stops else None

    def stop(self) -> None:
        """Count."""
        self.stops += 1

    def fileno(self) -> int:
        """Return a descriptor that is always readable, so that nothing is waited for."""
        return self._descriptor


@pytest.fixture
def events() -> Iterator[tuple[int, int]]:
    """Return two event descriptors, the second one readable."""
    pair = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(1, os.EFD_NONBLOCK)
    yield pair
    for descriptor in pair:
        os.close(descriptor)


def test_duration_counts_from_the_moment_all_run(events: tuple[int, int]) -> None:
    starting = view(state=State.STARTING, running_since_ns=None)
    running = Scripted([None, starting, starting, view(running_since_ns=1)], events[1])
    assert Watch(running, Lines(Console(file=StringIO())), Facts(duration=0.5)).run(events[0]) == 0
    assert running.stops == 1


def test_each_wish_to_stop_is_passed_on(events: tuple[int, int]) -> None:
    running = Scripted([view()], events[1])
    os.eventfd_write(events[0], 2)
    assert Watch(running, Lines(Console(file=StringIO())), Facts()).run(events[0]) == 0
    assert running.stops == 2


@pytest.mark.parametrize("error", [BrokenPipeError(), SystemExit(1)])
def test_output_that_cannot_be_written_ends_the_run(
    error: BaseException, events: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Lines):
        def show(self, view: Appliance, elapsed: float | None, facts: Facts) -> None:
            raise error

    monkeypatch.setattr("sys.stdout", StringIO())
    running = Scripted([view()], events[1])
    Watch(running, Broken(Console(file=StringIO())), Facts()).run(events[0])
    assert running.stops == 1


def test_commands_can_be_pasted_whatever_the_prefix() -> None:
    lines = commands(load('prefix = "A<1>;:"\n[groups.g]\n', "test"))
    assert "caput 'A<1>;:Dist1:Count' 3" in lines
    assert "caget RF:Ledger:Published_RBV RF:Ledger:Residue_RBV" in commands(Config())
    assert all(len(text) < 78 for text in commands(Config()))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"configuration .*absent.toml: No such file"):
        read_config(tmp_path / "absent.toml", [])
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="expected UTF-8 text, found byte 0xff"):
        read_config(binary, [])


def test_a_file_to_replay_that_is_not_there_is_named(tmp_path: Path) -> None:
    sets = ["detector.source.kind=replay", f"detector.source.path={tmp_path / 'absent.h5'}"]
    with pytest.raises(ConfigError, match=r"'detector.source.path': expected a file, found nothing at .*absent.h5"):
        read_config(None, sets)


def test_the_printed_configuration_loads_again_to_the_same() -> None:
    sets = [
        'groups.stats.settings={a = [1, 2.5, true], "b c" = {d = "e\\"\\n\\u007f", when = 2026-01-02}, empty = {}}',
        "groups.stats.queue_bytes=1000",
        'run_dir="/tmp/x y"',
        "detector.frame_rate=1e-3",
    ]
    config = read_config(None, sets)
    assert load(toml_text(config), "printed") == config
    assert load(toml_text(Config()), "printed") == Config()
