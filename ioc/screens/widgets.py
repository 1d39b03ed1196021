"""Single widgets: what each looks like, whatever it shows."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

from ioc.records.table import Kind, Record
from ioc.screens import palette
from ioc.screens.bob import Box, Value, widget
from ioc.screens.palette import Color, Font

LEFT, CENTRE, RIGHT = 0, 1, 2
MIDDLE = 1
AS_TEXT = 6
"""Format of Phoebus that shows an array of characters as text."""
LINE_TRACE, STEP_TRACE = 1, 2
CROPPED = 4
"""How an embedded screen is fitted in: not at all, and without bars to scroll it."""
Rule = tuple[str, str]
"""When something holds: an expression of Phoebus's rules, and the PV that is `pv0` in it."""
WRITE, OPEN = "write_pv", "open_display"


def label(
    text: str, box: Box, font: Font = palette.PLAIN, color: Color = palette.LABEL, align: int = LEFT
) -> ET.Element:
    """Return a text that stays."""
    given: dict[str, Value] = {"text": text, "font": font, "foreground_color": color}
    return widget("label", text, box, {**given, "horizontal_alignment": align, "vertical_alignment": MIDDLE})


def area(name: str, box: Box, fill: Color, line: Color | None = None, corner: int = 0) -> ET.Element:
    """Return a rectangle."""
    given: dict[str, Value] = {"background_color": fill, "line_width": 1 if line else 0, "line_color": line or fill}
    return widget("rectangle", name, box, {**given, "corner_width": corner, "corner_height": corner})


def value(record: Record, pv: str, box: Box, font: Font = palette.PLAIN, align: int = LEFT) -> ET.Element:
    """Return a value that follows its PV, with unit and with the border of its alarm."""
    given: dict[str, Value] = {
        "pv_name": pv,
        "font": font,
        "foreground_color": palette.TEXT,
        "background_color": palette.VALUE,
        "horizontal_alignment": align,
        "vertical_alignment": MIDDLE,
        "wrap_words": False,
        "tooltip": _tip(record),
    }
    if record.kind is Kind.STRING:
        given["format"] = AS_TEXT
    return widget("textupdate", pv, box, given)


def entry(record: Record, pv: str, box: Box) -> ET.Element:
    """Return what an operator sets a record by: a list of its choices, or a text to edit."""
    given: dict[str, Value] = {
        "pv_name": pv,
        "font": palette.PLAIN,
        "foreground_color": palette.TEXT,
        "background_color": palette.ENTRY,
        "tooltip": _tip(record),
    }
    if record.kind in (Kind.ENUM, Kind.BOOL):
        return widget("combo", pv, box, given)
    if record.kind is Kind.STRING:
        given["format"] = AS_TEXT
    return widget("textentry", pv, box, {**given, "show_units": False, "vertical_alignment": MIDDLE})


def command(text: str, pv: str, box: Box, number: int = 1, confirm: str | None = None) -> ET.Element:
    """Return a button that writes a number; `confirm` is the question that is asked before."""
    asked: dict[str, Value] = {} if confirm is None else {"confirm_dialog": True, "confirm_message": confirm}
    action = {"@type": WRITE, "pv_name": pv, "value": number, "description": text}
    return _button(text, box, {"actions": [("action", action)], "tooltip": f"Writes {number} to {pv}", **asked})


def link(text: str, file: str, macros: Mapping[str, str], box: Box) -> ET.Element:
    """Return a button that opens another screen in a tab."""
    action = {"@type": OPEN, "file": file, "macros": macros, "target": "tab", "description": text}
    return _button(text, box, {"actions": [("action", action)], "tooltip": f"Opens {file}"})


def bar(name: str, pv: str, box: Box, most: float | None = None) -> ET.Element:
    """Return a bar from 0 to `most`; to the PV's own display limits, if it is left out."""
    limits: dict[str, Value] = {"limits_from_pv": True} if most is None else _limits(most)
    given: dict[str, Value] = {"pv_name": pv, "fill_color": palette.BAR, "background_color": palette.BAR_BACK}
    return widget("progressbar", name, box, {**given, **limits})


