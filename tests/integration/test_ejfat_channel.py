"""The EJFAT channel over real sockets on loopback: what goes in comes out, and what does not is counted."""

import errno
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from ioc.channels import ejfat_socket
from ioc.channels.base import Accepted, Refusal
from ioc.channels.ejfat import EjfatPublisher, EjfatReceiver, PublisherSettings, ReceiverSettings
from ioc.channels.ejfat_segmenter import Segmenter, Stamp
from ioc.core import codec
from ioc.core.errors import ConfigError, RayfanBug
from ioc.core.frame import DataType, EndOfSeries, Frame, Item

DEADLINE = 40.0
HOST = "127.0.0.1"


@contextmanager
def receiver(**changes: object) -> Iterator[EjfatReceiver]:
    # a time-out that no load of the machine makes a thread wait for its turn
    opened = EjfatReceiver.open(replace(ReceiverSettings(memory=64 << 20, event_timeout=10.0), **changes))
    try:
        yield opened
    finally:
        opened.close(drain=False)


@contextmanager
def publisher(port: int, **changes: object) -> Iterator[EjfatPublisher]:
    opened = EjfatPublisher.open(replace(PublisherSettings(HOST, port), **changes))
    try:
        yield opened
    finally:
        opened.close(drain=True)


def frame(unique_id: int, data: np.ndarray, series: int = 1) -> Frame:
    return Frame(
        series, unique_id, 1_700_000_000_000_000_000 + unique_id, data, {"ColorMode": 0, "note": f"n{unique_id}"}
    )


def random_data(seed: int, shape: tuple[int, ...], data_type: DataType) -> np.ndarray:
    raw = np.random.default_rng(seed).bytes(int(np.prod(shape)) * data_type.dtype.itemsize)
    return np.frombuffer(raw, data_type.dtype).reshape(shape)


def collect(source: EjfatReceiver, count: int) -> list[Item]:
    """Return `count` items, with copies of their data."""
    found: list[Item] = []
    deadline = time.monotonic() + DEADLINE
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} items within {DEADLINE} s: {source.figures()}"
        items = source.receive(16, 0.2)
        found += [replace(item, data=item.data.copy()) if isinstance(item, Frame) else item for item in items]
        source.release(len(items))
    return found


