"""The overview: the appliance as the picture of the chain, with what each process does now; a click opens its screen.

Which processes there are is known when the screen runs: `overview.py`, beside the screens, puts a box for each into the
column of its role. The groups of the distributor have places of their own.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from ioc.records.table import Record
from ioc.screens import palette, widgets
from ioc.screens.appliance_pages import ACKNOWLEDGE, DRAIN, SLOTS, UNSEEN
from ioc.screens.bob import Box, Screen, widget
from ioc.screens.boxes import HEIGHT as BOX_HEIGHT
from ioc.screens.boxes import WIDTH as BOX_WIDTH
from ioc.screens.device import Device, device
from ioc.screens.items import Commands, Line, Wide
from ioc.screens.page import Card, Link, heading
from ioc.screens.palette import GAP, HEAD_HEIGHT

FILE = "overview.bob"
SCRIPT = "overview.py"
GROUP_WIDTH, GROUP_HEIGHT = 300, 96
ARROW = 40
TOP = HEAD_HEIGHT + GAP + 178
"""Where the picture begins, below the figures of the whole appliance."""
COLUMNS = (
    ("Sources", GAP, BOX_WIDTH),
    ("Distributor", GAP + BOX_WIDTH + ARROW, GROUP_WIDTH),
    ("Who takes frames", GAP + BOX_WIDTH + ARROW + GROUP_WIDTH + ARROW, 2 * BOX_WIDTH + GAP),
    ("Behind them", GAP + BOX_WIDTH + 3 * ARROW + GROUP_WIDTH + 2 * BOX_WIDTH + GAP, 2 * BOX_WIDTH + GAP),
)
"""Title, left edge and width of each column of the picture."""
WIDTH = COLUMNS[-1][1] + COLUMNS[-1][2] + GAP
ROWS = 6
HEIGHT = TOP + 34 + max(ROWS * (BOX_HEIGHT + GAP), 8 * (GROUP_HEIGHT + GAP))
GROUPS = tuple(f"Dist{slot}:" for slot in range(1, 9))
LINKS: tuple[Link, ...] = (
    ("Detector", "detector.bob", (("R", "cam1:"),)),
    ("Distributor", "distributor.bob", ()),
    ("Chains", "chains.bob", ()),
    ("Plug-ins", "plugins.bob", ()),
    ("Ledger", "ledger.bob", ()),
    ("Processes", "processes.bob", ()),
)


def overview_screen(records: Iterable[Record]) -> Screen:
    """Return the overview."""
    whole = device(records, "", at="$(P)")
    made = [*heading("Rayfan $(P)", WIDTH, LINKS), *_totals(whole), *_columns()]
    for number, group in enumerate(GROUPS):
        made.append(_group(whole, group, COLUMNS[1][1], TOP + 34 + number * (GROUP_HEIGHT + GAP)))
    made += [_place(number) for number in range(len(SLOTS))]
    names = [whole.shown(slot + name) for slot in SLOTS for name in ("Name", "Role", "State")]
    return Screen(FILE, "Rayfan $(P)", "", WIDTH, HEIGHT, made, ((SCRIPT, names),))


def _totals(whole: Device) -> list[ET.Element]:
    health = Card(
        "Appliance",
        whole,
        [Line("Health"), Line("Processes"), Line("Restarts"), Wide("StatusMessage")],
        440,
    )
    names = ("Published", "Queued", "Dropped", "LossPercent")
    ledger = Card("Ledger", whole, [Line(f"Ledger:{name}") for name in names])
    losses = [Line("Ledger:Failed"), Line("Ledger:Residue"), UNSEEN, Commands((ACKNOWLEDGE,))]
    books = Card("Every frame is accounted for", whole, losses)
    stop = Card("Stop", whole, [Line("Uptime"), Line("Alarm"), Commands((DRAIN,))], 220)
    made: list[ET.Element] = []
    x = GAP
    for card in (health, ledger, books, stop):
        made += card.draw(x, HEAD_HEIGHT + GAP)
        x += card.width + GAP
    return made


def _columns() -> list[ET.Element]:
    made: list[ET.Element] = []
    for number, (title, x, width) in enumerate(COLUMNS):
        made.append(widgets.area(title, Box(x, TOP, width, 26), palette.CARD_HEAD, corner=6))
        made.append(widgets.label(title, Box(x, TOP, width, 26), palette.STRONG, palette.HEAD, widgets.CENTRE))
        if number:
            made.append(_arrow(x - ARROW + 4, TOP + 13, ARROW - 8))
    return made


def _arrow(x: int, y: int, length: int) -> ET.Element:
    points = [("point", {"@x": "0.0", "@y": "6.0"}), ("point", {"@x": f"{length}.0", "@y": "6.0"})]
    looks = {"points": points, "arrows": 2, "arrow_length": 12, "line_width": 3, "line_color": palette.BAR}
    return widget("polyline", "Arrow", Box(x, y - 6, length, 12), looks)


def _group(whole: Device, group: str, x: int, y: int) -> ET.Element:
    """Return a group of the distributor; it is not to be seen while its slot is free."""
    place = Box(x, y, GROUP_WIDTH, GROUP_HEIGHT)
    free = ('pvStr0 == ""', whole.shown(group + "Name"))
    return widgets.embedded(group.rstrip(":"), "box_group.bob", {"P": "$(P)", "R": group}, place, free)


def group_box(records: Iterable[Record]) -> Screen:
    """Return what stands for a group of the distributor in the picture."""
    one = device(records, "Dist1:")
    inner = GROUP_WIDTH - 2 * palette.PAD
    half = (inner - 8) // 2
    made = [
        widgets.area("Group", Box(0, 0, GROUP_WIDTH, GROUP_HEIGHT), palette.CARD, palette.LINE, corner=8),
        widgets.link("$(R)", "group.bob", {"P": "$(P)", "R": "$(R)"}, Box(palette.PAD, 7, 70, 24)),
        widgets.value(one.record("Name"), one.shown("Name"), Box(palette.PAD + 78, 8, inner - 78 - 96, 22)),
        widgets.value(one.record("Policy"), one.shown("Policy"), Box(GROUP_WIDTH - palette.PAD - 90, 8, 90, 22)),
    ]
    cells = (
        ("members", "Members", 0, 0),
        ("dropped", "Dropped", 1, 0),
        ("queued", "Queued", 0, 1),
        ("lag", "LagTime", 1, 1),
    )
    for text, name, column, row in cells:
        left, top = palette.PAD + column * (half + 8), 38 + row * 26
        made.append(widgets.label(text, Box(left, top, 56, 20), palette.SMALL))
        made.append(widgets.value(one.record(name), one.shown(name), Box(left + 58, top, half - 58, 20), palette.SMALL))
    return Screen("box_group.bob", "Group $(P)$(R)", "Dist1:", GROUP_WIDTH, GROUP_HEIGHT, made)


def _place(number: int) -> ET.Element:
    """Return the place of a process, empty until the script knows what it is."""
    macros = {"P": "$(P)", "S": SLOTS[number]}
    return widgets.embedded(f"Box{number + 1}", "", macros, Box(0, TOP + 34, BOX_WIDTH, BOX_HEIGHT))
