"""The records of plug-ins: all that classic ophyd asks for is served, or listed with a reason in the docs."""

import re
from fnmatch import fnmatchcase

import pytest

from consumers.plugins.kinds import KINDS, NAMES, make_plugin, table_of
from consumers.plugins.sizes import Sizes
from consumers.plugins.time_series import SIGNALS
from ioc.core.config import Config, load
from ioc.core.config_plugins import PluginsConfig
from ioc.core.errors import ConfigError
from ioc.records.database_listing import template_rows
from ioc.records.table import Access, Record, check_names
from tests.support.doc_pages import ROOT
from tests.support.plugin_rig import Rig

PAGE = ROOT / "docs" / "explanation" / "areadetector-plugins.md"
CLASSES = {
    "image1": ("ImagePlugin", "ImagePlugin_V35"),
    "Stats1": ("StatsPlugin", "StatsPlugin_V35"),
    "ROI1": ("ROIPlugin", "ROIPlugin_V35"),
    "Proc1": ("ProcessPlugin", "ProcessPlugin_V35"),
    "Trans1": ("TransformPlugin", "TransformPlugin_V35"),
    "Codec1": ("CodecPlugin_V34", "CodecPlugin_V35"),
    "CB1": ("CircularBuffPlugin_V22", "CircularBuffPlugin_V35"),
}


def asked_for(name: str) -> set[str]:
    """Return the PVs of ophyd's classes of a plug-in, without what they begin with."""
    return {pv for kind in CLASSES[name] for pv in pvs_of(kind)}


def pvs_of(kind: str) -> set[str]:
    """Return the PVs of one of ophyd's classes, without what they begin with."""
    # imported here, a second of CPU: all workers of the test run collect this module, and one runs it
    from ophyd.areadetector import plugins
    from ophyd.areadetector.base import EpicsSignalWithRBV
    from ophyd.signal import EpicsSignalBase

    found: set[str] = set()
    for walked in getattr(plugins, kind).walk_components():
        component = walked.item
        if component.suffix and isinstance(component.cls, type) and issubclass(component.cls, EpicsSignalBase):
            found.add(component.suffix)
            if issubclass(component.cls, EpicsSignalWithRBV):
                found.add(component.suffix + "_RBV")
    return found


def served(name: str) -> set[str]:
    """Return the PVs that there are."""
    derived = {row.name for row in template_rows(ROOT / "db" / "plugin.template", {"P": "", "R": ""})}
    return {pv for record in table_of(name, Sizes()) for pv in record.names} | derived


def listed() -> list[str]:
    """Return the patterns in the first column of the last table of the page."""
    table = PAGE.read_text(encoding="utf-8").split("| records | why |")[1]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    assert all(len(row[2].strip()) > 10 for row in rows), "each has a reason"
    return [pattern for row in rows for pattern in re.findall(r"`([^`]+)`", row[1])]


def test_what_ophyd_asks_for_is_served_or_listed_with_a_reason() -> None:
    patterns = listed()
    used: set[str] = set()
    for name in NAMES:
        assert len(asked_for(name)) > 60
        for pv in sorted(asked_for(name) - served(name)):
            hits = [pattern for pattern in patterns if fnmatchcase(pv, pattern)]
            assert hits, f"{name}:{pv} is neither served nor listed in {PAGE.name}"
            used.update(hits)
    assert used == set(patterns), "nothing is listed that is not asked for"


def test_what_ophyd_asks_of_a_time_series_is_served() -> None:
    served_here = served("Stats1")
    assert {f"TS{name}" for name in SIGNALS} <= served_here
    asked = {pv for pv in pvs_of("TimeSeriesPlugin_V34") if pv.startswith("TS")}
    missing = asked - {name.removeprefix("TS:") for name in served_here}
    assert len(asked) > 10 and missing == {"TSTimePerPointLink"}, "but for a link in an IOC's database"


def test_every_plugin_has_its_class_and_port() -> None:
    from ophyd.areadetector import plugins

    rig = Rig()
    ports = {name: make_plugin(name, rig.sizes, rig.add("image9").around).port for name in NAMES}
    assert ports == {
        "image1": "Image1",
        "Stats1": "STATS1",
        "ROI1": "ROI1",
        "Proc1": "PROC1",
        "Trans1": "TRANS1",
        "Codec1": "CODEC1",
        "CB1": "CB1",
    }
    for name, kind in zip(NAMES, KINDS.values(), strict=True):
        expected = getattr(plugins, CLASSES[name][0].partition("_V")[0])._plugin_type
        assert kind.make.kind == expected


def test_names_do_not_clash_within_a_plugin() -> None:
    for name in NAMES:
        check_names([record.under(f"{name}:") for record in table_of(name, Sizes())], "P" * 20)


def test_what_follows_from_frames_is_not_kept_over_restarts() -> None:
    def kept(name: str) -> set[str]:
        demands = (Access.PAIR, Access.WRITE)
        return {one.name for one in table_of(name, Sizes()) if one.access in demands and one.kept}

    assert {"NDArrayPort", "EnableCallbacks", "BlockingCallbacks", "MinX", "SizeX"} <= kept("ROI1")
    assert not kept("Stats1") & {"Total", "MinX", "HistBelow", "SigmaValue", "ArrayCounter", "DataType", "NDimensions"}
    assert not kept("Proc1") & {"SaveBackground", "SaveFlatField", "ResetFilter", "DroppedArrays"}


def test_each_demand_of_a_plugin_can_be_put() -> None:
    acts = (Access.COMMAND, Access.BUSY)
    for name in NAMES:
        rig = Rig()
        rig.add(name)
        for record in table_of(name, Sizes()):
            if record.demand is not None and record.access not in acts:
                rig.put(name, record.name, value_for(record))


def value_for(record: Record) -> float | int | bool | str:
    """Return a value that may be put to a record."""
    return record.choices[0] if record.name in ("DataType", "Compressor") else record.start_value or _another(record)


def _another(record: Record) -> float | int | bool | str:
    texts = {"NDArrayPort": "SIM1", "NDAttributesFile": "", "TriggerCalc": "A"}
    if isinstance(record.start_value, str):
        return texts.get(record.name, "")
    return record.start_value


def test_the_table_of_the_configuration() -> None:
    assert load("[plugins]", "a file").plugins == PluginsConfig() and Config().plugins is None
    assert sorted(PluginsConfig().names) == sorted(NAMES)
    for text, message in (
        ('names = ["Stats1", "Stats1"]', "different names"),
        ('names = ["Stats0"]', "names"),
        ('names = ["Over1"]', "names"),
        ("names = []", "at least one"),
        ("memory = 0", "memory"),
    ):
        with pytest.raises(ConfigError, match=message):
            load(f"[plugins]\n{text}", "a file")
    slots = "\n".join(f"[groups.g{number}]" for number in range(8))
    with pytest.raises(
        ConfigError, match="plug-ins that take the detector's frames: expected at most 8 together, found 9"
    ):
        load(f"[plugins]\n{slots}", "a file")
