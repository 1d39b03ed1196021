"""`Stats1:`, areaDetector's NDPluginStats: figures, centroid, profiles and histogram of each frame.

Of RGB1 frames all three colours count for figures and histogram, positions are those of the pixel, and there is no
centroid and no profile, as in ADCore.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.plugins.account import EPICS_EPOCH_NS
from consumers.plugins.base_records import computed, number, shown
from consumers.plugins.histogram import histogram
from consumers.plugins.moments import CENTROID, moments
from consumers.plugins.plugin import Outputs, Plugin, Surroundings
from consumers.plugins.sizes import Sizes
from consumers.plugins.time_series import PREFIX, SERIES_RECORDS, START, TimeSeries
from consumers.sums import Level, Sums
from ioc.core.frame import Attribute, Frame
from ioc.records.table import Access, Kind, Limits, Record, Value

PAIR = Access.PAIR
LARGEST_HISTOGRAM = 4096
PROFILES = ("Average", "Threshold", "Centroid", "Cursor")
LEVELS = ("MinValue", "MaxValue", "MeanValue", "Total", "Net", "MinX", "MinY", "MaxX", "MaxY")
NO_RESULTS: Mapping[str, Value] = {
    **dict.fromkeys((*LEVELS, "Sigma", *CENTROID, "HistEntropy"), 0.0),
    "HistBelow": 0,
    "HistAbove": 0,
}
PARAMETERS = {
    "MIN_VALUE": "MinValue",
    "MAX_VALUE": "MaxValue",
    "MEAN_VALUE": "MeanValue",
    "SIGMA_VALUE": "Sigma",
    "TOTAL": "Total",
    "NET": "Net",
    "MIN_X": "MinX",
    "MIN_Y": "MinY",
    "MAX_X": "MaxX",
    "MAX_Y": "MaxY",
    "CENTROID_TOTAL": "CentroidTotal",
    "CENTROIDX_VALUE": "CentroidX",
    "CENTROIDY_VALUE": "CentroidY",
    "SIGMAX_VALUE": "SigmaX",
    "SIGMAY_VALUE": "SigmaY",
    "SIGMAXY_VALUE": "SigmaXY",
    "SKEWX_VALUE": "SkewX",
    "SKEWY_VALUE": "SkewY",
    "KURTOSISX_VALUE": "KurtosisX",
    "KURTOSISY_VALUE": "KurtosisY",
    "ECCENTRICITY_VALUE": "Eccentricity",
    "ORIENTATION_VALUE": "Orientation",
    "HIST_BELOW": "HistBelow",
    "HIST_ABOVE": "HistAbove",
    "HIST_ENTROPY": "HistEntropy",
}
"""Names of ADCore's parameters in NDAttributes of type PARAM (NDPluginStats.h), and the records that show them."""


