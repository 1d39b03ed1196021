"""Puts EJFAT events together from datagrams, in memory and without sockets.

Rules
- An event is known by its data id and event number. Its segments may arrive in any order; each byte counts once.
- A datagram is used, or counted once: `bad` (no EJFAT, does not fit its event, event too large), `duplicates` (brings
  nothing new), `repeats` (of an event that was complete already, as copies of an end marker are), `late` (of one that
  was given up).
- An event that has got nothing new for the time-out is given up; so is the one waiting longest when unfinished events
  exceed the memory, and one whose arrived bytes lie in more than `MOST_PIECES` pieces.
- Nothing is allocated on the word of a header beyond `Limits`.

The kernel hands over datagrams of one size back to back (UDP_GRO). If they are consecutive segments of one event, as
nearly always, their headers are compared and their payload is copied as one array; if not, one by one.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioc.channels.ejfat_coverage import Coverage
from ioc.channels.ejfat_pool import BufferPool
from ioc.channels.ejfat_streams import Stream, Verdict
from ioc.channels.ejfat_wire import HEAD_BYTES, MOST_EVENT_BYTES, RE_BYTES, Segment, parse_segment
from ioc.core.errors import ProtocolError

MOST_PIECES = 65_536
MOST_SOURCES = 256
"""Data ids with an account; beyond that the one heard first is forgotten."""

EVENT_OVERHEAD = 1024
"""Bytes that an unfinished event counts for beside its payload."""

OFFSET_AT = 4
"""Where the offset lies in the RE header, bytes from its start."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of one event at most, and of all unfinished events together; `gaps`: a missing number is a lost event."""

    max_event_bytes: int
    memory: int
    gaps: bool = True


class Event(NamedTuple):
    """A whole event; `payload` comes from the pool and may be given back to it. `tick` is None without LB header.

    `life` counts how often its source has begun anew.
    """

    data_id: int
    number: int
    tick: int | None
    payload: NDArray[np.uint8]
    life: int = 0


@dataclass(frozen=True, slots=True)
class Incomplete:
    """An event that was given up with `received` of its `length` bytes."""

    data_id: int
    number: int
    received: int
    length: int


@dataclass(slots=True)
class Tally:
    """What was fed: datagrams and their bytes with headers, events that came of it, datagrams that could not be used.

    `incomplete` counts events; `bad`, `duplicates`, `repeats` and `late` count datagrams. `last_error` says why the
    last bad one was.
    """

    packets: int = 0
    bytes: int = 0
    events: int = 0
    incomplete: int = 0
    bad: int = 0
    duplicates: int = 0
    repeats: int = 0
    late: int = 0
    last_error: str = ""


class _Unfinished:
    __slots__ = ("coverage", "key", "length", "payload", "since_ns", "tick")

    def __init__(self, key: tuple[int, int], tick: int | None, payload: NDArray[np.uint8], now_ns: int) -> None:
        self.key = key
        self.tick = tick
        self.payload = payload
        self.length = len(payload)
        self.coverage = Coverage()
        self.since_ns = now_ns


