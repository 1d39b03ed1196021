"""A stamped channel's monitors: how many updates go, what waits, and what is merged when a client takes none."""

import pytest

from ioc.channels.pva_images_addresses import searching
from ioc.channels.pva_stamped import StampedChannel, StampedMonitor
from ioc.channels.pva_wire_framing import Command
from ioc.channels.pva_wire_hearing import Hearing
from ioc.channels.pva_wire_ntscalar import TYPE, Encoder, select, type_of
from ioc.channels.pva_wire_replies import opened
from ioc.channels.pva_wire_stamped import Wanted
from ioc.core.errors import RefusedError
from ioc.core.metadata import Update

IOID = 3


def monitor(window: int | None, limit: int, fields: tuple[str, ...] = ()) -> StampedMonitor:
    """Return a monitor whose connection takes nothing by itself."""
    return StampedMonitor(Encoder(IOID, select(fields)), window, limit, send=lambda: None)


def ids(data: bytes) -> list[int | None]:
    """Return the ids of the updates that a client reads from bytes."""
    hearing, found = Hearing(), []
    hearing.expect(IOID, Wanted("value", "timeStamp.userTag"), found)
    assert len(list(hearing.feed(opened(Command.MONITOR, IOID, TYPE) + data))) == 1
    return [one.unique_id for one in found]


def test_a_monitor_begins_with_the_newest_value_and_takes_turns_as_it_has_room() -> None:
    channel, one = StampedChannel("X"), monitor(window=3, limit=10)
    channel.post(Update(1.0, 5, 1))
    channel.join(one)
    for number in range(2, 6):
        channel.post(Update(float(number), number, number))
    assert ids(one.take(100)) == [1, 2, 3]
    assert not one.sendable
    one.window = 1
    assert ids(one.take(100)) == [4]
    one.window = 5
    assert ids(one.take(100)) == [5]
    channel.leave(one)
    channel.post(Update(6.0, 6, 6))
    assert not one.waiting


def test_what_a_client_does_not_take_in_time_is_merged_into_the_newest() -> None:
    channel, one = StampedChannel("X"), monitor(window=None, limit=2)
    channel.join(one)
    for number in range(1, 5):
        channel.post(Update(float(number), number, number))
    assert (channel.overruns, len(one.waiting)) == (3, 2)
    data = one.take(100)
    assert ids(data) == [0, 4]
    assert data.endswith(b"\x02\x82\x03")  # the set of overruns: value, seconds, nanoseconds, tag
    channel.post(Update(5.0, 5, 5))
    assert ids(one.take(100)) == [5]


def test_a_full_queue_is_sent_first() -> None:
    sent: list[bytes] = []
    one = monitor(window=None, limit=2)
    one.send = lambda: sent.append(one.take(100))
    channel = StampedChannel("X")
    channel.join(one)
    for number in range(1, 6):
        channel.post(Update(float(number), number, number))
    assert (ids(b"".join([*sent, one.take(100)])), channel.overruns) == ([0, 1, 2, 3, 4, 5], 0)


def test_who_selects_only_what_never_changes_is_told_once() -> None:
    channel, one = StampedChannel("X"), monitor(window=None, limit=4, fields=("alarm",))
    channel.join(one)
    channel.post(Update(1.0, 1, 1))
    assert len(one.waiting) == 1


def test_fields_by_name() -> None:
    with pytest.raises(RefusedError, match="value, alarm, timeStamp"):
        select(("display",))
    assert type_of("") is TYPE
    assert type_of("timeStamp.userTag") is not None
    assert type_of("timeStamp.nothing") is None
    assert type_of("value.x") is None


def test_where_a_client_searches() -> None:
    where = searching(
        {
            "EPICS_PVA_ADDR_LIST": "10.1.2.3 127.255.255.255:99 224.0.0.5",
            "EPICS_PVA_AUTO_ADDR_LIST": "NO",
            "EPICS_PVA_BROADCAST_PORT": "7",
            "EPICS_PVA_NAME_SERVERS": "10.0.0.1 10.0.0.2:77",
            "EPICS_PVA_SERVER_PORT": "66",
            "EPICS_PVA_CONN_TMO": "15",
        }
    )
    told = [[f"{address}:{port}" for address, port in some] for some in (where.hosts, where.networks)]
    assert told == [["10.1.2.3:7"], ["127.255.255.255:99", "224.0.0.5:7"]]
    assert [f"{address}:{port}" for address, port in where.name_servers] == ["10.0.0.1:66", "10.0.0.2:77"]
    assert where.timeout == pytest.approx(20.0)
    assert searching({"EPICS_PVA_AUTO_ADDR_LIST": "no"}).timeout == pytest.approx(40.0)