def wait_for(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    pause = socket.socketpair()
    pause[0].settimeout(0.01)
    try:
        while not condition():
            assert time.monotonic() < deadline, f"not within {DEADLINE} s: {what()}"
            try:
                pause[0].recv(1)
            except TimeoutError:
                pass
    finally:
        for end in pause:
            end.close()


def assert_same(found: Sequence[Item], sent: Sequence[Item]) -> None:
    assert len(found) == len(sent)
    for left, right in zip(found, sent, strict=True):
        if isinstance(left, EndOfSeries) or isinstance(right, EndOfSeries):
            assert left == right
            continue
        assert (left.series, left.unique_id, left.timestamp_ns) == (right.series, right.unique_id, right.timestamp_ns)
        assert left.attributes == right.attributes
        assert left.data.dtype == right.data.dtype
        assert left.data.shape == right.data.shape
        assert left.data.tobytes() == right.data.tobytes()


def raw_packets(item: Item, event: int, mtu: int = 1500) -> list[bytes]:
    packets = Segmenter(mtu, 4, 2, 1).lay(codec.encode(item, codec.pixel_checksum(item)), Stamp(event, event, 1))
    wire = bytes(packets.wire)
    return [wire[at : at + packets.size] for at in range(0, len(wire), packets.size)]


def send_raw(port: int, packets: Sequence[bytes]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for packet in packets:
            sock.sendto(packet, (HOST, port))


@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("lb_version", [2, 3, None])
def test_frames_arrive_bit_for_bit_and_in_order(offload: bool, mtu: int, lb_version: int | None) -> None:
    shapes = [(1, 1), (64, 48), (300, 401), (33, 65, 3)]
    sent: list[Item] = [
        frame(number, random_data(number, shapes[number % 4], data_type))
        for number, data_type in enumerate(list(DataType) * 2, start=1)
    ]
    sent.append(EndOfSeries(1, len(sent)))
    with receiver() as source, publisher(source.port, offload=offload, mtu=mtu, lb_version=lb_version) as sink:
        assert sink.publish(sent) == Accepted(len(sent))
        assert_same(collect(source, len(sent)), sent)
        wait_for(lambda: source.figures().repeats == 4, source.figures)
        figures, sent_figures = source.figures(), sink.figures()
        assert (figures.complete, figures.incomplete, figures.lost, figures.bad) == (len(sent), 0, 0, 0)
        assert (figures.corrupt, figures.dropped, figures.duplicates) == (0, 0, 0)
        assert (sent_figures.frames, sent_figures.ends, sent_figures.errors) == (len(sent) - 1, 1, 0)
        assert sent_figures.packets == figures.packets
        assert source.counters().items == sink.counters().items == len(sent)


def test_a_paced_stream_over_ipv6_loses_nothing() -> None:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this host has no IPv6 loopback")
    sent: list[Item] = [frame(number, random_data(number, (256, 256), DataType.UINT16)) for number in range(1, 41)]
    with receiver(address="::1") as source, publisher(source.port, host="::1", rate_gbps=4.0) as sink:
        sink.publish(sent)
        assert_same(collect(source, len(sent)), sent)


def test_packets_without_offload_are_the_same_packets() -> None:
    found: list[list[bytes]] = []
    data = random_data(1, (100, 100), DataType.UINT8)
    for offload in (True, False):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((HOST, 0))
            sock.settimeout(DEADLINE)
            with publisher(sock.getsockname()[1], offload=offload, mtu=1500) as sink:
                sink.publish([frame(1, data)])
                found.append([sock.recv(65536) for _ in range(sink.figures().packets)])
    assert [len(packet) for packet in found[0]] == [len(packet) for packet in found[1]]
    assert [packet[16:] for packet in found[0]] == [packet[16:] for packet in found[1]]


def test_a_lost_packet_loses_one_frame_which_is_named() -> None:
    frames = [frame(number, random_data(number, (64, 64), DataType.UINT8)) for number in (1, 2, 3, 4)]
    packets = [raw_packets(item, number) for number, item in enumerate(frames, start=1)]
    with receiver(event_timeout=0.1) as source:
        send_raw(source.port, packets[0] + packets[1][:-1] + packets[3])
        assert_same(collect(source, 2), [frames[0], frames[3]])
        wait_for(lambda: source.figures().incomplete == 1 and source.figures().lost == 1, source.figures)
        assert [(event.number, event.received < event.length) for event in source.incomplete_events()] == [(2, True)]
        wait_for(lambda: source.lost_ranges() == {1: [(3, 3)]}, source.lost_ranges)


def test_an_end_marker_waits_for_the_frame_before_it() -> None:
    item, end = frame(1, random_data(1, (64, 64), DataType.UINT8)), EndOfSeries(1, 1)
    packets = raw_packets(item, 1)
    with receiver(event_timeout=30.0) as source:
        send_raw(source.port, [*packets[1:], *raw_packets(end, 2), packets[0]])
        assert_same(collect(source, 2), [item, end])


def test_an_end_marker_comes_after_the_time_out_of_a_frame_before_it() -> None:
    end = EndOfSeries(1, 1)
    with receiver(event_timeout=0.1) as source:
        packets = raw_packets(frame(1, random_data(1, (64, 64), DataType.UINT8)), 1)
        send_raw(source.port, [*packets[1:], *raw_packets(end, 2)])
        assert_same(collect(source, 1), [end])
        assert source.figures().incomplete == 1


def test_wrong_pixels_are_corrupt_and_nonsense_is_bad() -> None:
    item = frame(1, random_data(1, (16, 16), DataType.UINT8))
    packets = raw_packets(item, 1, mtu=9000)
    flipped = packets[0][:-1] + bytes([packets[0][-1] ^ 1])
    with receiver() as source:
        send_raw(source.port, [flipped, b"", b"x" * 40, *raw_packets(item, 2)])
        assert_same(collect(source, 1), [item])
        figures = source.figures()
        assert (figures.corrupt, figures.bad) == (1, 2)
        assert source.counters().errors == 3
        assert "checksum" in figures.last_error


def test_a_full_queue_drops_frames_and_counts_them_but_keeps_the_end_marker() -> None:
    frames: list[Item] = [frame(number, random_data(number, (8, 8), DataType.UINT8)) for number in range(1, 8)]
    with receiver(queue_size=3) as source, publisher(source.port) as sink:
        sink.publish([*frames, EndOfSeries(1, 7)])
        wait_for(lambda: (source.figures().dropped, source.figures().queued) == (4, 4), source.figures)
        assert_same(collect(source, 4), [*frames[:3], EndOfSeries(1, 7)])


def test_memory_held_by_the_caller_counts_until_released() -> None:
    frames: list[Item] = [frame(number, random_data(number, (256, 256), DataType.UINT8)) for number in range(1, 7)]
    with receiver(memory=3 << 16) as source, publisher(source.port) as sink:
        sink.publish(frames[:2])
        wait_for(lambda: source.figures().queued == 2, source.figures)
        held = source.receive(2, DEADLINE)
        sink.publish(frames[2:4])
        wait_for(lambda: source.figures().shed == 1, source.figures)
        assert source.figures().complete == 4
        assert_same(held, frames[:2])
        source.release(2)
        assert_same(collect(source, 1), [frames[2]])
        sink.publish(frames[4:])
        assert_same(collect(source, 2), frames[4:])
        with pytest.raises(RayfanBug, match="released"):
            source.release(1)


def test_closing_with_drain_keeps_what_has_arrived() -> None:
    frames: list[Item] = [frame(number, random_data(number, (64, 64), DataType.UINT8)) for number in range(1, 6)]
    with receiver() as source, publisher(source.port) as sink:
        sink.publish(frames)
        source.close(drain=True)
        assert_same(collect(source, 5), frames)
        assert source.receive(1, DEADLINE) == []


def test_the_turn_to_read_changes_between_the_owner_and_the_thread_that_stands_by() -> None:
    """The owner waits and reads himself, or he is away until the thread has read."""
    sent: list[Item] = [frame(number, random_data(number, (200, 200), DataType.UINT8)) for number in range(1, 41)]
    found: list[Item] = []
    with receiver() as source, publisher(source.port, mtu=1500) as sink:
        for number, item in enumerate(sent):
            sink.publish([item])
            if number % 4 == 0:
                wait_for(lambda: source.figures().queued > 0, source.figures)
            found += collect(source, 1)
        assert_same(found, sent)
        assert (source.figures().lost, source.figures().incomplete) == (0, 0)


def test_an_idle_receiver_returns_nothing_and_closing_wakes_it() -> None:
    with receiver() as source:
        assert source.receive(1, 0.0) == []
        source.close(drain=False)
        assert source.receive(1, DEADLINE) == []


def test_a_publisher_that_starts_again_is_heard() -> None:
    with receiver() as source:
        for series in (1, 2):
            sent: list[Item] = [frame(1, np.zeros((4, 4), np.uint8), series), EndOfSeries(series, 1)]
            with publisher(source.port) as sink:
                sink.publish(sent)
            assert_same(collect(source, 2), sent)
        assert source.figures().lost == 0


def test_a_closed_port_is_counted_and_does_not_stop_the_stream() -> None:
    with receiver() as source, publisher(source.port) as sink:
        source.close(drain=False)
        frames: list[Item] = [frame(number, np.zeros((64, 64), np.uint8)) for number in range(1, 4)]
        assert sink.publish(frames) == Accepted(3)
        wait_for(lambda: bool(sink.publish(frames).count and sink.figures().errors), sink.figures)
        assert "refused" in sink.figures().last_error


def test_after_close_nothing_is_taken() -> None:
    with receiver() as source, publisher(source.port) as sink:
        sink.close(drain=True)
        assert sink.publish([EndOfSeries(1, 0)]) == Accepted(0, Refusal.GONE)


def test_a_frame_that_cannot_be_sent_leaves_a_gap() -> None:
    good = [frame(number, np.zeros((4, 4), np.uint8)) for number in (1, 3)]
    with receiver() as source, publisher(source.port) as sink:
        assert sink.publish([good[0], frame(2, np.zeros((4, 4), complex)), good[1]]) == Accepted(3)
        assert_same(collect(source, 2), good)
        wait_for(lambda: source.lost_ranges() == {1: [(2, 2)]}, source.lost_ranges)
        assert sink.figures().errors == 1
        assert "complex128" in sink.figures().last_error


def test_a_destination_without_a_route_stops_nothing_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No route at first: packets are counted; when there is one, frames arrive."""
    real = ejfat_socket.connect

    def no_route(host: str, port: int, mtu: int, buffer_bytes: int) -> tuple[socket.socket, int]:
        raise ejfat_socket.NoRouteError("EJFAT destination: expected a destination with a route, found 'unreachable'")

    with receiver() as source:
        monkeypatch.setattr(ejfat_socket, "connect", no_route)
        with publisher(source.port) as sink:
            assert sink.publish([frame(1, np.zeros((200, 200), np.uint8))]) == Accepted(1)
            assert sink.figures().unsent == 5 and "route" in sink.figures().last_error and sink.addresses == []
            monkeypatch.setattr(ejfat_socket, "connect", real)
            monkeypatch.setattr(sink._paths[0], "_retry_ns", 0)
            sent = [frame(2, np.ones((200, 200), np.uint8))]
            sink.publish(sent)
            assert_same(collect(source, 1), sent)
            assert sink.figures().unsent == 5 and sink.addresses == [HOST]


def test_several_ports_and_sockets_carry_events_in_turn() -> None:
    sent: list[Item] = [frame(number, random_data(number, (100, 100), DataType.UINT16)) for number in range(1, 33)]
    with receiver(port_range=2) as source:
        more = tuple((HOST, source.port + number) for number in (1, 2, 3))
        with publisher(source.port, more=more, mtu=1500) as sink:
            sink.publish(sent)
            got = collect(source, 32)
        assert_same(sorted(got, key=lambda item: item.unique_id if isinstance(item, Frame) else 0), sent)
        assert sink.figures().paths == 4
        wait_for(lambda: source.figures().lost == 0, source.figures)  # sockets overtake each other
        assert source.fill() == 0.0


def test_a_worker_behind_a_load_balancer_misses_nothing_and_takes_an_end_marker_once() -> None:
    with receiver(shared=True) as source, publisher(source.port, balanced=True) as sink:
        sink.publish([frame(5, np.zeros((4, 4), np.uint8)), EndOfSeries(1, 9)])
        sink._event += 1000  # what other workers got
        sink.publish([frame(7, np.zeros((4, 4), np.uint8)), EndOfSeries(2, 3)])
        items = collect(source, 4)
        assert [item for item in items if isinstance(item, EndOfSeries)] == [EndOfSeries(1, 9), EndOfSeries(2, 3)]
        wait_for(lambda: source.figures().repeats == 4 * 512, source.figures)
        assert source.figures().lost == 0 and source.lost_ranges() == {}


class RefusingSocket:
    """A socket whose kernel has no segmentation offload."""

    def __init__(self, code: int) -> None:
        self._code = code
        self.sent: list[bytes] = []

    def getsockopt(self, level: int, option: int) -> int:
        return 0

    def sendmsg(self, buffers: list[memoryview], ancillary: list[object], flags: int, address: object) -> None:
        if ancillary:
            raise OSError(self._code, "refused")
        self.sent.append(bytes(buffers[0]))


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP])
def test_refused_offload_falls_back_to_single_packets(code: int) -> None:
    sock = RefusingSocket(code)
    sender = ejfat_socket.PacketSender(sock, offload=True)  # type: ignore[arg-type]
    for _ in range(2):
        sender.send(memoryview(b"aabbc"), 2)
    assert sock.sent == [b"aa", b"bb", b"c"] * 2
    assert (sender.packets, sender.errors, sender.offload) == (6, 0, False)


def test_a_batch_stays_within_what_one_call_takes() -> None:
    sender = ejfat_socket.PacketSender(RefusingSocket(0), offload=True)  # type: ignore[arg-type]
    assert sender.batch_bytes(1472) == 44 * 1472
    assert sender.batch_bytes(100) == 64 * 100
    assert sender.batch_bytes(8972) == 7 * 8972


def test_without_coalescing_everything_still_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ejfat_socket, "coalesce", lambda sock: False)
    sent: list[Item] = [frame(number, random_data(number, (100, 100), DataType.UINT16)) for number in range(1, 6)]
    with receiver() as source, publisher(source.port, mtu=1500) as sink:
        sink.publish(sent)
        assert_same(collect(source, 5), sent)
        assert source.figures().coalescing is False


def test_a_failed_reader_is_reported_to_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(payload: object, verify: bool) -> Item:
        raise RuntimeError("broken")

    with receiver() as source, publisher(source.port) as sink:
        monkeypatch.setattr(codec, "decode_with_offer", fail)
        sink.publish([EndOfSeries(1, 0)])
        with pytest.raises(RayfanBug, match="reader failed"):
            source.receive(1, DEADLINE)


def test_a_taken_port_says_what_to_do() -> None:
    with receiver() as source:
        message = rf"127\.0\.0\.1:{source.port}.*free UDP port.*another process.*choose"
        with pytest.raises(ConfigError, match=message):
            EjfatReceiver.open(ReceiverSettings(port=source.port))


@pytest.mark.parametrize(("address", "named"), [("192.0.2.1", "address of this host"), ("no.such.host.invalid", "IP")])
def test_a_wrong_address_says_what_to_do(address: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        EjfatReceiver.open(ReceiverSettings(address=address))


def test_an_unknown_destination_says_so() -> None:
    with pytest.raises(ConfigError, match=r"no\.such\.host\.invalid:5"):
        EjfatPublisher.open(PublisherSettings("no.such.host.invalid", 5))


def test_what_the_kernel_granted_is_a_figure() -> None:
    with receiver(receive_buffer=1 << 20) as source:
        assert source.figures().receive_buffer >= 1 << 18
        assert source.figures().kernel_drops == 0
