"""EJFAT without sockets: headers against vectors of E2SAR 0.3.2, segmentation, reassembly, pacing, URIs."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ioc.channels import ejfat_uri
from ioc.channels.ejfat_coverage import Coverage
from ioc.channels.ejfat_pacing import Pause, RatePacer
from ioc.channels.ejfat_pool import LEAST_KEPT, BufferPool
from ioc.channels.ejfat_reassembly import EVENT_OVERHEAD, Event, Incomplete, Limits, Reassembler
from ioc.channels.ejfat_segmenter import Segmenter, Stamp
from ioc.channels.ejfat_streams import LINGER_NS, MOST_CLOSED, NEW_START, Stream, Verdict
from ioc.channels.ejfat_uri import EjfatUri, Endpoint
from ioc.channels.ejfat_wire import (
    HEAD_BYTES,
    LbHeader,
    LbVersion,
    ReHeader,
    Segment,
    SyncMessage,
    parse_lb,
    parse_re,
    parse_segment,
    parse_sync,
)
from ioc.core.errors import ConfigError, ProtocolError

V2 = bytes.fromhex("4c4202010000b402000660be5e69c5e5")
V3 = bytes.fromhex("4c4203010fe52761000660be5e8a0fe5")
RE = bytes.fromhex("100010e100000000 00000bb8 0000000000000000")
SYNC = bytes.fromhex("4c43020011223344000660be5f9542d5000f424018e9e7a55f0d133f")
LIMITS = Limits(max_event_bytes=1 << 20, memory=1 << 22)


def datagrams(
    payload: bytes, event: int = 1, tick: int = 5, data_id: int = 1, lb: LbVersion | None = 2, mtu: int = 128
) -> list[bytes]:
    packets = Segmenter(mtu, 4, lb, data_id).lay([payload], Stamp(event, tick, 9))
    wire = bytes(packets.wire)
    return [wire[at : at + packets.size] for at in range(0, len(wire), packets.size)]


def segment_of(datagram: bytes) -> Segment:
    return parse_segment(datagram[:HEAD_BYTES], len(datagram))


def array(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def feed(reassembler: Reassembler, *packets: bytes, now_ns: int = 0) -> list[bytes]:
    events: list[Event] = []
    for packet in packets:
        events += reassembler.feed(array(packet), len(packet), now_ns)
    return [event.payload.tobytes() for event in events]


# headers


def test_headers_are_those_of_e2sar() -> None:
    assert LbHeader.of(2, 0x000660BE5E69C5E5, 0xB402).to_bytes() == V2
    assert LbHeader.of(3, 0x000660BE5E8A0FE5, 0x2761).to_bytes() == V3
    assert ReHeader(4321, 0, 3000, 0).to_bytes() == RE
    assert SyncMessage(0x11223344, 0x000660BE5F9542D5, 0x18E9E7A55F0D133F).to_bytes() == SYNC


def test_headers_of_e2sar_are_read() -> None:
    assert parse_lb(V2) == LbHeader(2, 0, 0xB402, 0x000660BE5E69C5E5)
    assert parse_lb(V3) == LbHeader(3, 0x0FE5, 0x2761, 0x000660BE5E8A0FE5)
    assert parse_re(RE) == ReHeader(4321, 0, 3000, 0)
    assert parse_sync(SYNC) == SyncMessage(0x11223344, 0x000660BE5F9542D5, 0x18E9E7A55F0D133F, 1_000_000)


def test_lb_header_is_detected() -> None:
    with_lb, without = segment_of(V2 + RE + b"x"), segment_of(RE + b"x")
    assert (with_lb.tick, with_lb.start) == (0x000660BE5E69C5E5, 36)
    assert (without.tick, without.start) == (None, 20)
    assert (without.data_id, without.offset, without.length, without.event) == (4321, 0, 3000, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"LX" + V2[2:] + RE + b"x",
        V2[:2] + b"\x04" + V2[3:] + RE + b"x",
        V2[:3] + b"\x02" + V2[4:] + RE + b"x",
        V2 + b"\x20" + RE[1:] + b"x",
        V2 + b"\x10\x01" + RE[2:] + b"x",
        V2 + V2 + RE + b"x",
        V2 + RE,
        ReHeader(1, 9, 10, 1).to_bytes() + b"xx",
        ReHeader(1, 11, 10, 1).to_bytes(),
        ReHeader(1, 0xFFFF_FFFF, 0xFFFF_FFFF, 1).to_bytes() + b"x",
        b"\x10" * 3,
    ],
)
def test_broken_datagrams_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        segment_of(data)


@pytest.mark.parametrize("lb", [V2, V2[:3] + b"\x02" + V2[4:], b""])
def test_error_correction_is_refused_by_name(lb: bytes) -> None:
    with pytest.raises(ProtocolError, match="forward error correction"):
        segment_of(lb + b"EC\x01\x01" + bytes(12) + RE + b"x")


@pytest.mark.parametrize("data", [b"", SYNC[:-1], SYNC + b"\0", b"LB" + SYNC[2:], b"LC\x01" + SYNC[3:]])
def test_broken_sync_messages_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_sync(data)


# segmentation


def test_3000_bytes_at_mtu_1500_are_cut_as_e2sar_cuts_them() -> None:
    packets = datagrams(bytes(range(250)) * 12, event=0, tick=0x000660BE5E69C5E5, data_id=4321, mtu=1500)
    assert [len(packet) for packet in packets] == [1472, 1472, 164]
    assert [segment_of(packet).offset for packet in packets] == [0, 1436, 2872]
    assert packets[0][16:36] == RE


@pytest.mark.parametrize(
    ("mtu", "version", "expected"), [(1500, 4, 1436), (9000, 4, 8936), (1500, 6, 1416), (9000, 6, 8916)]
)
def test_segments_are_as_long_as_the_mtu_allows(mtu: int, version: int, expected: int) -> None:
    assert Segmenter(mtu, 6 if version == 6 else 4, 2, 1).segment_bytes == expected


@pytest.mark.parametrize("lb", [2, 3, None])
def test_all_packets_of_an_event_carry_its_stamp(lb: LbVersion | None) -> None:
    for packet in datagrams(bytes(500), event=77, tick=0x1234_5678, data_id=4, lb=lb):
        segment = segment_of(packet)
        assert (segment.event, segment.data_id, segment.length) == (77, 4, 500)
        assert segment.tick == (0x1234_5678 if lb else None)
        if lb:
            assert parse_lb(packet) == LbHeader.of(lb, 0x1234_5678, 9)


def test_the_wire_buffer_is_reused_for_events_of_any_size() -> None:
    segmenter = Segmenter(128, 4, 2, 1)
    for event, size in enumerate([1, 5000, 64, 65, 300, 5000, 63]):
        payload = np.random.default_rng(size).bytes(size)
        packets = segmenter.lay([payload[:10], payload[10:]], Stamp(event, event, 0))
        reassembler = Reassembler(LIMITS, 1.0)
        events = reassembler.feed(np.frombuffer(packets.wire, np.uint8), packets.size, 0)
        assert [found.payload.tobytes() for found in events] == [payload]


def test_an_empty_event_and_a_wrong_mtu_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to"):
        Segmenter(1500, 4, 2, 1).lay([b""], Stamp(1, 1, 1))
    for mtu in (0, 9001):
        with pytest.raises(ValueError, match="MTU"):
            Segmenter(mtu, 4, 2, 1)


# coverage and pool


def test_coverage_counts_each_byte_once() -> None:
    coverage = Coverage()
    assert [coverage.add(*piece) for piece in [(10, 20), (30, 40), (15, 35), (0, 5), (0, 40), (40, 41)]] == [
        10, 10, 10, 5, 5, 1,
    ]  # fmt: skip
    assert (coverage.received, coverage.pieces) == (41, 1)


def test_the_pool_gives_memory_out_again_within_its_bound() -> None:
    pool = BufferPool(2 * LEAST_KEPT)
    first = pool.take(LEAST_KEPT)
    pool.give(first)
    assert np.shares_memory(pool.take(LEAST_KEPT - 0), first)
    assert not np.shares_memory(pool.take(LEAST_KEPT), first)
    large = pool.take(3 * LEAST_KEPT)
    pool.give(large)
    assert not np.shares_memory(pool.take(3 * LEAST_KEPT), large)


# reassembly


@pytest.mark.parametrize("lb", [2, 3, None])
def test_a_whole_batch_is_one_event(lb: LbVersion | None) -> None:
    payload = np.random.default_rng(1).bytes(1000)
    packets = datagrams(payload, lb=lb)
    events = Reassembler(LIMITS, 1.0).feed(array(b"".join(packets)), len(packets[0]), 0)
    assert [event.payload.tobytes() for event in events] == [payload]


def test_duplicates_count_as_such_and_change_nothing() -> None:
    payload = np.random.default_rng(1).bytes(300)
    packets = datagrams(payload)
    reassembler = Reassembler(LIMITS, 1.0)
    assert feed(reassembler, packets[1], packets[1], packets[0], packets[1], *packets[2:]) == [payload]
    assert (reassembler.tally.duplicates, reassembler.tally.bad, reassembler.tally.repeats) == (2, 0, 0)


def test_a_copy_of_a_finished_event_is_a_repeat_and_no_error() -> None:
    packets = datagrams(b"end")
    reassembler = Reassembler(LIMITS, 1.0)
    assert feed(reassembler, *packets * 5) == [b"end"]
    assert (reassembler.tally.repeats, reassembler.tally.bad) == (4, 0)


@pytest.mark.parametrize("lb", [2, None])
def test_short_datagrams_are_counted_once_each(lb: LbVersion | None) -> None:
    packet = datagrams(bytes(300), lb=lb)[0]
    reassembler = Reassembler(LIMITS, 1.0)
    head = 36 if lb else 20
    for size in range(head + 1):
        assert feed(reassembler, packet[:size]) == []
    assert reassembler.tally.bad == reassembler.tally.packets == head + 1
    assert reassembler.held == 0


def test_a_changed_length_is_refused_and_the_event_goes_on() -> None:
    payload = bytes(range(200))
    good, other = datagrams(payload), datagrams(bytes(150))
    reassembler = Reassembler(LIMITS, 1.0)
    assert feed(reassembler, good[0], other[1], *good[1:]) == [payload]
    assert reassembler.tally.bad == 1
    assert "length changed" in reassembler.tally.last_error


def test_a_batch_of_two_events_is_taken_apart() -> None:
    first, second = datagrams(bytes(128), event=1), datagrams(b"\1" * 128, event=2)
    reassembler = Reassembler(LIMITS, 1.0)
    mixed = b"".join([first[0], second[0], second[1], first[1]])
    events = reassembler.feed(array(mixed), len(first[0]), 0)
    assert [(event.number, event.payload.tobytes()) for event in events] == [(2, b"\1" * 128), (1, bytes(128))]
    assert reassembler.tally.packets == 4


def test_huge_claims_allocate_nothing() -> None:
    reassembler = Reassembler(LIMITS, 1.0)
    feed(reassembler, ReHeader(1, 0, 0xFFFF_FFFF, 1).to_bytes() + b"x")
    assert (reassembler.tally.bad, reassembler.held) == (1, 0)


def test_the_budget_gives_up_the_event_that_waits_longest() -> None:
    limits = Limits(max_event_bytes=1000, memory=3 * (1000 + EVENT_OVERHEAD))
    reassembler = Reassembler(limits, 1.0)
    packets = {number: datagrams(bytes(1000), event=number) for number in range(1, 5)}
    for number in (1, 2, 3):
        feed(reassembler, packets[number][0])
    feed(reassembler, packets[1][1], packets[4][0])
    assert reassembler.expire(0) == [Incomplete(1, 2, 64, 1000)]
    assert reassembler.held <= limits.memory
    assert feed(reassembler, *packets[1][2:]) == [bytes(1000)]


def test_what_gets_nothing_new_is_given_up_at_its_time() -> None:
    reassembler = Reassembler(LIMITS, 0.5)
    one, two = datagrams(bytes(300), event=1), datagrams(bytes(300), event=2)
    feed(reassembler, one[0], now_ns=0)
    feed(reassembler, two[0], now_ns=100)
    feed(reassembler, one[1], one[1], now_ns=200)
    assert reassembler.expire(500_000_099) == []
    assert reassembler.expire(500_000_100) == [Incomplete(1, 2, 64, 300)]
    feed(reassembler, one[1], now_ns=400_000_000)  # a duplicate is nothing new
    assert reassembler.expire(500_000_200) == [Incomplete(1, 1, 128, 300)]
    assert (reassembler.tally.incomplete, reassembler.held, reassembler.unfinished) == (2, 0, 0)
    assert feed(reassembler, one[2], now_ns=500_000_300) == []
    assert reassembler.tally.late == 1


def test_too_many_pieces_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ioc.channels.ejfat_reassembly.MOST_PIECES", 3)
    reassembler = Reassembler(LIMITS, 1.0)
    feed(reassembler, *datagrams(bytes(1000))[::2])
    assert reassembler.tally.incomplete == 1


def test_wholly_lost_events_are_known_incomplete_ones_are_not_among_them() -> None:
    reassembler = Reassembler(LIMITS, 0.5)
    feed(reassembler, *datagrams(b"a", event=1))
    feed(reassembler, datagrams(bytes(300), event=3)[0])
    feed(reassembler, *datagrams(b"b", event=6))
    reassembler.expire(10**9)
    assert reassembler.lost_ranges() == {1: [(2, 2), (4, 5)]}
    assert feed(reassembler, *datagrams(b"c", event=4)) == [b"c"]
    assert (reassembler.lost, reassembler.tally.incomplete) == (2, 1)


def test_sources_have_accounts_of_their_own() -> None:
    reassembler = Reassembler(LIMITS, 0.5)
    for data_id, number in ((1, 1), (2, 10), (1, 2), (2, 12)):
        feed(reassembler, *datagrams(b"a", event=number, data_id=data_id))
    assert reassembler.lost_ranges() == {1: [], 2: [(11, 11)]}


def test_a_sender_that_starts_again_is_no_repeat() -> None:
    reassembler = Reassembler(LIMITS, 0.5)
    for start in (100, 200):
        for number in (1, 3):
            assert feed(reassembler, *datagrams(b"a", event=number, tick=start + number)) == [b"a"]
    assert (reassembler.tally.repeats, reassembler.lost) == (0, 2)


def test_a_sender_that_starts_again_in_mid_event_gives_the_old_one_up() -> None:
    reassembler = Reassembler(LIMITS, 0.5)
    feed(reassembler, datagrams(b"a" * 300, tick=1)[0])
    assert feed(reassembler, *datagrams(b"b" * 300, tick=2)) == [b"b" * 300]
    assert reassembler.tally.incomplete == 1


# the account of event numbers


def test_an_event_given_up_before_its_gap_shows_is_not_lost() -> None:
    stream = Stream()
    stream.completed(1, None, 0)
    stream.given_up(3, None, 0)
    stream.completed(5, None, 0)
    assert list(stream.missed) == [(2, 2), (4, 4)]


def test_without_tick_a_new_start_shows_by_time() -> None:
    stream = Stream()
    for number in range(1, 4):
        stream.completed(number, None, 0)
    assert stream.judge(2, None, LINGER_NS) is Verdict.REPEAT
    assert stream.judge(2, None, LINGER_NS + 1) is Verdict.NEW
    stream.completed(2, None, LINGER_NS + 1)
    assert stream.judge(3, None, LINGER_NS + 1) is Verdict.NEW
    assert stream.lost == 0


def test_the_memory_of_an_account_is_bounded_and_what_fell_out_is_a_new_start() -> None:
    stream = Stream()
    for number in range(1, MOST_CLOSED + 100):
        stream.completed(number, number, 0)
    assert stream.judge(MOST_CLOSED, MOST_CLOSED, 0) is Verdict.REPEAT
    assert stream.judge(1, 1, 0) is Verdict.NEW
    stream.completed(1, 1, 0)
    assert stream.lost == 0


def test_an_account_begins_with_the_first_event_and_takes_reordered_ones() -> None:
    stream = Stream()
    stream.completed(1000, 1000, 0)
    stream.completed(998, 998, 0)
    assert list(stream.missed) == [(999, 999)]


@pytest.mark.parametrize("first", [1, 1 << 40])
def test_a_sender_that_numbers_each_life_from_the_clock_starts_anew_and_has_lost_nothing(first: int) -> None:
    stream = Stream()
    for number in (first, first + 2, first + (1 << 32), first + (1 << 32) + 2):
        stream.completed(number, None, 0)
    assert (stream.lives, stream.lost, list(stream.missed)) == (1, 2, [(first + (1 << 32) + 1,) * 2])
    stream.completed(first + 1, None, 0)  # of the life before, late
    assert (stream.lives, stream.lost) == (1, 2)
    stream.completed(first + (1 << 32) + 1 + NEW_START, None, 0)
    assert stream.lives == 1 and stream.lost == NEW_START  # one less is a gap


# pacing


def test_batches_leave_at_the_rate_from_absolute_deadlines() -> None:
    pacer, now = RatePacer(1e9, burst=1000), 0
    for _ in range(100):
        now += pacer.reserve(1000, now) + 300  # wakes 300 ns late every time
    assert 98_000 <= now <= 100_000


def test_a_pause_is_made_up_for_by_one_burst_only() -> None:
    pacer = RatePacer(1e9, burst=2000)
    pacer.reserve(1000, 0)
    waits = [pacer.reserve(1000, 10**9) for _ in range(4)]
    assert waits == [0, 0, 0, 1000]


# URIs


def test_the_uri_of_a_direct_link_is_read() -> None:
    uri = ejfat_uri.parse("ejfat://useless@127.0.0.1:9876/lb/1?sync=127.0.0.1:12345&data=127.0.0.1:10000")
    assert uri == EjfatUri(
        host="127.0.0.1", port=9876, token="useless", lb_id="1",
        sync=Endpoint("127.0.0.1", 12345, 12345), data_v4=Endpoint("127.0.0.1", 10000, 10000),
    )  # fmt: skip
    assert uri.data == Endpoint("127.0.0.1", 10000, 10000)


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("ejfats://a:b@lb.example.org:18347/lb/36", "token", "a:b"),
        ("ejfats://lb.example.org:18347", "tls", True),
        ("ejfat://h", "port", None),
        ("ejfat://[2001:db8::1]:18347/lb/7", "host", "2001:db8::1"),
        ("ejfat://h:1/lb/7?sessionid=x%20y&colour=blue", "session_id", "x y"),
        ("ejfat://h:1?data=10.0.0.1", "data_v4", Endpoint("10.0.0.1", 19522, 19522)),
        ("ejfat://h:1?data=10.0.0.1:16384-32767", "data_v4", Endpoint("10.0.0.1", 16384, 32767)),
        ("ejfat://h:1?data=10.0.0.1:1&data=10.0.0.2:2", "data_v4", Endpoint("10.0.0.2", 2, 2)),
        ("ejfat://h:1?data=%5B::1%5D:5", "data_v6", Endpoint("::1", 5, 5)),
        ("ejfat://h:1?data=[::1]:5", "data_v6", Endpoint("::1", 5, 5)),
        ("ejfat://h:1?data=::1", "data", Endpoint("::1", 19522, 19522)),
        (" ejfat://h:1\n", "data", None),
    ],
)
def test_uris_are_read_liberally(text: str, field: str, expected: object) -> None:
    assert getattr(ejfat_uri.parse(text), field) == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("http://h:1", "scheme"),
        ("ejfat://", "host"),
        ("ejfat://h h:1", "host"),
        ("ejfat://h:70000", "port"),
        ("ejfat://h:x", "port"),
        ("ejfat://[h]:1", "host|a URI"),
        ("ejfat://h:1?data=name:5", "data"),
        ("ejfat://h:1?data=10.0.0.1:0", "data"),
        ("ejfat://h:1?data=10.0.0.1:9-5", "range"),
        ("ejfat://h:1?sync=10.0.0.1", "sync"),
    ],
)
def test_a_broken_uri_names_its_part_and_no_token(text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        ejfat_uri.parse(text.replace("://h", "://secret@h"), "egress.demo.uri")
    assert str(caught.value).startswith("egress.demo.uri")
    assert "secret" not in str(caught.value)


def test_a_uri_is_written_as_e2sar_reads_it() -> None:
    text = "ejfats://tok@[::1]:18347/lb/3?sync=10.0.0.1:5&data=10.0.0.2:16384-32767&data=[::2]:7&sessionid=s"
    uri = ejfat_uri.parse(text)
    plain = "ejfats://tok@[::1]:18347/lb/3?sync=10.0.0.1:5&data=10.0.0.2:16384&data=%5B::2%5D:7&sessionid=s"
    assert ejfat_uri.to_text(uri) == plain
    assert ejfat_uri.to_text(uri, with_token=False) == plain.replace("tok@", "")
    assert "tok" not in repr(uri)


def test_a_pause_is_over_for_good_once_it_is_ended() -> None:
    pause = Pause()
    pause.wait(0.0)
    assert not pause.ended
    pause.end()
    pause.end()
    for _ in range(3):
        pause.wait(1e6)  # at once
    assert pause.ended
