"""The Phoebus screens: those in `ops/phoebus` are what the record tables say, and all that is on them is there."""

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from ioc.core.config import load
from ioc.core.errors import ConfigError
from ioc.pvlist_command import rows
from ioc.records.table import Access, Kind, Record
from ioc.screens import palette
from ioc.screens.bob import Box, Screen, pv_names
from ioc.screens.device import Device, device, words
from ioc.screens.palette import Color
from ioc.screens.screens import write
from tests.support.ioc_tables import all_records
from tests.support.phoebus_screens import COMMAND, FOLDER, screens
from tests.support.phoebus_stage import configuration, macros, resolved, shown_here

SCREENS = screens()
EACH = pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.file)
SCRIPTED = re.compile(r"Box\d+|Channel\d+|ProcessorPanel")
"""Embedded displays whose file a script chooses when the screen runs."""
LOSES_DATA = {
    ("Drain", "1"),
    ("Stop", "1"),
    ("Reset", "1"),
    ("Capture", "0"),
    ("ResetFilter", "1"),
}
"""Commands, by record and value, that stop a stream or forget what was gathered."""
ALLOWED_COLORS = {value for value in vars(palette).values() if isinstance(value, Color)} | set(palette.TRACES)


def widgets(screen: Screen) -> Iterator[ET.Element]:
    """Yield all widgets of a screen."""
    yield from screen.widgets


def box_of(widget: ET.Element) -> Box:
    """Return where a widget is."""
    return Box(*(int(widget.findtext(tag) or 0) for tag in ("x", "y", "width", "height")))


@EACH
def test_the_file_is_what_the_record_tables_say(screen: Screen) -> None:
    path = FOLDER / screen.file
    assert path.exists(), f"{path} is not there; write it with: {COMMAND}"
    assert path.read_text(encoding="utf-8") == screen.text(), f"{path} is stale; write it anew with: {COMMAND}"


def test_the_folder_has_no_other_screens_and_all_scripts() -> None:
    assert len({screen.file for screen in SCREENS}) == len(SCREENS)
    assert {path.name for path in FOLDER.glob("*.bob")} == {screen.file for screen in SCREENS}
    used = {file for screen in SCREENS for file, _ in screen.scripts}
    assert {path.name for path in FOLDER.glob("*.py")} == used


def test_every_pv_of_every_screen_is_served(tmp_path: Path) -> None:
    served = {row.name for row in rows(load(configuration(tmp_path), "stage"))}
    count = 0
    for screen in shown_here(SCREENS):
        given = macros(screen, "RF:")
        for name in pv_names(screen):
            assert resolved(name, given) in served, f"{screen.file}: {name}"
            count += 1
    assert count > 1000


def test_every_control_record_is_on_some_screen() -> None:
    written = {name for screen in SCREENS for name in _written(screen)}
    for record in all_records():
        if record.demand is not None:
            forms = {_with_macros(record.demand), "$(P)" + record.demand}
            assert forms & written, f"{record.demand} is on no screen"


def _written(screen: Screen) -> Iterator[str]:
    for widget in widgets(screen):
        if widget.get("type") in ("textentry", "combo"):
            yield widget.findtext("pv_name") or ""
        yield from (
            action.findtext("pv_name") or "" for action in widget.iter("action") if action.get("type") == "write_pv"
        )


def _with_macros(name: str) -> str:
    """Return a record's name as it stands on the screen of its device, `$(R)` before it."""
    found = re.match(r"(?:[A-Za-z]+\d+:Meta:NAME:|[A-Za-z]+\d+:Meta:|Dist\d:Member\d:|[A-Za-z]+\d+:)", name)
    return "$(P)$(R)" + name[found.end() :] if found else "$(P)" + name


@EACH
def test_pvs_have_the_prefix_as_macro_and_files_are_beside(screen: Screen) -> None:
    files = {path.name for path in FOLDER.iterdir()} | {one.file for one in SCREENS}
    for name in pv_names(screen):
        assert name.startswith("$(P)"), name
    for widget in widgets(screen):
        for tag in widget.iter("file"):
            by_script = SCRIPTED.fullmatch(widget.findtext("name") or "")
            assert tag.text in files or (not tag.text and by_script), f"{widget.findtext('name')}: {tag.text}"
    text = screen.text()
    assert "/tmp" not in text
    assert "RF:" not in text
    assert set(re.findall(r"\$\((\w+)\)", text)) <= {"P", "R", "S", "N", "pv_name", "pv_value"}


