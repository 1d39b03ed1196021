"""An item of a card with a row for each of several devices of a kind, and a column for each of their records."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

from ioc.screens import palette, widgets
from ioc.screens.bob import Box
from ioc.screens.device import Device, words
from ioc.screens.palette import ROW, SPACE, TALL

HEADING = 20
LINK = 70


@dataclass(frozen=True, slots=True)
class Column:
    """A record of each row: what is in effect, or, if `settable`, what is asked for.

    With `whole`, a bar: how much of that record, of the row or of the whole table, it is in percent. `title` stands
    instead of the record's name.
    """

    name: str
    width: int
    title: str | None = None
    settable: bool = False
    whole: str | None = None

    def draw(self, device: Device, row: str, box: Box) -> ET.Element:
        """Return the widget of one row, for example of `Dist1:`."""
        name = row + self.name
        if self.whole is not None:
            whole = row + self.whole if row + self.whole in device.records else self.whole
            share = f"=100*`{device.shown(name)}`/`{device.shown(whole)}`"
            return widgets.bar(name, share, Box(box.x, box.y + 2, box.width, box.height - 4), 100.0)
        if self.settable:
            return widgets.entry(device.record(name), device.asked(name), box)
        return widgets.value(device.record(name), device.shown(name), box)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of devices, for example `Dist1:` to `Dist8:`; with `opens`, each begins with a button to that screen.

    A row's title is its name without the colon, or those of `titles`. Unless `inside`, there is one row, the device
    itself, and the row's name is only what a click hands on.
    """

    rows: Sequence[str]
    columns: Sequence[Column]
    opens: str | None = None
    titles: Sequence[str] = ()
    inside: bool = True

    @property
    def width(self) -> int:
        """Pixels of all columns."""
        return LINK + SPACE + sum(column.width + SPACE for column in self.columns) - SPACE

    @property
    def height(self) -> int:
        return HEADING + ROW * len(self.rows)

    def draw(self, device: Device, box: Box) -> list[ET.Element]:
        made: list[ET.Element] = []
        x = box.x + LINK + SPACE
        for column in self.columns:
            title = column.title if column.title is not None else words(column.name)
            made.append(widgets.label(title, Box(x, box.y, column.width + SPACE, HEADING - 2), palette.SMALL))
            x += column.width + SPACE
        for number, row in enumerate(self.rows):
            made += self._row(device, number, row, Box(box.x, box.y + HEADING + number * ROW, box.width, TALL))
        return made

    def _row(self, device: Device, number: int, row: str, box: Box) -> list[ET.Element]:
        title = self.titles[number] if self.titles else row.rstrip(":")
        first = Box(box.x, box.y, LINK, TALL)
        made = [
            widgets.label(title, first)
            if self.opens is None
            else widgets.link(title, self.opens, {"P": "$(P)", "R": row}, first)
        ]
        x = box.x + LINK + SPACE
        for column in self.columns:
            made.append(column.draw(device, row if self.inside else "", Box(x, box.y, column.width, TALL)))
            x += column.width + SPACE
        return made
