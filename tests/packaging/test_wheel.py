"""The wheel: built, installed into a clean environment, run from another folder, beside a file `ioc.py`.

What the wheel asks for is linked from here; `make wheel` has pip fetch it instead, as a user does.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.epics import isolated_environment, random_prefix
from tests.support.wheel_environment import fetch_environment, make_environment

ROOT = Path(__file__).parents[2]
SOURCES = ("ioc", "detector_sim", "consumers", "db")
FROM_INDEX = bool(os.environ.get("RAYFAN_WHEEL_STAGE"))
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"

NO_PAGE = ("--set", "web.enabled=false")
"""The web page has tests of its own; here it would take a second to start."""


@pytest.fixture(scope="module")
def rayfan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the command of a wheel installed where nothing of this checkout can be imported."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"  # what an earlier build left in the checkout would be in the wheel
    for name in SOURCES:
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=sources, check=True, capture_output=True)
    (wheel,) = folder.glob("rayfan-*.whl")
    make = fetch_environment if FROM_INDEX else make_environment
    return make(folder / "venv", wheel).with_name("rayfan")


@pytest.mark.timeout(300)
def test_runs_a_new_processor_from_any_folder(rayfan: Path, tmp_path: Path) -> None:
    environment = {**isolated_environment(), "XDG_RUNTIME_DIR": str(tmp_path)}
    environment.pop("PYTHONPATH", None)

    def said(*command: str | Path) -> str:
        done = subprocess.run(
            [str(word) for word in command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    (tmp_path / "ioc.py").write_text("raise SystemExit('the ioc.py of the working folder was imported')\n")
    said(rayfan, "processor", "new", "spots")
    assert "Hits" in said(rayfan, "processor", "describe", "spots.py")
    assert "[needs: pip install 'rayfan[compress]']" in said(rayfan, "processor", "list")
    report = ["--report", tmp_path / "ledger.json", "--set", f"prefix={random_prefix()}", "--duration", "1", *NO_PAGE]
    said(rayfan, "up", *report, "--set", "groups.stats.processor=spots.py", "--set", "groups.stats.count=1")
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    consumer = next(stage for stage in ledger["stages"] if stage["name"] == "Cons1")
    assert ledger["residue"] == 0
    assert consumer["processed"] == ledger["published"] > 0
    (tmp_path / "ioc.py").unlink()  # unittest, unlike the command, puts the working folder first
    assert "Ran 2 tests" in said(rayfan.with_name("python"), "-m", "unittest", "test_spots.py")
    seen = "from ioc.web.site import STATIC; print(*sorted(one.name for one in STATIC.iterdir()))"
    files = said(rayfan.with_name("python"), "-P", "-c", seen)
    assert files.split() == sorted(one.name for one in (ROOT / "ioc" / "web" / "static").iterdir())
