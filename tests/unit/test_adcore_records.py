"""Every record in ADCore's templates is served under its name, or listed with the reason in the docs."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

from consumers.plugins.kinds import NAMES, all_records
from consumers.plugins.sizes import Sizes
from consumers.writer_records import writer_records
from detector_sim.records import detector_records
from ioc.records.areadetector import COLOR_MODES, DATA_TYPES
from ioc.records.table import Record
from tests.support.doc_pages import ROOT

TEMPLATES = Path(__file__).parents[1] / "support" / "adcore_records.txt"
PAGES = ROOT / "docs" / "explanation"
DETECTOR_DEVICES = ("cam1:", "Pva1:", "HDF1:")
DEVICES = {
    "cam1:": "simDetector",
    "Pva1:": "NDPva",
    "HDF1:": "NDFileHDF5",
    "image1:": "NDStdArrays",
    "Stats1:": "NDStats",
    "Stats1:TS:": "NDTimeSeries",
    "ROI1:": "NDROI",
    "Proc1:": "NDProcess",
    "Trans1:": "NDTransform",
    "Codec1:": "NDCodec",
    "CB1:": "NDCircularBuff",
}
PLUGIN_DATABASE = {"QueueFreeLow", "QueueUseHIGH", "QueueUseHIHI"}
FROM_DATABASE = {"cam1:PoolMaxMem", "cam1:PoolUsedMem"} | {
    device + name for device in DEVICES for name in PLUGIN_DATABASE if device not in ("cam1:", "Stats1:TS:")
}
"""Served by db/detector.template and db/plugin.template beside the tables."""


def templates() -> dict[str, set[str]]:
    """Return the names of the records of each template, with those that it includes."""
    found: dict[str, set[str]] = {}
    for section in TEMPLATES.read_text().split("\n[")[1:]:
        head, _, body = section.partition("\n")
        name, _, included = head.partition("]")
        found[name] = set(body.split()).union(*(found[one] for one in included.split()))
    return found


def tables() -> list[Record]:
    """Return the tables of all devices that ADCore has, too."""
    return [*detector_records(), *writer_records("HDF1"), *all_records("Plug1", NAMES, Sizes())]


def listed(page: str) -> list[tuple[tuple[str, ...], list[str]]]:
    """Return devices and patterns of each row of the table of what is not served; no device: every one."""
    text = (PAGES / page).read_text(encoding="utf-8").partition("## Records that are not served")[2]
    table = text.partition("| records | why |")[2].partition("\n\n")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    assert rows and all(len(row[-2].strip()) > 10 for row in rows), "each has a reason"
    texts = [re.findall(r"`([^`]+)`", row[1]) for row in rows]
    return [
        (tuple(text for text in row if text.endswith(":")), [text for text in row if not text.endswith(":")])
        for row in texts
    ]


def test_each_record_of_adcore_is_served_or_listed_with_a_reason() -> None:
    known, served = templates(), {name for record in tables() for name in record.names} | FROM_DATABASE
    assert len(known["simDetector"]) > 200 and len(known["NDFileHDF5"]) > 300
    rows = listed("areadetector.md"), listed("areadetector-plugins.md")
    unlisted = set()
    for device, template in DEVICES.items():
        own = rows[0] if device in DETECTOR_DEVICES else rows[0] + rows[1]
        patterns = [one for devices, patterns in own if not devices or device in devices for one in patterns]
        for name in known[template]:
            if device + name not in served and not any(fnmatchcase(name, pattern) for pattern in patterns):
                unlisted.add(device + name)
    assert not unlisted, "neither served nor listed"


def test_nothing_is_listed_that_is_served_or_that_adcore_has_not() -> None:
    known, served = templates(), {name for record in tables() for name in record.names} | FROM_DATABASE
    for devices, patterns in listed("areadetector.md"):
        if devices and not set(devices) & DEVICES.keys():
            continue  # a whole device that is not there
        for pattern in patterns:
            hits = {
                device + name
                for device in devices or DEVICES
                for name in known[DEVICES[device]]
                if fnmatchcase(name, pattern)
            }
            assert hits, f"{pattern}: no such record in ADCore"
            assert not hits <= served, f"{pattern} of {devices or 'any device'} is served"


def test_choices_of_pixels_are_adcores() -> None:
    assert (
        *("Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float32", "Float64"),
    ) == DATA_TYPES
    modes = {one.name: one.choices for one in tables() if one.name.endswith(":ColorMode")}
    assert modes.pop("cam1:ColorMode") == ("Mono", "RGB1", "RGB2", "RGB3"), "simDetector's"
    assert set(modes.values()) == {COLOR_MODES} and len(modes) >= 9
