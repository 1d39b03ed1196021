"""Feed mutated EJFAT datagrams to the receiver, the balancer and the back channel: each is used, or is one error.

    python -m tests.campaigns.fuzz_ejfat [--most 10000000] [--seconds 600] [--seed N]

What is mutated: datagrams with LB header version 2 and 3 and without, sync messages, events whose payload is Rayfan's,
PvaPy's and sealed, records of the back channel and offers. Bytes are changed, inserted, removed and repeated, datagrams
cut and swapped. Any other error than the one that is meant, a datagram counted twice or not at all, a memory that
grows or bytes held beyond the limits fail the campaign. It ends after so many datagrams or seconds, whichever comes
first, and says which.
"""

import random
import socket
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consumers.sealed_events import SealedReader, SealedWriter
from consumers.sealing import Key, Opener, Sealer
from ioc.balancer.forwarder import Forwarder
from ioc.balancer.reservation import Target
from ioc.balancer.routes import Routes
from ioc.channels import ejfat_resend_wire as wire
from ioc.channels.ejfat_intake import Intake, IntakeSettings
from ioc.channels.ejfat_payload import EventId, PayloadReader, PvapyWriter, RayfanReader, RayfanWriter, reader_of
from ioc.channels.ejfat_pool import BufferPool
from ioc.channels.ejfat_reassembly import Event, Limits, Reassembler
from ioc.channels.ejfat_recovery import Recovery
from ioc.channels.ejfat_resend_store import KeepLimits, SentEvents
from ioc.channels.ejfat_segmenter import Segmenter, Stamp
from ioc.channels.ejfat_unclaimed import Unclaimed
from ioc.channels.ejfat_wire import SyncMessage
from ioc.core.clock import VirtualClock
from ioc.core.errors import ProtocolError
from ioc.core.frame import EndOfSeries, Frame, Item
from tests.support import fuzzing

LIMITS = Limits(max_event_bytes=1 << 18, memory=4 << 20)
LOOK_EVERY = 200_000
STEPS = 100
"""Batches of a step."""
BATCH = 64
HOST = "127.0.0.1"
STEP_NS = 200_000
LOOK_FEEDS = 16
"""Batches between two looks at what is missing, as a receiver looks now and then."""
SOURCES = ("receiver", "balancer", "payload", "back channel")
KEY = Key("fuzz", bytes(range(32)))


@dataclass(slots=True)
class Tally:
    """What was fed to which target, and what became of it."""

    fed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    events: int = 0
    items: int = 0

    @property
    def datagrams(self) -> int:
        """All that was fed."""
        return self.fed.total()


class OneKey:
    """The key of every sealed event; stands for rolling keys on both sides."""

    def __init__(self) -> None:
        self._sealer, self._opener = Sealer(KEY), Opener({KEY.id: KEY})

    def sealer(self) -> Sealer:
        return self._sealer

    def open_into(self, sealed: memoryview, context: bytes, room: memoryview) -> int:
        return self._opener.open_into(sealed, context, room)


def items() -> list[Item]:
    """Return frames and end markers of every kind."""
    noise = np.random.default_rng(1)
    noted = {"exposure": 0.5, "sample": "x" * 40, "on": True, "count": 1 << 40}
    return [
        Frame(1_700_000_000_000_000, 1, 10**18, noise.integers(0, 9, (20, 30), np.uint16), noted),
        Frame(7, 2, 10**18, noise.integers(0, 9, (4, 5, 3), np.uint8), {}),
        Frame(7, 3, 10**18, noise.random((60, 70)), {"a": -1}),
        EndOfSeries(7, 10, ((2, 3), (5, 9))),
    ]


def payloads(keys: OneKey) -> list[bytes]:
    """Return whole events of every format."""
    number = EventId(1, 1)
    offer = "127.0.0.1:5000/0011223344556677"
    plain = [b"".join(RayfanWriter(True).write(item, number, offer)) for item in items()]
    foreign = [b"".join(PvapyWriter().write(item, number, None)) for item in items()]
    sealed = [b"".join(SealedWriter(RayfanWriter(False), keys).write(item, number, None)) for item in items()]  # type: ignore[arg-type]
    return [one for one in (*plain, *foreign, *sealed) if one]


def mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return bytes with a few things wrong with them, most often near their beginning."""

    def at(size: int) -> int:
        return rng.randrange((min(size, 400) if rng.random() < 0.7 else size) + 1)

    return bytes(fuzzing.mutated(data, other[:64], at, rng))


class Rows:
    """Datagrams of one size, back to back as the kernel hands them over, with bytes of their headers changed."""

    def __init__(self, whole: list[bytes], rng: np.random.Generator) -> None:
        self._rng = rng
        self._rows: list[NDArray[np.uint8]] = []
        for number, payload in enumerate(whole):
            for version in (2, 3, None):
                for mtu in (128, 400, 1500):
                    segmenter = Segmenter(mtu, 4, version, number % 3)  # type: ignore[arg-type]
                    packets = segmenter.lay([payload], Stamp(number, 1_000_000 + number, number))
                    count = len(packets.wire) // packets.size
                    if count:
                        rows = np.frombuffer(packets.wire, np.uint8)[: count * packets.size]
                        self._rows.append(rows.reshape(count, -1).copy())

    def draw(self) -> tuple[NDArray[np.uint8], int]:
        """Return up to `BATCH` datagrams back to back, and their size; the last one may be shorter."""
        rng = self._rng
        rows = self._rows[rng.integers(len(self._rows))]
        chosen = rows[rng.integers(0, len(rows), BATCH)] if rng.random() < 0.7 else rows[:BATCH].copy()
        kind = rng.random()
        if kind < 0.8:
            hurt = rng.integers(0, len(chosen), rng.integers(1, len(chosen) + 1))
            at = rng.integers(0, min(56, chosen.shape[1]), len(hurt))
            values = rng.choice(np.array([0, 1, 2, 0x10, 0x4C, 0x7F, 0x80, 0xFF], np.uint8), len(hurt))
            chosen[hurt, at] = np.where(rng.random(len(hurt)) < 0.5, values, rng.integers(0, 256, len(hurt)))
        wire_bytes = chosen.reshape(-1)
        if rng.random() < 0.2:
            wire_bytes = wire_bytes[: rng.integers(0, len(wire_bytes) + 1)]
        size = chosen.shape[1] if rng.random() < 0.9 else int(rng.integers(1, 41))  # short ones: 1 to 40 bytes
        wire_bytes = wire_bytes[: BATCH * size]
        return wire_bytes, min(size, max(1, len(wire_bytes)))


class Events:
    """Whole events of every format, one behind the other, most of them with nothing wrong."""

    def __init__(self, keys: OneKey, rng: np.random.Generator) -> None:
        self._rng = rng
        self._items = items()
        self._writers = (RayfanWriter(True), PvapyWriter(), SealedWriter(RayfanWriter(False), keys))  # type: ignore[arg-type]
        self._segmenters = [Segmenter(mtu, 4, version, 5) for mtu in (576, 1500, 9000) for version in (2, 3, None)]  # type: ignore[arg-type]
        self._number = 0

    def draw(self) -> tuple[NDArray[np.uint8], int]:
        """Return the datagrams of the next event back to back, and their size; the last one may be shorter."""
        rng = self._rng
        self._number += int(rng.choice((0, 1, 1, 1, 2)))
        writer, item = self._writers[rng.integers(3)], self._items[rng.integers(len(self._items))]
        pieces = writer.write(item, EventId(5, self._number), None) or RayfanWriter(True).write(
            item, EventId(5, 1), None
        )
        packets = self._segmenters[rng.integers(9)].lay(pieces, Stamp(self._number, self._number, 0))
        found = np.frombuffer(packets.wire, np.uint8).copy()
        if rng.random() < 0.3:
            found[rng.integers(len(found))] ^= 1 << rng.integers(8)
        return found, min(packets.size, len(found))


class Receiving:
    """The receiver without its sockets: reassembly, payloads, queue, and what would be asked for."""

    def __init__(self, reader: PayloadReader, tally: Tally) -> None:
        self._tally = tally
        pool = BufferPool(1 << 20)
        self._reassembler = Reassembler(LIMITS, 0.5, pool)
        self._recovery = Recovery(self._reassembler, 0.02, 0.5)
        self._intake = Intake(IntakeSettings(64, 1 << 20), reader, pool, self._reassembler.begun_before)
        self._now_ns = self._feeds = 0

    def feed(self, batch: NDArray[np.uint8], size: int) -> None:
        """Take a batch; every datagram is booked once."""
        reassembler, before = self._reassembler, self._reassembler.tally.packets
        self._now_ns += STEP_NS
        events = reassembler.feed(batch, size, self._now_ns)
        count = max(1, -(-len(batch) // size))
        tally = reassembler.tally
        assert tally.packets - before == count, (tally, count)
        assert tally.bad + tally.duplicates + tally.repeats + tally.late <= tally.packets, tally
        assert 0 <= reassembler.held <= LIMITS.memory, reassembler.held
        self._tally.fed["receiver"] += count
        self._tally.events += len(events)
        for event in events:
            self._intake.take(event)
            self._recovery.completed(event.data_id, event.number)
        self._recovery.lost(reassembler.expire(self._now_ns))
        self._feeds += 1
        if self._feeds % LOOK_FEEDS == 0:
            self._recovery.look((0, 1, 2, 5), self._now_ns)
        got = self._intake.receive(64, 0.0)
        self._intake.release(len(got))
        self._tally.items += len(got)
        self._tally.refused["receiver"] = tally.bad

    def taken(self) -> None:
        """Check that every whole event became an item, or one error, or found no room."""
        tally = self._intake.tally
        self._intake.let_ends_go()
        waiting = len(self._intake._ends)
        booked = tally.items + self._intake.queued + tally.corrupt + tally.dropped + tally.shed + tally.end_repeats
        assert booked + waiting == self._reassembler.tally.events, (tally, waiting, self._reassembler.tally)


class Balancing:
    """The data plane of the load balancer, without its thread; what it would send goes nowhere."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        data, sync = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self._sockets = data, sync
        for sock in self._sockets:
            sock.bind((HOST, 0))
        self._forwarder = Forwarder(data, sync)
        self._forwarder.route(
            Routes(frozenset({HOST}), (0,), (tuple([1, None] * 256),), {1: Target(HOST, 20_000, 2, False)})
        )
        self._forwarder._deliver = lambda *_: None  # type: ignore[method-assign]

    def feed(self, batch: NDArray[np.uint8], size: int) -> None:
        """Take a batch; every packet is sent on or counted once."""
        if not len(batch):
            return
        self._forwarder._take(batch, size, HOST)
        self._tally.fed["balancer"] += -(-len(batch) // size)
        found = self._forwarder._counted
        assert found.received == found.malformed + found.nobody + found.forwarded.total(), found
        self._tally.refused["balancer"] = found.malformed + found.bad_syncs

    def sync(self, data: bytes) -> None:
        """Take a sync message."""
        before = self._forwarder._counted.syncs + self._forwarder._counted.bad_syncs
        self._forwarder._take_sync(data, HOST)
        assert self._forwarder._counted.syncs + self._forwarder._counted.bad_syncs == before + 1
        self._tally.fed["balancer"] += 1
        self._forwarder.syncs()

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets:
            sock.close()


class Campaign:
    """All targets and what they are fed with; implements fuzzing.Campaign."""

    what = "datagrams"
    look_every = LOOK_EVERY

    def __init__(self, seed: int) -> None:
        self.tally = Tally()
        self._rng = random.Random(seed)
        self._keys = OneKey()
        self._whole = payloads(self._keys)
        self._rows = Rows(self._whole, np.random.default_rng(seed))
        self._events_out = Events(self._keys, np.random.default_rng(seed + 1))
        sealed = SealedReader(RayfanReader(verify=False), self._keys)  # type: ignore[arg-type]
        self._readers: tuple[PayloadReader, ...] = (reader_of("auto"), sealed)
        self._receiving = tuple(Receiving(reader, self.tally) for reader in self._readers)
        self._balancing = Balancing(self.tally)
        self._pool = BufferPool(1 << 20)
        self._events = SentEvents(1, KeepLimits(1 << 20, 60.0), VirtualClock())
        self._unclaimed = Unclaimed(1.0, lambda: None, VirtualClock())
        self._syncs = [SyncMessage(1, 10**15, 10**18).to_bytes(), bytes(28), b"LC\x02\x00" + bytes(40)]
        self._steps: tuple[tuple[float, Callable[[], None]], ...] = (
            (0.6, self._receive),
            (0.75, self._balance),
            (0.95, self._read_payloads),
            (1.0, self._ask),
        )

    @property
    def fed(self) -> int:
        """How many datagrams were fed."""
        return self.tally.datagrams

    def step(self) -> None:
        """Feed targets with some batches."""
        for _ in range(STEPS):
            chance = self._rng.random()
            next(step for limit, step in self._steps if chance < limit)()

    def check(self) -> None:
        """Check the books of the receivers."""
        for one in self._receiving:
            one.taken()

    def told(self) -> list[str]:
        """Close the sockets, and return what became of what was fed."""
        self._balancing.close()
        tally = self.tally
        lines = [f"{target}: {tally.fed[target]} fed, {tally.refused[target]} refused" for target in SOURCES]
        return [f"{tally.events} events became whole, {tally.items} items", *lines]

    def _receive(self) -> None:
        rows = self._rows if self._rng.random() < 0.7 else self._events_out
        self._rng.choice(self._receiving).feed(*rows.draw())

    def _balance(self) -> None:
        self._balancing.feed(*self._rows.draw())
        self._balancing.sync(mutated(self._rng.choice(self._syncs), self._rng.choice(self._syncs), self._rng))

    def _read_payloads(self) -> None:
        for _ in range(3):
            data = mutated(self._rng.choice(self._whole), self._rng.choice(self._whole), self._rng)
            content = self._pool.take(len(data))
            content[:] = np.frombuffer(data, np.uint8)
            self._refusable("payload", lambda content=content: self._read(content))

    def _read(self, content: NDArray[np.uint8]) -> None:
        given = self._rng.choice(self._readers).read(Event(1, 1, None, content), self._pool)
        assert isinstance(given.item, Frame | EndOfSeries)
        self._pool.give(given.buffer)

    def _ask(self) -> None:
        rng = self._rng
        self._events.keep(rng.randrange(8), [rng.choice(self._whole)])
        self._unclaimed.sent(rng.randrange(1000))
        asked = wire.ask(wire.Ask(rng.randrange(8), ((0, 10), (rng.randrange(5000), 0xFFFF_FFFF))))
        asked += wire.had([(rng.randrange(8), 8), (20, 1 << rng.randrange(5, 64))])
        answers = wire.segment(b"\x10\x00" + bytes(60)) + wire.gone(3)
        for asks, stream in ((True, asked), (False, answers)):
            self._refusable("back channel", lambda asks=asks, stream=stream: self._converse(asks, stream))
        offer = mutated(b"127.0.0.1:5000/0011223344556677", b"[::1]:", rng).decode("latin-1")
        self._refusable("back channel", lambda: wire.parse_offer(offer))
        self._refusable("back channel", lambda: wire.check_hello(mutated(wire.hello(bytes(8)), b"", rng), bytes(8)))

    def _converse(self, asks: bool, stream: bytes) -> None:
        records, data = wire.Records(asks), mutated(stream * 3, stream, self._rng)
        step = self._rng.choice((1, 7, 1000))
        for at in range(0, len(data), step):
            for record in records.feed(data[at : at + step]):
                if isinstance(record, wire.Ask):
                    given = sum(map(len, self._events.answer(record)))
                    assert given <= 16 << 20, given
                elif isinstance(record, wire.Had):
                    self._unclaimed.had(record.ranges)
            assert records.held <= wire.MOST_BODY + 1000, records.held

    def _refusable(self, target: str, act: Callable[[], object]) -> None:
        self.tally.fed[target] += 1
        try:
            act()
        except ProtocolError:
            self.tally.refused[target] += 1


if __name__ == "__main__":
    sys.exit(fuzzing.main(__doc__, Campaign))
