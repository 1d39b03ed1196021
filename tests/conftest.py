"""What holds for all tests: no property fails because the machine is busy; what takes long begins first.

`make unit` hands tests to its workers in the order and the groups made here: a module whose tests share what was
started for it (an appliance, an installed wheel) stays on one worker, else each worker would start its own; so do the
modules of short tests. Every other test goes to whoever is free.
"""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

ORDER = ("packaging", "integration", "interop", "property", "unit")
"""Folders, from the one with the longest tests to the one with the shortest."""
SHORT = frozenset({"property", "unit"})
SHARED = 'scope="module"'
"""What a module says whose tests share something."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests in order, and the tests of a module that belong together into a group."""
    together: dict[Path, bool] = {}
    for item in items:
        path = item.path
        if path not in together:
            together[path] = _folder(path) in SHORT or SHARED in path.read_text(encoding="utf-8")
        if together[path]:
            item.add_marker(pytest.mark.xdist_group(str(path.relative_to(item.config.rootpath))))
    items.sort(key=lambda item: ORDER.index(_folder(item.path)))


def _folder(path: Path) -> str:
    return path.relative_to(Path(__file__).parent).parts[0]