@EACH
def test_commands_that_lose_data_ask_first(screen: Screen) -> None:
    for widget in widgets(screen):
        for action in widget.iter("action"):
            if action.get("type") != "write_pv":
                continue
            name = re.split(r"[:)]", action.findtext("pv_name") or "")[-1]
            if (name, action.findtext("value")) in LOSES_DATA:
                assert widget.findtext("confirm_dialog") == "true", f"{name} does not ask"
                assert len(widget.findtext("confirm_message") or "") > 20


def test_the_commands_that_lose_data_are_there() -> None:
    found = {
        (re.split(r"[:)]", action.findtext("pv_name") or "")[-1], action.findtext("value"))
        for screen in SCREENS
        for widget in widgets(screen)
        for action in widget.iter("action")
    }
    assert found >= LOSES_DATA


@EACH
def test_no_colour_is_one_of_an_alarm(screen: Screen) -> None:
    for widget in widgets(screen):
        for color in widget.iter("color"):
            if color.get("red") is None:
                continue  # the property, around the colour itself
            red, green, blue = (int(color.get(part) or 0) for part in ("red", "green", "blue"))
            assert Color(red, green, blue) in ALLOWED_COLORS
            assert not (red > 180 and min(green, blue) < 120), f"{widget.findtext('name')}: {red}, {green}, {blue}"
        assert widget.findtext("border_alarm_sensitive") is None, "alarms are shown as the records say"


@EACH
def test_widgets_lie_on_the_screen_and_not_on_each_other(screen: Screen) -> None:
    boxes = []
    for widget in widgets(screen):
        name, box = widget.findtext("name") or "", box_of(widget)
        assert box.x >= 0, name
        assert box.y >= 0, name
        assert box.x + box.width <= screen.width, f"{name} goes over the right edge of {screen.file}"
        assert box.y + box.height <= screen.height, f"{name} goes over the lower edge of {screen.file}"
        if widget.get("type") != "rectangle" and not re.fullmatch(r"Box\d+", name):
            boxes.append((name, box))
    headings = {"Sources", "Distributor", "Who takes frames", "Behind them"}
    for (name, one), (other_name, other) in itertools.combinations(boxes, 2):
        if name in headings or other_name in headings:
            continue
        apart = one.x + one.width <= other.x or other.x + other.width <= one.x
        apart = apart or one.y + one.height <= other.y or other.y + other.height <= one.y
        assert apart, f"{screen.file}: {name} {one} lies on {other_name} {other}"


def test_a_screen_of_a_record_that_is_not_there_is_refused() -> None:
    one = device([Record("cam1:X", Kind.INT, "")], "cam1:")
    with pytest.raises(ConfigError, match=r"^screen of cam1:: expected a record of the tables, found 'Y'$"):
        one.shown("Y")
    with pytest.raises(ConfigError, match="a record that can be put to"):
        one.asked("X")


def test_pvs_of_a_device() -> None:
    records = (Record("X", Kind.INT, "", Access.PAIR), Record("Go", Kind.BOOL, "", Access.COMMAND))
    one = Device({record.name: record for record in records}, "$(P)$(R)", "A1:")
    assert (one.asked("X"), one.shown("X"), one.asked("Go"), one.shown("Go")) == (
        "$(P)$(R)X",
        "$(P)$(R)X_RBV",
        "$(P)$(R)Go",
        "$(P)$(R)Go",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AcquireTime", "Acquire time"),
        ("LatencyP99", "Latency P99"),
        ("NDArrayPort", "ND array port"),
        ("Ledger:LossPercent", "Loss percent"),
        ("SizeX", "Size X"),
        ("ArraySize0", "Array size0"),
        ("RSS", "RSS"),
        ("CPULimit", "CPU limit"),
    ],
)
def test_names_as_words(name: str, text: str) -> None:
    assert words(name) == text


def test_pvs_of_formulas_and_images_are_named() -> None:
    widget = ET.Element("widget")
    for text in ("=100*`$(P)A`/`$(P)B`", "pva://$(P)Image", "loc://x(0)", "$(P)C"):
        ET.SubElement(widget, "pv_name").text = text
    assert list(pv_names(widget)) == ["$(P)A", "$(P)B", "$(P)Image", "$(P)C"]


def test_writing_removes_screens_that_are_none_any_more(tmp_path: Path) -> None:
    (tmp_path / "old.bob").write_text("")
    (tmp_path / "script.py").write_text("")
    write(SCREENS[:2], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {SCREENS[0].file, SCREENS[1].file, "script.py"}
    ET.parse(tmp_path / SCREENS[0].file)
