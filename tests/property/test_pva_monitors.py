"""A client's side of pvAccess: scalars in either byte order, in segments, in any pieces; and any bytes at all."""

import random
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioc.channels.pva_wire_asking import introduction, monitor, portions, search
from ioc.channels.pva_wire_buffer import Reader
from ioc.channels.pva_wire_framing import LONGEST_MESSAGE, Command, Splitter
from ioc.channels.pva_wire_hearing import Accepted, ChannelMade, Event, Greeted, Hearing, MonitorMade, MonitorOver
from ioc.channels.pva_wire_ntscalar import TYPE, Encoder, select
from ioc.channels.pva_wire_replies import opened
from ioc.channels.pva_wire_request import parse
from ioc.channels.pva_wire_search import LARGEST_DATAGRAM, read_answers, read_datagram
from ioc.channels.pva_wire_stamped import Wanted
from ioc.channels.pva_wire_types import ARRAY, DOUBLE, INT, LONG, SCALARS, STRING, Registry, Type, structure
from ioc.channels.pva_wire_values import read
from ioc.core.errors import ProtocolError
from ioc.core.metadata import Update
from tests.support.pva_teller import Teller

WANTED = Wanted("value", "timeStamp.userTag")
IOID = 7
SECOND = 1_000_000_000
_TIME = structure("time_t", ("secondsPastEpoch", Type(LONG)), ("nanoseconds", Type(INT)), ("userTag", Type(INT)))
_ALARM = structure("alarm_t", ("severity", Type(INT)), ("status", Type(INT)), ("message", Type(STRING)))
numbers = {"?": st.booleans(), "f": st.floats(width=32, allow_nan=False), "d": st.floats(allow_nan=False)}


def of(kind: Type) -> Type:
    """Return NTScalar with a value of a type; bits: 1 value, 3 to 5 alarm, 7 to 9 time stamp."""
    return structure("epics:nt/NTScalar:1.0", ("value", kind), ("alarm", _ALARM), ("timeStamp", _TIME))


def values_of(code: int) -> st.SearchStrategy[float | str]:
    """Return values of a scalar type."""
    if code == STRING:
        return st.text(max_size=300)
    letter = SCALARS[code]
    bits = {"b": 8, "h": 16, "i": 32, "q": 64}.get(letter.lower(), 0)
    if letter in numbers:
        return numbers[letter]
    low = 0 if letter.isupper() else -(1 << (bits - 1))
    return st.integers(low, low + (1 << bits) - 1)


@st.composite
def streams(draw: st.DrawFn) -> tuple[int, list[dict[int, float | str]]]:
    """Return the code of a value, and updates as values by bit; many of them alike, as in life."""
    code = draw(st.sampled_from([*SCALARS, STRING]))
    strategies: dict[int, st.SearchStrategy[float | str]] = {
        1: values_of(code),
        3: st.integers(-(1 << 31), (1 << 31) - 1),
        5: st.text(max_size=5),
        7: st.integers(0, 1 << 33),
        8: st.integers(0, SECOND - 1),
        9: st.integers(0, (1 << 31) - 1),
    }
    shape = st.sampled_from([(1, 7, 8, 9)] * 6 + [(1, 8, 9), (8,), (1, 3, 5, 7, 8, 9), ()])
    found = []
    for bits in draw(st.lists(shape, max_size=12)):
        found.append({bit: draw(strategies[bit]) for bit in bits})
    return code, found


def heard(hearing: Hearing, data: bytes, chance: random.Random) -> list[Event]:
    """Return the events of bytes that come in pieces of any size."""
    found: list[Event] = []
    while data:
        count = chance.choice((1, 3, 8, 64, 1024, len(data)))
        found += hearing.feed(data[:count])
        data = data[count:]
    return found


