"""Screens of areaDetector's plug-ins: all of them, and one for each kind."""

from collections.abc import Iterable, Sequence

from ioc.records.table import Record
from ioc.screens.device import Device, device, words
from ioc.screens.items import Bar, Command, Commands, Image, Item, Profiles, Shown, Wide, fitting, lines
from ioc.screens.page import OVERVIEW, Card, Link, Page
from ioc.screens.table import Column, Table

IMAGE_WIDTH = 520
SCREENS = {
    "image1:": "std_arrays.bob",
    "Stats1:": "stats.bob",
    "ROI1:": "roi.bob",
    "Proc1:": "background.bob",
    "Trans1:": "transform.bob",
    "Codec1:": "codec.bob",
    "CB1:": "circular.bob",
}
"""The screen of each kind of plug-in, by the name of the first of it."""
COLUMNS = (
    Column("EnableCallbacks", 90, "Enable", settable=True),
    Column("EnableCallbacks", 80, "Enabled"),
    Column("NDArrayPort", 90, "Takes from", settable=True),
    Column("NDArrayPort", 90, "In effect"),
    Column("ArrayCounter", 90, "Frames"),
    Column("ArrayRate", 100, "Rate"),
    Column("DroppedArrays", 90, "Dropped"),
    Column("QueueUse", 90, "Queue", whole="QueueSize"),
    Column("ExecutionTime", 90),
)
LINKS: tuple[Link, ...] = (OVERVIEW, ("Plug-ins", "plugins.bob", ()))


def plugins_page(records: Iterable[Record]) -> Page:
    """Return the screen of all plug-ins of the default configuration, and of their process."""
    records = list(records)
    whole, process = device(records, "", at="$(P)"), device(records, "Plug1:", at="$(P)Plug1:")
    cards = [
        Card(title, whole, [Table([row], COLUMNS, opens=file)], Table([row], COLUMNS).width + 16)
        for (row, file), title in zip(SCREENS.items(), map(_title, SCREENS.values()), strict=True)
    ]
    state = Card(
        "Process of the plug-ins",
        process,
        [
            *lines("State", "Rate", "Received", "Processed", "Failed", "Dropped", "Shed"),
            Bar("Memory of frames", "MemoryUsed", "MemoryLimit"),
            *lines("Uptime", "Pid"),
            Wide("StatusMessage"),
            Wide("LastError"),
        ],
    )
    return Page("plugins.bob", "Plug-ins $(P)", whole, (cards, (state,)))


def _title(file: str) -> str:
    return {
        "std_arrays.bob": "Images for Channel Access",
        "stats.bob": "Statistics",
        "roi.bob": "Region of interest",
        "background.bob": "Background, flat field, filter",
        "transform.bob": "Turn and mirror",
        "codec.bob": "Compress",
        "circular.bob": "Frames before and after a trigger",
    }[file]


def plugin_pages(records: Iterable[Record]) -> list[Page]:
    """Return a screen for each kind of plug-in."""
    records = list(records)
    made = {
        "image1:": _std_arrays,
        "Stats1:": _stats,
        "ROI1:": _roi,
        "Proc1:": _process,
        "Trans1:": _transform,
        "Codec1:": _codec,
        "CB1:": _circular,
    }
    pages = []
    for example, file in SCREENS.items():
        one = device(records, example)
        columns = ((*_base(one),), *made[example](one))
        expert: Link = ("Expert", f"expert_{file}", (("R", "$(R)"),))
        pages.append(Page(file, f"{_title(file)} $(P)$(R)", one, columns, (*LINKS, expert)))
    return pages


def _base(one: Device) -> tuple[Card, Card]:
    """Return what every plug-in has."""
    flow = Card(
        "Plug-in",
        one,
        lines("PluginType", "PortName", "EnableCallbacks", "NDArrayPort", "BlockingCallbacks", "MinCallbackTime")
        + lines("ArrayCounter", "ArrayRate", "UniqueId", "QueueSize", "QueueUse", "QueueFree", "DroppedArrays")
        + lines("DroppedOutputArrays", "DisorderedArrays", "ExecutionTime", "ProcessPlugin"),
    )
    frames = Card("Frames", one, lines("ArraySize0", "ArraySize1", "ArraySize2", "DataType", "ColorMode", "Codec"))
    return flow, frames


def _items(one: Device, title: str, *names: str) -> Card:
    return Card(title, one, fitting(one, names))


def _picture(one: Device) -> Card:
    return Card("Output, $(P)$(R)Image", one, [Image.square("$(P)$(R)Image", IMAGE_WIDTH)], IMAGE_WIDTH)


def _std_arrays(one: Device) -> Sequence[Sequence[Card]]:
    pixels = Profiles("Pixels", (("pixels", None, "ArrayData"),), ("pixel, row by row", "counts"), 420)
    return ((Card("Pixels of the newest frame", one, [pixels], IMAGE_WIDTH),),)


