"""PVWS without sockets: what clients send, what they are told, and what they may write."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from p4p.nt import NTEnum, NTScalar
from p4p.wrapper import Value

from ioc.channels.pva_readings import reading_of
from ioc.core.errors import ProtocolError, RefusedError
from ioc.core.reading import Form, Reading
from ioc.web.pvws_messages import (
    LONGEST_MESSAGE,
    Clear,
    Echo,
    ListNames,
    Ping,
    Subscribe,
    Token,
    Unknown,
    Write,
    parse,
    pv_of,
)
from ioc.web.pvws_session import Session
from ioc.web.pvws_updates import update

STAMP = 1_700_000_000_250_000_000


class FakeValues:
    """Values that a test sets."""

    def __init__(self) -> None:
        self.watched: list[str] = []
        self.readings: dict[str, tuple[int, Reading]] = {}

    def set(self, name: str, reading: Reading) -> None:
        number, _ = self.readings.get(name, (0, reading))
        self.readings[name] = number + 1, reading

    def watch(self, name: str) -> None:
        if name.endswith("TooMany"):
            raise RefusedError("too many")
        self.watched.append(name)

    def release(self, name: str) -> None:
        self.watched.remove(name)

    def newest(self, name: str) -> tuple[int, Reading] | None:
        return self.readings.get(name) if name in self.watched else None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type":"subscribe","pvs":["RF:a","RF:b"]}', Subscribe(("RF:a", "RF:b"))),
        ('{"type":"monitor","pvs":["RF:a"]}', Subscribe(("RF:a",))),
        ('{"type":"clear","pvs":["RF:a"]}', Clear(("RF:a",))),
        ('{"type":"write","pv":"RF:a","value":2.5}', Write("RF:a", 2.5)),
        ('{"type":"write","pv":"RF:a","value":3}', Write("RF:a", 3.0)),
        ('{"type":"write","pv":"RF:a","value":"Multiple"}', Write("RF:a", "Multiple")),
        ('{"type":"write","pv":"RF:a","value":true}', Write("RF:a", "true")),
        ('{"type":"list"}', ListNames()),
        ('{"type":"ping"}', Ping()),
        ('{"type":"echo","x":[1]}', Echo('{"type":"echo","x":[1]}')),
        ('{"type":"token","token":"secret"}', Token("secret")),
        ('{"type":"dance"}', Unknown("dance")),
    ],
)
def test_messages_are_understood(text: str, message: object) -> None:
    assert parse(text) == message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '"subscribe"',
        '{"type":5}',
        '{"type":"subscribe"}',
        '{"type":"subscribe","pvs":"RF:a"}',
        '{"type":"subscribe","pvs":[1]}',
        '{"type":"subscribe","pvs":[""]}',
        json.dumps({"type": "subscribe", "pvs": ["x" * 101]}),
        json.dumps({"type": "subscribe", "pvs": ["x"] * 2001}),
        '{"type":"write","value":1}',
        json.dumps({"type": "write", "pv": "RF:a", "value": "x" * 9000}),
        '{"type":"write","pv":"RF:a","value":' + "9" * 400 + "}",
        '{"type":"token"}',
        "[" * 20_000,
        " " * (LONGEST_MESSAGE + 1),
    ],
    ids=range(16),
)
def test_other_messages_are_one_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse(text)


def test_names_are_those_of_the_appliance() -> None:
    for name in ("RF:cam1:Acquire", "ca://RF:cam1:Acquire", "pva://RF:cam1:Acquire"):
        assert pv_of(name, "RF:") == "RF:cam1:Acquire"
    for name in (
        "XF:cam1:Acquire",
        "sim://sine",
        "loc://RF:x",
        "RF:a b",
        "RF:a\n",
        "RF:Pva1:Image",
        "pva://RF:Cons1:Image",
    ):
        with pytest.raises(RefusedError):
            pv_of(name, "RF:")


def number(value: float, severity: str = "NONE") -> Reading:
    display: dict[str, Any] = {"units": "Hz", "precision": 1, "max": float("nan")}
    return Reading(Form.NUMBER, value, display=display, severity=severity, stamp_ns=STAMP)


def test_a_number_is_described_once() -> None:
    first, told = update("RF:a", number(2.5), None, True)
    assert first == {
        "type": "update", "pv": "RF:a", "vtype": "VDouble", "units": "Hz", "precision": 1, "severity": "NONE",
        "readonly": True, "value": 2.5, "seconds": 1_700_000_000, "nanos": 250_000_000,
    }  # fmt: skip
    second, told = update("RF:a", number(3.5), told, True)
    assert set(second) == {"type", "pv", "value", "seconds", "nanos"}
    third, told = update("RF:a", number(9e9, "MAJOR"), told, True)
    assert third["severity"] == "MAJOR"
    fourth, _ = update("RF:a", number(9e9, "MAJOR"), told, False)
    assert fourth["readonly"] is False
    assert "severity" not in fourth


def test_a_pv_that_is_gone_is_no_number_and_is_described_anew_when_it_comes_back() -> None:
    _, told = update("RF:a", number(1.0), None, True)
    gone, told = update("RF:a", Reading.gone(STAMP), told, True)
    assert (gone["value"], gone["severity"]) == ("NaN", "INVALID")
    back, _ = update("RF:a", number(1.0), told, True)
    assert (back["units"], back["severity"]) == ("Hz", "NONE")


@pytest.mark.parametrize(
    ("array", "key"),
    [
        (np.array([1, -2], np.int8), "b64byt"),
        (np.array([1, -2], np.int16), "b64srt"),
        (np.array([1, 70_000], np.uint32), "b64int"),
        (np.array([1, -2], np.int64), "b64int"),
        (np.array([1.5, -2], np.float32), "b64flt"),
        (np.array([1.5, -2], ">f8"), "b64dbl"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.dtype.str,
)
def test_arrays_are_packed_little_endian(array: Any, key: str) -> None:
    message, _ = update("RF:a", Reading(Form.ARRAY, array=array), None, True)
    kinds = {"b64byt": "<i1", "b64srt": "<i2", "b64int": "<i4", "b64flt": "<f4", "b64dbl": "<f8"}
    assert np.frombuffer(base64.b64decode(message[key]), kinds[key]).tolist() == array.tolist()


def test_structures_of_pvaccess_are_read() -> None:
    scalar = NTScalar("d", display=True, valueAlarm=True).wrap(2.5)
    scalar["display.units"] = "mm"
    scalar["valueAlarm.highAlarmLimit"] = 9.0
    scalar["alarm.severity"] = 2
    read = reading_of(Value(scalar.type(), scalar.todict()))
    assert (read.form, read.number, read.code, read.severity) == (Form.NUMBER, 2.5, "float64", "MAJOR")
    assert (read.display["units"], read.display["alarm_high"]) == ("mm", 9.0)
    chosen = reading_of(NTEnum().wrap({"index": 1, "choices": ["Off", "On"]}))
    assert (chosen.form, chosen.number, chosen.text, chosen.labels) == (Form.CHOICE, 1, "On", ("Off", "On"))
    assert reading_of(NTScalar("s").wrap("words")).text == "words"
    array = reading_of(NTScalar("ai").wrap(np.arange(3, dtype=np.int32)))
    assert array.array is not None
    assert array.array.tolist() == [0, 1, 2]
    assert reading_of(NTScalar("as").wrap(["a", "b"])).form is Form.OTHER


def test_a_session_tells_the_newest_and_only_what_is_new() -> None:
    values = FakeValues()
    session = Session(values, "RF:")
    session.subscribe("ca://RF:a")
    session.subscribe("ca://RF:a")
    assert (session.names, values.watched) == (["ca://RF:a"], ["RF:a"])
    assert list(session.updates()) == []
    for value in (1.0, 2.0, 3.0):
        values.set("RF:a", number(value))
    assert [(one["pv"], one["value"]) for one in session.updates()] == [("ca://RF:a", 3.0)]
    assert list(session.updates()) == []
    session.clear("ca://RF:a")
    session.clear("ca://RF:a")
    assert values.watched == []
    session.subscribe("ca://RF:a")
    assert "units" in next(iter(session.updates())), "who watches anew is told everything anew"
    session.close()
    assert values.watched == []


def test_only_what_is_watched_is_written_and_only_once_the_token_was_shown() -> None:
    values = FakeValues()
    session = Session(values, "RF:")
    values.set("RF:a", number(7.0))
    with pytest.raises(RefusedError, match="expected a PV that is subscribed"):
        session.target("RF:a")
    for name in ("RF:a", "RF:a_RBV", "RF:a.SCAN"):
        session.subscribe(name)
    assert next(iter(session.updates()))["readonly"] is True
    with pytest.raises(RefusedError, match="show the token first"):
        session.target("RF:a")
    session.may_write = True
    assert next(iter(session.updates()))["readonly"] is False
    assert session.target("RF:a") == ("RF:a", "7.0")
    for name in ("RF:a_RBV", "RF:a.SCAN"):
        with pytest.raises(RefusedError, match="a read-back or a field"):
            session.target(name)


def test_what_cannot_be_watched_leaves_the_rest_alone() -> None:
    values = FakeValues()
    session = Session(values, "RF:")
    with pytest.raises(RefusedError):
        session.subscribe("RF:TooMany")
    assert (session.names, values.watched) == ([], [])
    session.close()