@given(streams(), st.booleans(), st.sampled_from([1, 1, 3]), st.booleans(), st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_updates_are_read_as_they_were_sent(
    stream: tuple[int, list[dict[int, float | str]]], big: bool, segments: int, merged: bool, seed: int
) -> None:
    """Fields that an update leaves out are those of the one before; a fast pass and a slow one give the same."""
    code, updates = stream
    teller, kind = Teller(big, segments), of(Type(code))
    hearing, found = Hearing(), []
    hearing.expect(IOID, WANTED, found)
    state: dict[int, float | str] = {1: "" if code == STRING else 0, 7: 0, 8: 0, 9: 0}
    told, expected = teller.opened(IOID, kind), []
    for values in updates:
        told += teller.update(IOID, kind, values, b"\x01\x02" if merged else b"\x00")
        state |= values
        expected.append((state[1], state[7] * SECOND + state[8], state[9]))  # pyright: ignore[reportOperatorIssue]
    assert heard(hearing, told, random.Random(seed)) == [MonitorMade(IOID, True)]
    assert [tuple(one) for one in found] == expected
    assert hearing.held == 0


def test_many_channels_in_turn_and_in_runs_keep_apart() -> None:
    chance = random.Random(1)
    hearing, lists = Hearing(), {ioid: [] for ioid in range(6)}
    selection = select(("value", "timeStamp"))
    encoders = {ioid: Encoder(ioid, selection) for ioid in lists}
    told, expected = b"", {ioid: [] for ioid in lists}
    for ioid, found in lists.items():
        hearing.expect(ioid, WANTED, found)
        told += opened(Command.MONITOR, ioid, TYPE)
        expected[ioid].append(Update(0.0, 0, 0))
        told += encoders[ioid].first(Update(0.0, 0, 0))
    for number in range(1, 200):
        ioid = chance.randrange(6)
        fresh = [Update(float(number), number * SECOND + 5, at) for at in range(chance.randrange(1, 5))]
        told += encoders[ioid].updates(fresh)
        if chance.random() < 0.1:
            fresh.append(Update(-1.0, SECOND, 3))
            told += encoders[ioid].merged(fresh[-1])
        expected[ioid] += fresh
    heard(hearing, told, chance)
    assert lists == expected


@pytest.mark.parametrize("fields", [("value",), ("timeStamp.userTag", "value"), ("alarm",), ()])
def test_what_is_not_selected_is_not_sent(fields: tuple[str, ...]) -> None:
    """The rest keeps what a client knew of it: nothing."""
    selection, found = select(fields), []
    hearing, encoder = Hearing(), Encoder(IOID, selection)
    hearing.expect(IOID, WANTED, found)
    list(hearing.feed(opened(Command.MONITOR, IOID, TYPE) + encoder.first(Update(2.5, 3 * SECOND + 4, 5))))
    everything = not fields
    value = 2.5 if everything or "value" in fields else 0
    tag = 5 if everything or "timeStamp.userTag" in fields else 0
    assert found == [Update(value, 3 * SECOND + 4 if everything else 0, tag)]
    assert encoder.empty is (fields == ("alarm",))


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (of(Type(DOUBLE)), True),
        (of(Type(STRING)), True),
        (of(Type(DOUBLE | ARRAY)), False),
        (of(structure("enum_t", ("index", Type(INT)), ("choices", Type(STRING | ARRAY)))), False),
        (structure("", ("value", Type(DOUBLE))), False),
        (structure("", ("value", Type(DOUBLE)), ("timeStamp", Type(LONG))), False),
        (Type(DOUBLE), False),
    ],
)
def test_what_is_no_scalar_with_a_time_stamp_is_not_read(kind: Type, plain: bool) -> None:
    hearing = Hearing()
    hearing.expect(IOID, WANTED, [])
    assert list(hearing.feed(Teller().opened(IOID, kind))) == [MonitorMade(IOID, plain)]


@given(st.integers(0, 2**32), st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_taken_or_one_error(seed: int, noise: bytes) -> None:
    chance = random.Random(seed)
    teller = Teller(chance.random() < 0.5, chance.choice((1, 1, 2)))
    kind, hearing = of(Type(chance.choice([*SCALARS, STRING]))), Hearing()
    hearing.expect(IOID, WANTED, [])
    told = bytearray(
        teller.greeting()
        + teller.accepted()
        + teller.made(IOID, 1)
        + teller.opened(IOID, kind)
        + b"".join(teller.update(IOID, kind, {8: number, 9: number}) for number in range(4))
        + teller.refused(IOID, "no")
        + teller.found(1, 2, [3])
    )
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(told))
        told[at : at + chance.randrange(3)] = bytes(
            chance.choices((0, 1, 0x7F, 0xFD, 0xFE, 0xFF, 0x80), k=chance.randrange(3))
        )
    try:
        heard(hearing, bytes(told) + noise, chance)
    except ProtocolError:
        pass
    assert hearing.held <= 2 * LONGEST_MESSAGE
    try:
        read_answers(noise)
    except ProtocolError:
        pass


@pytest.mark.parametrize("big", [False, True])
def test_a_conversation_in_order(big: bool) -> None:
    teller, hearing = Teller(big), Hearing()
    said = teller.greeting() + teller.accepted() + teller.made(3, 9)
    assert list(hearing.feed(said)) == [Greeted(("anonymous", "ca")), Accepted(), ChannelMade(3, 9)]
    hearing.expect(3, WANTED, [])
    assert list(hearing.feed(teller.refused(3, "not now"))) == [MonitorOver(3, "not now")]
    hearing.forget(3)
    assert list(hearing.feed(teller.refused(3, "again"))) == []
    hearing.expect(4, WANTED, [])
    assert list(hearing.feed(teller.opened(4, TYPE))) == [MonitorMade(4, True)]
    with pytest.raises(ProtocolError, match="one answer to its opening"):
        list(hearing.feed(teller.opened(4, TYPE)))
    (answer,) = read_answers(teller.found(5, 5075, [1, 2]))
    assert (answer.number, answer.port, answer.numbers) == (5, 5075, (1, 2))


def test_what_a_client_asks_is_what_a_server_reads() -> None:
    (one,) = Splitter().feed(monitor(1, 2, ("timeStamp", "value"), 50))
    reader, registry = Reader(one.body), Registry()
    assert (reader.number("I"), reader.number("I"), reader.number("B")) == (1, 2, 0x08)
    request = parse(read(reader, registry.read(reader), registry))
    assert (request.fields, request.queue_size, request.pipeline) == (("timeStamp", "value"), 50, False)
    assert reader.left == 0
    names = [(number, f"{'LongName' * 8}:{number}") for number in range(100)]
    parts = list(portions(names))
    assert list(chain.from_iterable(parts)) == names
    assert len(parts) > 1
    for part in parts:
        data = search(4, part, 5, unicast=True)
        assert len(data) < min(LARGEST_DATAGRAM, 1500)
        ((found,),) = (read_datagram(data)[1],)
        assert (found.number, found.reply_port, found.unicast, list(found.names)) == (4, 5, True, part)


def test_a_server_that_wants_something_else_is_not_answered() -> None:
    with pytest.raises(ProtocolError, match="x509"):
        introduction(("x509",), "me", "here")