def _stats(one: Device) -> Sequence[Sequence[Card]]:
    lost = "Set all figures of $(P)$(R) to 0?"
    figures: list[Item] = [
        *lines("ComputeStatistics", "BgdWidth"),
        *_results("MinValue", "MaxValue", "MeanValue", "Sigma", "Total", "Net", "MinX", "MinY", "MaxX", "MaxY"),
        Commands((Command("Reset", "Reset", lost),)),
    ]
    moments = ("CentroidTotal", "CentroidX", "CentroidY", "SigmaX", "SigmaY", "SigmaXY", "Eccentricity", "Orientation")
    centroid = Card("Centroid", one, [*lines("ComputeCentroid", "CentroidThreshold"), *_results(*moments)])
    steps = Profiles("Histogram", (("pixels", "HistogramX", "Histogram"),), ("value", "pixels"), 200)
    histogram = Card(
        "Histogram",
        one,
        [
            *lines("ComputeHistogram", "HistSize", "HistMin", "HistMax"),
            *_results("HistBelow", "HistAbove", "HistEntropy"),
            steps,
        ],
        IMAGE_WIDTH,
    )
    rows = [
        Profiles(
            f"Profile{axis}",
            tuple((name.lower(), None, f"Profile{name}{axis}") for name in ("Average", "Centroid", "Cursor")),
            (f"{axis.lower()}, pixel", "counts"),
            180,
        )
        for axis in "XY"
    ]
    profiles = Card("Profiles", one, [*lines("ComputeProfiles", "CursorX", "CursorY", "CursorVal"), *rows], IMAGE_WIDTH)
    points = Profiles("Series", (("mean", None, "TSMeanValue"), ("sigma", None, "TSSigma")), ("point", "counts"), 180)
    taken = ("TSAcquire", "TSAcquiring", "TSAcquireMode", "TSRead", "TSNumPoints", "TSCurrentPoint", "TSTimePerPoint")
    means = ("TSAveragingTime", "TSNumAverage", "TSElapsedTime")
    series = Card("Frame after frame", one, [*lines(*(f"TS:{name}" for name in (*taken, *means))), points], IMAGE_WIDTH)
    return ((Card("Figures", one, figures), centroid), (histogram, profiles), (series,))


def _results(*names: str) -> list[Item]:
    """Return a line each for figures that a frame gives; that they can be set, for a reset, is for the expert page."""
    return [Shown(name, words(name)) for name in names]


def _roi(one: Device) -> Sequence[Sequence[Card]]:
    axes = [
        _items(one, f"Along {axis.lower()}", *(f"{what}{axis}" for what in ("Enable", "Min", "Size", "Bin")))
        for axis in "XYZ"
    ]
    more = [
        _items(one, f"More along {axis.lower()}", *(f"{what}{axis}" for what in ("AutoSize", "Reverse")))
        for axis in "XYZ"
    ]
    scale = _items(one, "Output", "Name", "EnableScale", "Scale", "DataTypeOut", "CollapseDims", "MaxX", "MaxY")
    return ((*axes, scale), (_picture(one), *more))


def _process(one: Device) -> Sequence[Sequence[Card]]:
    background = _items(
        one,
        "Background and flat field",
        *("SaveBackground", "EnableBackground", "SaveFlatField", "EnableFlatField", "ScaleFlatField"),
    )
    scale = _items(one, "Offset and scale", "EnableOffsetScale", "AutoOffsetScale", "Offset", "Scale", "DataTypeOut")
    clip = _items(
        one,
        "Clipping",
        *("EnableLowClip", "LowClipThresh", "LowClipValue", "EnableHighClip", "HighClipThresh", "HighClipValue"),
    )
    lost = "Begin to filter anew? What $(P)$(R) has averaged so far is lost."
    filtering = Card(
        "Recursive filter",
        one,
        [
            *lines("EnableFilter", "FilterType", "NumFilter", "AutoResetFilter", "FilterCallbacks"),
            Commands((Command("ResetFilter", "Reset filter", lost),)),
        ],
    )
    return ((background, scale, clip), (_picture(one), Card("Filter", one, filtering.items, IMAGE_WIDTH)))


def _transform(one: Device) -> Sequence[Sequence[Card]]:
    return ((Card("Turn", one, lines("Type"), IMAGE_WIDTH), _picture(one)),)


def _codec(one: Device) -> Sequence[Sequence[Card]]:
    names = ("Mode", "Compressor", "BloscCompressor", "BloscCLevel", "BloscShuffle", "BloscNumThreads")
    return ((_items(one, "Codec", *names, "CompressedSize", "CodecStatus", "CodecError"),), (_picture(one),))


def _circular(one: Device) -> Sequence[Sequence[Card]]:
    lost = "Stop to keep frames? Those that $(P)$(R) keeps are forgotten."
    capture = Card(
        "Capture",
        one,
        [
            Commands(
                (Command("Capture", "Capture"), Command("Capture", "Stop", lost, 0), Command("Trigger", "Trigger"))
            ),
            *fitting(one, ("StatusMessage", "PreCount", "PostCount", "PresetTriggerCount", "FlushOnSoftTrg")),
            *lines("CurrentQty", "PostTriggerQty", "ActualTriggerCount"),
        ],
    )
    trigger = _items(
        one,
        "Trigger",
        *("TriggerA", "TriggerB", "TriggerAVal", "TriggerBVal", "TriggerCalc", "TriggerCalcVal"),
    )
    return ((capture, trigger), (_picture(one),))
