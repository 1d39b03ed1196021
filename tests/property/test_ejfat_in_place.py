"""Sending from where frames lie, receiving to where they are to lie: the same bytes as by copying, whatever comes."""

import ctypes
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioc.channels import ejfat_mmsg, ejfat_socket
from ioc.channels.ejfat_gather import Gatherer, Laid
from ioc.channels.ejfat_landing import Shape
from ioc.channels.ejfat_reassembly import Event, Limits, Reassembler
from ioc.channels.ejfat_scatter import MOST_MISSES, REST_EVENTS, Scatter
from ioc.channels.ejfat_segmenter import HeaderSheet, Segmenter, Stamp
from ioc.channels.ejfat_wire import HEAD_BYTES, LbVersion

pytestmark = pytest.mark.skipif(not ejfat_mmsg.AVAILABLE, reason="needs sendmmsg and recvmmsg of 64-bit Linux")
SOON, LATE = 0.003, 0.2
"""s: what was sent over loopback is there at once, or a little later on a busy machine."""
LIMITS = Limits(64 << 20, 256 << 20)


def on_the_wire(laid: Laid) -> bytes:
    """Return what the kernel would gather, read through the tables' own addresses."""
    out = bytearray()
    for message in laid.table:
        for number in range(int(message["iovlen"])):
            base, length = np.frombuffer(ctypes.string_at(int(message["iov"]) + 16 * number, 16), np.uint64)
            out += ctypes.string_at(int(base), int(length))
    return bytes(out)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=3000), st.integers(0, 120_000)), min_size=1, max_size=3),
    st.sampled_from([576, 1500, 9000]),
    st.sampled_from([None, 2, 3]),
    st.booleans(),
)
def test_what_is_gathered_is_what_would_be_laid_out(
    events: list[tuple[bytes, int]], mtu: int, version: LbVersion | None, offload: bool
) -> None:
    gatherer, segmenter = Gatherer(HeaderSheet(mtu, 4, version, 9), offload), Segmenter(mtu, 4, version, 9)
    for number, (head, size) in enumerate(events, 1):
        pixels = np.random.default_rng(size).integers(0, 256, size, np.uint8)
        stamp = Stamp(number, 10**15 + number, number)
        laid = gatherer.lay(head, pixels, stamp)
        plain = segmenter.lay([head, pixels.data], stamp)
        assert on_the_wire(laid) == bytes(plain.wire)
        assert (laid.packets, laid.packet) == (plain.count, plain.size)
        assert offload or (len(laid.table) == laid.packets and not laid.table["controllen"].any())


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    receiving = ejfat_socket.listen("127.0.0.1", 0, 32 << 20)
    sending, _ = ejfat_socket.connect("127.0.0.1", receiving.getsockname()[1], 1500, 8 << 20)
    ejfat_socket.coalesce(receiving)
    ejfat_socket.set_receive_timeout(receiving, SOON)
    try:
        yield receiving, sending
    finally:
        receiving.close()
        sending.close()


