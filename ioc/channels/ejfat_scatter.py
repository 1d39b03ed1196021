"""Receives events straight into the memory that they are handed out in: the kernel scatters headers and payload.

How it works: the next events are expected to look like the last one: as long, cut and batched alike, from the first
byte on, in order. A `Landing` says where each header and each payload of them is to go, and one call fills as many as
are there. Then the headers are compared with those that the first of each event calls for. What is as expected lies
where it belongs. What is not, because messages before it were lost, is moved to where it belongs; anything else is put
together again as it was on the wire, and goes through the reassembler like any other datagram. Then receiving in place
goes on behind the last message, so that a lost one costs little more than itself. Whoever finds nothing in its place in
`MOST_MISSES` calls in a row leaves the next `REST_EVENTS` events to the reassembler.

Safe because: bytes are written only behind what the event already has, or into memory that no event has yet; and an
event that was given up meanwhile is noticed before the next call.
"""

import numpy as np
from numpy.typing import NDArray

from ioc.channels import ejfat_mmsg
from ioc.channels.ejfat_landing import Landing, Shape
from ioc.channels.ejfat_reassembly import Event, Reassembler
from ioc.channels.ejfat_wire import Segment, parse_segment, segment_like
from ioc.core.errors import ProtocolError

MOST_MISSES = 3
REST_EVENTS = 100
LEAST_AT_ONCE = 4
"""Messages of a call while some are lost: all behind a lost one has to be moved."""


