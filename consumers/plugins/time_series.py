"""`Stats1:TS:`, areaDetector's NDPluginTimeSeries behind NDPluginStats: the figures of frame after frame, as rows.

    idle --TSAcquire=1--> acquiring --TSNumPoints points (Fixed length), TSAcquire=0--> idle

Rules (ADCore, NDPluginTimeSeries.cpp): a point is the mean of TSNumAverage frames, which is TSAveragingTime over
TSTimePerPoint, the time between two frames. A start clears all rows. With `Circ. buffer` points go on for ever, and
the rows hold the newest ones, oldest first. Rows are shown once a second, with TSRead, and at the end.
"""

from collections.abc import Mapping
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from ioc.records.areadetector import MINOR_WHEN_ON
from ioc.records.table import Access, Kind, Limits, Record, Value

POINTS = 2048
"""Most points, and how many there are at start: NCHANS of areaDetector's commonPlugins.cmd."""
SIGNALS = (
    *("MinValue", "MinX", "MinY", "MaxValue", "MaxX", "MaxY", "MeanValue", "Sigma", "Total", "Net"),
    *("CentroidTotal", "CentroidX", "CentroidY", "SigmaX", "SigmaY", "SigmaXY", "SkewX", "SkewY"),
    *("KurtosisX", "KurtosisY", "Eccentricity", "Orientation"),
)
"""Figures that have a row, `TSMinValue`, ..., in areaDetector's order; the time stamp comes last."""
START, PREFIX = "TS:TSAcquire", "TS:"
FIXED, CIRCULAR = "Fixed length", "Circ. buffer"
READ_NS = 1_000_000_000
PAIR, SHOWN, WRITE = Access.PAIR, Access.SHOWN, Access.WRITE
INT, FLOAT, ARRAY = Kind.INT, Kind.FLOAT, Kind.ARRAY
TIME = Limits(1e-9, 1e6)

SERIES_RECORDS = (
    *(Record(f"TS{name}", ARRAY, f"{name} of frame after frame", SHOWN, size=POINTS) for name in SIGNALS),
    Record("TSTimestamp", ARRAY, "Time stamps of the points, since 1990", SHOWN, "s", size=POINTS),
    Record(START, Kind.BOOL, "Start and stop to take points", Access.BUSY, choices=("Done", "Acquire")),
    Record(
        "TS:TSAcquiring",
        Kind.BOOL,
        "Whether points are taken",
        SHOWN,
        choices=("Done", "Acquiring"),
        severities=MINOR_WHEN_ON,
    ),
    Record("TS:TSRead", Kind.BOOL, "Show the rows now", Access.COMMAND, choices=("Done", "Read")),
    Record("TS:TSNumPoints", INT, "Points to take", WRITE, accepted=Limits(1, POINTS), initial=POINTS),
    Record("TS:TSCurrentPoint", INT, "Points taken", SHOWN),
    Record("TS:TSTimePerPoint", FLOAT, "Time between two frames", PAIR, "s", accepted=TIME, initial=0.1),
    Record("TS:TSAveragingTime", FLOAT, "Time that a point is a mean of", PAIR, "s", accepted=TIME, initial=0.1),
    Record("TS:TSNumAverage", INT, "Frames that a point is a mean of", SHOWN, initial=1),
    Record("TS:TSElapsedTime", FLOAT, "Time since the start", SHOWN, "s"),
    Record("TS:TSAcquireMode", Kind.ENUM, "When points come to an end", PAIR, choices=(FIXED, CIRCULAR)),
    Record("TS:TSTimeAxis", ARRAY, "Time of each point since the first", SHOWN, "s", size=POINTS),
    Record("TS:TSTimestamp", ARRAY, "Time stamps of the points, since 1990", SHOWN, "s", size=POINTS),
)


class TimeSeries:
    """The rows of one plug-in; used under its lock, with `chosen`, its demands."""

    def __init__(self, chosen: Mapping[str, Value]) -> None:
        self._chosen = chosen
        self.acquiring = False
        self._points = np.zeros((len(SIGNALS) + 1, POINTS))
        self._current = 0
        self._sum = np.zeros(len(SIGNALS) + 1)
        self._summed = 0
        self._begun_ns = 0
        self._elapsed_ns = 0
        self._due_ns: int | None = None
        self._waiting: list[Future[None]] = []

    @property
    def length(self) -> int:
        """Points of a whole row."""
        return int(self._chosen["TS:TSNumPoints"])

    @property
    def average(self) -> int:
        """Frames that make up a point."""
        frames = float(self._chosen["TS:TSAveragingTime"]) / float(self._chosen["TS:TSTimePerPoint"])
        return max(1, int(frames + 0.5))

    def begin(self, ended: "Future[None] | None", now_ns: int) -> None:
        """Begin anew; `ended` is done when it is over."""
        self.release()
        if ended is not None:
            self._waiting.append(ended)
        self._points[:] = 0.0
        self._current = 0
        self._sum[:] = 0.0
        self._summed = 0
        self._begun_ns, self._elapsed_ns, self._due_ns = now_ns, 0, now_ns
        self.acquiring = True

    def stop(self) -> None:
        """End; the rows stay. Who waits for that is told by `release`, once it is shown."""
        self.acquiring = False
        self._due_ns = 0

    def release(self) -> None:
        """Tell those who wait that it is over."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.set_result(None)

    def resize(self) -> None:
        """Take another number of points: what was taken is cleared."""
        self._points[:] = 0.0
        self._current, self._due_ns = 0, 0

    def read(self) -> None:
        """Have the rows shown with the next look."""
        self._due_ns = 0

    def add(self, results: Mapping[str, Value], stamp: float, now_ns: int) -> bool:
        """Take the figures of a frame, stamped in s since 1990; return whether it has come to its end with it."""
        if not self.acquiring:
            return False
        self._sum += [*(float(results[name]) for name in SIGNALS), stamp]
        self._summed += 1
        self._elapsed_ns = now_ns - self._begun_ns
        if self._summed < self.average:
            return False
        self._points[:, self._current] = self._sum / self._summed
        self._sum[:] = 0.0
        self._summed = 0
        self._current += 1
        if self._current < self.length:
            return False
        if self._chosen["TS:TSAcquireMode"] == FIXED:
            self.stop()
            return True
        self._current = 0
        return False

    def values(self) -> dict[str, Value]:
        """Return what the read-backs are to show."""
        return {
            "TS:TSAcquiring": self.acquiring,
            f"{START}_RBV": self.acquiring,
            "TS:TSCurrentPoint": self._current,
            "TS:TSNumAverage": self.average,
            "TS:TSElapsedTime": self._elapsed_ns / 1e9,
        }

    def rows(self, now_ns: int) -> dict[str, NDArray]:
        """Return the rows if it is time to show them."""
        if self._due_ns is None or now_ns < self._due_ns:
            return {}
        self._due_ns = now_ns + READ_NS if self.acquiring else None
        found = self._in_order()
        rows: dict[str, NDArray] = {f"TS{name}": row for name, row in zip(SIGNALS, found, strict=False)}
        step = float(self._chosen["TS:TSTimePerPoint"]) * self.average
        return rows | {
            "TSTimestamp": found[-1],
            "TS:TSTimestamp": found[-1],
            "TS:TSTimeAxis": np.arange(self.length) * step,
        }

    def _in_order(self) -> NDArray[np.float64]:
        """Return the points so far, oldest first; with a circular buffer whole rows."""
        if self._chosen["TS:TSAcquireMode"] == FIXED:
            return self._points[:, : self._current].copy()
        return np.roll(self._points[:, : self.length], -self._current, axis=1)
