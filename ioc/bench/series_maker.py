"""Acquires many series of one frame, and then begins an endless one; run as a process of its own."""

import sys
from collections.abc import Mapping
from typing import Any

from p4p.client.thread import Context

from ioc.bench.raw_ends import settings_given, tell

PUT_SECONDS = 20.0
WAITING = "record[block=true]field()"
"""A put that is done when the acquisition is."""


def main(settings: Mapping[str, Any]) -> None:
    """Acquire `count` series with the camera `camera`, then go on without an end; tell when that has begun."""
    camera = settings["camera"]
    with Context("pva", nt=False) as context:
        context.put(f"{camera}ImageMode", {"value.index": 0}, timeout=PUT_SECONDS)
        for _ in range(settings["count"]):
            context.put(f"{camera}Acquire", {"value.index": 1}, request=WAITING, timeout=PUT_SECONDS)
        context.put(f"{camera}ImageMode", {"value.index": 2}, timeout=PUT_SECONDS)
        context.put(f"{camera}Acquire", {"value.index": 1}, timeout=PUT_SECONDS)
    tell(made=settings["count"])
    sys.stdin.readline()


if __name__ == "__main__":
    main(settings_given())
