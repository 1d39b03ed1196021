"""The image server's parts without sockets: queues, held frames, environment."""

import select as select_module
import socket
import struct
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pytest

from ioc.bench.case import Case
from ioc.bench.knee import Knees
from ioc.bench.pva import configuration, figures
from ioc.bench.pva_table import ROWS, missed
from ioc.bench.pvapy import judge, with_server
from ioc.bench.search import Trial
from ioc.channels.base import Accepted, Refusal
from ioc.channels.pva_images_addresses import Addresses, Endpoint, from_environment
from ioc.channels.pva_images_channel import ServedChannel, Subscription
from ioc.channels.pva_images_queue import Taken, UpdateQueue
from ioc.channels.pva_images_socket import LARGE_FRAME, SEND_BUFFER, buffer_for, prepare, stays_here
from ioc.channels.pva_poster import Poster
from ioc.channels.pva_wire_ntndarray import select
from ioc.channels.pva_wire_request import Replay, parse
from ioc.core.config import load
from ioc.core.frame import EndOfSeries, Frame

LOOPBACK = IPv4Address("127.0.0.1")


class Hand:
    """A writer that sends only when a test says so."""

    def __init__(
        self,
        channel: ServedChannel,
        limit: int | None = 4,
        window: int | None = None,
        replay: Replay | None = None,
    ) -> None:
        self.channel = channel
        self.woken = 0
        self.awake = threading.Event()
        self.subscription = Subscription(UpdateQueue(1, select(["uniqueId", "value"]), limit, window), self)
        channel.join(self.subscription, replay)

    def wake(self, subscription: Subscription) -> None:
        self.woken += 1
        self.awake.set()

    def take(self, count: int = 100) -> list[Taken]:
        """Take what may be sent, at most `count` updates."""
        taken: list[Taken] = []
        while len(taken) < count and (more := self.channel.take(self.subscription, 0)):
            taken += more
        return taken

    def send(self, count: int = 100) -> list[int]:
        """Send what may be sent; return the ids, 0 for the empty image."""
        taken = self.take(count)
        self.channel.sent(taken)
        return [id_of(one) for one in taken]


def id_of(taken: Taken) -> int:
    """Return the id that an update carries."""
    item = taken.held.item
    return item.unique_id if isinstance(item, Frame) else 0


def frame(unique_id: int, data: np.ndarray | None = None) -> Frame:
    return Frame(1, unique_id, 0, np.full((4, 4), unique_id % 256, np.uint8) if data is None else data)


@pytest.fixture
def poster() -> Iterator[Poster]:
    poster = Poster("test poster")
    poster.start()
    yield poster
    poster.stop()


@pytest.fixture
def channel(poster: Poster) -> Iterator[ServedChannel]:
    channel = ServedChannel("X:Image", 8, poster)
    yield channel
    channel.close(drain=False)


def test_a_frame_is_done_when_every_client_was_sent_it_and_a_newer_one_is_there(channel: ServedChannel) -> None:
    first, second = Hand(channel), Hand(channel)
    assert channel.publish([frame(1), frame(2), frame(3)]) == Accepted(3)
    assert first.send() == [0, 1, 2, 3]
    assert channel.done() == 0
    assert second.send(3) == [0, 1, 2]
    assert channel.done() == 2
    second.send()
    assert channel.done() == 2  # the newest is kept for whoever comes
    channel.publish([frame(4)])
    assert channel.done() == 3
    assert Hand(channel).send() == [4]


def test_a_full_queue_has_its_newest_update_replaced_and_marked(channel: ServedChannel) -> None:
    slow = Hand(channel, limit=2)
    slow.send()
    for unique_id in range(1, 7):
        assert channel.publish([frame(unique_id)]) == Accepted(1)
    taken = slow.take()
    assert [id_of(one) for one in taken] == [1, 6]
    mask = slow.subscription.queue.selection.mask
    tails = [bytes(one.parts[-1])[-len(mask) :] == mask for one in taken]
    assert tails == [False, True]
    assert channel.overruns == 4


def test_a_frame_that_is_being_sent_is_not_done_whatever_is_replaced(channel: ServedChannel) -> None:
    client = Hand(channel)
    client.send()
    channel.publish([frame(1)])
    taken = client.take()
    channel.publish([frame(2), frame(3)])
    assert channel.done() == 0
    channel.sent(taken)
    assert channel.done() == 1


