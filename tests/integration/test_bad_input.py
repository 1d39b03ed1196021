"""Bad input: exit code 2 and one sentence that names file or key, what was expected and what was found."""

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from consumers.consumer import open_processor
from detector_sim.source import open_source
from ioc import cli
from ioc.core.config import load
from ioc.core.errors import UserError
from tests.support.appliance import RAYFAN
from tests.support.epics import isolated_environment, random_prefix

DEADLINE = 60.0
ALONE = "[detector]\nsize = [16, 16]\nframe_rate = 50\n"
"""A configuration of nothing but a detector, so that what is added to it is all there is to go wrong."""
REPLAY = "[detector.source]\nkind = 'replay'\npath = '{}'\n"


def refused(folder: Path, config: str, *arguments: str) -> tuple[int, str]:
    """Run `rayfan up` in `folder` until it has failed; return exit code and message. Nothing may be left running."""
    (folder / "rayfan.toml").write_text(config)
    command = [str(RAYFAN), "up", "rayfan.toml", "--duration", "1"]
    command += ["--set", f"prefix={random_prefix()}", "--set", f"run_dir={folder / 'run'}", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=isolated_environment(), capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    left = [process.name for process in Path("/proc").iterdir() if runs_in(process, folder)]
    assert not left, f"still running: {left}\n{done.stderr}"
    assert "Traceback" not in done.stdout
    return done.returncode, done.stderr


def runs_in(process: Path, folder: Path) -> bool:
    """Return whether a process has the folder as its working folder."""
    try:
        return (process / "cwd").readlink() == folder
    except OSError:
        return False


def assert_says(code: int, told: str, *words: str) -> None:
    """Check exit code 2 and the one message, word by word."""
    assert code == 2, f"exit code {code}\n{told}"
    lines = told.splitlines()
    assert len(lines) == 1 and lines[0].startswith("rayfan: "), told
    missing = [word for word in words if word not in lines[0]]
    assert not missing, f"{missing} not in: {lines[0]}"


@pytest.mark.parametrize(
    ("config", "arguments", "words"),
    [
        ("[detector]\nspeed = 3\n", [], ["rayfan.toml", "'detector.speed'", "unknown key", "frame_rate"]),
        ("prefix = 'x\n", [], ["rayfan.toml", "not a TOML file", 'Expected "\'"']),
        ("[groups.a]\npolicy = 'fast'\n", [], ["rayfan.toml", "'groups.a.policy'", "'lossless'", "found 'fast'"]),
        (
            "[egress.e]\ningress = 'nowhere'\n",
            [],
            ["rayfan.toml", "egress.e.ingress", "there is none", "'nowhere'"],
        ),
        (None, ["--set", "groups.stats.cuont=3"], ["--set groups.stats.cuont=3", "unknown key", "count"]),
        (None, ["--set", "groups.stats.count=two"], ["--set", "'groups.stats.count'", "integer", "found 'two'"]),
        (None, ["--set", "detector.size=512"], ["--set detector.size=512", "'detector.size'", "found 512"]),
        (None, ["nowhere.toml"], ["nowhere.toml", "No such file"]),
        (
            None,
            ["--set", "detector.source.kind=replay", "--set", "detector.source.path=no.h5"],
            ["'detector.source.path'", "expected a file", "no.h5"],
        ),
        (None, ["--set", "prefix=" + "P" * 40], ["'prefix'", "expected 1 to 23 characters", "found 40"]),
        (None, ["--report", "nowhere/report.json"], ["--report", "nowhere/report.json"]),
        (None, ["--set", "run_dir=/proc/rayfan"], ["run folder /proc/rayfan", "set run_dir"]),
        (None, ["--set", "run_dir=" + "r" * 120], ["run folder", "at most 100 bytes", "set run_dir"]),
    ],
)
def test_what_the_command_can_see_is_refused_before_anything_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    config: str | None,
    arguments: list[str],
    words: list[str],
) -> None:
    def must_not_start(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess.Popen, "__init__", must_not_start)
    if config is not None:
        (tmp_path / "rayfan.toml").write_text(config)
        arguments = ["rayfan.toml", *arguments]
    code = cli.main(["up", "--set", f"run_dir={tmp_path / 'run'}", *arguments])
    told = capsys.readouterr()
    assert told.out == ""
    assert_says(code, told.err, *words)


def test_a_traceback_is_for_those_who_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["up", "--debug", "nowhere.toml"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_data_set_of_the_wrong_rank(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["image"] = np.zeros((8, 8), np.uint8)
    chosen = "--set", "detector.source.dataset=/image"
    assert_says(*refused(tmp_path, REPLAY.format("flat.h5"), *chosen), "flat.h5", "/image", "expected", "(8, 8)")


def told_by(act: Callable[[], object]) -> tuple[int, str]:
    """Return what `rayfan up` says if this is refused in one of its processes; that it does is shown by the others."""
    with pytest.raises(UserError) as caught:
        act()
    return 2, f"rayfan: {caught.value}"


def test_several_data_sets_and_none_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"] = file["b"] = np.zeros((3, 8, 8), np.uint8)
    config = load(REPLAY.format(tmp_path / "two.h5"), "test").detector
    assert_says(*told_by(lambda: open_source(config)), "two.h5", "/a", "/b", "name one of them")


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        told = refused(tmp_path, f"{ALONE}[ingress.i]\nport = {port}\n")
    assert_says(*told, "EjfatIn1", f"127.0.0.1:{port}", "expected a free UDP port")


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("processor = 'no.such.module:Class'", ["groups.a.processor", "no.such.module"]),
        ("processor = 'broken.py'", ["groups.a.processor", "broken.py, line 2", "expected a processor that imports"]),
        ("settings = { Speed = 3 }", ["groups.a.settings", "CentroidThreshold", "'Speed'"]),
    ],
)
def test_a_processor_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, words: list[str]
) -> None:
    """How it is told in the end is in test_faults."""
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text("import math\nimport no_such_package\n")
    config = load(f"{ALONE}[groups.a]\n{group}\n", "test").groups["a"]
    assert_says(*told_by(lambda: open_processor(config, "groups.a")), *words)


def test_an_ejfat_uri_that_is_none(tmp_path: Path) -> None:
    told = refused(tmp_path, f"{ALONE}[egress.e]\nuri = 'nonsense'\n")
    assert_says(*told, "egress.e.uri", "expected ejfat://", "found ''")


def test_a_budget_that_the_images_do_not_fit_into(tmp_path: Path) -> None:
    told = refused(tmp_path, ALONE, "--set", "memory_budget=1048576", "--set", "detector.size=[2048, 2048]")
    assert_says(*told, "memory_budget", f"{1048576 * 3 // 8} bytes", "4194304")