def image(name: str, pv: str, box: Box) -> ET.Element:
    """Return a live picture of an NTNDArray channel, in grey, scaled to its own values."""
    shown: dict[str, Value] = {"visible": True, "title": "", "minimum": 0.0, "maximum": 100.0}
    given: dict[str, Value] = {
        "pv_name": f"pva://{pv}",
        "color_map": {"name": "GRAY"},
        "color_bar": {"visible": True, "bar_size": 40},
        "x_axis": shown,
        "y_axis": shown,
        "limits_from_pv": True,
        "autoscale": True,
        "show_toolbar": True,
        "background_color": palette.CARD,
    }
    return widget("image", name, box, given)


def history(name: str, traces: Sequence[tuple[str, str]], unit: str, box: Box) -> ET.Element:
    """Return a plot over the last minutes of these PVs, each with its name in the legend."""
    rows = [
        (
            "trace",
            {
                "name": title,
                "y_pv": pv,
                "axis": 0,
                "trace_type": STEP_TRACE,
                "color": color,
                "line_width": 2,
                "visible": True,
            },
        )
        for (title, pv), color in zip(traces, palette.TRACES, strict=False)
    ]
    axis: dict[str, Value] = {"title": unit, "autoscale": True, "show_grid": True, "visible": True}
    given: dict[str, Value] = {"start": "2 minutes", "show_toolbar": False, "show_legend": True, "title": ""}
    fonts: dict[str, Value] = {"label_font": palette.SMALL, "scale_font": palette.SMALL, "legend_font": palette.SMALL}
    return widget("stripchart", name, box, {**given, **fonts, "y_axes": [("y_axis", axis)], "traces": rows})


def profile(name: str, traces: Sequence[tuple[str, str, str]], titles: tuple[str, str], box: Box) -> ET.Element:
    """Return a plot of rows of numbers: name, PV of x (empty: the index) and PV of y; titles of the axes.

    They come by pvAccess: over Channel Access Phoebus shows all elements that there may be, and signed bytes.
    """
    rows = [
        (
            "trace",
            {
                "name": title,
                "x_pv": f"pva://{x}" if x else "",
                "y_pv": f"pva://{y}",
                "axis": 0,
                "trace_type": LINE_TRACE,
                "color": color,
                "line_width": 1,
                "visible": True,
            },
        )
        for (title, x, y), color in zip(traces, palette.TRACES, strict=False)
    ]
    axis_fonts: dict[str, Value] = {"title_font": palette.SMALL, "scale_font": palette.SMALL}
    across: dict[str, Value] = {"title": titles[0], "autoscale": True, "show_grid": True, **axis_fonts, "visible": True}
    up: dict[str, Value] = {"title": titles[1], "autoscale": True, "show_grid": True, **axis_fonts, "visible": True}
    given: dict[str, Value] = {"show_toolbar": False, "show_legend": len(rows) > 1, "legend_font": palette.SMALL}
    return widget("xyplot", name, box, {**given, "x_axis": across, "y_axes": [("y_axis", up)], "traces": rows})


def embedded(name: str, file: str, macros: Mapping[str, str], box: Box, hidden: Rule | None = None) -> ET.Element:
    """Return a place for another screen; of no file, if a script finds out which. It is invisible while `hidden`."""
    given: dict[str, Value] = {"file": file, "macros": macros, "resize": CROPPED, "transparent": True}
    if hidden is not None:
        given["rules"] = [("rule", _rule(hidden))]
    return widget("embedded", name, box, given)


def _button(text: str, box: Box, given: Mapping[str, Value]) -> ET.Element:
    looks: dict[str, Value] = {"text": text, "font": palette.PLAIN, "background_color": palette.BUTTON}
    return widget("action_button", text, box, {**looks, "foreground_color": palette.TEXT, **given})


def _limits(most: float) -> dict[str, Value]:
    return {"limits_from_pv": False, "minimum": 0.0, "maximum": most}


def _tip(record: Record) -> str:
    accepted = f"\nputs: {record.accepted} {record.unit}".rstrip() if str(record.accepted) != "any" else ""
    return f"{record.description}{accepted}\n$(pv_name)\n$(pv_value)"


def _rule(hidden: Rule) -> Value:
    condition, pv = hidden
    case = ("exp", {"@bool_exp": condition, "value": "false"})
    return {"@name": "hidden", "@prop_id": "visible", "@out_exp": "false", "*": [case, ("pv_name", pv)]}
