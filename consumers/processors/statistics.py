"""Processor `statistics`: the figures of areaDetector's NDPluginStats, of every frame."""

import numpy as np
from numpy.typing import NDArray

from consumers.processor import Metadata, Processor, Setting, Statistic
from consumers.sums import Sums
from ioc.core.frame import Frame


class Statistics(Processor):
    """Returns the frame itself, without a copy of its pixels, with the figures as attributes.

    Of RGB1 frames all three colours count; positions are those of the pixel.
    """

    declared_settings = (
        Setting("CentroidThreshold", 0.0, unit="counts", description="Pixels below do not count for centroid"),
    )
    declared_statistics = (
        Statistic("MinValue", unit="counts", description="Lowest pixel"),
        Statistic("MaxValue", unit="counts", description="Highest pixel"),
        Statistic("MeanValue", unit="counts", description="Mean of the pixels"),
        Statistic("Sigma", unit="counts", description="Standard deviation of the pixels"),
        Statistic("Total", unit="counts", description="Sum of the pixels"),
        Statistic("CentroidX", unit="pixel", description="Centre of mass, column from 0"),
        Statistic("CentroidY", unit="pixel", description="Centre of mass, row from 0"),
    )

    def __init__(self) -> None:
        self._scratch = Sums.of((0, 0))

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        threshold = float(self.settings["CentroidThreshold"])
        with np.errstate(all="ignore"):  # infinities and NaN in a frame give NaN, as they should
            figures = self._figures(frame.data, threshold)
        self.report(**figures)
        return Frame(frame.series, frame.unique_id, frame.timestamp_ns, frame.data, {**frame.attributes, **figures})

    def _figures(self, data: NDArray, threshold: float) -> dict[str, float]:
        rows = data.reshape(data.shape[0], -1)
        if self._scratch.shape != rows.shape:
            self._scratch = Sums.of(rows.shape)
        scratch = self._scratch
        lowest, highest = float(data.min()), float(data.max())
        level = scratch.level(rows)
        if lowest >= threshold:
            y, x = scratch.centroid(data.shape, level.shift)
        else:
            scratch.add_up_above(rows, threshold)
            y, x = scratch.centroid(data.shape, 0.0)
        return {
            "MinValue": lowest,
            "MaxValue": highest,
            "MeanValue": level.mean,
            "Sigma": level.sigma,
            "Total": level.total,
            "CentroidX": x,
            "CentroidY": y,
        }
