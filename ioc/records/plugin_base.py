"""The records that every plug-in has: NDArrayBase and NDPluginBase of ADCore R3-15, as they are served.

What is left out, and why, stands in docs/explanation/areadetector-plugins.md.
"""

from dataclasses import replace

from ioc.core.frame import DataType
from ioc.records.areadetector import ANY_LOSS, ARRAY, CHOSEN_TYPES, DIMENSIONS, PLUGIN
from ioc.records.table import Access, Kind, Limits, Record

PAIR, SHOWN, COMMAND = Access.PAIR, Access.SHOWN, Access.COMMAND
INT, FLOAT, BOOL, ENUM, ROW = Kind.INT, Kind.FLOAT, Kind.BOOL, Kind.ENUM, Kind.ARRAY
MOST_DIMENSIONS = 10
"""Dimensions of an NDArray (ADCore, NDArray.h)."""
LOSS = Limits(0)

SIZES = (
    *(
        Record(f"ArraySize{axis}", INT, f"Length of dimension {axis}, 0 is fastest", SHOWN)
        for axis in range(DIMENSIONS)
    ),
    Record("Dimensions", ROW, "Lengths of dimensions, fastest first", size=MOST_DIMENSIONS, element=DataType.INT32),
)
"""Sizes that ADCore lets be put, and that are only shown."""
BASE = (
    *(one for one in ARRAY if one.name != "NDimensions"),
    Record("NDimensions", INT, "Dimensions of the frames", PAIR, kept=False),
    *(replace(one, kept=False) for one in CHOSEN_TYPES),  # they show the frames; a put stands until the next one
    *PLUGIN,
    *SIZES,
    Record("MaxArrayRate", FLOAT, "Most frames a second, 1/MinCallbackTime", PAIR, "Hz", accepted=Limits(0.0, 1e6)),
    Record("MaxByteRate", FLOAT, "Most bytes a second put out, 0: any", PAIR, "B/s", accepted=Limits(0.0)),
    Record("DroppedOutputArrays", INT, "Frames not put out", PAIR, "frame", accepted=LOSS, alarms=ANY_LOSS, kept=False),
    Record("DisorderedArrays", INT, "Frames put out not next in order", PAIR, "frame", accepted=LOSS, kept=False),
    Record("ProcessPlugin", BOOL, "Take the newest frame again", COMMAND),
    Record("NumThreads", INT, "Threads of the plug-in", PAIR, accepted=Limits(1, 1), initial=1),
    Record("MaxThreads", INT, "Most threads of the plug-in", initial=1),
    Record("SortMode", ENUM, "Order: one thread keeps it by itself", PAIR, choices=("Unsorted", "Sorted")),
    Record("SortTime", FLOAT, "Wait for order, has no effect", PAIR, "s", accepted=Limits(0.0, 3600.0), initial=0.1),
    Record("SortSize", INT, "Frames to sort, has no effect", PAIR, "frame", accepted=Limits(1, 65536), initial=20),
    Record("SortFree", INT, "Frames more to sort", SHOWN, "frame", initial=20),
    Record("NumQueuedArrays", INT, "Frames that wait behind it", SHOWN, unit="frame"),
    Record("PoolMaxMem", FLOAT, "Memory for frames that wait", SHOWN, "MB", 1),
    Record("PoolUsedMem", FLOAT, "Memory that frames take up", SHOWN, "MB", 1),
    Record("PoolAllocBuffers", INT, "Frames in memory", SHOWN),
    Record("PoolFreeBuffers", INT, "Frames kept for use again", SHOWN),
    Record("PoolUsedBuffers", INT, "Frames in memory", SHOWN),
)
