"""The server's side of pvAccess without sockets: what clients of others sent, every limit, every refusal."""

from pathlib import Path

import pytest

from ioc.channels import pva_wire_mask, pva_wire_types, pva_wire_values
from ioc.channels.ntndarray import TYPE as P4P_TYPE
from ioc.channels.pva_wire_buffer import LONGEST_STRING, MOST_VALUES, Reader
from ioc.channels.pva_wire_connection import (
    Acknowledged,
    Answer,
    ChannelWanted,
    Connection,
    Event,
    OperationWanted,
    Searched,
    Step,
    Stepped,
    TypeWanted,
    Validated,
)
from ioc.channels.pva_wire_framing import LONGEST_MESSAGE, MOST_SEGMENTS, Command, Splitter
from ioc.channels.pva_wire_ntndarray import TYPE, select, type_of
from ioc.channels.pva_wire_request import DistributorRequest, PvRequest, parse, parse_distributor
from ioc.channels.pva_wire_types import MOST_KEPT, MOST_NODES, Registry
from ioc.core.errors import ProtocolError, RefusedError
from tests.support.pva_client import Sender, Tree

GOLDEN = Path(__file__).with_name("pva_golden")
CHANNEL = "RF:Pva1:Image"
LITTLE = Sender()


def golden(name: str) -> bytes:
    """Return what a client sent in one connection."""
    return bytes.fromhex((GOLDEN / f"{name}.hex").read_text())


def talk(connection: Connection, data: bytes, step: int = 1 << 20) -> list[Event]:
    """Return the events of bytes that arrive in pieces; every channel is opened."""
    events: list[Event] = []
    for at in range(0, len(data), step):
        for event in connection.feed(data[at : at + step]):
            events.append(event)
            if isinstance(event, ChannelWanted):
                connection.open_channel(event)
    return events


def opened(sender: Sender = LITTLE) -> Connection:
    """Return a connection with channel 1."""
    connection = Connection()
    talk(connection, sender.validation("me") + sender.create(5, CHANNEL))
    return connection


def wants(events: list[Event]) -> list[Event]:
    """Return the events that are no ready answers."""
    return [event for event in events if not isinstance(event, Answer)]


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_what_p4p_sends(step: int) -> None:
    events = wants(talk(Connection(), golden("p4p"), step))
    asked = PvRequest(("uniqueId", "value"), 8, True)
    assert events[:4] == [
        Validated("ca", "root", "vm"),
        ChannelWanted(0x12345678, CHANNEL),
        OperationWanted(Command.GET, CHANNEL, 0x10002000, PvRequest(), None),
        Stepped(0x10002000, Step.FETCH),
    ]
    assert events[4:] == [
        Stepped(0x10002000, Step.END),
        OperationWanted(Command.MONITOR, CHANNEL, 0x10002001, asked, 8),
        Stepped(0x10002001, Step.START),
        Acknowledged(0x10002001, 4),
        Acknowledged(0x10002001, 4),
        Stepped(0x10002001, Step.END),
    ]


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_what_pvapy_sends(step: int) -> None:
    events = wants(talk(Connection(), golden("pvapy"), step))
    assert events[0] == Validated("ca", "root", "vm")
    operations = [event for event in events if isinstance(event, OperationWanted)]
    assert [(one.command, one.request, one.window) for one in operations] == [
        (Command.GET, PvRequest(), None),
        (Command.GET, PvRequest(("uniqueId", "timeStamp")), None),
        (Command.MONITOR, PvRequest(queue_size=16), None),
        (Command.MONITOR, PvRequest(distributor=DistributorRequest("G", "S", "uniqueId", 2)), None),
    ]
    assert next(event for event in events if isinstance(event, TypeWanted)).field == ""
    assert len([event for event in events if isinstance(event, ChannelWanted)]) == 2


@pytest.mark.parametrize("big", [False, True])
def test_both_byte_orders_and_segments(big: bool) -> None:
    sender = Sender(big)
    connection = opened(sender)
    tree = {"record": {"_options": {"queueSize": 7, "pipeline": "true"}}, "field": {"value": {}}}
    body = sender.operation(Command.MONITOR, (1, 9), tree, window=7)[8:]
    events = talk(connection, sender.message(Command.MONITOR, body, segments=5))
    assert events == [OperationWanted(Command.MONITOR, CHANNEL, 9, PvRequest(("value",), 7, True), 7)]
    steps = sender.step(Command.MONITOR, (1, 9), 0x44) + sender.step(Command.MONITOR, (1, 9), 0x80, 3)
    assert talk(connection, steps) == [Stepped(9, Step.START), Acknowledged(9, 3)]


