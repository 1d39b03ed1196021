"""What the tests share, and the processes that they start."""

import ioc  # noqa: F401 - first of all: EPICS libraries that are imported behind it leave out their build tools