def stats_records(sizes: Sizes) -> tuple[Record, ...]:
    """Return the records beyond those of every plug-in."""
    lengths = {"X": sizes.width, "Y": sizes.height}
    return (
        computed("ComputeStatistics", "Whether figures are computed", True),
        Record(
            "BgdWidth", Kind.INT, "Border that Net takes as background", PAIR, "pixel", accepted=Limits(0), initial=1
        ),
        *(shown(name) for name in (*LEVELS, *CENTROID, "HistEntropy")),
        Record("Sigma", Kind.FLOAT, "Standard deviation of the pixels"),
        Record("SigmaValue", Kind.FLOAT, "Sets Sigma_RBV", Access.WRITE, kept=False),
        computed("ComputeCentroid", "Whether the centroid is computed"),
        number("CentroidThreshold", "Pixels below do not count for centroid", 1.0, "count"),
        computed("ComputeProfiles", "Whether profiles are computed"),
        *(Record(f"ProfileSize{axis}", Kind.INT, f"Length of profiles along {axis}", unit="pixel") for axis in "XY"),
        *(Record(f"Cursor{axis}", Kind.INT, f"Cursor along {axis}", PAIR, "pixel", initial=256) for axis in "XY"),
        Record("CursorVal", Kind.FLOAT, "Pixel at the cursor", Access.SHOWN, "count"),
        *(
            Record(f"Profile{name}{axis}", Kind.ARRAY, f"Profile along {axis}: {name}", unit="count", size=length)
            for name in PROFILES
            for axis, length in lengths.items()
        ),
        computed("ComputeHistogram", "Whether the histogram is computed"),
        Record(
            "HistSize", Kind.INT, "Steps of the histogram", PAIR, accepted=Limits(1, LARGEST_HISTOGRAM), initial=256
        ),
        number("HistMin", "Value of the first step", 0.0, "count"),
        number("HistMax", "Value of the last step", 255.0, "count"),
        *(shown(name, "pixel", Kind.INT) for name in ("HistBelow", "HistAbove")),
        Record("Histogram", Kind.ARRAY, "Pixels in each step", unit="pixel", size=LARGEST_HISTOGRAM),
        Record("HistogramX", Kind.ARRAY, "Value of each step", unit="count", size=LARGEST_HISTOGRAM),
        Record("MaxSizeX", Kind.INT, "Columns of the newest frame", Access.SHOWN, "pixel"),
        Record("MaxSizeY", Kind.INT, "Rows of the newest frame", Access.SHOWN, "pixel"),
        Record("Reset", Kind.BOOL, "Set all figures to 0", Access.COMMAND),
        *SERIES_RECORDS,
    )


