"""Rayfan's own image server against clients that stall, acknowledge, leave, lie, or come from elsewhere."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np
import pytest
from p4p import Value
from p4p.client.thread import Context
from p4p.nt import NTScalar
from p4p.server.raw import SharedPV

from ioc.channels.base import Accepted, Refusal
from ioc.channels.images import OwnImages
from ioc.channels.ntndarray import from_value
from ioc.channels.pva import MemberAddress, PvaReceiver, PvaServer
from ioc.channels.pva_images import ImageServer
from ioc.channels.pva_images_addresses import Endpoint
from ioc.channels.pva_images_channel import ServedChannel
from ioc.channels.pva_images_multicast import aim
from ioc.channels.pva_images_visitor import Visitor
from ioc.channels.pva_wire_framing import Command
from ioc.core.config import ImageBackend
from ioc.core.frame import EndOfSeries, Frame
from tests.support.epics import alone_on_loopback, free_port, random_prefix
from tests.support.pva_client import Sender, Tree
from tests.support.pva_images import (
    DEADLINE,
    Chosen,
    Roster,
    assert_whole,
    cut,
    numbered,
    publish_all,
    receive,
    receive_until,
    serving,
    wait_done,
    wait_until,
)
from tests.support.pva_raw import SMALL_BUFFER, RawClient

IDS: Tree = {"field": {"uniqueId": {}}}
EVERYTHING: Tree = {"record": {"_options": {"queueSize": "4"}}}
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep EPICS on loopback, and see that no thread and no descriptor is left over."""
    monkeypatch.setattr(Chosen, "backend", ImageBackend.OWN)
    with alone_on_loopback(monkeypatch):
        yield


@pytest.fixture
def name() -> str:
    return f"{random_prefix()}Pva1:Image"


@pytest.fixture
def served(name: str) -> Iterator[tuple[OwnImages, ServedChannel]]:
    with serving(name) as (images, channel):
        assert isinstance(images, OwnImages) and isinstance(channel, ServedChannel)
        yield images, channel


def newest_id(context: Context, name: str) -> int:
    """Return the id of the image that a channel shows."""
    value = context.get(name, timeout=DEADLINE)
    assert isinstance(value, Value)
    return from_value(value).unique_id


def connected(images: OwnImages, name: str, receive_buffer: int | None = None) -> RawClient:
    """Return a client with an open channel."""
    assert images.port is not None
    client = RawClient(images.port, receive_buffer)
    client.open(name)
    return client


def test_a_stalled_client_costs_its_own_queue_and_nothing_else(
    name: str, served: tuple[OwnImages, ServedChannel]
) -> None:
    images, channel = served
    last = 400
    memory = [np.empty((256, 256), np.int64) for _ in range(16)]  # used again as soon as frames are done
    with connected(images, name, SMALL_BUFFER) as stalled:
        stalled.monitor({"record": {"_options": {"queueSize": "8"}}})
        receiver = PvaReceiver(name, queue_size=64)
        frames: list[Frame] = []
        try:
            wait_until(lambda: not receiver.receive(1, 0.0) and receiver.connected, "the fast client")
            for unique_id in range(1, last + 1):
                if unique_id > len(memory):
                    wait_done(channel, unique_id - len(memory))
                array = memory[unique_id % len(memory)]
                array[:] = unique_id
                publish_all(channel, [Frame(1, unique_id, 0, array)])
                frames += [item for item in receiver.receive(64, 0.0) if isinstance(item, Frame)]
                assert not frames or unique_id - frames[-1].unique_id < 64 or receive_until(receiver, unique_id)
            if frames[-1].unique_id != last:
                frames += receive_until(receiver, last)
            assert_whole(frames)
            assert [frame.unique_id for frame in frames] == list(range(1, last + 1))
            assert channel.overruns > last - 100  # all of them the stalled one's: the other got every frame
        finally:
            receiver.close(drain=False)


def test_what_a_stalled_client_holds_does_not_hold_up_a_drain(
    name: str, served: tuple[OwnImages, ServedChannel]
) -> None:
    images, channel = served
    with connected(images, name, SMALL_BUFFER) as stalled:
        stalled.monitor({"record": {"_options": {"queueSize": "8"}}})
        wait_until(lambda: channel.watched, "the client")
        publish_all(channel, [numbered(unique_id, (512, 512)) for unique_id in range(1, 13)])
        channel.publish([EndOfSeries(1, 12)])
        wait_done(channel, 13)
        stalled.socket.settimeout(DEADLINE)
        reader = stalled.hear(Command.MONITOR)  # it goes on: what it gets now was moved aside, whole
        assert reader.number("I") == 5


