"""What stands for a process in the picture of the chain: small screens, one a role, that the overview embeds.

Macros: P prefix, R device (`Cons1:`), S what the supervisor says of it (`Process3:`), N its name. The state is the
supervisor's, so that a box is not empty when its process is gone.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence

from ioc.records.table import Record
from ioc.screens import palette, widgets
from ioc.screens.bob import Box, Screen
from ioc.screens.device import Device, device

WIDTH, HEIGHT = 214, 126
LABEL = 66
LINE = 22
Figures = Sequence[tuple[str, str]]
"""Text and record of each line of a box."""
ROLES: dict[str, tuple[str, str, Figures]] = {
    "detector": (
        "cam1:",
        "detector.bob",
        (("rate", "ArrayRate"), ("frames", "ArrayCounter"), ("dropped", "DroppedArrays")),
    ),
    "intake": ("In1:", "intake.bob", (("rate", "Rate"), ("frames", "Frames"), ("merged", "Merged"))),
    "consumer": ("Cons1:", "consumer.bob", (("rate", "Rate"), ("latency", "LatencyP99"), ("dropped", "Dropped"))),
    "collector": ("Coll1:", "collector.bob", (("rate", "Rate"), ("waiting", "Waiting"), ("missing", "Missing"))),
    "egress": ("Ejfat1:", "egress.bob", (("rate", "Rate"), ("goodput", "GoodputRate"), ("errors", "Errors"))),
    "ingress": ("EjfatIn1:", "ingress.bob", (("rate", "Rate"), ("frames", "Frames"), ("lost", "Lost"))),
    "balancer": (
        "EjfatLb1:",
        "balancer.bob",
        (("workers", "WorkersReady"), ("packets", "Forwarded"), ("lost", "Nobody")),
    ),
    "writer": (
        "HDF1:",
        "writer.bob",
        (("rate", "ArrayRate"), ("captured", "NumCaptured"), ("dropped", "DroppedArrays")),
    ),
    "plugins": ("Plug1:", "plugins.bob", (("rate", "Rate"), ("frames", "Received"), ("dropped", "Dropped"))),
}
"""By role: the first device of it, the screen that a click opens, and the figures in the box."""


def box_screens(records: Iterable[Record]) -> list[Screen]:
    """Return the boxes of all roles."""
    records = list(records)
    process = device(records, "Process1:", at="$(P)$(S)")
    return [
        _box(role, device(records, example), process, file, figures) for role, (example, file, figures) in ROLES.items()
    ]


def _box(role: str, one: Device, process: Device, file: str, figures: Figures) -> Screen:
    inner = WIDTH - 2 * palette.PAD
    made: list[ET.Element] = [
        widgets.area(role, Box(0, 0, WIDTH, HEIGHT), palette.CARD, palette.LINE, corner=8),
        widgets.link("$(N)", file, {"P": "$(P)", "R": "$(R)"}, Box(palette.PAD, 7, inner, 26)),
    ]
    y = 38
    made += _line("state", process, "State", y)
    for text, name in figures:
        y += LINE
        made += _line(text, one, name, y)
    more = (("N", one.example.rstrip(":")), ("S", "Process1:"))
    return Screen(f"box_{role}.bob", f"{role} $(P)$(R)", one.example, WIDTH, HEIGHT, made, more=more)


def _line(text: str, one: Device, name: str, y: int) -> list[ET.Element]:
    rest = WIDTH - 2 * palette.PAD - LABEL
    return [
        widgets.label(text, Box(palette.PAD, y, LABEL - 4, LINE - 4), palette.SMALL),
        widgets.value(one.record(name), one.shown(name), Box(palette.PAD + LABEL, y, rest, LINE - 4), palette.SMALL),
    ]
