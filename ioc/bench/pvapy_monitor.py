"""A PvaPy client that notes the id and the time of every frame; run as a process of its own.

It is a bare `Channel.monitor` with a callback, the cheapest way in which PvaPy hands out frames: `pvapy-hpc-consumer`
puts its own processing on top of the same callback. PvaPy is never loaded beside softioc.
"""

import importlib
import sys
import threading
import time
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ioc.bench.raw_ends import settings_given, tell
from ioc.bench.reading import sum_of


class Notes:
    """The ids of frames and when they came (monotonic ns), in the order in which they came.

    With `read`, every byte of a frame is read before it counts. Each frame takes `delay` s of waiting: a slow client.
    """

    def __init__(self, read: bool = False, delay: float = 0.0) -> None:
        self.ids = array("q")
        self.times = array("q")
        self._read = read
        self._delay = delay
        self._never = threading.Event()

    def take(self, frame: Any) -> None:
        """Note one NTNDArray; the empty one that a channel begins with has id 0 and is left out."""
        unique_id = frame["uniqueId"]
        if unique_id:
            if self._read:
                (pixels,) = frame["value"][0].values()  # the one member of the union that is set
                sum_of(pixels)
            self.ids.append(unique_id)
            self.times.append(time.monotonic_ns())
            if self._delay:
                self._never.wait(self._delay)

    def write(self, path: Path) -> None:
        """Write ids and times, in turn, native int64."""
        count = len(self.times)  # a last callback may still be at work
        path.write_bytes(self.ids[:count].tobytes() + self.times[:count].tobytes())


def main(settings: Mapping[str, Any]) -> None:
    """Monitor `channel` with `request` until standard input ends, then write the notes to `file`."""
    pvaccess: Any = importlib.import_module("pvaccess")  # a compiled module, of which type checkers see nothing
    notes = Notes(settings["read"], settings.get("delay", 0.0))
    channel = pvaccess.Channel(settings["channel"])
    channel.monitor(notes.take, settings["request"])
    tell(monitoring=True)
    sys.stdin.readline()
    channel.stopMonitor()
    notes.write(Path(settings["file"]))
    tell(frames=len(notes.ids))


if __name__ == "__main__":
    main(settings_given())
