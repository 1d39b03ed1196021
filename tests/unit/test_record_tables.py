"""The record tables: names, texts, limits, and the listing in db/."""

import math
from pathlib import Path

import pytest

from consumers.processor import Setting, Statistic
from consumers.records import consumer_records
from detector_sim.records import DETECTOR_STATES, detector_records
from ioc.core.config import LONGEST_PV_NAME, LONGEST_SUFFIX, Config
from ioc.core.errors import ConfigError, RefusedError
from ioc.records.table import Access, Kind, Limits, Record, check_names, listing, under
from tests.support.ioc_tables import LISTING, all_records, write

LONGEST_PREFIX = "P" * (LONGEST_PV_NAME - LONGEST_SUFFIX)


def record(name: str) -> Record:
    return next(one for one in all_records() if one.name == name)


def test_all_names_fit_behind_the_longest_prefix() -> None:
    check_names(all_records(), Config(prefix=LONGEST_PREFIX).prefix)


def test_a_name_that_is_too_long_is_named() -> None:
    long = Record("N" * 56, Kind.INT, "")
    check_names([long], "")
    with pytest.raises(ConfigError, match=r"N_RBV: expected a name of at most 60 characters"):
        check_names([long], "P")


def test_two_definitions_of_one_name_are_refused() -> None:
    pair = Record("A", Kind.INT, "", Access.PAIR)
    with pytest.raises(ConfigError, match="A: expected one definition, found 'two'"):
        check_names([pair, Record("A", Kind.INT, "", Access.WRITE)], "P:")


@pytest.mark.parametrize(
    ("access", "names"),
    [
        (Access.READ, ("X_RBV",)),
        (Access.PAIR, ("X", "X_RBV")),
        (Access.WRITE, ("X",)),
        (Access.SHOWN, ("X",)),
        (Access.COMMAND, ("X",)),
        (Access.BUSY, ("X", "X_RBV", "XBusy")),
    ],
)
def test_access_decides_which_records_there_are(access: Access, names: tuple[str, ...]) -> None:
    assert Record("X", Kind.BOOL, "", access).names == names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"description": "d" * 41}, "a description of at most 40"),
        ({"unit": "u" * 16}, "a unit of at most 15"),
        ({"kind": Kind.ENUM}, "choices that fit enum"),
        ({"kind": Kind.ENUM, "choices": ("c" * 26,)}, "a choice of at most 25"),
        ({"kind": Kind.INT, "choices": ("a", "b")}, "choices that fit int32"),
    ],
)
def test_what_does_not_fit_epics_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Record(**{"name": "X", "kind": Kind.INT, "description": ""} | changes)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("cam1:AcquireTime", 0.0, -1e-9),
        ("cam1:AcquireTime", 3600.0, 3600.1),
        ("cam1:AcquireTime", 1.0, math.nan),
        ("cam1:AcquireTime", 1.0, math.inf),
        ("cam1:NumImages", 0, -1),
        ("cam1:ImageMode", "Single", "Sometimes"),
        ("cam1:ImageMode", "Single", 9),
        ("cam1:Acquire", 1, 5),
        ("cam1:Acquire", True, 2),
        ("Dist1:Name", "n" * 39, "n" * 40),
        ("Cons1:Configure", "ü" * 4095, "ü" * 4096),
    ],
)
def test_puts_are_checked_against_the_table(name: str, good: float, bad: float) -> None:
    assert record(name).check(good) == good
    with pytest.raises(RefusedError, match=f"^{name}: expected .*, found "):
        record(name).check(bad)


def test_a_refusal_says_limits_and_unit() -> None:
    with pytest.raises(RefusedError, match=r"^cam1:AcquireTime: expected 0 to 3600 s, found 4000$"):
        record("cam1:AcquireTime").check(4000)


@pytest.mark.parametrize(
    ("kind", "choices", "value"),
    [(Kind.FLOAT, (), 0.0), (Kind.INT, (), 0), (Kind.STRING, (), ""), (Kind.ENUM, ("A", "B"), "A")],
)
def test_without_an_initial_value_a_record_starts_empty(kind: Kind, choices: tuple[str, ...], value: object) -> None:
    assert Record("X", kind, "", choices=choices).start_value == value


def test_every_pv_has_a_description() -> None:
    for row in listing(all_records(), ""):
        assert row.description, f"{row.name} has no description"


def test_clients_of_areadetector_find_the_states_they_check() -> None:
    assert DETECTOR_STATES[0] == "Idle"
    assert DETECTOR_STATES[10] == "Aborted"
    assert len(DETECTOR_STATES) == 11


def test_the_detector_has_what_the_interface_of_areadetector_asks_for() -> None:
    names = {name for one in detector_records() for name in one.names}
    expected = {"cam1:Acquire", "cam1:Acquire_RBV", "cam1:AcquireBusy", "cam1:ArraySizeZ_RBV", "Pva1:PvName_RBV"}
    assert expected <= names
    assert {"Dist8:Policy", "Dist8:Member8:Lag_RBV"} <= names


def test_a_processor_declares_statistics_and_settings() -> None:
    records = consumer_records(
        "Cons3",
        settings=[
            Setting("Threshold", 3.0, unit="counts", low=0, high=100, description="Counts above it are peaks"),
            Setting("Mode", "Fast", choices=("Fast", "Exact")),
            Setting("Model", "a" * 30, choices=("a" * 30, "b")),
        ],
        statistics=[Statistic("Peaks", int, description="Peaks found"), Statistic("Mean", low=0, high=255)],
    )
    found = {one.name: one for one in records}
    assert found["Cons3:Stat:Peaks"].names == ("Cons3:Stat:Peaks_RBV",)
    assert found["Cons3:Stat:Peaks"].kind is Kind.COUNT
    threshold = found["Cons3:Set:Threshold"]
    assert (threshold.kind, threshold.access, threshold.unit) == (Kind.FLOAT, Access.PAIR, "counts")
    with pytest.raises(RefusedError):
        threshold.check(101)
    assert (found["Cons3:Set:Mode"].kind, found["Cons3:Set:Model"].kind) == (Kind.ENUM, Kind.STRING)
    assert found["Cons3:Stat:Mean"].display == Limits(0, 255)


def test_under_puts_the_device_before_the_name() -> None:
    assert [one.name for one in under("cam1:", [Record("X", Kind.INT, "")])] == ["cam1:X"]


def test_the_listing_in_db_is_that_of_the_tables(tmp_path: Path) -> None:
    fresh = tmp_path / "records.csv"
    write(fresh)
    assert fresh.read_text() == LISTING.read_text(), (
        f"{LISTING} is stale; write it anew with: python -m tests.support.ioc_tables"
    )


def test_the_listing_says_what_a_client_may_write() -> None:
    rows = {row.name: row for row in listing(all_records(), "$(P)")}
    assert rows["$(P)cam1:AcquireTime"].writable == "yes"
    assert rows["$(P)cam1:AcquireTime"].limits == "0 to 3600"
    assert rows["$(P)cam1:AcquireTime_RBV"].writable == "no"
    assert rows["$(P)cam1:ImageMode_RBV"].limits == "Single, Multiple, Continuous"
