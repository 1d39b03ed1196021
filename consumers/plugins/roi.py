"""`ROI1:`, areaDetector's NDPluginROI: cuts a region out of each frame, bins, reverses, scales and converts it.

X and Y are those of the image, Z its colours. What leaves the frame is cut at its edge, and the read-backs show what
was used. Source of the rules: ADCore, NDPluginROI.cpp and NDArrayPool.cpp.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from consumers.plugins.base_records import enabled, number, yes
from consumers.plugins.casting import AUTOMATIC, CHOICES, cast, type_out
from consumers.plugins.plugin import Outputs, Plugin, Surroundings
from consumers.processors.bin import blocks_of, sums_of
from consumers.processors.flip import mirrored
from ioc.core.dimensions import dimensions_of, with_dimensions
from ioc.core.errors import InputError, mismatch
from ioc.core.frame import Attribute, Frame
from ioc.records.table import Access, Kind, Limits, Record, Value

PAIR, INT = Access.PAIR, Kind.INT
AXES = {"X": 1, "Y": 0, "Z": 2}
"""Axis of `data[y, x, colour]` by the letter of the records."""
WHOLE = 1_000_000
"""Pixels; larger than any side."""


@dataclass(frozen=True, slots=True)
class Span:
    """What is taken along an axis: pixels from `first` on, so many of them, in blocks of `bin`."""

    first: int
    size: int
    bin: int


def _axis(axis: str) -> tuple[Record, ...]:
    unit = "pixel" if axis != "Z" else "colour"
    return (
        enabled(f"Enable{axis}", f"Whether the region cuts along {axis}", True),
        Record(f"Min{axis}", INT, f"First {unit} along {axis}", PAIR, unit),
        Record(f"Size{axis}", INT, f"Size along {axis}, unbinned", PAIR, unit, initial=WHOLE),
        Record(f"Bin{axis}", INT, f"Blocks along {axis}, added up", PAIR, unit, initial=1),
        yes(f"AutoSize{axis}", f"Whether the region has all of {axis}"),
        yes(f"Reverse{axis}", f"Whether {axis} is reversed"),
        Record(f"MaxSize{axis}", INT, f"Size of the frames along {axis}", unit=unit),
    )


ROI_RECORDS = (
    Record("Name", Kind.STRING, "Name of the region", PAIR),
    *(record for axis in AXES for record in _axis(axis)),
    enabled("EnableScale", "Whether pixels are divided by Scale"),
    number("Scale", "Divisor of the pixels", 1.0),
    Record("DataTypeOut", Kind.ENUM, "Type of the pixels put out", PAIR, choices=CHOICES, initial=AUTOMATIC),
    enabled("CollapseDims", "Whether sides of 1 are left out"),
    Record("MaxX", INT, "Columns of the frames", Access.SHOWN, "pixel", accepted=Limits(0)),
    Record("MaxY", INT, "Rows of the frames", Access.SHOWN, "pixel", accepted=Limits(0)),
)


class Roi(Plugin):
    """Puts the region out, as a frame of its own."""

    kind = "NDPluginROI"

    def __init__(self, name: str, table: Sequence[Record], around: Surroundings) -> None:
        super().__init__(name, table, around)
        self._used: dict[str, Value] = {}

    def work(self, frame: Frame) -> Outputs:
        spans = {axis: self._span(axis, frame.data) for axis in AXES if AXES[axis] < frame.data.ndim}
        data = self._cut(frame.data, spans)
        self._used = _shown(frame.data, spans, self.chosen) | {
            "ArraySizeX_RBV": data.shape[1],
            "ArraySizeY_RBV": data.shape[0],
            "ArraySizeZ_RBV": data.shape[2] if data.ndim == 3 else 0,
        }
        return (replace(frame, data=data, attributes=self._noted(frame, spans, data.shape)),)

    def values(self) -> dict[str, Value]:
        return {**super().values(), **self._used}

    def _span(self, axis: str, data: NDArray) -> Span:
        length, chosen = data.shape[AXES[axis]], self.chosen
        if not chosen[f"Enable{axis}"]:
            return Span(0, length, 1)
        first = min(max(int(chosen[f"Min{axis}"]), 0), length - 1)
        size = length if chosen[f"AutoSize{axis}"] else int(chosen[f"Size{axis}"])
        size = min(max(size, 1), length - first)
        return Span(first, size, min(max(int(chosen[f"Bin{axis}"]), 1), size))

    def _cut(self, data: NDArray, spans: dict[str, Span]) -> NDArray:
        dtype = type_out(self.chosen["DataTypeOut"], data)
        for axis, span in spans.items():
            data = np.moveaxis(np.moveaxis(data, AXES[axis], 0)[span.first : span.first + span.size], 0, AXES[axis])
        x, y = spans["X"], spans["Y"]
        if x.bin > 1 or y.bin > 1:
            data = sums_of(blocks_of(data, x.bin, y.bin))
        if "Z" in spans:
            data = _colours(data, spans["Z"], reverse=self._reverses("Z"))
        if self._reverses("X") or self._reverses("Y"):
            data = mirrored(data, self._reverses("X"), self._reverses("Y"))
        scale = float(self.chosen["Scale"])
        if self.chosen["EnableScale"] and scale not in (0.0, 1.0):
            data = data / scale
        return np.ascontiguousarray(cast(data, dtype))

    def _noted(self, frame: Frame, spans: dict[str, Span], shape: tuple[int, ...]) -> dict[str, Attribute]:
        """Return the attributes, with what of the sensor the region shows; scaling and colours change nothing there."""
        dimensions = list(dimensions_of(frame.attributes, frame.data.shape))
        for axis, span in spans.items():
            at = AXES[axis]
            dimensions[at] = dimensions[at].part(span.first, span.bin, self._reverses(axis))
        return with_dimensions(frame.attributes, shape, dimensions[: len(shape)])

    def _reverses(self, axis: str) -> bool:
        return bool(self.chosen[f"Enable{axis}"]) and bool(self.chosen[f"Reverse{axis}"])


def _colours(data: NDArray, span: Span, reverse: bool) -> NDArray:
    """Bin and reverse the colours; one colour alone is a Mono frame.

    Raises:
        InputError: two colours are left, of which no frame is made.
    """
    many = span.size // span.bin
    if many not in (1, 3):
        raise InputError(mismatch("SizeZ", "1 or 3 colours in the region", many))
    found = data
    if span.bin > 1:
        wide = np.dtype(np.float64 if data.dtype.kind == "f" else f"{data.dtype.kind}8")
        found = data[..., : many * span.bin].reshape(*data.shape[:2], many, span.bin).sum(axis=3, dtype=wide)
    found = found[..., ::-1] if reverse else found
    return found[..., 0] if many == 1 else found


def _shown(data: NDArray, spans: dict[str, Span], chosen: dict[str, Value]) -> dict[str, Value]:
    """Return what the read-backs say of the region that was cut (NDPluginROI.cpp, processCallbacks)."""
    values: dict[str, Value] = {"MaxSizeZ_RBV": 0, "MaxX": data.shape[1], "MaxY": data.shape[0]}
    for axis, span in spans.items():
        values[f"MaxSize{axis}_RBV"] = data.shape[AXES[axis]]
        if chosen[f"Enable{axis}"]:
            values |= {f"Min{axis}_RBV": span.first, f"Size{axis}_RBV": span.size, f"Bin{axis}_RBV": span.bin}
    return values
