"""What can be in a card: lines with a record each, buttons, plots, pictures; each draws itself, as tall as it says."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ioc.records.table import SHORT_STRING, Access, Kind, Record
from ioc.screens import widgets
from ioc.screens.bob import Box
from ioc.screens.device import Device, words
from ioc.screens.palette import PAD, ROW, SPACE, TALL

LABEL_SHARE = 0.40
"""Part of a line that its label takes."""
LONG_CHOICE = 10
"""Characters of a choice from which on a list needs more than half of what the label leaves."""
LONG_SHARE = 0.56
"""Part of that which such a list takes."""
AROUND_IMAGE = 1
"""Pixels by which the picture widget must be taller than wide, its gap included, for square pixels of square frames."""


class Item(Protocol):
    """One thing in a card, as wide as the card."""

    @property
    def height(self) -> int:
        """Pixels that it takes."""
        ...

    def draw(self, device: Device, box: Box) -> list[ET.Element]:
        """Return its widgets."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """A record: its name, what can be set, what is in effect. `text` stands instead of the record's name."""

    name: str
    text: str | None = None

    @property
    def height(self) -> int:
        return ROW

    def draw(self, device: Device, box: Box) -> list[ET.Element]:
        record = device.record(self.name)
        label_width = round(box.width * LABEL_SHARE)
        rest = Box(box.x + label_width, box.y, box.width - label_width, TALL)
        title = self.text if self.text is not None else words(self.name)
        label = widgets.label(title, Box(box.x, box.y, label_width - SPACE, TALL))
        if record.access in (Access.COMMAND, Access.WRITE):
            return [label, *_asked(device, self.name, rest)]
        if record.demand is None:
            return [label, widgets.value(record, device.shown(self.name), rest)]
        first = round((rest.width - SPACE) * _asked_share(record))
        left = Box(rest.x, rest.y, first, TALL)
        right = Box(rest.x + first + SPACE, rest.y, rest.width - first - SPACE, TALL)
        return [label, *_asked(device, self.name, left), widgets.value(record, device.shown(self.name), right)]


@dataclass(frozen=True, slots=True)
class Shown:
    """A record of which only what is in effect is shown; it is set by buttons elsewhere."""

    name: str
    text: str

    @property
    def height(self) -> int:
        return ROW

    def draw(self, device: Device, box: Box) -> list[ET.Element]:
        label_width = round(box.width * LABEL_SHARE)
        rest = Box(box.x + label_width, box.y, box.width - label_width, TALL)
        label = widgets.label(self.text, Box(box.x, box.y, label_width - SPACE, TALL))
        return [label, widgets.value(device.record(self.name), device.shown(self.name), rest)]


@dataclass(frozen=True, slots=True)
class Wide:
    """A long text: its name above, the text over the whole width; what can be set above what is in effect."""

    name: str
    text: str | None = None
    settable: bool = False

    @property
    def height(self) -> int:
        return TALL - 4 + ROW * (2 if self.settable else 1)

    def draw(self, device: Device, box: Box) -> list[ET.Element]:
        record = device.record(self.name)
        title = self.text if self.text is not None else words(self.name)
        made = [widgets.label(title, Box(box.x, box.y, box.width, TALL - 4))]
        under = Box(box.x, box.y + TALL - 4, box.width, TALL)
        if self.settable:
            made.append(widgets.entry(record, device.asked(self.name), under))
            under = Box(under.x, under.y + ROW, under.width, under.height)
        return [*made, widgets.value(record, device.shown(self.name), under)]


@dataclass(frozen=True, slots=True)
class Command:
    """A button: the record that is written, its text, and the question that is asked before, if data may be lost."""

    name: str
    text: str
    confirm: str | None = None
    number: int = 1


@dataclass(frozen=True, slots=True)
class Commands:
    """A row of buttons."""

    commands: tuple[Command, ...]

    @property
    def height(self) -> int:
        return ROW + 8

    def draw(self, device: Device, box: Box) -> list[ET.Element]:
        width = (box.width + SPACE) // len(self.commands) - SPACE
        return [
            widgets.command(
                one.text,
                device.asked(one.name),
                Box(box.x + number * (width + SPACE), box.y, width, ROW + 2),
                one.number,
                one.confirm,
            )
            for number, one in enumerate(self.commands)
        ]


