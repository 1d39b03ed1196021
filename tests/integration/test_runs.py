"""Runs of `rayfan up` from start to end: how they are stopped, what they say and write, what they leave behind."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ioc import cli
from ioc.core.config import load
from ioc.core.demo import DEMO
from tests.support.appliance import RAYFAN, RunningAppliance, appliance, assert_closed
from tests.support.epics import isolated_environment, random_prefix

SMALL = ["--set", "detector.size=[64, 64]", "--set", "detector.frame_rate=200"]
LEAN = "[detector]\nsize = [16, 16]\nframe_rate = 200\n[groups.a]\n"
STAGES = ["detector", "Pva1", "Cons1", "Cons2", "Ejfat1", "EjfatIn1"]
"""With the flow of frames; `Pva1` are the clients that look at the image channel."""
CLOSED = "residue 0: every frame is accounted for."
CTRL_C = b"\x03"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What moves the cursor or changes the colour (ECMA-48, CSI)."""
DEADLINE = 60.0


def assert_nothing_left(folder: Path) -> None:
    """Check that no process of a run is there, and that nothing lies where its socket was."""
    left = [process.name for process in Path("/proc").iterdir() if works_in(process, folder)]
    assert not left, f"processes that still run: {left}"
    sockets = [path.name for path in (folder / "run").rglob("*") if path.is_socket()]
    assert not sockets, f"sockets: {sockets}"
    fresh = [path.name for path in (folder / "run").glob("*.new")]
    assert not fresh, f"files that were not finished: {fresh}"


def works_in(process: Path, folder: Path) -> bool:
    """Return whether a process has the folder as its working folder."""
    try:
        return (process / "cwd").readlink() == folder
    except OSError:
        return False


def test_a_run_with_a_duration_drains_and_writes_its_ledger(tmp_path: Path) -> None:
    with appliance(tmp_path, *SMALL, "--duration", "0.5") as run:
        report = run.finished()
        assert_nothing_left(tmp_path)
        assert CLOSED in run.printed()
    assert report["prefix"] == run.prefix
    assert report["published"] == sum(one["published"] for one in report["series"]) > 0
    assert [one["name"] for one in report["stages"]] == STAGES
    keys = {"name", "received", "processed", "failed", "queued", "dropped", "missed_ranges"}
    assert all(keys <= one.keys() for one in report["stages"])
    for name in ("Ejfat1", "EjfatIn1"):
        assert next(one for one in report["stages"] if one["name"] == name)["processed"] == report["published"]


def test_two_appliances_side_by_side_and_none_twice(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "rayfan.toml").write_text(LEAN)
    ended = ["--set", "detector.image_mode=Multiple", "--set", "detector.num_images=300"]
    with appliance(one, "rayfan.toml") as first, appliance(two, "rayfan.toml", *ended) as second:
        first.wait_running("detector", "Cons1")
        second.wait_until(lambda: "300 of 300 frames" in second.printed(), "the acquisition of 300 frames ended")
        assert second.process.poll() is None, "it stays until somebody stops it"
        assert_refused(first)
        for run in (first, second):
            run.process.send_signal(signal.SIGTERM)
        reports = [first.finished(), second.finished()]
        for run in (first, second):
            assert CLOSED in run.printed()
            assert_nothing_left(run.folder)
    assert reports[0]["prefix"] != reports[1]["prefix"]
    assert reports[1]["published"] == 300


def assert_refused(run: RunningAppliance) -> None:
    """Check that an appliance with the prefix of a running one does not start, and says why in a sentence."""
    elsewhere = run.folder / "elsewhere"
    for folder, why in ((run.run_dir, "runs already"), (elsewhere, "on this host has it already")):
        command = [str(RAYFAN), "up", "rayfan.toml", "--set", f"prefix={run.prefix}", "--set", f"run_dir={folder}"]
        done = subprocess.run(
            command, cwd=run.folder, env=run.environment, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        assert done.returncode == 2
        assert f"'{run.prefix}': an appliance {why}" in done.stderr
        assert f"process {run.status('supervisor')['pid']}" in done.stderr
    shutil.rmtree(elsewhere)


def test_ctrl_c_at_a_terminal_drains_everything(tmp_path: Path) -> None:
    (tmp_path / "rayfan.toml").write_text(LEAN)
    here, there = pty.openpty()
    # a session leader that opens a terminal gets it as its own: from then on Ctrl-C is the terminal's business
    script = f'exec "$0" "$@" <{os.ttyname(there)} >{os.ttyname(there)} 2>&1'
    command = [str(RAYFAN), "up", "rayfan.toml", "--set", f"prefix={random_prefix()}"]
    command += ["--set", f"run_dir={tmp_path / 'run'}", "--report", str(tmp_path / "ledger.json")]
    command += ["--set", "web.enabled=false"]
    environment = {**isolated_environment(), "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(["sh", "-c", script, *command], cwd=tmp_path, env=environment, start_new_session=True)
    try:
        drawn = read_until(here, "published [1-9]", process)
        os.write(here, CTRL_C)
        drawn += read_until(here, CLOSED, process)
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        os.close(here)
        os.close(there)
    assert "Traceback" not in drawn
    report = json.loads((tmp_path / "ledger.json").read_text())
    assert_closed(report)
    assert report["published"] > 0
    assert_nothing_left(tmp_path)


def read_until(terminal: int, pattern: str, process: subprocess.Popen[bytes]) -> str:
    """Return what is drawn on a terminal up to a pattern; colours and movements of the cursor are left out."""
    drawn = ""
    limit = time.monotonic() + DEADLINE
    while not re.search(pattern, drawn):
        left = limit - time.monotonic()
        ready, _, _ = select.select([terminal], [], [], max(left, 0.0))
        assert ready, (
            f"{pattern!r} was not drawn within {DEADLINE} s; exit code {process.poll()}; drawn:\n{drawn[-3000:]}"
        )
        drawn += CONTROL.sub("", os.read(terminal, 65536).decode(errors="replace"))
    return drawn


def test_the_printed_configuration_is_the_one_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = ["groups.stats.count=3", "detector.source.pattern=rings", "groups.stats.settings.CentroidThreshold=2.5"]
    arguments = [word for override in overrides for word in ("--set", override)]
    assert cli.main(["up", *arguments, "--print-config"]) == 0
    first = capsys.readouterr().out
    Path("printed.toml").write_text(first)
    assert cli.main(["up", "printed.toml", "--print-config"]) == 0
    assert capsys.readouterr().out == first
    assert load(first, "printed") == load(DEMO, "the demonstration", overrides)


def test_the_schema_is_that_of_what_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    tables = {name: schema["$defs"][name] for name in ("SourceConfig", "DetectorConfig", "GroupConfig", "EgressConfig")}
    assert all(table["additionalProperties"] is False for table in tables.values())
    promised = {
        "SourceConfig": {"kind", "path", "dataset"},
        "DetectorConfig": {"acquire_at_start", "frame_rate", "size", "data_type"},
        "GroupConfig": {
            *("count", "sets", "updates", "policy", "queue_size", "queue_bytes"),
            *("processor", "settings", "input", "outputs", "placement"),
        },
        "EgressConfig": {"uri", "mtu", "rate"},
    }
    for name, keys in promised.items():
        assert keys <= tables[name]["properties"].keys()