def test_updates_go_only_while_the_client_has_room(name: str, served: tuple[OwnImages, ServedChannel]) -> None:
    images, channel = served
    with connected(images, name) as client:
        client.monitor({"record": {"_options": {"queueSize": "3", "pipeline": "true"}}, **IDS}, window=2)
        assert client.update() == (0, False)  # the empty image
        publish_all(channel, [numbered(1)])
        assert client.update() == (1, False)
        for unique_id in range(2, 7):
            publish_all(channel, [numbered(unique_id)])
        assert client.quiet()
        client.acknowledge(2)
        assert [client.update() for _ in range(2)] == [(2, False), (3, False)]
        assert client.quiet()
        client.acknowledge(1)
        assert client.update() == (6, True)  # 4 and 5 were replaced, and that is told
        assert channel.overruns == 2


def test_a_monitor_stops_starts_and_ends_when_it_is_told(name: str, served: tuple[OwnImages, ServedChannel]) -> None:
    images, channel = served
    with connected(images, name) as client:
        client.monitor(IDS)
        assert client.update() == (0, False)
        client.say(client.sender.step(Command.MONITOR, (1, 5), 0x04))
        wait_until(lambda: not channel.watched, "the monitor to stop")
        publish_all(channel, [numbered(1)])
        assert client.quiet()
        client.say(client.sender.step(Command.MONITOR, (1, 5), 0x44))
        assert client.update() == (1, False)
        client.say(client.sender.message(Command.DESTROY_REQUEST, client.sender.pack("II", 1, 5)))
        wait_until(lambda: not channel.watched, "the monitor to end")
        client.say(client.sender.message(Command.ECHO, b"still here"))
        assert client.hear(Command.ECHO).take(10) == b"still here"


def test_a_member_is_done_with_what_its_host_has_acknowledged(
    name: str, served: tuple[OwnImages, ServedChannel]
) -> None:
    images, _ = served
    address = MemberAddress(1, 1, 1)
    roster = Roster(address)
    prefix = name.removesuffix("Pva1:Image")
    images.members(prefix, roster)
    with connected(images, address.channel(prefix), SMALL_BUFFER) as client:
        client.monitor(EVERYTHING)
        link = roster.next()[2]
        big = [numbered(unique_id, (256, 256)) for unique_id in range(1, 20)]
        assert link.publish(big) == Accepted(16, Refusal.FULL)  # as the window says, whatever the client's queue is
        assert link.done() < 3
        for expected in range(20):
            reader = client.hear(Command.MONITOR)
            assert reader.left > (256 * 256 * 8 if expected else 10)
            if expected == 16:
                break
        wait_done(link, 16)
        link.publish(big[16:])
    assert roster.next() == ("left", address, link)
    assert not link.alive()
    assert link.done() < 19


def test_of_what_a_member_that_died_had_exactly_what_reached_its_host_is_done(
    name: str, served: tuple[OwnImages, ServedChannel]
) -> None:
    images, _ = served
    address = MemberAddress(1, 1, 1)
    roster = Roster(address)
    prefix = name.removesuffix("Pva1:Image")
    images.members(prefix, roster)
    with connected(images, address.channel(prefix), SMALL_BUFFER) as client:
        client.monitor(EVERYTHING)
        link = roster.next()[2]
        link.publish([numbered(unique_id) for unique_id in range(1, 17)])
        ends: list[int] = []  # of the empty image, and of frames 1 to 5, in the bytes of the connection
        for _ in range(6):
            assert client.hear(Command.MONITOR).left
            ends.append(client.heard_bytes)
        length = ends[-1] - ends[-2]
        ends += [ends[-1] + length * more for more in range(1, 12)]
        arrived = [0]

        def full() -> bool:
            arrived.append(client.arrived_bytes())
            return images.visits()[0].waiting == 0 and arrived[-1] == arrived[max(0, len(arrived) - 100)]

        wait_until(full, "the client to be full")
        whole = sum(end <= client.arrived_bytes() for end in ends[1:])
        assert 5 <= whole < 16, "some reached the host, some did not"
        wait_done(link, whole)
        client.reset()
        assert roster.next() == ("left", address, link)
    assert link.done() == whole and not link.alive()


