"""Cards in columns under a heading: what every screen but the overview looks like."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

from ioc.screens import palette, widgets
from ioc.screens.bob import Box, Screen
from ioc.screens.device import Device
from ioc.screens.items import Item
from ioc.screens.palette import CARD_TITLE, CARD_WIDTH, GAP, HEAD_HEIGHT, PAD

LINK_WIDTH = 104
Link = tuple[str, str, tuple[tuple[str, str], ...]]
"""Text, file, macros beside P."""
OVERVIEW: Link = ("Overview", "overview.bob", ())


@dataclass(frozen=True, slots=True)
class Card:
    """A titled area with items of one device."""

    title: str
    device: Device
    items: Sequence[Item]
    width: int = CARD_WIDTH

    @property
    def height(self) -> int:
        """Pixels from its upper to its lower edge."""
        return CARD_TITLE + 2 * PAD + sum(item.height for item in self.items)

    def draw(self, x: int, y: int) -> list[ET.Element]:
        """Return its widgets with the upper left corner there."""
        made = [
            widgets.area(self.title, Box(x, y, self.width, self.height), palette.CARD, palette.LINE, corner=6),
            widgets.label(
                self.title,
                Box(x + PAD, y + 4, self.width - 2 * PAD, CARD_TITLE - 4),
                palette.STRONG,
                palette.HEAD,
            ),
        ]
        at = y + CARD_TITLE + PAD
        for item in self.items:
            made += item.draw(self.device, Box(x + PAD, at, self.width - 2 * PAD, item.height))
            at += item.height
        return made


@dataclass(frozen=True, slots=True)
class Page:
    """A screen before it is laid out: its file, heading, links to others, and its columns of cards."""

    file: str
    title: str
    device: Device
    columns: Sequence[Sequence[Card]]
    links: Sequence[Link] = (OVERVIEW,)
    scripts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    more: tuple[tuple[str, str], ...] = ()

    def screen(self) -> Screen:
        """Return the screen: columns beside each other, the cards of each under each other."""
        made: list[ET.Element] = []
        x, lowest = GAP, 0
        for column in self.columns:
            y = HEAD_HEIGHT + GAP
            for card in column:
                made += card.draw(x, y)
                y += card.height + GAP
            x += max(card.width for card in column) + GAP
            lowest = max(lowest, y)
        head = heading(self.title, x, self.links)
        return Screen(self.file, self.title, self.device.example, x, lowest, [*head, *made], self.scripts, self.more)


def panel(file: str, title: str, device: Device, items: Sequence[Item], width: int) -> Screen:
    """Return a screen that others embed: items under each other, without heading and frame."""
    made: list[ET.Element] = []
    y = 0
    for item in items:
        made += item.draw(device, Box(0, y, width, item.height))
        y += item.height
    return Screen(file, title, device.example, width, y, made)


def heading(title: str, width: int, links: Sequence[Link]) -> list[ET.Element]:
    """Return the bar at the top of a screen: what it shows, and buttons to other screens on the right."""
    left = width - GAP - len(links) * (LINK_WIDTH + 6) + 6
    made = [
        widgets.area("Heading", Box(0, 0, width, HEAD_HEIGHT), palette.HEAD),
        widgets.label(title, Box(GAP + 4, 0, left - 2 * GAP, HEAD_HEIGHT), palette.TITLE, palette.HEAD_TEXT),
    ]
    for number, (text, file, macros) in enumerate(links):
        place = Box(left + number * (LINK_WIDTH + 6), 8, LINK_WIDTH, HEAD_HEIGHT - 16)
        made.append(widgets.link(text, file, {"P": "$(P)", **dict(macros)}, place))
    return made