class Scatter:
    """Receives in place while it is `armed`; `expect` arms it."""

    def __init__(self, descriptor: int, reassembler: Reassembler) -> None:
        self._descriptor = descriptor
        self._reassembler = reassembler
        self._landing: Landing | None = None
        self._at = 0
        """The row of the landing that the next message is for."""
        self._key: tuple[int, int] | None = None
        """The event that this row is to go on with; None: a new one."""
        self._first: Segment | None = None
        """What the first header of the event says that is received now ..."""
        self._known: tuple[Segment, bytes] | None = None
        """... and of one that was read, with its bytes."""
        self._free = range(0)
        """The places that are aimed at memory of no event."""
        self.armed = False
        self.emptied = False
        """Whether the last call took all that there was."""
        self._misses = self._rest = 0
        self._at_once = LEAST_AT_ONCE

    def expect(self, shape: Shape) -> None:
        """Expect events like one that was just received whole."""
        if self._rest > 0:
            self._rest -= 1
            return
        if not shape.fits:
            return
        if self._landing is None or shape != self._landing.shape:
            self._landing, self._known = Landing(shape), None
        self._begin_anew(self._landing)

    def receive(self, now_ns: int, wait: bool = True) -> list[Event]:
        """Take what one call brings; return the events that became whole. With `wait`, wait for the first message.

        Raises:
            BlockingIOError: nothing was there, or came within the socket's time-out.
        """
        landing = self._landing
        assert landing is not None
        if self._key is not None and not self._reassembler.holds(self._key, landing.payload(self._place(landing))):
            self._key = None  # given up meanwhile: its memory is not ours any more
            self.disarm()
            return []
        first, last = self._at, min(self._at + self._at_once, landing.rows)
        count = ejfat_mmsg.receive(self._descriptor, landing.ready(first, last), last - first, wait)
        self.emptied = count < last - first
        events: list[Event] = []
        follows = self._take(landing, first + count, now_ns, events)
        self._misses = 0 if self._at > first else self._misses + 1
        if self._at < first + count:
            self._mend(landing, first + count, now_ns, events)
            return events
        self._at_once = min(2 * self._at_once, landing.shape.at_once)
        if not follows or self._at == landing.rows:
            self.disarm()
            self._begin_anew(landing)
        return events

    def disarm(self) -> None:
        """Let go of the memory of events that have not begun."""
        if self.armed and self._landing is not None:
            for place in self._free:
                self._reassembler.pool.give(self._landing.payload(place))
        self._free = range(0)
        self._key, self.armed = None, False

    def _place(self, landing: Landing) -> int:
        return self._at // landing.shape.messages

    def _begin_anew(self, landing: Landing, place: int = 0) -> None:
        """Expect events of which nothing is here, from a place on."""
        pool, shape = self._reassembler.pool, landing.shape
        self._free = range(place, shape.places)
        for one in self._free:
            landing.aim(one, pool.take(shape.length))
        if place == 0:
            self._key, self._at = None, 0
        self.armed = True

    def _take(self, landing: Landing, end: int, now_ns: int, events: list[Event]) -> bool:
        """Book the rows before `end` that are as expected; return whether what comes is to follow them."""
        messages, sized = landing.shape.messages, landing.sized(self._at, end)
        while self._at < sized:
            first, stop = self._at, min(sized, (self._place(landing) + 1) * messages)
            if first % messages == 0 and not self._begins(landing, first):
                return True
            good = landing.headed(first, stop)
            booked = self._book(landing, first, good, now_ns, events) if good > first else None
            if not booked or good < stop:
                return booked is not False
        return True

    def _begins(self, landing: Landing, row: int) -> bool:
        """Look at the first header, and want those that follow it; return whether an event begins with it."""
        head, shape = landing.head(row), landing.shape
        segment = segment_like(*self._known, head) if self._known is not None else None
        if segment is None:
            try:
                segment = parse_segment(head, shape.start + min(shape.segment, shape.length))
            except ProtocolError:
                return False
        if segment.start != shape.start or segment.offset or segment.length != shape.length:
            return False
        landing.follow(self._place(landing), head)
        self._first, self._known = segment, (segment, head)
        return True

    def _book(self, landing: Landing, first: int, end: int, now_ns: int, events: list[Event]) -> bool | None:
        """Book rows that are as expected; return as `Reassembler.place` does."""
        shape, place = landing.shape, self._place(landing)
        before = place * shape.messages
        start, stop = (first - before) * shape.per_message, min((end - before) * shape.per_message, shape.packets)
        size = min(stop * shape.segment, shape.length) - start * shape.segment
        assert self._first is not None
        segment = self._first._replace(offset=start * shape.segment) if start else self._first
        booked = self._reassembler.place(segment, stop - start, (landing.payload(place), size), now_ns, events)
        if booked is not None:
            self._at = end
        if booked:
            whole = end - before == shape.messages
            self._key = None if whole else (segment.data_id, segment.event)
            self._free = range(place + 1, shape.places)
        else:
            self._key = None
        return booked

    def _mend(self, landing: Landing, end: int, now_ns: int, events: list[Event]) -> None:
        """Put rows from `_at` to `end`, which are not as expected, where they belong; go on behind the last one."""
        self._at_once = max(LEAST_AT_ONCE, self._at_once // 2)
        stop, by = self._displaced(landing, end)
        wire = [landing.wire(row) for row in range(stop, end)]  # before anything is written where they lie
        if by:
            landing.shift(self._at, stop, by)
            self._at += by
            self._book(landing, self._at, stop + by, now_ns, events)
        if not wire:
            return
        self.disarm()
        for data, step in wire:
            events += self._reassembler.feed(data, step, now_ns)
        if self._misses >= MOST_MISSES:
            self._misses, self._rest = 0, REST_EVENTS
        else:
            self._go_on(landing, *wire[-1])

    def _displaced(self, landing: Landing, end: int) -> tuple[int, int]:
        """Return up to which row, not included, full messages of the begun event follow, and how many rows too early.

        They do when messages before them were lost; the last message of an event is shorter, and not among them.
        """
        shape, (place, message) = landing.shape, divmod(self._at, landing.shape.messages)
        try:
            segment = parse_segment(landing.head(self._at), shape.packet)
        except ProtocolError:
            return self._at, 0
        there, rest = divmod(segment.offset, shape.per_message * shape.segment)
        by = there - message
        stop = min(landing.sized(self._at, end), (place + 1) * shape.messages - 1 - by)
        if (segment.data_id, segment.event) != self._key or rest or by <= 0 or stop <= self._at:
            return self._at, 0
        return (stop, by) if landing.headed(self._at, stop, by) == stop else (self._at, 0)

    def _go_on(self, landing: Landing, data: NDArray[np.uint8], step: int) -> None:
        """Expect what follows a message, if that is one of an event of our shape."""
        shape, head = landing.shape, data[: landing.shape.start].tobytes()
        try:
            segment = parse_segment(head, min(step, len(data)))
        except ProtocolError:
            return
        message, rest = divmod(segment.offset, shape.per_message * shape.segment)
        if rest or (segment.start, segment.length) != (shape.start, shape.length):
            return
        if message + 1 == shape.messages:
            self._begin_anew(landing)
        elif len(data) == shape.per_message * shape.packet and step == shape.packet:
            key = (segment.data_id, segment.event)
            found = self._reassembler.memory_of(key)
            if found is not None and found[1] == segment.offset + shape.per_message * shape.segment:
                landing.aim(0, found[0])
                landing.follow(0, head)
                self._key, self._at, self._first = key, message + 1, segment._replace(offset=0)
                self._begin_anew(landing, place=1)