def test_control_messages_come_between_segments() -> None:
    sender = LITTLE
    message = sender.message(Command.ECHO, b"abcdef", segments=2)
    events = talk(Connection(), message[:11] + sender.control(3, 42) + message[11:])
    assert [event.data[3] for event in events if isinstance(event, Answer)] == [4, Command.ECHO]
    assert isinstance(events[1], Answer) and events[1].data[8:] == b"abcdef"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xcb\x02\x00\x02\x00\x00\x00\x00", "expected 0xca and a version"),
        (b"\xca\x00\x00\x02\x00\x00\x00\x00", "expected 0xca and a version"),
        (b"\xca\x02\x40\x02\x00\x00\x00\x00", "direction"),
        (b"\xca\x02\x00\x02" + (LONGEST_MESSAGE + 1).to_bytes(4, "little"), "at most"),
        (b"\xca\x02\x20\x02\x00\x00\x00\x00", "a first or only segment"),
        (b"\xca\x02\x10\x02\x00\x00\x00\x00" + b"\xca\x02\x00\x02\x00\x00\x00\x00", "a further segment of command 2"),
        (b"\xca\x02\x10\x02\x00\x00\x00\x00" + b"\xca\x02\x30\x03\x00\x00\x00\x00", "a further segment of command 2"),
        (b"\xca\x02\x10\x02\x00\x00\x00\x00" + b"\xca\x02\x30\x02\x00\x00\x00\x00" * MOST_SEGMENTS, "segments"),
        (LITTLE.message(7, b""), "a validation first"),
        (LITTLE.message(1, b"\x00" * 8 + LITTLE.string("kerberos")), "one of anonymous, ca"),
        (LITTLE.message(1, b"\x00"), "more bytes"),
    ],
)
def test_broken_streams_are_one_error(data: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        talk(Connection(), data)


def test_segments_together_are_bounded() -> None:
    splitter = Splitter(longest=100)
    part = b"\xca\x02\x30\x02\x28\x00\x00\x00" + bytes(40)
    assert list(splitter.feed(b"\xca\x02\x10\x02\x28\x00\x00\x00" + bytes(40) + part)) == []
    with pytest.raises(ProtocolError, match="at most 100 bytes"):
        list(splitter.feed(part))


def test_operations_that_are_not_served_are_refused() -> None:
    connection = opened()
    for command, words in ((Command.PUT, b"Put not supported"), (Command.RPC, b"RPC not supported")):
        (answer,) = talk(connection, LITTLE.operation(command, (1, 3), {}))
        assert isinstance(answer, Answer) and words in answer.data
        assert talk(connection, LITTLE.step(command, (1, 3), 0)) == []
    (answer,) = talk(connection, LITTLE.operation(Command.GET, (99, 3), {}))
    assert isinstance(answer, Answer) and b"the channel is gone" in answer.data
    bad: Tree = {"record": {"_options": {"queueSize": "many"}}}
    (answer,) = talk(connection, LITTLE.operation(Command.MONITOR, (1, 4), bad))
    assert isinstance(answer, Answer) and b"expected a whole number" in answer.data


def test_what_crossed_with_its_end_is_passed_over() -> None:
    connection = opened()
    talk(connection, LITTLE.operation(Command.MONITOR, (1, 9), {}))
    gone = LITTLE.message(Command.DESTROY_REQUEST, LITTLE.pack("II", 1, 9))
    assert talk(connection, gone) == [Stepped(9, Step.END)]
    assert talk(connection, gone + LITTLE.step(Command.MONITOR, (1, 9), 0x44)) == []
    closed = LITTLE.message(Command.DESTROY_CHANNEL, LITTLE.pack("II", 1, 5))
    talk(connection, LITTLE.operation(Command.GET, (1, 10), {}))
    first, second = talk(connection, closed + closed)
    assert first == Stepped(10, Step.END)
    assert isinstance(second, Answer)


def test_the_server_can_close_a_channel() -> None:
    connection = opened()
    talk(connection, LITTLE.operation(Command.GET, (1, 10), {}))
    told, ended = connection.close_channels(CHANNEL)
    assert (told[3], ended) == (Command.DESTROY_CHANNEL, [10])
    assert connection.close_channels(CHANNEL) == (b"", [])


def test_an_ioid_is_used_once() -> None:
    connection = opened()
    talk(connection, LITTLE.operation(Command.GET, (1, 10), {}))
    with pytest.raises(ProtocolError, match="a new ioid"):
        talk(connection, LITTLE.operation(Command.GET, (1, 10), {}))


def test_channels_and_operations_are_bounded() -> None:
    connection = Connection()
    talk(connection, LITTLE.validation())
    for cid in range(1024):
        assert talk(connection, LITTLE.create(cid, CHANNEL)) == [ChannelWanted(cid, CHANNEL)]
    (refused,) = talk(connection, LITTLE.create(2000, CHANNEL))
    assert isinstance(refused, Answer) and b"at most 1024 channels" in refused.data
    for ioid in range(1024):
        talk(connection, LITTLE.operation(Command.GET, (1, ioid), {}))
    (refused,) = talk(connection, LITTLE.operation(Command.GET, (1, 2000), {}))
    assert isinstance(refused, Answer) and b"at most 1024 operations" in refused.data


def test_a_search_by_tcp() -> None:
    (event,) = talk(opened(), LITTLE.search([(3, CHANNEL)]))
    assert isinstance(event, Searched)
    assert event.search.names == ((3, CHANNEL),)


def test_a_type_that_grows_by_numbers_is_refused() -> None:
    """Each kept type has ten of the one before: a few hundred bytes would describe more fields than memory holds."""
    registry, sender = Registry(), LITTLE
    inner = b"\x22"
    with pytest.raises(ProtocolError, match=f"at most {MOST_NODES} fields"):
        for number in range(12):
            members = b"".join(sender.string(f"m{at}") + inner for at in range(10))
            kept = b"\xfd" + sender.pack("H", number) + b"\x80" + sender.string("") + sender.size(10) + members
            registry.read(Reader(kept))
            inner = b"\xfe" + sender.pack("H", number)


def test_an_array_of_large_structures_is_refused() -> None:
    sender = LITTLE
    members = b"".join(sender.string(f"{at}") + b"\x80\x00\x00" for at in range(200))
    kind = b"\x88\x80\x00" + sender.size(200) + members
    reader = Reader(kind + sender.size(200) + b"\x01" * 200)
    registry = Registry()
    with pytest.raises(ProtocolError, match=f"at most {MOST_VALUES} values"):
        pva_wire_values.read(reader, registry.read(reader), registry)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80\x00" * 40, "levels|bytes|more"),
        (b"\xfd\x01\x00" * 40 + b"\x22", "levels"),
        (b"\x88" * 40, "levels"),
        (b"\x82" * 40, "x"),
        (b"\xfe\x01\x00", "kept numbers"),
        (b"\xfd\x01\x00\xff", "null type"),
        (b"\x88\x22", "elements of code 0x80"),
        (b"\x30", "a type code"),
        (b"\x80\x00\x01\x01a\xff", "null type"),
        (b"\x80\x00\x02\x01a\x22\x01a\x22", "one twice"),
        (b"\x80\xfe\xff\xff\xff\x7f", "2\\^31"),
        (b"\x80\x00\xfe\xff\xff\x00\x00", "at most what"),
        (b"\x80\x02\xff\xfe\x00", "UTF-8"),
        (b"\x80\xfe" + (LONGEST_STRING + 1).to_bytes(4, "little"), "at most 4096 bytes"),
    ],
)
def test_broken_types_are_one_error(data: bytes, words: str) -> None:
    if data[0] == 0x82:
        kind = Registry().read(Reader(data))
        with pytest.raises(ProtocolError, match="levels"):
            pva_wire_values.read(Reader(data), kind, Registry())
        return
    with pytest.raises(ProtocolError, match=words):
        Registry().read(Reader(data))