class Reassembler:
    """Makes events of datagrams; `timeout` is in seconds, `now_ns` of a monotonic clock."""

    def __init__(self, limits: Limits, timeout: float, pool: BufferPool | None = None) -> None:
        self.tally = Tally()
        self.pool = pool or BufferPool(limits.memory)
        self._most_bytes = min(limits.max_event_bytes, limits.memory - EVENT_OVERHEAD, MOST_EVENT_BYTES)
        self._memory = limits.memory
        self._gaps = limits.gaps
        self._timeout_ns = round(timeout * 1e9)
        self._unfinished: OrderedDict[tuple[int, int], _Unfinished] = OrderedDict()
        self._held = 0
        self._streams: dict[int, Stream] = {}
        self._lost_forgotten = 0
        self._given_up: deque[Incomplete] = deque(maxlen=10_000)

    @property
    def held(self) -> int:
        """Bytes that unfinished events take up."""
        return self._held

    @property
    def unfinished(self) -> int:
        """How many events are begun and not whole."""
        return len(self._unfinished)

    @property
    def lost(self) -> int:
        """Events of which nothing is whole and nothing was given up: gaps in the numbers of all sources."""
        return self._lost_forgotten + sum(stream.lost for stream in self._streams.values())

    def lost_ranges(self) -> dict[int, list[tuple[int, int]]]:
        """Return by data id the numbers that are missing since its source last started, as closed ranges."""
        return {data_id: list(stream.missed) for data_id, stream in self._streams.items()}

    def feed(self, buffer: NDArray[np.uint8], segment_size: int, now_ns: int) -> list[Event]:
        """Take datagrams that lie back to back, `segment_size` bytes each and the last one shorter or not.

        Return the events that became whole, in that order. The buffer may be used again at once.
        """
        events: list[Event] = []
        size = len(buffer)
        step = segment_size if 0 < segment_size < size else size
        if not size:
            self.tally.packets += 1
            self._feed_one(buffer, now_ns, events)
            return events
        self.tally.packets += -(-size // step)
        self.tally.bytes += size
        whole = size // step
        at = self._feed_run(buffer[: whole * step].reshape(whole, step), now_ns, events) if whole > 1 else 0
        for start in range(at, size, step):
            self._feed_one(buffer[start : start + step], now_ns, events)
        return events

    def place(
        self, segment: Segment, count: int, lies: tuple[NDArray[np.uint8], int], now_ns: int, events: list[Event]
    ) -> bool | None:
        """Book `count` datagrams, from `segment` on, whose payload was received into its place.

        `lies` is the memory of the whole event and how many bytes of it came. Return True if they are booked, False if
        they were counted away like any others of an event that is over, None if they do not belong into this memory:
        then nothing was counted.
        """
        payload, size = lies
        event = self._unfinished.get((segment.data_id, segment.event))
        if event is not None and (event.payload is not payload or _other_tick(event.tick, segment.tick)):
            return None
        self.tally.packets += count
        self.tally.bytes += size + count * segment.start
        if event is None:
            event = self._begin(segment, count, now_ns, payload)
            if event is None:
                return False
        fresh = self._cover(event, segment.offset, size, now_ns, events)
        self.tally.duplicates += (size - fresh) * count // size
        return True

    def holds(self, key: tuple[int, int], payload: NDArray[np.uint8]) -> bool:
        """Return whether an event is unfinished and is put together in this memory."""
        event = self._unfinished.get(key)
        return event is not None and event.payload is payload

    def memory_of(self, key: tuple[int, int]) -> tuple[NDArray[np.uint8], int] | None:
        """Return the memory of an unfinished event and up to which byte of it something came; None if there is none."""
        event = self._unfinished.get(key)
        return None if event is None else (event.payload, event.coverage.end)

    def expire(self, now_ns: int) -> list[Incomplete]:
        """Give up what got nothing new for the time-out; return all that was given up since the last call."""
        while self._unfinished:
            event = next(iter(self._unfinished.values()))
            if now_ns - event.since_ns < self._timeout_ns:
                break
            self._give_up(event, now_ns)
        return self._drain()

    def give_up(self, key: tuple[int, int], now_ns: int) -> None:
        """Give up an event, by data id and number, if it is unfinished: its rest will not come."""
        event = self._unfinished.get(key)
        if event is not None:
            self._give_up(event, now_ns)

    def give_up_all(self, now_ns: int) -> list[Incomplete]:
        """Give up everything unfinished, because no more will come; return as `expire` does."""
        for event in list(self._unfinished.values()):
            self._give_up(event, now_ns)
        return self._drain()

    def begun_before(self, data_id: int, number: int) -> bool:
        """Return whether an event of this source with a smaller number is still unfinished."""
        return any(key[0] == data_id and key[1] < number for key in self._unfinished)

    def is_begun(self, key: tuple[int, int]) -> bool:
        """Return whether an event, by data id and number, is unfinished."""
        return key in self._unfinished

    def is_missed(self, key: tuple[int, int]) -> bool:
        """Return whether nothing came of an event, but later ones are whole."""
        stream = self._streams.get(key[0])
        return stream is not None and key[1] in stream.missed

    def stalled(self, before_ns: int) -> Iterator[tuple[int, int]]:
        """Yield data id and number of unfinished events that got nothing new since then."""
        for event in self._unfinished.values():  # the one that waits longest is the first
            if event.since_ns > before_ns:
                return
            yield event.key

    def gaps(self, key: tuple[int, int], most: int) -> list[tuple[int, int]]:
        """Return the first `most` ranges that an unfinished event lacks, from byte to end, not included."""
        event = self._unfinished[key]
        return event.coverage.gaps(event.length, most)

    def ends_at(self, data_id: int, number: int) -> None:
        """Take note that `number` was the last event of a source: what did not come up to it is missed."""
        stream = self._streams.get(data_id)
        if stream is not None:
            stream.ends_at(number)

    def skipped(self, data_id: int, after: tuple[int, int], most: int) -> tuple[tuple[int, int], list[int]]:
        """Return how far a source is, as its life and number, and the missed numbers behind `after`, the newest."""
        stream = self._streams.get(data_id)
        if stream is None:
            return after, []
        number = after[1] if after[0] == stream.lives else -1
        if number >= stream.highest:
            return after, []
        return (stream.lives, stream.highest), stream.missed_behind(number, most)

    def _drain(self) -> list[Incomplete]:
        given_up = list(self._given_up)
        self._given_up.clear()
        return given_up

    def _feed_run(self, rows: NDArray[np.uint8], now_ns: int, events: list[Event]) -> int:
        """Take consecutive full segments of one event at once; return the bytes used: all, or 0 if they are not."""
        try:
            segment = parse_segment(rows[0, :HEAD_BYTES].tobytes(), rows.shape[1])
        except ProtocolError:
            return 0
        count, step = rows.shape
        payload = rows[:, segment.start :]
        size = count * (step - segment.start)
        step_bytes = step - segment.start
        if segment.offset + size > segment.length or not consecutive(rows[:, : segment.start], segment, step_bytes):
            return 0
        event = self._event_of(segment, count, now_ns)
        if event is not None:
            target = event.payload[segment.offset : segment.offset + size]
            target.reshape(payload.shape)[:] = payload  # the one copy of reassembly
            fresh = self._cover(event, segment.offset, size, now_ns, events)
            self.tally.duplicates += (size - fresh) // payload.shape[1]
        return rows.size

    def _feed_one(self, datagram: NDArray[np.uint8], now_ns: int, events: list[Event]) -> None:
        try:
            segment = parse_segment(datagram[:HEAD_BYTES].tobytes(), len(datagram))
        except ProtocolError as error:
            self._refuse(str(error))
            return
        event = self._event_of(segment, 1, now_ns)
        if event is None:
            return
        size = len(datagram) - segment.start
        event.payload[segment.offset : segment.offset + size] = datagram[segment.start :]
        if not self._cover(event, segment.offset, size, now_ns, events) and size:
            self.tally.duplicates += 1

    def _refuse(self, why: str, count: int = 1) -> None:
        self.tally.bad += count
        self.tally.last_error = why

    def _cover(self, event: _Unfinished, offset: int, size: int, now_ns: int, events: list[Event]) -> int:
        """Book bytes that were copied; return how many of them were new."""
        fresh = event.coverage.add(offset, offset + size)
        if event.coverage.received == event.length:
            self._complete(event, now_ns, events)
            return fresh
        if fresh:
            event.since_ns = now_ns
            self._unfinished.move_to_end(event.key)
        if event.coverage.pieces > MOST_PIECES:
            self._give_up(event, now_ns)
        return fresh

    def _event_of(self, segment: Segment, count: int, now_ns: int) -> _Unfinished | None:
        """Return the unfinished event of `count` alike datagrams, begun if need be; None if they were counted away."""
        event = self._unfinished.get((segment.data_id, segment.event))
        if event is not None and _other_tick(event.tick, segment.tick):
            self._give_up(event, now_ns)  # the sender has started again in mid-event
            event = None
        if event is None:
            return self._begin(segment, count, now_ns, None)
        if event.length != segment.length:
            self._refuse(f"event {segment.event}: length changed from {event.length} to {segment.length} bytes", count)
            return None
        return event

    def _begin(
        self, segment: Segment, count: int, now_ns: int, payload: NDArray[np.uint8] | None
    ) -> _Unfinished | None:
        """Begin an event in `payload`, or in memory of the pool if that is None."""
        stream = self._stream(segment.data_id)
        if segment.length > self._most_bytes:
            self._refuse(f"event {segment.event}: {segment.length} bytes, allowed are {self._most_bytes}", count)
            return None
        match stream.judge(segment.event, segment.tick, now_ns):
            case Verdict.REPEAT:
                self.tally.repeats += count
                return None
            case Verdict.LATE:
                self.tally.late += count
                return None
        while self._held + segment.length + EVENT_OVERHEAD > self._memory:
            self._give_up(next(iter(self._unfinished.values())), now_ns)
        key = (segment.data_id, segment.event)
        event = _Unfinished(key, segment.tick, self.pool.take(segment.length) if payload is None else payload, now_ns)
        self._unfinished[key] = event
        self._held += event.length + EVENT_OVERHEAD
        return event

    def _stream(self, data_id: int) -> Stream:
        stream = self._streams.get(data_id)
        if stream is None:
            if len(self._streams) >= MOST_SOURCES:
                self._lost_forgotten += self._streams.pop(next(iter(self._streams))).lost
            stream = self._streams[data_id] = Stream(self._gaps)
        return stream

    def _complete(self, event: _Unfinished, now_ns: int, events: list[Event]) -> None:
        data_id, number = event.key
        self._remove(event)
        stream = self._stream(data_id)
        stream.completed(number, event.tick, now_ns)
        self.tally.events += 1
        events.append(Event(data_id, number, event.tick, event.payload, stream.lives))

    def _give_up(self, event: _Unfinished, now_ns: int) -> None:
        data_id, number = event.key
        self._remove(event)
        self._stream(data_id).given_up(number, event.tick, now_ns)
        self.tally.incomplete += 1
        self._given_up.append(Incomplete(data_id, number, event.coverage.received, event.length))
        self.pool.give(event.payload)

    def _remove(self, event: _Unfinished) -> None:
        del self._unfinished[event.key]
        self._held -= event.length + EVENT_OVERHEAD


def _other_tick(known: int | None, tick: int | None) -> bool:
    return known is not None and tick is not None and known != tick


def consecutive(heads: NDArray[np.uint8], first: Segment, step: int) -> bool:
    """Return whether all headers, [packet, byte], are like the first one, each offset `step` bytes after the last."""
    got = heads.tobytes()
    wanted = bytearray(got[: first.start] * len(heads))
    column = (first.start - RE_BYTES + OFFSET_AT) // 4
    words = np.frombuffer(wanted, ">u4")
    words[column :: first.start // 4] = _ramp(len(heads), step) + np.uint32(first.offset)
    return got == wanted


@lru_cache(maxsize=64)
def _ramp(count: int, step: int) -> NDArray[np.uint32]:
    return np.arange(count, dtype=np.uint32) * np.uint32(step)
