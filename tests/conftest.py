"""What holds for all tests: no property fails because the machine is busy, and none draws what its last run did not;
nobody sees the caches of the user; what takes long begins first.

`make unit` hands whole modules to its workers, in this order: tests that share what was started for their module (an
appliance, an installed wheel) would each be given another one if several workers took them. `make properties` draws
anew, for as long as it is told to.
"""

import gc
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.epics import fresh_cache

settings.register_profile("drawn anew", deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
settings.register_profile("any machine", settings.get_profile("drawn anew"), derandomize=True)
settings.load_profile("any machine")

os.environ["XDG_CACHE_HOME"] = fresh_cache()

ORDER = ("packaging", "integration", "interop", "property", "unit")
"""Folders, from the one with the longest tests to the one with the shortest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests in order."""
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(Path(__file__).parent).parts[0]))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage in thousands of tests and all that they import: these stay to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