def test_bytes_that_break_the_protocol_end_their_connection_only(
    name: str, served: tuple[OwnImages, ServedChannel], context: Context
) -> None:
    images, channel = served
    channel.publish([numbered(1)])
    assert images.port is not None
    for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\xca\x02\x00\x07" + b"\xff" * 4, b"\x00" * 64):
        with RawClient(images.port) as client:
            client.say(junk)
            assert client.ended()
    with connected(images, name) as client:
        client.say(client.sender.message(Command.GET, b"\x01"))
        assert client.ended()
    assert newest_id(context, name) == 1


def test_a_client_that_reads_no_answers_is_cut_off(name: str, served: tuple[OwnImages, ServedChannel]) -> None:
    images, _ = served
    with connected(images, name, SMALL_BUFFER) as client:
        echo = client.sender.message(Command.ECHO, bytes(60_000)) * 8
        with pytest.raises(ConnectionError):
            for _ in range(200):
                client.say(echo)


@pytest.fixture
def context() -> Iterator[Context]:
    with Context("pva", nt=False) as context:
        yield context


def test_clients_leave_no_descriptor_behind(name: str, served: tuple[OwnImages, ServedChannel]) -> None:
    images, channel = served
    channel.publish([numbered(1)])

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for _ in range(20):
        with connected(images, name) as client:
            client.monitor(EVERYTHING)
            client.hear(Command.MONITOR)
    wait_until(lambda: not channel.watched and descriptors() <= before, "every connection to be closed")


def test_closing_with_drain_sends_what_was_accepted(name: str, served: tuple[OwnImages, ServedChannel]) -> None:
    images, channel = served
    with connected(images, name) as client:
        client.monitor({"record": {"_options": {"queueSize": "64"}}, **IDS})
        client.update()
        assert channel.publish([numbered(unique_id) for unique_id in range(1, 12)]) == Accepted(11)
        images.close(drain=True)
        assert [client.update()[0] for _ in range(11)] == list(range(1, 12))
        assert client.ended()
    assert channel.done() == 11
    assert channel.publish([numbered(12)]) == Accepted(0, Refusal.GONE)


def test_a_window_that_is_full_refuses_the_rest(name: str, served: tuple[OwnImages, ServedChannel]) -> None:
    images, channel = served
    with connected(images, name) as client:
        options: Tree = {"queueSize": "64", "pipeline": "true"}
        client.monitor({"record": {"_options": options}, **IDS}, window=1)
        client.update()
        items = [*(numbered(unique_id) for unique_id in range(1, 40)), EndOfSeries(1, 39)]
        assert channel.publish(items) == Accepted(16, Refusal.FULL)
        assert channel.publish(items[16:]).refusal is Refusal.FULL
        client.acknowledge(100)
        publish_all(channel, list(items[17:]))
        seen = [client.update()[0] for _ in range(38)]
        assert seen[:16] == list(range(1, 17))
        wait_done(channel, 39)


@pytest.mark.parametrize("order", [("own", "p4p", "other"), ("p4p", "own", "other"), ("other", "p4p", "own")])
def test_several_servers_of_one_process_are_found_in_any_order(
    name: str, context: Context, order: tuple[str, str, str]
) -> None:
    own, other = OwnImages("own"), OwnImages("other")
    value = SharedPV(initial=NTScalar("d").wrap(7.0))
    p4p = PvaServer([{f"{name}:Value": value}])
    own.add(name).publish([numbered(3)])
    other.add(f"{name}:Other").publish([numbered(4)])
    servers = {"own": own, "other": other, "p4p": p4p}
    try:
        for kind in order:
            servers[kind].start()
        assert newest_id(context, name) == 3
        assert newest_id(context, f"{name}:Other") == 4
        found = context.get(f"{name}:Value", timeout=DEADLINE)
        assert isinstance(found, Value) and found["value"] == 7.0
    finally:
        p4p.stop()
        own.close()
        other.close()


