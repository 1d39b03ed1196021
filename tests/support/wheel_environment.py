"""An environment that holds a wheel and what the wheel asks for, and nothing else: links to what is installed here.

Nothing is fetched or compiled. What the wheel does not ask for cannot be imported, be it installed here or not.
"""

import csv
import subprocess
import sys
import sysconfig
from collections import deque
from collections.abc import Iterable
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def make_environment(folder: Path, wheel: Path) -> Path:
    """Make it in `folder` and return its Python.

    Raises:
        AssertionError: what is installed here is not what the wheel asks for.
    """
    python = fetch_environment(folder, wheel, "--no-deps", "--no-index")
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (installed,) = site.glob("*.dist-info")
    for one in asked_for(PathDistribution(installed).requires or []):
        link(one, site)
    return python


def fetch_environment(folder: Path, wheel: Path, *options: str) -> Path:
    """Have pip make one with what it fetches, and return its Python; what is imported is compiled then."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--quiet", "--no-compile", *options, str(wheel)], check=True, cwd=folder)
    return python


def asked_for(requirements: Iterable[str]) -> Iterable[Distribution]:
    """Return what requirements without an extra ask for, and what that asks for in turn.

    Raises:
        AssertionError: another version is installed.
    """
    found: dict[str, Distribution] = {}
    left = deque((Requirement(text), "") for text in requirements)
    seen: set[tuple[str, str]] = set()
    while left:
        requirement, extra = left.popleft()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        one = distribution(requirement.name)
        assert requirement.specifier.contains(one.version, prereleases=True), f"{requirement}: found {one.version}"
        found[canonicalize_name(requirement.name)] = one
        for wanted in {"", *requirement.extras}:
            if (requirement.name, wanted) not in seen:
                seen.add((requirement.name, wanted))
                left.extend((Requirement(text), wanted) for text in one.requires or [])
    return found.values()


def link(one: Distribution, site: Path) -> None:
    """Link the packages and modules of a distribution, and file by file what it may share with others."""
    names = [row[0] for row in csv.reader((one.read_text("RECORD") or "").splitlines()) if not row[0].startswith("..")]
    whole = {name.partition("/")[0] for name in names if name.count("/") == 1 and name.endswith("/__init__.py")}
    for name in {name.partition("/")[0] if name.partition("/")[0] in whole else name for name in names}:
        place = site / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(str(one.locate_file(name)))
