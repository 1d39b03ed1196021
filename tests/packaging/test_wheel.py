"""The wheel: built, installed into a clean environment, run from other folders, also beside a file `ioc.py`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.epics import isolated_environment, random_prefix

ROOT = Path(__file__).parents[2]

NO_PAGE = ("--set", "web.enabled=false")
"""The web page has tests of its own; here it would take a second to start."""


@pytest.fixture(scope="module")
def rayfan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the command of a wheel installed where nothing of this checkout can be imported.

    What is imported is compiled then: to compile all that its dependencies bring takes longer than the tests do.
    """
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("rayfan-*.whl")
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-compile", str(wheel)], check=True, cwd=folder)
    return environment / "bin" / "rayfan"


@pytest.mark.timeout(300)
def test_runs_from_any_folder(rayfan: Path, tmp_path: Path) -> None:
    (tmp_path / "ioc.py").write_text("raise SystemExit('the ioc.py of the working folder was imported')\n")
    report = tmp_path / "ledger.json"
    environment = {**isolated_environment(), "XDG_RUNTIME_DIR": str(tmp_path)}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(rayfan), "up", "--duration", "2", "--report", str(report), "--set", f"prefix={random_prefix()}", *NO_PAGE],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ledger = json.loads(report.read_text())
    assert ledger["residue"] == 0
    assert ledger["published"] > 0
    seen = "from ioc.web.site import STATIC; print(*sorted(one.name for one in STATIC.iterdir()))"
    python = [str(rayfan.with_name("python")), "-P", "-c", seen]
    files = subprocess.run(python, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert files.split() == sorted(one.name for one in (ROOT / "ioc" / "web" / "static").iterdir())


@pytest.mark.timeout(300)
def test_a_new_processor_runs_and_its_test_passes(rayfan: Path, tmp_path: Path) -> None:
    environment = {**isolated_environment(), "XDG_RUNTIME_DIR": str(tmp_path)}
    environment.pop("PYTHONPATH", None)

    def said(*command: str | Path) -> str:
        done = subprocess.run(
            [str(word) for word in command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    said(rayfan, "processor", "new", "spots")
    assert "Ran 2 tests" in said(rayfan.with_name("python"), "-m", "unittest", "test_spots.py")
    assert "Hits" in said(rayfan, "processor", "describe", "spots.py")
    assert "[needs: pip install 'rayfan[compress]']" in said(rayfan, "processor", "list")
    report = ["--report", tmp_path / "ledger.json", "--set", f"prefix={random_prefix()}", "--duration", "1", *NO_PAGE]
    said(rayfan, "up", *report, "--set", "groups.stats.processor=spots.py", "--set", "groups.stats.count=1")
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    consumer = next(stage for stage in ledger["stages"] if stage["name"] == "Cons1")
    assert ledger["residue"] == 0
    assert consumer["processed"] == ledger["published"] > 0