def test_servers_of_several_processes_are_found(name: str, context: Context) -> None:
    code = (
        "import sys\n"
        "from ioc.channels.images import OwnImages\n"
        "from tests.support.pva_images import numbered\n"
        "images = OwnImages()\n"
        "images.add(sys.argv[1]).publish([numbered(int(sys.argv[2]))])\n"
        "images.start()\n"
        "print('up', flush=True)\n"
        "sys.stdin.readline()\n"
        "images.close()\n"
    )
    command = [sys.executable, "-c", code, f"{name}1", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        with serving(f"{name}2") as (_, channel):
            channel.publish([numbered(2)])
            assert newest_id(context, f"{name}1") == 1
            assert newest_id(context, f"{name}2") == 2
    finally:
        process.communicate("\n", timeout=DEADLINE)
    assert process.returncode == 0


def test_a_name_server_is_asked_by_tcp(name: str, served: tuple[OwnImages, ServedChannel]) -> None:
    images, channel = served
    channel.publish([numbered(6)])
    conf = {
        "EPICS_PVA_NAME_SERVERS": f"127.0.0.1:{images.port}",
        "EPICS_PVA_ADDR_LIST": "",
        "EPICS_PVA_AUTO_ADDR_LIST": "NO",
        "EPICS_PVA_BROADCAST_PORT": str(free_port()),
    }
    with Context("pva", conf=conf, useenv=False, nt=False) as context:
        assert newest_id(context, name) == 6


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this host has no IPv6")
@pytest.mark.parametrize("by", ["search", "name server"])
def test_the_server_is_found_and_asked_by_ipv6(name: str, by: str) -> None:
    udp = free_port()
    server = {"EPICS_PVAS_INTF_ADDR_LIST": "::1", "EPICS_PVAS_SERVER_PORT": "0", "EPICS_PVA_BROADCAST_PORT": str(udp)}
    images = ImageServer("ipv6", environment={**server, "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO"})
    try:
        images.add(name).publish([numbered(8)])
        images.start()
        client = {"EPICS_PVA_AUTO_ADDR_LIST": "NO", "EPICS_PVA_BROADCAST_PORT": str(udp)}
        place = {"search": ("EPICS_PVA_ADDR_LIST", f"[::1]:{udp}")}
        key, value = place.get(by, ("EPICS_PVA_NAME_SERVERS", f"[::1]:{images.port}"))
        with Context("pva", conf={**client, key: value}, useenv=False, nt=False) as context:
            assert newest_id(context, name) == 8
            assert [visit.visitor.address for visit in images.visits()] == ["::1"]
    finally:
        images.close()


@pytest.mark.parametrize(
    ("listens", "sends"), [("224.0.1.77,1@127.0.0.1", "127.0.0.1"), ("127.0.0.1 224.0.1.77@lo", "lo")]
)
def test_a_search_by_multicast_is_answered(name: str, listens: str, sends: str) -> None:
    udp = free_port()
    server = {"EPICS_PVAS_INTF_ADDR_LIST": listens, "EPICS_PVAS_SERVER_PORT": "0", "EPICS_PVA_BROADCAST_PORT": str(udp)}
    images = ImageServer("groups", environment={**server, "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO"})
    images.add(name)
    group = Endpoint(IPv4Address("224.0.1.77"), udp, interface=sends)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        try:
            images.start()
            asker.bind(("127.0.0.1", 0))
            asker.settimeout(DEADLINE)
            asker.sendto(Sender().search([(5, name)], flags=0), aim(asker, group))
            answer = asker.recv(1 << 16)
        finally:
            images.close()
    assert answer[3] == Command.SEARCH_RESPONSE and answer[-4:] == b"\x05\x00\x00\x00"


def asked(name: str, udp: int, by: str) -> socket.socket:
    """Return a socket on which the answer to a search comes that was sent to a UDP port from a loopback address."""
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.bind((by, 0))
    asker.settimeout(DEADLINE)
    asker.sendto(Sender().search([(5, name)]), ("127.0.0.1", udp))
    return asker


def test_who_is_to_be_ignored_gets_no_answer(name: str) -> None:
    udp = free_port()
    server = {"EPICS_PVAS_BROADCAST_PORT": str(udp), "EPICS_PVAS_SERVER_PORT": "0"}
    server |= {"EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO", "EPICS_PVAS_IGNORE_ADDR_LIST": "127.0.0.2"}
    images = ImageServer("choosy", environment=server)
    images.add(name)
    try:
        images.start()
        with asked(name, udp, "127.0.0.2") as ignored, asked(name, udp, "127.0.0.1") as other:
            assert other.recv(1 << 16)[3] == Command.SEARCH_RESPONSE
            ignored.setblocking(False)  # the one behind it has its answer: this one gets none
            with pytest.raises(BlockingIOError):
                ignored.recv(1 << 16)
    finally:
        images.close()


def test_beacons_go_where_the_environment_says(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(DEADLINE)
        to = f"127.0.0.1:{listener.getsockname()[1]}"
        server = {"EPICS_PVAS_BEACON_ADDR_LIST": to, "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO"}
        server |= {"EPICS_PVAS_SERVER_PORT": "0", "EPICS_PVA_BROADCAST_PORT": str(free_port())}
        images = ImageServer("beacons", environment=server)
        try:
            images.start()
            data = listener.recv(1 << 16)
            assert images.port is not None and data[3] == Command.BEACON
            assert data[40:42] == images.port.to_bytes(2, "little")  # behind guid, counters and address
        finally:
            images.close()


class Closed:
    """Rules that let nobody read while they are closed, and note what is refused."""

    def __init__(self) -> None:
        self.closed = False
        self.refusals: list[tuple[str, str, str]] = []

    def may_read(self, visitor: Visitor) -> bool:
        return not self.closed

    def refused(self, visitor: Visitor, channel: str, why: str) -> None:
        self.refusals.append((visitor.account, channel, why))


def test_rules_decide_who_reads_also_what_is_monitored_already(name: str) -> None:
    rules, images = Closed(), OwnImages("ruled")
    images.guard(rules)
    images.add(name).publish([numbered(1)])
    images.start()
    try:
        with connected(images, name) as client:
            client.monitor(IDS)
            assert client.update() == (1, False)
            (visit,) = images.visits()
            assert (visit.channels, visit.sent, visit.waiting) == ((name,), 1, 0)
            client.say(client.sender.operation(Command.PUT, (1, 6), IDS))
            assert client.hear(Command.PUT).left
            assert rules.refusals == [("", name, "Put not supported")]
            rules.closed = True
            client.hear(Command.DESTROY_CHANNEL)
            client.say(client.sender.create(2, name))
            client.hear(Command.CREATE_CHANNEL)
            client.say(client.sender.operation(Command.MONITOR, (2, 7), IDS))
            assert b"may not read" in client.hear(Command.MONITOR).take(40)
            assert images.denied == 1
    finally:
        images.close()


def test_a_receiver_that_was_cut_off_misses_nothing_of_the_replay_window(name: str) -> None:
    with serving(name) as (images, channel):
        assert isinstance(images, OwnImages) and images.port is not None
        running = images._running
        assert running is not None
        receiver = PvaReceiver(name, queue_size=64, replay=64)
        frames: list[Frame] = []
        try:
            wait_until(lambda: not receiver.receive(1, 0.0) and receiver.connected, "the client")
            for cuts in (1, 2):
                first = 20 * cuts - 19
                publish_all(channel, [numbered(unique_id) for unique_id in range(first, first + 10)])
                frames += receive_until(receiver, first + 9)
                for client in list(running._clients.values()):
                    cut(client.fileno)
                publish_all(channel, [numbered(unique_id) for unique_id in range(first + 10, first + 20)])
                frames += receive_until(receiver, first + 19)
                assert receiver.disconnects == cuts
            assert [frame.unique_id for frame in frames] == list(range(1, 41))
            assert_whole(frames)
            assert receiver.missed() == []
        finally:
            receiver.close(drain=False)


def test_a_taken_port_is_passed_by(name: str) -> None:
    first, second = OwnImages("first"), OwnImages("second")
    try:
        first.start()
        second.start()
        assert first.port == int(os.environ["EPICS_PVAS_SERVER_PORT"])
        assert second.port not in (None, first.port)
    finally:
        first.close()
        second.close()


def test_p4p_with_flow_control_gets_every_frame_and_in_order(
    name: str, served: tuple[OwnImages, ServedChannel]
) -> None:
    _, channel = served
    receiver = PvaReceiver(name, queue_size=32, pipeline=True)
    frames: list[Frame] = []
    try:
        wait_until(lambda: not receiver.receive(1, 0.0) and receiver.connected, "the client")
        for unique_id in range(1, 201):
            publish_all(channel, [numbered(unique_id)])
            frames += receive(receiver, 1)
        assert [frame.unique_id for frame in frames] == list(range(1, 201))
        assert_whole(frames)
    finally:
        receiver.close(drain=False)


def test_a_client_that_resets_its_connection_is_forgotten_whoever_notices_first(
    name: str, served: tuple[OwnImages, ServedChannel]
) -> None:
    images, channel = served
    for number in range(10):
        with connected(images, name, SMALL_BUFFER) as client:
            client.monitor(EVERYTHING)
            wait_until(lambda: channel.watched, "the client")
            publish_all(channel, [numbered(unique_id) for unique_id in range(number * 9 + 1, number * 9 + 10)])
        wait_until(lambda: not channel.watched, "the client to be forgotten")
