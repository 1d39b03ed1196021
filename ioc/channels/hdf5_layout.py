"""Where things lie in the files that the writer makes: areaDetector's default layout, and what makes NeXus of it.

/entry/instrument/detector/data        frames [frame, y, x] or [frame, y, x, 3]; also as /entry/data/data
/entry/instrument/NDAttributes/*       one value a frame; NDArrayUniqueId is flushed last
/entry/instrument/performance          times of writing
/entry/rayfan/series, missed           which frames of which series are in the file, and which are not
"""

import platform
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from ioc.core.attribute_types import TEXT as SAID_TEXT
from ioc.core.attribute_types import types_of
from ioc.core.compressed import codec_of, without_note
from ioc.core.frame import Attribute, ColorMode, Frame
from ioc.core.metadata import QUALITY_SUFFIX

DATA = "/entry/instrument/detector/data"
PLOTTED = "/entry/data/data"
DETECTOR_ATTRIBUTES = "/entry/instrument/detector/NDAttributes"
ATTRIBUTES = "/entry/instrument/NDAttributes"
PERFORMANCE = "/entry/instrument/performance/timestamp"
SERIES = "/entry/rayfan/series"
MISSED = "/entry/rayfan/missed"
UNIQUE_ID = "NDArrayUniqueId"
COMPLETE = "complete"
"""Attribute of the root: 1 once the file is whole."""
EPICS_EPOCH = 631_152_000
"""Seconds from 1970 to 1990."""
TEXT = "S256"
NS = 1_000_000_000

SERIES_TYPE = np.dtype(
    [("series", "i8"), ("frames", "i8"), ("first", "i8"), ("last", "i8"), ("published", "i8"), ("ended", "u1")]
)
"""A row a series: frames of it in the file, first and last id; `published` counts once `ended` is 1."""
MISSED_TYPE = np.dtype([("series", "i8"), ("first", "i8"), ("last", "i8")])
"""Ids `first` to `last` of a series that are not in the file, between others that are."""

_GROUPS = (
    ("/entry", "NXentry"),
    ("/entry/instrument", "NXinstrument"),
    ("/entry/instrument/detector", "NXdetector"),
    (DETECTOR_ATTRIBUTES, "NXcollection"),
    (ATTRIBUTES, "NXcollection"),
    ("/entry/instrument/performance", "NXcollection"),
    ("/entry/rayfan", "NXcollection"),
    ("/entry/data", "NXdata"),
)


@dataclass(frozen=True, slots=True)
class Column:
    """One value a frame: a data set of `group`."""

    group: str
    name: str
    dtype: np.dtype
    description: str
    source: str
    attribute: str | None = None
    """Name of the frame's attribute, where it is another one."""

    @property
    def path(self) -> str:
        """Path of the data set."""
        return f"{self.group}/{self.name}"


def make_groups(file: h5py.File, created: str, dimensions: int) -> None:
    """Make the groups, and the attributes by which viewers find what to plot; `created` is ISO 8601.

    `dimensions`: of a frame.
    """
    for path, kind in _GROUPS:
        file.create_group(path).attrs["NX_class"] = kind
    file[ATTRIBUTES].attrs["hostname"] = platform.node()
    file.attrs["default"] = "entry"
    file.attrs["file_time"] = created
    file.attrs["creator"] = "rayfan"
    file.attrs[COMPLETE] = 0
    entry: Any = file["/entry"]
    entry.attrs["default"] = "data"
    entry["start_time"] = created
    entry["definition"] = "NXdata"
    plotted = file["/entry/data"]
    plotted.attrs["signal"] = "data"
    plotted.attrs["axes"] = ["."] * (dimensions + 1)


def columns_of(frame: Frame, attributes: bool) -> tuple[Column, ...]:
    """Return what is kept of every frame besides its pixels; the unique id comes last."""
    columns = [
        Column(ATTRIBUTES, "NDArrayTimeStamp", np.dtype("f8"), "Time stamp, s since 1990", "Driver"),
        Column(ATTRIBUTES, "NDArrayEpicsTSSec", np.dtype("u4"), "Time stamp, whole s since 1990", "Driver"),
        Column(ATTRIBUTES, "NDArrayEpicsTSnSec", np.dtype("u4"), "Time stamp, ns", "Driver"),
        Column(ATTRIBUTES, "Series", np.dtype("i8"), "Acquisition that the frame belongs to", "Driver"),
        Column(DETECTOR_ATTRIBUTES, "ColorMode", np.dtype("i4"), "Color mode", "Driver"),
    ]
    taken = {column.name for column in columns} | {UNIQUE_ID}
    if attributes:
        types = types_of(frame.attributes)
        found: dict[str, Attribute | None] = {**dict.fromkeys(types), **without_note(frame.attributes)}
        columns += [
            Column(ATTRIBUTES, name.replace("/", "_"), _type_of(value, types.get(name)), "", "Attribute", name)
            for name, value in found.items()
            if name not in taken
        ]
        lacking = [name.removesuffix(QUALITY_SUFFIX) for name in frame.attributes if name.endswith(QUALITY_SUFFIX)]
        columns += [  # a channel that had no value for the first frame may have one later
            Column(ATTRIBUTES, name, np.dtype("f8"), "", "Attribute")
            for name in lacking
            if name and name not in frame.attributes and name not in taken
        ]
    return (*columns, Column(ATTRIBUTES, UNIQUE_ID, np.dtype("i4"), "Id of the frame in its series", "Driver"))


def row_of(frame: Frame, columns: tuple[Column, ...]) -> tuple[Attribute | bytes, ...]:
    """Return the values of a frame in the order of the columns; one that it lacks is 0, NaN or empty."""
    codec = codec_of(frame)
    dimensions = len(codec.shape) if codec is not None else frame.data.ndim
    stamp = max(0, frame.timestamp_ns - EPICS_EPOCH * NS)
    known: dict[str, Attribute] = {
        **frame.attributes,
        "NDArrayTimeStamp": stamp / NS,
        "NDArrayEpicsTSSec": (stamp // NS) & 0xFFFF_FFFF,
        "NDArrayEpicsTSnSec": stamp % NS,
        "Series": frame.series,
        "ColorMode": int(ColorMode.RGB1 if dimensions == 3 else ColorMode.MONO),
        UNIQUE_ID: (frame.unique_id + (1 << 31)) % (1 << 32) - (1 << 31),
    }
    return tuple(_fitting(known.get(column.attribute or column.name), column.dtype) for column in columns)


def _type_of(value: Attribute | None, said: str | None) -> np.dtype:
    """Return the type of a column: as it was said, else that of the first value; a text is never made a number."""
    if said is not None and not (isinstance(value, str) and said != SAID_TEXT):
        return np.dtype(TEXT if said == SAID_TEXT else said)
    if isinstance(value, bool):
        return np.dtype("u1")
    if isinstance(value, int):
        return np.dtype("i8")
    return np.dtype("f8") if isinstance(value, float) else np.dtype(TEXT)


def _fitting(value: Attribute | None, dtype: np.dtype) -> Attribute | bytes:
    """Return a value as its column takes it; the type of an attribute may change from frame to frame."""
    if dtype.kind == "S":
        return b"" if value is None else str(value).encode()[: dtype.itemsize]
    if value is None or isinstance(value, str):
        return float("nan") if dtype.kind == "f" else 0
    if dtype.kind == "f":
        return float(value)
    limits = np.iinfo(dtype)
    return min(max(int(value), int(limits.min)), int(limits.max)) if value == value else 0
