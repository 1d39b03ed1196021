"""`Proc1:`, areaDetector's NDPluginProcess: background, flat field, offset and scale, clips, filter, in this order.

Source of the rules: ADCore, NDPluginProcess.cpp. Background and flat field are the frame put out last, when they are
saved; they count while their size is that of the frames.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.plugins.base_records import act, enabled, number, yes
from consumers.plugins.casting import AUTOMATIC, CHOICES, cast, type_out
from consumers.plugins.plugin import Outputs, Plugin, Surroundings
from consumers.plugins.recursive_filter import NAMES, TYPES, RecursiveFilter, coefficients
from ioc.core.compressed import NAME
from ioc.core.frame import Frame
from ioc.records.table import Access, Kind, Limits, Record, Value

PAIR, BOOL, INT = Access.PAIR, Kind.BOOL, Kind.INT
VALID = ("Invalid", "Valid")
OFFSETS = {"OOffset": 0.0, "OScale": 1.0, "FOffset": 0.0, "FScale": 1.0, "ROffset": 0.0}
START = (1.0, -1.0, 0.0, 1.0, 1.0, -1.0, 0.0, 1.0, 1.0, 1.0)
"""Coefficients at start, in the order of NAMES (NDProcess.template)."""
SWITCHES = ("EnableOffsetScale", "EnableLowClip", "EnableHighClip", "EnableFilter")

PROCESS_RECORDS = (
    act("SaveBackground", "Take the newest output as background"),
    enabled("EnableBackground", "Whether the background is taken off"),
    Record("ValidBackground", BOOL, "Whether a background fits the frames", choices=VALID),
    act("SaveFlatField", "Take the newest output as flat field"),
    enabled("EnableFlatField", "Whether frames are divided by the flat"),
    Record("ValidFlatField", BOOL, "Whether a flat field fits the frames", choices=VALID),
    number("ScaleFlatField", "Level of an even frame", 255.0, "count"),
    enabled("EnableOffsetScale", "Whether Offset and Scale are applied"),
    Record("AutoOffsetScale", BOOL, "Find both from the next frame", Access.COMMAND, choices=("Done", "Calculating")),
    number("Offset", "Added to the pixels", 0.0, "count"),
    number("Scale", "Factor behind that", 1.0),
    *(
        record
        for end, level in (("Low", 0.0), ("High", 100.0))
        for record in (
            enabled(f"Enable{end}Clip", f"Whether pixels are clipped: {end}"),
            number(f"{end}ClipThresh", f"Where pixels are clipped: {end}", level, "count"),
            number(f"{end}ClipValue", f"What they become: {end}", level, "count"),
        )
    ),
    enabled("EnableFilter", "Whether frames are filtered"),
    Record("FilterType", Kind.ENUM, "Sets the coefficients", Access.WRITE, choices=tuple(TYPES)),
    act("ResetFilter", "Begin to filter anew"),
    yes("AutoResetFilter", "Whether that is done each N frames"),
    Record("FilterCallbacks", BOOL, "Which frames are put out", PAIR, choices=("Every array", "Array N only")),
    Record("NumFilter", INT, "Frames to filter", PAIR, "frame", accepted=Limits(1), initial=1),
    Record("NumFilterRecip", Kind.FLOAT, "1/NumFilter", Access.SHOWN, initial=1.0),
    Record("NumFiltered", INT, "Frames filtered since the reset", unit="frame"),
    *(number(name, f"Filter: {name}", level) for name, level in OFFSETS.items()),
    *(number(name, f"Filter: coefficient {name}", level) for name, level in zip(NAMES, START, strict=True)),
    Record("DataTypeOut", Kind.ENUM, "Type of the pixels put out", PAIR, choices=CHOICES, initial=AUTOMATIC),
)


class Process(Plugin):
    """Puts out the frame with its pixels processed, as `DataTypeOut`."""

    kind = "NDPluginProcess"

    def __init__(self, name: str, table: Sequence[Record], around: Surroundings) -> None:
        super().__init__(name, table, around)
        self._filter = RecursiveFilter()
        self._saved: dict[str, NDArray[np.float64]] = {}
        self._automatic: list[Future[None]] = []

    def work(self, frame: Frame) -> Outputs:
        data = frame.data
        dtype = type_out(self.chosen["DataTypeOut"], data)
        if not self._does_anything(data):
            return (replace(frame, data=np.ascontiguousarray(cast(data, dtype))),)
        with np.errstate(all="ignore"):  # infinities and NaN in a frame stay what they are
            pixels = self._processed(data.astype(np.float64))
            passed = True
            if self.chosen["EnableFilter"]:
                pixels, passed = self._filtered(pixels)
            if self._automatic:
                self._scale_by(data, dtype)
        return (replace(frame, data=cast(pixels, dtype)),) if passed else ()

    def put(self, field: str, value: Value) -> "Future[Any] | None":
        if field != "AutoOffsetScale":
            return super().put(field, value)
        done: Future[None] = Future()
        self.lane.submit(lambda: self._automatic.append(done))
        return done

    def accept(self, field: str, value: Value) -> Outputs:
        if field in ("SaveBackground", "SaveFlatField"):
            if value:
                self._save(field.removeprefix("Save"))
            return ()
        super().accept(field, value)
        if field in ("FilterType", "NumFilter"):
            self._pair_all(coefficients(str(self.chosen["FilterType"]), int(self.chosen["NumFilter"])))
            self.show({"NumFilterRecip": 1.0 / int(self.chosen["NumFilter"])})
        return ()

    def values(self) -> dict[str, Value]:
        shape = self.newest.data.shape if self.newest is not None else None
        valid = {f"Valid{name}_RBV": self._fits(name, shape) for name in ("Background", "FlatField")}
        return {**super().values(), **valid, "NumFiltered_RBV": self._filter.filtered}

    def close(self) -> None:
        super().close()
        self._done_automatic()

    def _does_anything(self, data: NDArray) -> bool:
        saved = any(self._in_use(name, data.shape) is not None for name in ("Background", "FlatField"))
        return saved or bool(self._automatic) or any(bool(self.chosen[name]) for name in SWITCHES)

    def _processed(self, data: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return pixels behind background, flat field, offset and scale, and clips; `data` is changed."""
        chosen = self.chosen
        background, flat = self._in_use("Background", data.shape), self._in_use("FlatField", data.shape)
        if background is not None:
            data -= background
        if flat is not None:
            np.multiply(data, float(chosen["ScaleFlatField"]) / flat, out=data, where=flat != 0)
        if chosen["EnableOffsetScale"]:
            data += float(chosen["Offset"])
            data *= float(chosen["Scale"])
        if chosen["EnableHighClip"]:
            data[data > float(chosen["HighClipThresh"])] = float(chosen["HighClipValue"])
        if chosen["EnableLowClip"]:
            data[data < float(chosen["LowClipThresh"])] = float(chosen["LowClipValue"])
        return data

    def _filtered(self, data: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
        """Return what comes out of the filter, and whether it is put out."""
        numbers = {name: float(self.chosen[name]) for name in (*NAMES, *OFFSETS, "NumFilter")}
        count = max(1, int(self.chosen["NumFilter"]))
        over = self._filter.filtered >= count and bool(self.chosen["AutoResetFilter"])
        found = self._filter.step(data, numbers, bool(self.chosen["ResetFilter"]) or over)
        if self.chosen["ResetFilter"]:
            self._pair("ResetFilter", False)
        return found, not self.chosen["FilterCallbacks"] or self._filter.filtered == count

    def _scale_by(self, data: NDArray, dtype: np.dtype) -> None:
        """Set offset, scale and clips so that the pixels of a frame fill the type that is put out."""
        low, high = float(data.min()), float(data.max())
        if high > low:
            most = 2.0 ** (8 * dtype.itemsize) - 1
            found: dict[str, Value] = {"Scale": most / (high - low), "Offset": -low}
            found |= {"LowClipThresh": 0.0, "HighClipThresh": most}
            self._pair_all(found | dict.fromkeys(SWITCHES[:3], True))
        self._done_automatic()

    def _done_automatic(self) -> None:
        waiting, self._automatic = self._automatic, []
        for future in waiting:
            future.set_result(None)

    def _pair_all(self, values: Mapping[str, Value]) -> None:
        for name, value in values.items():
            self._pair(name, value)

    def _save(self, what: str) -> None:
        self._saved.pop(what, None)
        if self.output is not None and NAME not in self.output.attributes:
            self._saved[what] = self.output.data.astype(np.float64)

    def _fits(self, what: str, shape: tuple[int, ...] | None) -> bool:
        saved = self._saved.get(what)
        return saved is not None and saved.shape == shape

    def _in_use(self, what: str, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
        """Return the background or flat field if it is enabled and fits."""
        return self._saved[what] if self.chosen[f"Enable{what}"] and self._fits(what, shape) else None