def test_kept_types_are_bounded() -> None:
    registry = Registry()
    for number in range(MOST_KEPT):
        registry.read(Reader(b"\xfd" + LITTLE.pack("H", number) + b"\x22"))
    registry.read(Reader(b"\xfd\x00\x00\x23"))  # a known number may be told anew
    with pytest.raises(ProtocolError, match="kept"):
        registry.read(Reader(b"\xfd\xff\x0f\x22"))


def test_values_of_every_kind() -> None:
    sender = LITTLE
    union = b"\x81\x00\x02" + sender.string("a") + b"\x22" + sender.string("b") + b"\x60"
    fields = {"any": b"\x82", "union": union, "texts": b"\x68", "unions": b"\x89" + union, "number": b"\x43"}
    members = b"".join(sender.string(name) + kind for name, kind in fields.items())
    kind = b"\x80\x00" + sender.size(len(fields)) + members
    value = b"\x22\x05\x00\x00\x00" + b"\x01\x02hi" + b"\x02\x01a\x00" + b"\x02\x00\x01\xff" + sender.pack("Q", 0)
    reader, registry = Reader(kind + value), Registry()
    read = pva_wire_values.read(reader, registry.read(reader), registry)
    assert read == {"any": 5, "union": "hi", "texts": ["a", ""], "unions": [None, None], "number": 0.0}
    assert reader.left == 0


