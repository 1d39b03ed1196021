"""Screens of the detector, as areaDetector arranges it, and of the images that it simulates."""

from collections.abc import Iterable

from ioc.records.table import Record
from ioc.screens.device import device
from ioc.screens.items import Bar, Command, Commands, Image, Item, Line, Wide, lines
from ioc.screens.page import OVERVIEW, Card, Link, Page

EXAMPLE = "cam1:"
IMAGE_WIDTH = 620
SAME = (("R", "$(R)"),)
LINKS: tuple[Link, ...] = (
    OVERVIEW,
    ("Simulation", "simulation.bob", SAME),
    ("Plug-ins", "plugins.bob", ()),
    ("File writer", "writer.bob", (("R", "HDF1:"),)),
    ("Image channel", "expert_image_channel.bob", (("R", "Pva1:"),)),
    ("Expert", "expert_detector.bob", SAME),
)


def detector_page(records: Iterable[Record]) -> Page:
    """Return the screen of the detector with its live image."""
    records = list(records)
    camera, images = device(records, EXAMPLE), device(records, "Pva1:", at="$(P)Pva1:")

    def card(title: str, *items: Item) -> Card:
        return Card(title, camera, items)

    collect = card(
        "Collect",
        Commands((Command("Acquire", "Start"), Command("Acquire", "Stop", number=0))),
        *lines("AcquireTime", "AcquirePeriod", "FrameRate", "ImageMode", "NumImages", "NumExposures", "TriggerMode"),
        *lines("DetectorState", "NumImagesCounter"),
        Line("NumExposuresCounter", "Exposures counter"),
        Line("TimeRemaining"),
        Line("ArrayCounter"),
        *lines("ArrayRate", "ByteRate", "ArrayCallbacks"),
        Line("WaitForPlugins", "Wait for plug-ins"),
        Wide("StatusMessage"),
    )
    readout = card(
        "Readout",
        *lines("MaxSizeX", "MaxSizeY", "MinX", "MinY", "SizeX", "SizeY", "BinX", "BinY", "ReverseX", "ReverseY"),
        *lines("ArraySizeX", "ArraySizeY", "ArraySizeZ", "ArraySize", "DataType", "ColorMode"),
    )
    setup = card(
        "Setup", *lines("PortName", "Manufacturer", "Model", "SourceKind", "DriverVersion"), Wide("SourcePath")
    )
    flow = card(
        "Frames on their way",
        *lines("UniqueId", "NumQueuedArrays", "DroppedArrays", "SourceMissed"),
        Bar("Frame memory", "PoolPercent"),
        *lines("PoolUsedMem", "PoolMaxMem", "PoolUsedBuffers", "PoolFreeBuffers"),
    )
    shutter = Card("Shutter", camera, lines("ShutterMode", "ShutterControl", "ShutterStatus", "FrameType"), IMAGE_WIDTH)
    picture = Card("Image, $(P)Pva1:Image", images, [Image.square("$(P)Pva1:Image", IMAGE_WIDTH)], IMAGE_WIDTH)
    shown = Card(
        "Image channel", images, lines("ArrayCounter", "DroppedArrays", "UniqueId", "EnableCallbacks"), IMAGE_WIDTH
    )
    columns = ((collect, setup), (readout, flow), (picture, shown, shutter))
    return Page("detector.bob", "Detector $(P)$(R)", camera, columns, LINKS)


def simulation_page(records: Iterable[Record]) -> Page:
    """Return the screen of what a generated image looks like."""
    camera = device(records, EXAMPLE)

    def card(title: str, *names: str) -> Card:
        return Card(title, camera, lines(*names))

    def waves(axis: str) -> list[str]:
        each = [f"{axis}Sine{wave}{what}" for wave in (1, 2) for what in ("Amplitude", "Frequency", "Phase")]
        return [f"{axis}SineOperation", *each]

    columns = (
        (
            card("Images", "SimMode", "Reset", "Gain", "GainX", "GainY", "Offset", "Noise"),
            card("Colours", "GainRed", "GainGreen", "GainBlue"),
        ),
        (
            card(
                "Peaks",
                *(f"Peak{what}{axis}" for what in ("Start", "Num", "Step", "Width") for axis in "XY"),
                "PeakVariation",
            ),
        ),
        (card("Waves along x", *waves("X")), card("Waves along y", *waves("Y"))),
    )
    links: tuple[Link, ...] = (OVERVIEW, ("Detector", "detector.bob", SAME))
    return Page("simulation.bob", "Simulated images $(P)$(R)", camera, columns, links)