class Receiving:
    """The reader's loop without its thread: in place while that is armed, else by copying."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reassembler = Reassembler(LIMITS, 1.0)
        self.scatter = Scatter(sock.fileno(), self.reassembler)
        self.buffer = np.empty(1 << 17, np.uint8)
        self.in_place = 0

    def take(self) -> list[Event] | None:
        """Return the events of one call, None if nothing came."""
        try:
            if self.scatter.armed:
                events = self.scatter.receive(0)
                self.in_place += len(events)
                return events
            size, ancillary, _, _ = self.sock.recvmsg_into([self.buffer.data], ejfat_socket.ANCILLARY_BYTES)
        except BlockingIOError:
            return None
        return self.reassembler.feed(self.buffer[:size], ejfat_socket.segment_size(ancillary, size), 0)

    def take_all(self) -> list[tuple[int, int, bytes]]:
        found = []
        while (events := self.take()) is not None:
            for event in events:
                found.append((event.data_id, event.number, event.payload.tobytes()))
                self.reassembler.pool.give(event.payload)  # used again at once: nobody may still write there
        return found

    def take_rest(self) -> list[tuple[int, int, bytes]]:
        ejfat_socket.set_receive_timeout(self.sock, LATE)
        return self.take_all()


SIZE = 200_000
SHAPE = Shape(SIZE, 1472, HEAD_BYTES, 44)
PLAIN = Shape(SIZE, 1472, HEAD_BYTES, 1)
"""The same event, where the kernel cuts no packets."""


def send(
    sock: socket.socket,
    data: bytes,
    stamp: Stamp,
    data_id: int = 1,
    chance: random.Random | None = None,
    offload: bool = True,
) -> None:
    """Send an event; with `chance` some of its batches are left out, doubled, swapped or cut otherwise."""
    sender, segmenter = ejfat_socket.PacketSender(sock, offload), Segmenter(1500, 4, 2, data_id)
    packets = segmenter.lay([data], stamp)
    step = ejfat_socket.batch_bytes(packets.size)
    batches = [packets.wire[at : at + step] for at in range(0, len(packets.wire), step)]
    if chance is not None:
        fault = chance.choice(["swap", "lose", "double", "small", "junk"])
        if fault == "swap":
            chance.shuffle(batches)
        elif fault == "lose":
            del batches[chance.randrange(len(batches))]
        elif fault == "double":
            batches.insert(chance.randrange(len(batches)), chance.choice(batches))
        elif fault == "small":
            whole = packets.wire
            batches = [whole[at : at + 3 * packets.size] for at in range(0, len(whole), 3 * packets.size)]
        else:
            junk = memoryview(chance.randbytes(chance.choice([0, 1, 40, 1472, 1472 * 44])))
            batches.insert(chance.randrange(len(batches)), junk)
    for batch in batches:
        if len(batch):
            sender.send(batch, packets.size)
        else:
            sock.send(b"")


@pytest.mark.parametrize("shape", [SHAPE, PLAIN])
def test_events_in_order_are_received_in_place(shape: Shape) -> None:
    with pair() as (receiving, sending):
        ours = Receiving(receiving)
        ours.scatter.expect(shape)
        sent = [(1, number, random.Random(number).randbytes(SIZE)) for number in range(1, 21)]
        got = []
        for data_id, number, data in sent:
            send(sending, data, Stamp(number, number, number), data_id, offload=shape is SHAPE)
            got += ours.take_all()
        got += ours.take_rest()
        assert got == sent
        assert ours.in_place == 20 and ours.reassembler.tally.bad == 0
        assert ours.reassembler.tally.packets == 20 * SHAPE.packets
        ours.scatter.disarm()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([SHAPE, PLAIN]))
def test_whatever_comes_between_no_byte_is_wrong(seed: int, shape: Shape) -> None:
    """Events with lost, doubled, swapped and foreign batches between whole ones: each comes right, or not at all."""
    chance = random.Random(seed)
    with pair() as (receiving, sending):
        ours = Receiving(receiving)
        sent, hurt = {}, set()
        got = []
        for number in range(1, 13):
            if not ours.scatter.armed and not ours.reassembler.unfinished:
                ours.scatter._rest = 0
                ours.scatter.expect(shape)
            data_id = chance.choice([1, 1, 1, 2])
            sent[data_id, number] = chance.randbytes(chance.choice([SIZE, SIZE, SIZE, 100, SIZE - 77, SIZE + 9999]))
            bad = chance.random() < 0.4
            if bad:
                hurt.add((data_id, number))
            hurtful = chance if bad else None
            send(sending, sent[data_id, number], Stamp(number, number, 1), data_id, hurtful, shape is SHAPE)
            got += ours.take_all()
        got += ours.take_rest()
        for data_id, number, data in got:
            assert data == sent[data_id, number]
        whole = {(data_id, number) for data_id, number, _ in got}
        assert len(whole) == len(got) and sent.keys() - whole <= hurt
        ours.scatter.disarm()


def test_behind_a_lost_message_receiving_in_place_goes_on() -> None:
    with pair() as (receiving, sending):
        ours = Receiving(receiving)
        ours.scatter.expect(SHAPE)
        whole = {number: random.Random(number).randbytes(SIZE) for number in range(1, 13)}
        segmenter, got = Segmenter(1500, 4, 2, 1), []
        for number, data in whole.items():
            packets = segmenter.lay([data], Stamp(number, number, 1))
            batches = [packets.wire[at : at + 44 * 1472] for at in range(0, len(packets.wire), 44 * 1472)]
            if number % 3 == 0:
                del batches[number // 3 % len(batches)]
            sender = ejfat_socket.PacketSender(sending, offload=True)
            for batch in batches:
                sender.send(batch, 1472)
            got += ours.take_all()
        got += ours.take_rest()
        assert got == [(1, number, data) for number, data in whole.items() if number % 3]
        assert ours.in_place == len(got) and ours.scatter.armed, "no event had to be copied as a whole"
        ours.scatter.disarm()


@settings(max_examples=6, deadline=None)
@given(st.sets(st.integers(0, 19), max_size=6), st.sampled_from([140_000, 60_000]), st.integers(1, 3))
def test_what_was_lost_of_an_event_may_still_come(lost: set[int], size: int, events: int) -> None:
    shape, segmenter, step = Shape(size, 1472, HEAD_BYTES, 4), Segmenter(1500, 4, 2, 1), 4 * 1472
    sent = {number: random.Random(number).randbytes(size) for number in range(1, events + 1)}
    with pair() as (receiving, sending):
        ours, late, got = Receiving(receiving), [], []
        ours.scatter.expect(shape)
        sender = ejfat_socket.PacketSender(sending, offload=True)
        for number, data in sent.items():
            packets = segmenter.lay([data], Stamp(number, number, 1))
            for message, at in enumerate(range(0, len(packets.wire), step)):
                batch = packets.wire[at : at + step]
                if message in lost:
                    late.append(bytes(batch))
                else:
                    sender.send(batch, 1472)
            got += ours.take_all()
        for batch in late:
            sender.send(memoryview(batch), 1472)
        got += ours.take_rest()
        assert {number: data for _, number, data in got} == sent
        assert ours.reassembler.tally.duplicates == ours.reassembler.tally.bad == 0
        ours.scatter.disarm()


def test_a_call_takes_several_small_events() -> None:
    small, segmenter, step = Shape(20_000, 1472, HEAD_BYTES, 4), Segmenter(1500, 4, 2, 1), 4 * 1472
    with pair() as (receiving, sending):
        ours, sender, got = Receiving(receiving), ejfat_socket.PacketSender(sending, offload=True), []
        sent = [(1, number, random.Random(number).randbytes(small.length)) for number in range(1, 3 * small.places)]
        ours.scatter.expect(small)
        most = 0
        for first in range(0, len(sent), 8):  # no more than the smallest sockets hold
            for _, number, data in sent[first : first + 8]:
                wire = segmenter.lay([data], Stamp(number, number, number)).wire
                for at in range(0, len(wire), step):
                    sender.send(wire[at : at + step], 1472)
            while len(got) < min(first + 8, len(sent)) and (events := ours.take()) is not None:
                most = max(most, len(events))
                got += [(event.data_id, event.number, event.payload.tobytes()) for event in events]
        assert got + ours.take_rest() == sent
        assert most > 1
        ours.scatter.disarm()


def test_an_event_that_is_over_is_counted_and_the_next_one_received_in_place() -> None:
    with pair() as (receiving, sending):
        ours = Receiving(receiving)
        ours.scatter.expect(SHAPE)
        data = random.Random(1).randbytes(SIZE)
        got = []
        for number in (1, 1, 2, 2, 3):
            send(sending, data, Stamp(number, number, number))
            got += ours.take_all()
        assert got + ours.take_rest() == [(1, number, data) for number in (1, 2, 3)]
        assert ours.reassembler.tally.repeats == 2 * SHAPE.packets
        assert ours.in_place == 3
        ours.scatter.disarm()


def test_an_event_given_up_in_mid_reception_is_left_alone() -> None:
    with pair() as (receiving, sending):
        ours = Receiving(receiving)
        ours.scatter.expect(SHAPE)
        first = random.Random(1).randbytes(SIZE)
        packets = Segmenter(1500, 4, 2, 1).lay([first], Stamp(1, 1, 1))
        ejfat_socket.PacketSender(sending, offload=True).send(packets.wire[: 44 * 1472], 1472)
        assert ours.take() == [] and ours.reassembler.unfinished == 1
        memory = ours.reassembler.give_up_all(5 * 10**9)
        assert len(memory) == 1
        kept = ours.reassembler.pool.take(SIZE)  # the same memory, now somebody else's
        kept[:] = 7
        second = random.Random(2).randbytes(SIZE)
        send(sending, second, Stamp(2, 2, 2))
        assert ours.take_rest() == [(1, 2, second)] and (kept == 7).all()


def test_after_several_misses_receiving_in_place_rests() -> None:
    with pair() as (receiving, sending):
        ours = Receiving(receiving)
        for number in range(1, MOST_MISSES + 1):
            ours.scatter.expect(SHAPE)
            assert ours.scatter.armed
            send(sending, b"x" * 500, Stamp(number, number, 1))
            assert len(ours.take_rest()) == 1
        for _ in range(REST_EVENTS):
            ours.scatter.expect(SHAPE)
            assert not ours.scatter.armed
        ours.scatter.expect(SHAPE)
        assert ours.scatter.armed
        ours.scatter.disarm()