@dataclass(frozen=True, slots=True)
class Links:
    """A row of buttons that open other screens: text, file, macros beside P."""

    links: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]

    @property
    def height(self) -> int:
        return ROW + 8

    def draw(self, device: Device, box: Box) -> list[ET.Element]:
        width = (box.width + SPACE) // len(self.links) - SPACE
        places = [Box(box.x + at * (width + SPACE), box.y, width, ROW + 2) for at in range(len(self.links))]
        return [
            widgets.link(text, file, {"P": "$(P)", **dict(macros)}, place)
            for (text, file, macros), place in zip(self.links, places, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: how much of one record another one is, in percent; or a record against its own display limits."""

    text: str
    part: str
    whole: str | None = None

    @property
    def height(self) -> int:
        return ROW

    def draw(self, device: Device, box: Box) -> list[ET.Element]:
        label_width = round(box.width * LABEL_SHARE)
        place = Box(box.x + label_width, box.y + 2, box.width - label_width, TALL - 4)
        label = widgets.label(self.text, Box(box.x, box.y, label_width - SPACE, TALL))
        if self.whole is None:
            return [label, widgets.bar(self.text, device.shown(self.part), place)]
        share = f"=100*`{device.shown(self.part)}`/`{device.shown(self.whole)}`"
        return [label, widgets.bar(self.text, share, place, 100.0)]


@dataclass(frozen=True, slots=True)
class History:
    """Plots of records over time; their names, and what the legend calls them."""

    name: str
    traces: tuple[tuple[str, str], ...]
    tall: int = 220

    @property
    def height(self) -> int:
        return self.tall

    def draw(self, device: Device, box: Box) -> list[ET.Element]:
        traces = [(text, device.shown(name)) for name, text in self.traces]
        unit = device.record(self.traces[0][0]).unit
        return [widgets.history(self.name, traces, unit, Box(box.x, box.y, box.width, self.tall - SPACE))]


@dataclass(frozen=True, slots=True)
class Profiles:
    """Rows of numbers: legend, record along x (None: the index), record along y."""

    name: str
    traces: tuple[tuple[str, str | None, str], ...]
    titles: tuple[str, str]
    tall: int = 220

    @property
    def height(self) -> int:
        return self.tall

    def draw(self, device: Device, box: Box) -> list[ET.Element]:
        traces = [(text, "" if x is None else device.shown(x), device.shown(y)) for text, x, y in self.traces]
        return [widgets.profile(self.name, traces, self.titles, Box(box.x, box.y, box.width, self.tall - SPACE))]


@dataclass(frozen=True, slots=True)
class Image:
    """A live picture of a channel, `tall` as a square frame needs it; `channel` is its name with macros."""

    channel: str
    tall: int

    @classmethod
    def square(cls, channel: str, card_width: int) -> "Image":
        """Return the picture for a card of this width."""
        return cls(channel, card_width - 2 * PAD + AROUND_IMAGE)

    @property
    def height(self) -> int:
        return self.tall

    def draw(self, device: Device, box: Box) -> list[ET.Element]:
        return [widgets.image("Image", self.channel, Box(box.x, box.y, box.width, self.tall - SPACE))]


@dataclass(frozen=True, slots=True)
class Embedded:
    """A place for another screen."""

    name: str
    file: str
    macros: tuple[tuple[str, str], ...] = ()
    tall: int = 200

    @property
    def height(self) -> int:
        return self.tall

    def draw(self, device: Device, box: Box) -> list[ET.Element]:
        place = Box(box.x, box.y, box.width, self.tall)
        return [widgets.embedded(self.name, self.file, {"P": "$(P)", **dict(self.macros)}, place)]


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence that stays, in as many rows as are told."""

    text: str
    rows: int = 1

    @property
    def height(self) -> int:
        return 18 * self.rows + 4

    def draw(self, device: Device, box: Box) -> list[ET.Element]:
        return [widgets.label(self.text, Box(box.x, box.y, box.width, 18 * self.rows))]


def lines(*names: str) -> tuple[Line, ...]:
    """Return a line for each record, titled with the record's name."""
    return tuple(Line(name) for name in names)


def fitting(device: Device, names: Sequence[str]) -> list[Item]:
    """Return the item that suits each record: a line, or more room for a long text."""
    made: list[Item] = []
    for name in names:
        record = device.record(name)
        long = record.kind is Kind.STRING and record.size > SHORT_STRING
        made.append(Wide(name, settable=record.demand is not None) if long else Line(name))
    return made


def _asked_share(record: Record) -> float:
    return LONG_SHARE if any(len(choice) > LONG_CHOICE for choice in record.choices) else 0.5


def _asked(device: Device, name: str, box: Box) -> list[ET.Element]:
    """Return what sets a record: a field, or for commands one button, for activities one to begin and one to end."""
    record, pv = device.record(name), device.asked(name)
    if record.access is Access.COMMAND:
        return [widgets.command("Do", pv, box)]
    if record.access is Access.BUSY:
        half = (box.width - 4) // 2
        return [
            widgets.command("On", pv, Box(box.x, box.y, half, box.height)),
            widgets.command("Off", pv, Box(box.x + half + 4, box.y, half, box.height), 0),
        ]
    return [widgets.entry(record, pv, box)]