def test_bit_sets_in_both_orders() -> None:
    mask = 1 << 70 | 1 << 9 | 1
    assert pva_wire_mask.encode(0) == b"\x00"
    assert pva_wire_mask.read(Reader(pva_wire_mask.encode(mask))) == mask
    words = b"\x09" + (mask & (1 << 64) - 1).to_bytes(8, "big") + b"\x40"
    assert pva_wire_mask.read(Reader(words, big=True)) == mask
    with pytest.raises(ProtocolError, match="bit set"):
        pva_wire_mask.read(Reader(b"\xc8" + bytes(200)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("group:a;set:b;trigger:uniqueId;updates:4", DistributorRequest("a", "b", "uniqueId", 4)),
        ("GROUP:a; Trigger:uniqueId", DistributorRequest("a", None, "uniqueId")),
        ("set:b;mode:ONE", DistributorRequest("default", "b", "timeStamp", None, "one")),
        ("", DistributorRequest()),
        ("updates:0", None),
        ("updates:-3", None),
    ],
)
def test_distributor_requests(text: str, expected: DistributorRequest | None) -> None:
    assert parse_distributor(text) == expected


@pytest.mark.parametrize("text", ["group", "colour:red", "group:a;group:b", "updates:x", "updates:9999999", "mode:two"])
def test_bad_distributor_requests_are_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="pydistributor request"):
        parse_distributor(text)


def test_requests_without_form_ask_for_everything() -> None:
    assert parse(None) == parse({}) == parse({"field": {}}) == parse({"record": 3, "field": "x"}) == PvRequest()
    assert parse({"record": {"_options": {"queueSize": 10**9}}}).queue_size == 10_000
    assert parse({"field": {"timeStamp": {"userTag": {}}, "value": {"_options": {}}}}).fields == (
        "timeStamp.userTag",
        "value",
    )


def test_a_selection_is_a_smaller_type() -> None:
    selection = select(["uniqueId", "timeStamp.nanoseconds", "alarm", "nothing"])
    assert [name for name, _ in selection.type.members] == ["uniqueId", "alarm", "timeStamp"]
    assert selection.leaves == ("uniqueId", "alarm.severity", "alarm.status", "alarm.message", "timeStamp.nanoseconds")
    assert selection.changing == ("uniqueId", "timeStamp.nanoseconds")
    assert selection.mask == b"\x01\x82"  # bit 1 and bit 7
    assert not selection.pixels and select(["value"]).pixels
    with pytest.raises(RefusedError, match="one of value, codec"):
        select(["nothing"])


def test_the_type_is_described_as_p4p_has_it() -> None:
    def tree(kind: pva_wire_types.Type) -> object:
        if kind.code in (0x80, 0x81, 0x88):
            inner = kind.element if kind.code == 0x88 else kind
            return ({0x80: "S", 0x81: "U", 0x88: "aS"}[kind.code], [(name, tree(one)) for name, one in inner.members])
        letter = {**pva_wire_types.SCALARS, 0x60: "s", 0x82: "v"}[kind.code & ~0x08]
        letter = {"i": "i", "q": "l", "Q": "L"}.get(letter, letter)
        return f"a{letter}" if kind.code & 0x08 else letter

    def plain(spec: object) -> object:
        if isinstance(spec, tuple):
            return (spec[0], [(name, plain(inner)) for name, inner in spec[2]])
        return spec

    assert tree(TYPE) == plain(P4P_TYPE.aspy())
    assert TYPE.id == P4P_TYPE.getID()
    assert type_of("timeStamp.nanoseconds") == pva_wire_types.Type(0x22)
    assert type_of("value.ubyteValue") == pva_wire_types.Type(0x2C)
    assert type_of("nothing") is None and type_of("uniqueId.x") is None


def test_what_core_pva_sends() -> None:
    got = wants(talk(Connection(), golden("core_pva_get")))
    assert got[2:] == [OperationWanted(Command.GET, CHANNEL, 1, PvRequest(), None), Stepped(1, Step.FETCH_LAST)]
    monitored = wants(talk(Connection(), golden("core_pva_monitor")))
    asked = PvRequest(("uniqueId", "timeStamp"))
    assert monitored[2:] == [OperationWanted(Command.MONITOR, CHANNEL, 1, asked, None), Stepped(1, Step.START)]