class Stats(Plugin):
    """Passes frames on as they came; keeps their figures as rows if told to."""

    kind = "NDPluginStats"

    def __init__(self, name: str, table: Sequence[Record], around: Surroundings) -> None:
        super().__init__(name, table, around)
        self.results = dict(NO_RESULTS)
        self._sums = Sums.of((0, 0))
        self._shown: dict[str, NDArray] = {}
        self._more: dict[str, Value] = {}
        self._series = TimeSeries(self.chosen)

    def work(self, frame: Frame) -> Outputs:
        data = frame.data
        self._more = {"MaxSizeX": data.shape[1], "MaxSizeY": data.shape[0]}
        with np.errstate(all="ignore"):  # infinities and NaN in a frame give NaN, as they should
            rows = data.reshape(data.shape[0], -1)
            if self._sums.shape != rows.shape:
                self._sums = Sums.of(rows.shape)
            if self.chosen["ComputeStatistics"]:
                self._figures(data, self._sums.level(rows))
            if data.ndim == 2 and (self.chosen["ComputeCentroid"] or self.chosen["ComputeProfiles"]):
                self._places(data)
            if self.chosen["ComputeHistogram"]:
                self._histogram(data)
            stamp = max(0, frame.timestamp_ns - EPICS_EPOCH_NS) / 1e9
            ended = self._series.add(self.results, stamp, self.around.clock.monotonic_ns())
        if ended:
            self._end_series()
        return (frame,)

    def put(self, field: str, value: Value) -> "Future[Any] | None":
        if field != START or not value:
            return super().put(field, value)
        ended: Future[None] = Future()
        self.lane.submit(lambda: self._begin_series(ended))
        return ended

    def close(self) -> None:
        super().close()
        self._series.release()

    def accept(self, field: str, value: Value) -> Outputs:
        if field == "Reset":
            self.results = dict(NO_RESULTS)
            return ()
        if field == "SigmaValue":
            self.results["Sigma"] = value
            return ()
        if field in (START, "TS:TSRead"):
            if field == START:
                self._series.stop()
            self._series.read()
            self._end_series()
            return ()
        if field.startswith(PREFIX):
            super().accept(field, value)
            if field in ("TS:TSNumPoints", "TS:TSAcquireMode"):
                self._series.resize()
            return ()
        return super().accept(field, value)

    def parameter(self, name: str) -> Attribute | None:
        result = PARAMETERS.get(name)
        return self.results[result] if result is not None else super().parameter(name)

    def values(self) -> dict[str, Value]:
        return {**super().values(), **self._more, **self._series.values()}

    def rows(self) -> dict[str, NDArray]:
        steps, low, high = int(self.chosen["HistSize"]), float(self.chosen["HistMin"]), float(self.chosen["HistMax"])
        at = low + np.arange(steps) * ((high - low) / steps)  # computeHistX
        series = self._series.rows(self.around.clock.monotonic_ns())
        return {**super().rows(), **self._shown, "HistogramX_RBV": at, **series}

    def _end_series(self) -> None:
        """Show the rows; once they are there, tell those who wait if the series is over."""
        self.show_now()
        if not self._series.acquiring:
            self._series.release()

    def _begin_series(self, ended: "Future[None]") -> None:
        with self.guard:
            self._series.begin(ended, self.around.clock.monotonic_ns())
            self.show(self._series.values())

    def _figures(self, data: NDArray, level: Level) -> None:
        colours = data.shape[2] if data.ndim == 3 else 1
        lowest, highest = int(data.argmin()), int(data.argmax())
        flat = data.reshape(-1)
        found: Mapping[str, float] = {
            "MinValue": float(flat[lowest]),
            "MaxValue": float(flat[highest]),
            "MeanValue": level.mean,
            "Sigma": level.sigma,
            "Total": level.total,
            "Net": level.total - background(data, int(self.chosen["BgdWidth"])) * data.size,
        }
        (min_y, min_x), (max_y, max_x) = (divmod(at // colours, data.shape[1]) for at in (lowest, highest))
        self.results |= {**found, "MinX": min_x, "MinY": min_y, "MaxX": max_x, "MaxY": max_y}

    def _places(self, data: NDArray) -> None:
        height, width = data.shape
        sums = self._sums
        shift = sums.level(data).shift
        average = ((sums.of_columns + shift * height) / height, (sums.of_rows + shift * width) / width)
        mixed = sums.add_up_mixed(data, float(self.chosen["CentroidThreshold"]))
        found = moments(sums.of_columns, sums.of_rows, mixed)
        if self.chosen["ComputeCentroid"]:
            self.results |= found
        self._more |= {"ProfileSizeX_RBV": width, "ProfileSizeY_RBV": height}
        if self.chosen["ComputeProfiles"]:
            profiles = {"Average": average, "Threshold": (sums.of_columns / height, sums.of_rows / width)}
            self._profiles(data, profiles, found)

    def _profiles(
        self, data: NDArray, profiles: dict[str, tuple[NDArray, NDArray]], found: Mapping[str, float]
    ) -> None:
        """Keep the profiles, also those through the centroid and the cursor (doComputeProfilesT)."""
        cursor = self._within(data, int(self.chosen["CursorX"]), int(self.chosen["CursorY"]))
        centre = self._within(data, round_half_up(found["CentroidX"]), round_half_up(found["CentroidY"]))
        for name, (x, y) in {"Centroid": centre, "Cursor": cursor}.items():
            profiles[name] = data[y], data[:, x]
        self._more["CursorVal"] = float(data[cursor[1], cursor[0]])
        for name, (along_x, along_y) in profiles.items():
            self._shown[f"Profile{name}X_RBV"] = np.array(along_x, np.float64)  # copies: the frame may be gone by then
            self._shown[f"Profile{name}Y_RBV"] = np.array(along_y, np.float64)

    def _within(self, data: NDArray, x: int, y: int) -> tuple[int, int]:
        return min(max(x, 0), data.shape[1] - 1), min(max(y, 0), data.shape[0] - 1)

    def _histogram(self, data: NDArray) -> None:
        ends = float(self.chosen["HistMin"]), float(self.chosen["HistMax"])
        counts, figures = histogram(data, ends, int(self.chosen["HistSize"]))
        self.results |= figures
        self._shown["Histogram_RBV"] = counts


def background(data: NDArray, width: int) -> float:
    """Return the mean of the pixels of a border; those of its corners count twice, as in ADCore (processCallbacks)."""
    if width <= 0:
        return 0.0
    edges = (data[:width], data[-width:], data[:, :width], data[:, -width:])
    return sum(float(edge.sum(dtype=np.float64)) for edge in edges) / sum(edge.size for edge in edges)


def round_half_up(value: float) -> int:
    """Return the nearest whole number; 0 for what is none."""
    return int(value + 0.5) if np.isfinite(value) else 0
