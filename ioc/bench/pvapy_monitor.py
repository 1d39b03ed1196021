"""A PvaPy client that notes the id and the time of every frame; run as a process of its own.

It is a bare `Channel.monitor` with a callback, the cheapest way in which PvaPy hands out frames: `pvapy-hpc-consumer`
puts its own processing on top of the same callback. PvaPy is never loaded beside softioc.
"""

import importlib
import sys
import time
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ioc.bench.raw_ends import settings_given, tell


class Notes:
    """The ids of frames and when they came (monotonic ns), in the order in which they came."""

    def __init__(self) -> None:
        self.ids = array("q")
        self.times = array("q")

    def take(self, frame: Any) -> None:
        """Note one NTNDArray; the empty one that a channel begins with has id 0 and is left out."""
        unique_id = frame["uniqueId"]
        if unique_id:
            self.ids.append(unique_id)
            self.times.append(time.monotonic_ns())

    def write(self, path: Path) -> None:
        """Write ids and times, in turn, native int64."""
        path.write_bytes(self.ids[: len(self.times)].tobytes() + self.times.tobytes())


class BatchNotes(Notes):
    """Notes that are made for `batch` frames at a time, as a processor of batches does."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self._batch = batch
        self._pending: list[Any] = []

    def take(self, frame: Any) -> None:
        """Keep the frame until the batch is full."""
        self._pending.append(frame)
        if len(self._pending) == self._batch:
            self.finish()

    def finish(self) -> None:
        """Note the frames that wait."""
        for frame in self._pending:
            super().take(frame)
        self._pending.clear()


def main(settings: Mapping[str, Any]) -> None:
    """Monitor `channel` with `request` until standard input ends, then write the notes to `file`."""
    pvaccess: Any = importlib.import_module("pvaccess")  # a compiled module, of which type checkers see nothing
    notes = BatchNotes(settings["batch"]) if settings["batch"] > 1 else Notes()
    channel = pvaccess.Channel(settings["channel"])
    channel.monitor(notes.take, settings["request"])
    tell(monitoring=True)
    sys.stdin.readline()
    channel.stopMonitor()
    if isinstance(notes, BatchNotes):
        notes.finish()
    notes.write(Path(settings["file"]))
    tell(frames=len(notes.ids))


if __name__ == "__main__":
    main(settings_given())
