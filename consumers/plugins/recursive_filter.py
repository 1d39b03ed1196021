"""The recursive filter of areaDetector's NDPluginProcess: its coefficients, its types, one frame at a time.

With the frame D and what the filter keeps F, N being the number of frames since it was reset:

    O = OOffset + OScale * (OC1 + OC2/N) * F + OScale * (OC3 + OC4/N) * D     is put out
    F = FOffset + FScale * (FC1 + FC2/N) * F + FScale * (FC3 + FC4/N) * D     is kept
    F = ROffset + RC1 * F + RC2 * D                                           when it is reset, before that

Source: ADCore, NDPluginProcess.cpp, processCallbacks; types: NDProcess.template.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NAMES = ("OC1", "OC2", "OC3", "OC4", "FC1", "FC2", "FC3", "FC4", "RC1", "RC2")
"""Coefficients, by the names of their records, in the order of `TYPES`."""
RECIPROCAL: None = None
"""A coefficient that is 1/NumFilter."""
TYPES: Mapping[str, tuple[float | None, ...]] = {
    "RecursiveAve": (1, -1, 0, 1, 1, -1, 0, 1, 0, 1),
    "Average": (1, 0, RECIPROCAL, 0, 1, 0, RECIPROCAL, 0, 0, 0),
    "Sum": (1, 0, 1, 0, 1, 0, 1, 0, 0, 0),
    "Difference": (-1, 0, 1, 0, 0, 0, 1, 0, 0, 1),
    "RecursiveAveDiff": (-1, 0, 1, 0, 1, -1, 0, 1, 0, 1),
    "CopyToFilter": (0, 0, 1, 0, 0, 0, 1, 0, 0, 1),
}


def coefficients(kind: str, count: int) -> dict[str, float]:
    """Return the coefficients of a type of filter, for `NumFilter` frames."""
    values = (1.0 / max(count, 1) if value is None else float(value) for value in TYPES[kind])
    return dict(zip(NAMES, values, strict=True))


@dataclass(slots=True)
class RecursiveFilter:
    """What the filter keeps, None before the first frame, and how many frames it has seen since it was reset."""

    kept: NDArray[np.float64] | None = None
    filtered: int = 0

    def step(self, data: NDArray[np.float64], chosen: Mapping[str, float], reset: bool) -> NDArray[np.float64]:
        """Take a frame; return what is put out. `chosen` are the coefficients, offsets, scales and `NumFilter`.

        `reset`: begin anew with this frame, as it does by itself with a frame of another size.
        """
        count = max(1, int(chosen["NumFilter"]))
        if self.kept is None or self.kept.shape != data.shape:
            self.kept, reset = data.copy(), True
        if reset:
            self.kept = chosen["ROffset"] + chosen["RC1"] * self.kept + chosen["RC2"] * data
            self.filtered = 0
        self.filtered = min(self.filtered + 1, count)
        put_out = self._mixed("O", chosen, data)
        self.kept = self._mixed("F", chosen, data)
        return put_out

    def _mixed(self, which: str, chosen: Mapping[str, float], data: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return offset + scale * (C1 + C2/N) * kept + scale * (C3 + C4/N) * data."""
        one, two, three, four = (chosen[f"{which}C{number}"] for number in (1, 2, 3, 4))
        scale = chosen[f"{which}Scale"]
        found = np.full(data.shape, chosen[f"{which}Offset"])
        for factor, part in ((one + two / self.filtered, self.kept), (three + four / self.filtered, data)):
            if part is not None and scale * factor:  # what is not a number must not come through a factor of 0
                found += scale * factor * part
        return found
