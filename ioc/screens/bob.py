"""The file format of Phoebus's displays, `.bob`: XML of widgets with their properties.

Written as Phoebus's editor writes it (display version 2.0.0), without what is at its default.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ioc.screens.palette import PAGE, Color, Font

Value = str | int | float | bool | Color | Font | Mapping[str, "Value"] | Sequence[tuple[str, "Value"]]
"""A property: a plain value, a structure, or a row of structures, each with the name of its element."""

VERSIONS = {"action_button": "3.0.0", "textentry": "3.0.0", "xyplot": "3.0.0", "stripchart": "2.1.0"}
"""Versions of widgets; 2.0.0 for all others."""
PV_TAGS = ("pv_name", "x_pv", "y_pv", "width_pv", "height_pv")
"""Elements that hold the name of a PV."""
_FORMULA_PV = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Box:
    """Where a widget is, in pixels from the upper left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Screen:
    """One display: its file, what it shows, and the device of the tables that it was made from.

    `device` is an example of what the macro R may be, for example `cam1:`; empty if the screen needs P only.
    `more` are examples of further macros.
    """

    file: str
    title: str
    device: str
    width: int
    height: int
    widgets: Sequence[ET.Element]
    scripts: Sequence[tuple[str, Sequence[str]]] = ()
    more: tuple[tuple[str, str], ...] = ()

    def text(self) -> str:
        """Return the XML, the same for the same screen."""
        root = ET.Element("display", version="2.0.0")
        properties: dict[str, Value] = {
            "name": self.title,
            "width": self.width,
            "height": self.height,
            "background_color": PAGE,
            "grid_visible": False,
        }
        if self.scripts:
            properties["scripts"] = [("script", script(file, names)) for file, names in self.scripts]
        _fill(root, properties)
        root.extend(self.widgets)
        ET.indent(root)
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def widget(kind: str, name: str, box: Box, properties: Mapping[str, Value]) -> ET.Element:
    """Return a widget."""
    element = ET.Element("widget", type=kind, version=VERSIONS.get(kind, "2.0.0"))
    place = {"x": box.x, "y": box.y, "width": box.width, "height": box.height}
    _fill(element, {"name": name, **place, **properties})
    return element


def script(file: str, pv_names: Sequence[str]) -> Mapping[str, Value]:
    """Return the properties of a script that runs when one of these PVs changes."""
    return {"@file": file, "*": [("pv_name", name) for name in pv_names]}


def pv_names(root: ET.Element | Screen) -> Iterator[str]:
    """Yield the names of all PVs of a display, macros as they stand; a formula's PVs each, without the source `pva://`.

    What a script or an action reads or writes is among them; PVs that are local to a display are not.
    """
    elements = root.widgets if isinstance(root, Screen) else [root]
    for element in (inner for one in elements for inner in one.iter() if inner.tag in PV_TAGS):
        text = element.text or ""
        if text.startswith("="):
            yield from _FORMULA_PV.findall(text)
        elif text and not text.startswith("loc://") and text != "$(pv_name)":
            yield text.removeprefix("pva://")
    if isinstance(root, Screen):
        yield from (name for _, names in root.scripts for name in names)


def _fill(parent: ET.Element, properties: Mapping[str, Value]) -> None:
    for name, value in properties.items():
        if name.startswith("@"):
            parent.set(name[1:], str(value))
        elif name == "*":
            _add(parent, value)
        else:
            _add(ET.SubElement(parent, name), value)


def _add(element: ET.Element, value: Value) -> None:
    if isinstance(value, Color):
        ET.SubElement(element, "color", red=str(value.red), green=str(value.green), blue=str(value.blue))
    elif isinstance(value, Font):
        style = "BOLD" if value.bold else "REGULAR"
        ET.SubElement(element, "font", family="Liberation Sans", style=style, size=f"{value.size}.0")
    elif isinstance(value, Mapping):
        _fill(element, value)
    elif isinstance(value, bool):
        element.text = "true" if value else "false"
    elif isinstance(value, str | int | float):
        element.text = str(value)
    else:
        for name, inner in value:
            _add(ET.SubElement(element, name), inner)
