"""The command line: what it takes, what it answers, what it exits with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ioc import cli
from ioc.console import Options
from ioc.core.config import Config, load


def test_help_imports_nothing_slow() -> None:
    code = (
        "import sys, ioc.cli\n"
        "try:\n    ioc.cli.main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'pydantic', 'numpy', 'rich', 'softioc', 'p4p', 'importlib.metadata'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "up" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("module", ["detector_sim.app", "consumers.consumer", "consumers.egress", "ioc.records.server"])
def test_a_process_of_the_appliance_imports_no_build_tools(module: str) -> None:
    """They come with the EPICS libraries and take longer to import than these; who wants them still gets them."""
    code = (
        f"import sys, {module}\n"
        "found = {'setuptools', 'distutils', 'Cython', 'grpc', 'h5py', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "import setuptools_dso\n"
        "print(sorted(found), setuptools_dso.DSO.__name__, 'setuptools' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] DSO True\n"


def test_the_schema_describes_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["prefix"]["default"] == "RF:"
    assert "frame_rate" in schema["$defs"]["DetectorConfig"]["properties"]


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("rayfan 0.")


def test_the_effective_configuration_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["up", "--set", "prefix=X:", "--set", "groups.stats.count=3", "--print-config"]) == 0
    config = load(capsys.readouterr().out, "printed")
    assert (config.prefix, config.groups["stats"].count) == ("X:", 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "detector.speed=3"], "--set detector.speed=3: key 'detector.speed': unknown key; expected one of"),
        (["--set", "detector.frame_rate=-1"], "expected greater than 0, found -1"),
        (["--set", "prefix"], "expected KEY=VALUE"),
        (["--set", f"prefix={'x' * 40}"], "expected 1 to"),
        (["nowhere.toml"], "configuration nowhere.toml: No such file or directory"),
    ],
)
def test_a_bad_configuration_is_one_sentence_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["up", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert message in told.err
    assert told.err.startswith("rayfan: ")
    assert "Traceback" not in told.err


@pytest.mark.parametrize("duration", ["0", "-1", "nan", "inf", "soon"])
def test_a_bad_duration_is_refused(duration: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["up", f"--duration={duration}"])
    assert ended.value.code == 2
    assert f"expected a number of seconds above 0, found '{duration}'" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_said_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["up", "--set", f"run_dir={tmp_path / 'run'}", "--report", str(tmp_path / "no" / "report.json")]
    assert cli.main(arguments) == 2
    assert "--report: expected a file in a folder that can be written to" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_unexpected_error_is_a_sentence_and_with_debug_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_config: Config, _options: Options) -> int:
        raise KeyError("inner")

    monkeypatch.setattr("ioc.console.up", fail)
    assert cli.main(["up"]) == 1
    assert capsys.readouterr().err == "rayfan: KeyError: 'inner' (--debug shows where)\n"
    assert cli.main(["up", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