def test_what_waits_can_be_moved_and_is_sent_as_it_was(channel: ServedChannel) -> None:
    stalled = Hand(channel)
    memory = np.full((4, 4), 7, np.uint8)
    channel.publish([frame(1, memory)])
    channel.ring_at(1)
    held = channel._newest
    assert held is not None
    channel.move(held)
    assert channel.done() == 1
    memory[:] = 0
    (empty, update) = stalled.take()
    pixels = np.frombuffer(update.parts[1], np.uint8)
    assert (pixels == 7).all() and not update.original and id_of(empty) == 0


def test_a_window_bounds_what_is_outstanding_and_a_stop_frees_it(channel: ServedChannel) -> None:
    client = Hand(channel, limit=100, window=0)
    taken = channel.publish([frame(unique_id) for unique_id in range(1, 20)])
    assert taken.refusal is Refusal.FULL and taken.count == 8
    assert client.take() == []
    channel.grant(client.subscription, 3)
    assert client.woken == 1
    assert client.send() == [0, 1, 2]
    assert channel.done() == 2
    channel.leave(client.subscription)
    assert channel.done() == 7
    assert channel.publish([frame(20), EndOfSeries(1, 20)]) == Accepted(2)


def test_a_member_is_gone_with_its_last_client(poster: Poster) -> None:
    link = ServedChannel("member", 4, poster, member=True)
    one, other = Hand(link, None), Hand(link, None)
    assert link.publish([frame(unique_id) for unique_id in range(1, 7)]) == Accepted(4, Refusal.FULL)
    assert (one.send(), other.send(2)) == ([0, 1, 2, 3, 4], [0, 1])
    assert link.done() == 1
    link.leave(other.subscription)
    assert link.alive() and link.done() == 4  # the one that stays has all of them
    link.publish([frame(5)])
    link.leave(one.subscription)
    assert not link.alive() and link.done() == 4
    assert link.publish([frame(6)]) == Accepted(0, Refusal.GONE)
    link.close(drain=True)


def test_what_a_broken_client_did_not_acknowledge_is_not_done(poster: Poster) -> None:
    link = ServedChannel("member", 8, poster, member=True)
    client = Hand(link, None)
    link.publish([frame(unique_id) for unique_id in range(1, 6)])
    _, *taken = client.take(4)  # the empty image, and frames 1 to 3
    link.sent(taken[:1])
    link.broken(client.subscription, taken[1:])
    assert not link.alive() and link.done() == 1
    assert link.publish([frame(6)]) == Accepted(0, Refusal.GONE)
    link.leave(client.subscription)
    assert link.done() == 1
    link.close(drain=False)


def test_a_broken_client_is_nothing_to_those_that_share_its_link(poster: Poster) -> None:
    link = ServedChannel("member", 8, poster, member=True)
    one, other = Hand(link, None), Hand(link, None)
    link.publish([frame(1), frame(2)])
    link.broken(one.subscription, one.take())
    assert link.alive() and link.done() == 0
    other.send()
    link.leave(one.subscription)
    assert link.alive() and link.done() == 2
    link.broken(other.subscription, [])
    assert not link.alive()
    link.close(drain=False)


def rejoined(channel: ServedChannel, replay: Replay) -> list[int]:
    """Return what a client is sent that comes with this wish; it stays."""
    return Hand(channel, 2, replay=replay).send()


def test_a_client_that_comes_back_gets_what_it_missed_and_nothing_twice(channel: ServedChannel) -> None:
    memory = np.zeros((4, 4), np.uint8)
    first = Hand(channel, 64, replay=Replay(5))
    for unique_id in range(1, 4):
        memory[:] = unique_id  # free again at once: what is kept has memory of its own
        channel.publish([frame(unique_id, memory)])
        assert channel.done() == unique_id
    taken = first.take()
    assert [np.frombuffer(one.parts[1], np.uint8)[0] for one in taken[1:]] == [1, 2, 3]
    channel.sent(taken)
    channel.leave(first.subscription)
    channel.publish([frame(unique_id) for unique_id in range(4, 7)])
    assert rejoined(channel, Replay(5, (1, 3))) == [4, 5, 6]  # more than its queue has room for
    assert rejoined(channel, Replay(5, (1, 1))) == [2, 3, 4, 5, 6]  # 5 are kept
    assert rejoined(channel, Replay(5, (1, 6))) == [6]  # the newest, which tells it that it is connected
    assert rejoined(channel, Replay(5, (0, 900))) == [2, 3, 4, 5, 6]


