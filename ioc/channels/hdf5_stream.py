"""A stream of frames from an HDF5 file, paced; the only stream from outside that waits instead of losing frames."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ioc.channels.hdf5 import FrameFile
from ioc.channels.stream import Arrival, Event, StreamFigures
from ioc.core.clock import Clock
from ioc.core.frame import Frame


class FileStream:
    """The frames of a data set, one after the other; implements stream.Stream. Each turn is a series of its own."""

    def __init__(self, path: Path, dataset: str | None, rate: float, loop: bool, clock: Clock) -> None:
        """Open the file; `rate` is in Hz.

        Raises:
            InputError: the file, the data set, its shape or its type does not fit.
        """
        self.name = str(path)
        self._file = FrameFile(path, dataset)
        self._period_ns = round(1e9 / rate)
        self._loop = loop
        self._clock = clock
        self._turn = 0
        self._index = 0
        self._due_ns: int | None = None
        self._stopped = False

    def take(self, most: int) -> Sequence[Event]:
        now = self._clock.monotonic_ns()
        if self._due_ns is None:
            self._due_ns = now
        events: list[Event] = []
        while len(events) < most and not self.ended and self._due_ns <= now:
            events.append(Arrival(self.name, self._next()))
            self._due_ns += self._period_ns
        if self._due_ns < now:  # held up: no rush afterwards
            self._due_ns = now
        return events

    def figures(self) -> StreamFigures:
        return StreamFigures(connected=int(not self.ended))

    @property
    def ended(self) -> bool:
        return self._stopped or (not self._loop and self._index >= self._file.frames)

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._file.close()

    def _next(self) -> Frame:
        if self._index >= self._file.frames:
            self._index = 0
            self._turn += 1
        data = np.empty(self._file.shape, self._file.dtype)
        self._file.read_into(self._index, data)
        self._index += 1
        return Frame(self._turn, self._index, time.time_ns(), data)
