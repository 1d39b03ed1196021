"""Bad input: exit code 2 and one sentence that names file or key, what was expected and what was found."""

import os
import socket
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.appliance import RAYFAN
from tests.support.epics import isolated_environment, random_prefix

DEADLINE = 60.0
SMALL = ["--set", "detector.size=[16, 16]", "--set", "detector.frame_rate=50"]
ALONE = "[detector]\nsize = [16, 16]\nframe_rate = 50\n"
"""A configuration of nothing but a detector, so that what is added to it is all there is to go wrong."""


def up(folder: Path, *arguments: str, config: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run `rayfan up` in `folder` until it has failed; whatever was left running is an error."""
    run_dir = folder / "run"
    command = [str(RAYFAN), "up", "--duration", "1", "--set", f"prefix={random_prefix()}"]
    if not any(argument.startswith("run_dir=") for argument in arguments):
        command += ["--set", f"run_dir={run_dir}"]
    if config is not None:
        (folder / "rayfan.toml").write_text(config)
        command.insert(2, "rayfan.toml")
    done = subprocess.run(
        [*command, *arguments], cwd=folder, env=isolated_environment(), capture_output=True, text=True, timeout=DEADLINE
    )
    left = [pid for pid in os.listdir("/proc") if pid.isdigit() and runs_in(pid, folder)]
    assert not left, f"still running: {left}\n{done.stderr}"
    return done


def runs_in(pid: str, folder: Path) -> bool:
    """Return whether a process has the folder as its working folder."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder
    except OSError:
        return False


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one message of a run that was refused."""
    assert done.returncode == 2, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("rayfan: "), done.stderr
    return lines[0].removeprefix("rayfan: ")


def assert_says(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Check the one message word by word."""
    said = sentence(done)
    missing = [word for word in words if word not in said]
    assert not missing, f"{missing} not in: {said}"


@pytest.mark.parametrize(
    ("config", "arguments", "words"),
    [
        ("[detector]\nspeed = 3\n", [], ["rayfan.toml", "'detector.speed'", "unknown key", "frame_rate"]),
        ("prefix = 'x\n", [], ["rayfan.toml", "not a TOML file", "line 1"]),
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
    tmp_path: Path, config: str | None, arguments: list[str], words: list[str]
) -> None:
    assert_says(up(tmp_path, *arguments, config=config), *words)
    assert not (tmp_path / "run" / "supervisor.log").exists()


def test_a_data_set_of_the_wrong_rank(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["image"] = np.zeros((8, 8), np.uint8)
    source = ["--set", "detector.source.kind=replay", "--set", "detector.source.path=flat.h5"]
    done = up(tmp_path, *source, "--set", "detector.source.dataset=/image", config=ALONE)
    assert_says(done, "flat.h5", "/image", "expected", "(8, 8)")


def test_several_data_sets_and_none_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"] = file["b"] = np.zeros((3, 8, 8), np.uint8)
    done = up(tmp_path, "--set", "detector.source.kind=replay", "--set", "detector.source.path=two.h5", config=ALONE)
    assert_says(done, "two.h5", "/a", "/b", "name one of them")


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        done = up(tmp_path, *SMALL, "--set", f"ingress.demo.port={port}")
    assert_says(done, "EjfatIn1", f"127.0.0.1:{port}", "in use")


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("processor = 'no.such.module:Class'", ["groups.a.processor", "no.such.module"]),
        ("processor = 'broken.py'", ["groups.a.processor", "broken.py, line 2", "expected a processor that imports"]),
        ("settings = { Speed = 3 }", ["groups.a.settings", "CentroidThreshold", "'Speed'"]),
    ],
)
def test_a_processor_that_cannot_be_used(tmp_path: Path, group: str, words: list[str]) -> None:
    (tmp_path / "broken.py").write_text("import math\nimport no_such_package\n")
    assert_says(up(tmp_path, config=f"{ALONE}[groups.a]\n{group}\n"), *words)


@pytest.mark.parametrize("uri", ["nonsense", "ejfat://token@127.0.0.1:18020/lb/1?data=127.0.0.1:0"])
def test_an_ejfat_uri_that_is_none(tmp_path: Path, uri: str) -> None:
    assert_says(up(tmp_path, config=f"{ALONE}[egress.e]\nuri = '{uri}'\n"), "egress.e.uri", "expected")


def test_a_budget_that_the_images_do_not_fit_into(tmp_path: Path) -> None:
    done = up(tmp_path, "--set", "memory_budget=1048576", "--set", "detector.size=[2048, 2048]", config=ALONE)
    assert_says(done, "memory_budget", "1048576", "4194304")