def test_nothing_is_kept_unless_somebody_asks_for_it(channel: ServedChannel) -> None:
    memory = np.zeros((4, 4), np.uint8)
    client = Hand(channel, 64)
    channel.publish([frame(1, memory), frame(2, memory)])
    taken = client.take()
    assert all(one.original for one in taken[1:])
    channel.sent(taken)
    assert rejoined(channel, Replay(5, (1, 1))) == [2]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"replay": "0"}, None),
        ({"replay": "7"}, Replay(7)),
        ({"replay": 99999, "replaySeries": "3", "replayAfter": "17"}, Replay(1024, (3, 17))),
    ],
)
def test_a_request_says_what_to_replay(options: dict[str, object], expected: Replay | None) -> None:
    assert parse({"record": {"_options": options}}).replay == expected


def test_who_is_left_when_a_channel_closes_is_told(poster: Poster) -> None:
    told: list[ServedChannel] = []
    channel = ServedChannel("X", 4, poster, on_close=told.append)
    channel.close(drain=False)
    assert told == []
    channel = ServedChannel("X", 4, poster, on_close=told.append)
    Hand(channel)
    channel.close(drain=False)
    assert told == [channel]


def test_many_threads_publish_take_and_leave_and_every_frame_is_accounted_for(poster: Poster) -> None:
    channel = ServedChannel("X", 8, poster)
    hands = [Hand(channel, limit) for limit in (2, 3, 64)]
    seen: list[list[int]] = [[], [], []]
    stop = threading.Event()

    def send(number: int) -> None:
        while not stop.is_set() or len(hands[number].subscription.queue):
            hands[number].awake.wait(0.05)
            hands[number].awake.clear()
            seen[number] += hands[number].send(1 + number)

    threads = [threading.Thread(target=send, args=(number,), name=f"sender {number}") for number in range(3)]
    for thread in threads:
        thread.start()
    items = [frame(unique_id) for unique_id in range(1, 501)]
    while items:
        count = channel.publish(items[:16]).count
        del items[:count]
        if not count:
            select_module.select([channel], [], [], 0.01)
    stop.set()
    for thread in threads:
        thread.join(20)
    for number, ids in enumerate(seen):
        assert ids == sorted(set(ids)) and ids[-1] == 500
        assert len(ids) + hands[number].subscription.queue.overruns == 501
    assert channel.done() >= 499
    channel.close(drain=True)
    assert channel.done() == 500


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO"}, Addresses()),
        (
            {
                "EPICS_PVA_SERVER_PORT": "6000",
                "EPICS_PVAS_SERVER_PORT": "0",
                "EPICS_PVA_BROADCAST_PORT": "6001",
                "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1 [::1]",
                "EPICS_PVAS_BEACON_ADDR_LIST": "127.0.0.1:7000 127.0.0.1",
                "EPICS_PVAS_BEACON_PERIOD": "30",
                "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "no",
                "EPICS_PVAS_IGNORE_ADDR_LIST": "10.0.0.1:0",
            },
            Addresses(
                interfaces=(LOOPBACK, IPv6Address("::1")),
                tcp_port=0,
                udp_port=6001,
                beacons=(Endpoint(LOOPBACK, 7000), Endpoint(LOOPBACK, 6001)),
                beacon_period=30.0,
                ignored=frozenset([IPv4Address("10.0.0.1")]),
            ),
        ),
        (
            {
                "EPICS_PVAS_INTF_ADDR_LIST": "::1 224.0.1.5,2@127.0.0.1 [ff02::42:1]:7001,1@lo 10.0.0.300",
                "EPICS_PVA_ADDR_LIST": "224.0.1.5:7002,3@lo,[::1],127.0.0.1:99999",
                "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "0",
                "EPICS_PVA_CONN_TMO": "10",
            },
            Addresses(
                interfaces=(IPv6Address("::1"),),
                groups=(
                    Endpoint(IPv4Address("224.0.1.5"), 5076, 2, "127.0.0.1"),
                    Endpoint(IPv6Address("ff02::42:1"), 7001, 1, "lo"),
                ),
                beacons=(Endpoint(IPv4Address("224.0.1.5"), 7002, 3, "lo"), Endpoint(IPv6Address("::1"), 5076)),
                longest_silence=30.0,
            ),
        ),
        ({"EPICS_PVA_CONN_TMO": "soon", "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "no"}, Addresses()),
        (
            {
                "EPICS_PVAS_BROADCAST_PORT": "7000",
                "EPICS_PVA_BROADCAST_PORT": "7001",
                "EPICS_PVA_BEACON_PERIOD": "0.1",
                "EPICS_PVA_AUTO_ADDR_LIST": "NO",
            },
            Addresses(udp_port=7000, beacon_period=1.0),
        ),
        (
            {"EPICS_PVAS_SERVER_PORT": "x", "EPICS_PVA_AUTO_ADDR_LIST": "NO", "EPICS_PVA_ADDR_LIST": "127.0.0.1:y"},
            Addresses(),
        ),
        ({"EPICS_PVAS_INTF_ADDR_LIST": "0.0.0.0", "EPICS_PVA_AUTO_ADDR_LIST": "NO"}, Addresses()),
    ],
)
def test_the_environment_says_where_to_listen(environment: dict[str, str], expected: Addresses) -> None:
    assert from_environment(environment) == expected


