"""The events that became whole, as items in a bounded queue: filled by the thread that reads, emptied by another.

Rules
- An event that finds the queue full, or the memory, is dropped and counted: waiting would only move the loss into the
  socket's buffer. End markers may use the queue twice as far.
- An end marker waits while an event before it is unfinished, until that is whole or given up, or until a later event
  is whole; if lost packets are sent again (`patient`), not for the latter: what is asked for comes late.
- Who waits for items is woken when the reader says so (`tell`), which is before it naps, when nobody is held up by it,
  or when `MOST_UNTOLD` wait, or so many bytes of them.
- The memory of an item is used again when it is released.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioc.channels.ejfat_payload import Given, PayloadReader, RefusedEvent
from ioc.channels.ejfat_pool import BufferPool
from ioc.channels.ejfat_reassembly import Event
from ioc.core.errors import ProtocolError, RayfanBug
from ioc.core.frame import EndOfSeries, Frame, Item
from ioc.core.sequence import Ranges

ENDS_REMEMBERED = 64
MOST_UNTOLD = 32
"""Items that may be in the queue before who waits for them is woken, while there is more to read: waking is dear ..."""

MOST_UNTOLD_BYTES = 8 << 20
"""... but no more than the caches hold: whoever takes them finds them there, and the memory is used again sooner."""

SOURCES_REMEMBERED = 64
"""Data ids whose refused events are named."""


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """Items that may wait, bytes of items that wait or are handed out; `shared`: end markers come more than once."""

    queue_size: int
    memory: int
    shared: bool = False
    patient: bool = False


@dataclass(slots=True)
class IntakeTally:
    """Events that were no items (`corrupt`, of these `refused` for their seal), found no room, or were known."""

    corrupt: int = 0
    refused: int = 0
    dropped: int = 0
    shed: int = 0
    end_repeats: int = 0
    items: int = 0
    bytes: int = 0
    last_error: str = ""
    refused_ids: dict[int, Ranges] = field(default_factory=dict)
    """Event numbers that were refused, by data id."""


class _Queued(NamedTuple):
    item: Item
    buffer: NDArray[np.uint8]
    size: int


class Intake:
    """A queue of items; `take` events in the reader's thread, `receive` and `release` in the owner's."""

    def __init__(
        self,
        settings: IntakeSettings,
        reader: PayloadReader,
        pool: BufferPool,
        waits: Callable[[int, int], bool],
    ) -> None:
        """Keep what is needed; `waits` says whether an event before this one (data id, number) is still to come."""
        self._settings = settings
        self._reader = reader
        self._pool = pool
        self._waits = waits
        self.tally = IntakeTally()
        self.held_bytes = 0
        self.untold = 0
        """Items in the queue that who waits for them was not woken for."""
        self._untold_bytes = 0
        self.ended = False
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._queue: deque[_Queued] = deque()
        self._out: deque[_Queued] = deque()
        self._ends: list[tuple[Event, Given]] = []
        self._recent_ends: deque[EndOfSeries] = deque(maxlen=ENDS_REMEMBERED)

    @property
    def queued(self) -> int:
        """Items that wait."""
        return len(self._queue)

    def fill(self) -> float:
        """Return how full the queue is, 0 to 1: in items or in bytes, whichever is more."""
        settings = self._settings
        return min(1.0, max(len(self._queue) / settings.queue_size, self.held_bytes / settings.memory))

    def receive(self, max_items: int, timeout: float) -> list[Item]:
        """Return up to `max_items` items; empty if none came within `timeout` s, or after the end."""
        with self._lock:
            if not self._queue:
                self._ready.wait_for(lambda: self._queue or self.ended, timeout)
            batch = [self._queue.popleft() for _ in range(min(max_items, len(self._queue)))]
        self._out.extend(batch)
        self.tally.items += len(batch)
        self.tally.bytes += sum(queued.size for queued in batch)
        return [queued.item for queued in batch]

    def release(self, count: int) -> None:
        """Give the memory of the next `count` items back, to be used again."""
        if count > len(self._out):
            raise RayfanBug(f"EJFAT receiver: {count} items released, {len(self._out)} are out")
        released = [self._out.popleft() for _ in range(count)]
        for queued in released:
            self._pool.give(queued.buffer)
        with self._lock:
            self.held_bytes -= sum(queued.size for queued in released)

    def end(self) -> None:
        """Say that no more events come."""
        with self._lock:
            self.ended = True
            self._ready.notify_all()

    def clear(self) -> None:
        """Forget what waits."""
        with self._lock:
            self._queue.clear()

    def take(self, event: Event) -> Given | None:
        """Take an event that became whole; return what it held, None if that was no item."""
        try:
            given = self._reader.read(event, self._pool)
        except ProtocolError as error:
            self._refuse(event, error)
            return None
        item = given.item
        if self._settings.shared and isinstance(item, EndOfSeries) and self._is_old(item):
            self.tally.end_repeats += 1
            self._pool.give(given.buffer)
            return given
        if self._ends and not self._settings.patient:
            self._let_go(lambda one: one.data_id == event.data_id and event.number > one.number)
        if isinstance(item, EndOfSeries) and self._waits(event.data_id, event.number):
            self._ends.append((event, given))
            return given
        self._enqueue(given)
        self.let_ends_go()
        return given

    def let_ends_go(self) -> None:
        """Queue the end markers that nothing unfinished comes before."""
        if self._ends:
            self._let_go(lambda one: not self._waits(one.data_id, one.number))

    def tell(self) -> None:
        """Wake who waits for items, because there is nothing more to read."""
        with self._lock:
            self._wake()

    def _wake(self) -> None:
        self.untold = self._untold_bytes = 0
        self._ready.notify()

    def _refuse(self, event: Event, error: ProtocolError) -> None:
        tally = self.tally
        tally.corrupt += 1
        tally.last_error = f"event {event.number} of data id {event.data_id}: {error}"
        if isinstance(error, RefusedEvent):
            tally.refused += 1
            if event.data_id in tally.refused_ids or len(tally.refused_ids) < SOURCES_REMEMBERED:
                tally.refused_ids.setdefault(event.data_id, Ranges()).add(event.number, event.number)
        self._pool.give(event.payload)

    def _is_old(self, end: EndOfSeries) -> bool:
        """Return whether this end marker was here before, and remember it."""
        if end in self._recent_ends:
            return True
        self._recent_ends.append(end)
        return False

    def _let_go(self, may: Callable[[Event], bool]) -> None:
        waiting, self._ends = self._ends, []
        for event, given in waiting:
            if may(event):
                self._enqueue(given)
            else:
                self._ends.append((event, given))

    def _enqueue(self, given: Given) -> None:
        item = given.item
        size = item.data.nbytes if isinstance(item, Frame) else 0
        most = self._settings.queue_size if size else 2 * self._settings.queue_size
        with self._lock:
            room = len(self._queue) < most
            fits = self.held_bytes + size <= self._settings.memory
            if room and fits:
                self._queue.append(_Queued(item, given.buffer, size))
                self.held_bytes += size
                self.untold += 1
                self._untold_bytes += size
                if self.untold >= MOST_UNTOLD or self._untold_bytes >= MOST_UNTOLD_BYTES:
                    self._wake()
        if not (room and fits):
            self.tally.dropped += not room
            self.tally.shed += room
            self._pool.give(given.buffer)
