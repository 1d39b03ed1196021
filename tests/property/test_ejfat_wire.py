"""EJFAT reassembly against any order, loss, duplication, interleaving and any bytes."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ioc.channels import ejfat_uri
from ioc.channels.ejfat_coverage import Coverage
from ioc.channels.ejfat_reassembly import Limits, Reassembler
from ioc.channels.ejfat_segmenter import Segmenter, Stamp
from ioc.channels.ejfat_wire import LB_BYTES, RE_BYTES, LbHeader, LbVersion, ReHeader, parse_segment, segment_like
from ioc.core.errors import ConfigError, ProtocolError

LIMITS = Limits(max_event_bytes=1 << 16, memory=1 << 22)
SECOND_NS = 10**9

Key = tuple[int, int]
Packet = tuple[Key, bytes]

lb_versions = st.sampled_from([2, 3, None])
keys = st.tuples(st.integers(0, 2), st.integers(1, 12))
event_sets = st.dictionaries(keys, st.integers(1, 1000), min_size=1, max_size=6)


def cut(key: Key, payload: bytes, lb: LbVersion | None, mtu: int) -> list[bytes]:
    packets = Segmenter(mtu, 4, lb, key[0]).lay([payload[:7], payload[7:]], Stamp(key[1], key[1], 3))
    wire = bytes(packets.wire)
    return [wire[at : at + packets.size] for at in range(0, len(wire), packets.size)]


def payload_of(key: Key, size: int) -> bytes:
    return random.Random(f"{key} {size}").randbytes(size)


def deliver(reassembler: Reassembler, packets: list[bytes], batch: int) -> dict[Key, list[bytes]]:
    """Feed packets, runs of the same size back to back as the kernel coalesces them, up to `batch` at once."""
    found: dict[Key, list[bytes]] = {}
    at = 0
    while at < len(packets):
        size, end = len(packets[at]), at + 1
        while end < len(packets) and end - at < batch and len(packets[end - 1]) == size >= len(packets[end]):
            end += 1
        joined = np.frombuffer(b"".join(packets[at:end]), np.uint8).copy()
        for event in reassembler.feed(joined, size, at):
            found.setdefault((event.data_id, event.number), []).append(event.payload.tobytes())
        joined[:] = 0xEE  # the buffer may be used again at once
        at = end
    return found


@given(event_sets, lb_versions, st.integers(128, 400), st.integers(1, 64), st.randoms(use_true_random=False))
def test_any_order_interleaving_and_duplicates_give_back_the_payloads(
    sizes: dict[Key, int], lb: LbVersion | None, mtu: int, batch: int, rng: random.Random
) -> None:
    payloads = {key: payload_of(key, size) for key, size in sizes.items()}
    packets = [packet for key, payload in payloads.items() for packet in cut(key, payload, lb, mtu)]
    copies = [packet for packet in packets if rng.random() < 0.3]
    shuffled = packets + copies
    rng.shuffle(shuffled)
    reassembler = Reassembler(LIMITS, 1.0)
    assert deliver(reassembler, shuffled, batch) == {key: [payload] for key, payload in payloads.items()}
    tally = reassembler.tally
    assert (tally.bad, tally.late, tally.incomplete, reassembler.held) == (0, 0, 0, 0)
    assert tally.packets == len(shuffled)
    assert tally.duplicates + tally.repeats == len(copies)


@given(event_sets, lb_versions, st.integers(1, 64), st.randoms(use_true_random=False))
def test_in_order_batches_give_back_the_payloads(
    sizes: dict[Key, int], lb: LbVersion | None, batch: int, rng: random.Random
) -> None:
    payloads = {key: payload_of(key, size * rng.randint(1, 50)) for key, size in sorted(sizes.items())}
    packets = [packet for key, payload in payloads.items() for packet in cut(key, payload, lb, 200)]
    reassembler = Reassembler(LIMITS, 1.0)
    assert deliver(reassembler, packets, batch) == {key: [payload] for key, payload in payloads.items()}
    assert reassembler.tally.events == len(payloads)


@given(event_sets, st.integers(1, 64), st.randoms(use_true_random=False))
def test_lost_packets_lose_their_events_and_no_others(sizes: dict[Key, int], batch: int, rng: random.Random) -> None:
    payloads = {key: payload_of(key, size) for key, size in sizes.items()}
    sent = [(key, packet) for key, payload in payloads.items() for packet in cut(key, payload, 2, 150)]
    kept: list[Packet] = [entry for entry in sent if rng.random() < 0.8]
    rng.shuffle(kept)
    heard = {key for key, _ in kept}
    hurt = {key for key in payloads if sum(k == key for k, _ in kept) < sum(k == key for k, _ in sent)}
    reassembler = Reassembler(LIMITS, 1.0)
    found = deliver(reassembler, [packet for _, packet in kept], batch)
    assert found == {key: [payload] for key, payload in payloads.items() if key not in hurt}
    given_up = reassembler.expire(10 * SECOND_NS)
    assert {(event.data_id, event.number) for event in given_up} == hurt & heard
    assert all(0 < event.received < event.length for event in given_up)
    assert reassembler.held == 0
    for data_id in {key[0] for key in found}:
        numbers = {number for source, number in found if source == data_id}
        between = set(range(min(numbers), max(numbers))) - numbers
        between -= {number for source, number in hurt & heard if source == data_id}
        missing = {n for first, last in reassembler.lost_ranges()[data_id] for n in range(first, last + 1)}
        assert missing == between


@settings(max_examples=300)
@given(st.lists(st.tuples(st.binary(max_size=120), st.integers(0, 130)), max_size=8))
def test_any_bytes_are_used_or_counted_once(batches: list[tuple[bytes, int]]) -> None:
    reassembler = Reassembler(LIMITS, 1.0)
    for at, (data, size) in enumerate(batches):
        reassembler.feed(np.frombuffer(data, np.uint8), size, at)
    tally = reassembler.tally
    assert tally.bad + tally.duplicates + tally.repeats + tally.late <= tally.packets
    assert reassembler.held <= LIMITS.memory


hostile = st.builds(
    lambda header, size: header.to_bytes() + bytes(size),
    st.builds(
        ReHeader,
        st.integers(0, 3),
        st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 1)),
        st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 1)),
        st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1)),
    ),
    st.integers(0, 200),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(hostile, st.integers(1, 250)), max_size=30))
def test_any_claims_stay_within_the_memory(batches: list[tuple[bytes, int]]) -> None:
    limits = Limits(max_event_bytes=200, memory=5000)
    reassembler = Reassembler(limits, 1.0)
    for at, (data, size) in enumerate(batches):
        for event in reassembler.feed(np.frombuffer(data, np.uint8), size, at * SECOND_NS):
            assert len(event.payload) <= limits.max_event_bytes
        assert reassembler.held <= limits.memory
        reassembler.expire(at * SECOND_NS)
    reassembler.give_up_all(0)
    assert reassembler.held == 0


@given(st.binary(max_size=60), st.sampled_from([b"", b"LB\x02\x01", b"\x10\x00"]))
def test_a_datagram_is_parsed_or_raises_one_error(data: bytes, start: bytes) -> None:
    try:
        segment = parse_segment(start + data, len(start + data))
    except ProtocolError:
        return
    assert segment.offset + len(start + data) - segment.start <= segment.length


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=30))
def test_coverage_is_a_set_of_bytes(pieces: list[tuple[int, int]]) -> None:
    coverage, known = Coverage(), set()
    for start, size in pieces:
        fresh = set(range(start, start + size)) - known
        assert coverage.add(start, start + size) == len(fresh)
        known |= fresh
    assert coverage.received == len(known)
    assert coverage.pieces == sum(byte - 1 not in known for byte in known)


@given(
    st.one_of(st.text(max_size=60), st.from_regex(r"ejfats?://[ -~]{0,40}\?(data|sync)=[ -~]{0,30}", fullmatch=True))
)
def test_a_uri_is_read_or_refused_and_survives_being_written(text: str) -> None:
    try:
        uri = ejfat_uri.parse(text)
    except ConfigError:
        return
    again = ejfat_uri.parse(ejfat_uri.to_text(uri))
    assert (again.token, again.host, again.port, again.lb_id) == (uri.token, uri.host, uri.port, uri.lb_id)
    assert (again.data and again.data.port) == (uri.data and uri.data.port)


@given(lb_versions, st.data())
def test_headers_like_the_last_ones_are_read_as_any_others(lb: LbVersion | None, data: st.DataObject) -> None:
    before = headers(lb, data)
    known = parse_segment(before, len(before) + 1)
    head = headers(lb, data)
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(head) - 1))
        head = head[:at] + data.draw(st.binary(min_size=1, max_size=1)) + head[at + 1 :]
    found = segment_like(known, before, head)
    assert found is None or found == parse_segment(head, len(head) + 1)
    alike = head[:-8] == before[:-8]
    assert found is not None or not alike


def headers(lb: LbVersion | None, data: st.DataObject) -> bytes:
    """Return the headers of the first packet of an event, of few sources and lengths so that some are alike."""
    number = st.integers(0, (1 << 64) - 1)
    re = ReHeader(data.draw(st.integers(1, 2)), 0, data.draw(st.integers(1, 2)), data.draw(number)).to_bytes()
    if lb is None:
        assert len(re) == RE_BYTES
        return re
    head = LbHeader.of(lb, data.draw(number), data.draw(st.integers(0, 0xFFFF))).to_bytes() + re
    assert len(head) == LB_BYTES + RE_BYTES
    return head