def test_the_benchmark_shows_both_sides() -> None:
    ours, peers = [Trial(None, 300.0, 0, 0.1)], [Trial(None, 200.0, 0, 0.2)]
    shown = figures(Knees(ours, peers))
    assert (shown["ratio"], shown["fps"], shown["peer_fps"], shown["lost"]) == (1.5, 300.0, 200.0, 0)
    alone = figures(Knees(ours, [], "not installed"))
    assert (alone["ratio"], alone["peer_fps"], alone["peer_cpu_seconds_per_frame"]) == (None, None, None)
    config = load(configuration(Case(64), 100.0), "bench")
    assert config.groups["bench"].placement == "remote"


def test_the_table_names_what_misses_its_floor() -> None:
    good = {f"ratio_{row.name}": 2.0 for row in ROWS} | {
        "server_cpu_ratio_one_client": 0.7,
        "lost_slow_fast_bounded": 0,
    }
    assert missed(good) == []
    bad = {
        "ratio_two_members_4096": 1.5,
        "server_cpu_ratio_broadcast": 1.0,
        "lost_broadcast": 3,
        "ratio_one_client": None,
    }
    assert missed(good | bad) == ["ratio_two_members_4096", "server_cpu_ratio_broadcast", "lost_broadcast"]


def test_clients_that_get_every_frame_have_groups_of_their_own_and_are_judged_apart() -> None:
    case = Case(64, consumers=2, broadcast=True)
    assert set(load(configuration(case, None), "bench").groups) == {"bench0", "bench1"}
    times = np.arange(1, 5) * 100_000_000
    notes = [np.array([[1, 2, 3, 4], times]), np.array([[1, 2, 4], times[[0, 1, 3]]])]
    trial = judge(case, notes, (0, 1_000_000_000), 0.8, None)
    assert (trial.reached, trial.lost) == (3.0, 1)
    assert judge(Case(64, consumers=2), notes, (0, 1_000_000_000), 0.8, None).lost == 3  # got twice, if they take turns
    assert with_server(trial, 0.3, (0, 1_000_000_000)).server_cpu_seconds == pytest.approx(0.1)


def test_a_client_on_this_host_is_not_paced_and_the_kernel_keeps_little_for_any() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), timeout=20.0),
    ):
        listener.settimeout(20.0)
        connection, _ = listener.accept()
        with connection:
            prepare(connection)
            chosen = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
            assert chosen.rstrip(b"\0") == b"reno"
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * SEND_BUFFER, "tcp(7): doubled"


def test_less_is_kept_of_large_frames() -> None:
    assert buffer_for(LARGE_FRAME) < buffer_for(LARGE_FRAME - 1) == buffer_for(0) == SEND_BUFFER


def test_a_client_that_is_gone_already_is_prepared_without_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20.0)
        client = socket.create_connection(listener.getsockname(), timeout=20.0)
        connection, _ = listener.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()  # resets the connection
        with connection:
            prepare(connection)


@pytest.mark.parametrize(
    ("own", "peer", "here"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.3.2.1", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("::1", "::1", True),
        ("fe80::1%eth0", "fe80::2%eth0", False),
    ],
)
def test_what_goes_to_an_address_of_this_host_stays_here(own: str, peer: str, here: bool) -> None:
    assert stays_here(own, peer) is here
