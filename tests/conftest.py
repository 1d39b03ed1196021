"""What holds for all tests: no property fails because the machine is busy; what takes long begins first.

`make unit` hands whole modules to its workers, in this order: tests that share what was started for their module (an
appliance, an installed wheel) would each be given another one if several workers took them.
"""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

ORDER = ("packaging", "integration", "interop", "property", "unit")
"""Folders, from the one with the longest tests to the one with the shortest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests in order."""
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(Path(__file__).parent).parts[0]))
