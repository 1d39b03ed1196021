"""Receives EJFAT events over UDP as items: a thread of its own reads, reassembles and decodes.

How it works: the reader blocks in the kernel, takes up to 64 KiB of datagrams a call, and hands whole items over in a
bounded queue. An event that finds the queue full is dropped and counted, because waiting would only move the loss into
the socket's buffer; end markers may use the queue twice as far. An end marker waits while an event before it is
unfinished, until that is whole or given up, or until a later event is whole.
"""

import logging
import select
import socket
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ioc.channels import ejfat_mmsg, ejfat_socket
from ioc.channels.base import Counters
from ioc.channels.ejfat_pool import BufferPool
from ioc.channels.ejfat_reassembly import Event, Incomplete, Limits, Reassembler
from ioc.channels.ejfat_scatter import Scatter, Shape
from ioc.channels.ejfat_wire import HEAD_BYTES, RE_BYTES
from ioc.core import codec
from ioc.core.clock import Clock, SystemClock
from ioc.core.errors import ProtocolError, RayfanBug
from ioc.core.frame import EndOfSeries, Frame, Item

BUFFER_BYTES = 1 << 17
"""More than the 64 KiB that a call can return."""

LONGEST_WAIT = 0.05
"""Seconds that the reader blocks before it looks at time-outs and whether it is to stop."""

MOST_UNTOLD = 16
"""Items that may be in the queue before who waits for them is woken, while there is more to read: waking is dear."""

JOIN_SECONDS = 5.0
RECENT_INCOMPLETE = 1000
ENDS_REMEMBERED = 64

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """Where to listen and what to hold.

    It listens on 2 to the power `port_range` ports from `port` on; port 0 means free ones. `event_timeout` is s without
    new bytes until an event is given up. `memory` is bytes: as much for unfinished events, and as much for whole ones
    that are queued or handed out; `queue_size` counts items. `verify` compares the pixels with the sender's checksum.
    `receive_buffer` is bytes asked of the kernel. `shared`: a load balancer deals the events out, so that other workers
    have the numbers between, and end markers come more than once. `in_place`: receive events straight into their memory
    where that can be done.
    """

    address: str = "127.0.0.1"
    port: int = 0
    event_timeout: float = 0.5
    max_event_bytes: int = 256 << 20
    memory: int = 1 << 30
    queue_size: int = 1024
    verify: bool = True
    receive_buffer: int = 64 << 20
    port_range: int = 0
    shared: bool = False
    in_place: bool = True


@dataclass(frozen=True, slots=True)
class ReceiverFigures:
    """What arrived and what did not.

    Events: `complete`, `incomplete` (given up), `lost` (gaps in the numbers, nothing whole), `corrupt` (whole, but no
    item or a wrong checksum), `dropped` (found the queue full), `shed` (found the memory full). Datagrams: `packets`,
    `bad`, `duplicates`, `repeats` (of events complete already; copies of end markers), `late`, `kernel_drops`.
    `receive_buffer` is bytes granted, `memory_used` bytes of events, whole or not, that are here.
    """

    complete: int = 0
    incomplete: int = 0
    lost: int = 0
    corrupt: int = 0
    dropped: int = 0
    shed: int = 0
    memory_used: int = 0
    packets: int = 0
    bytes: int = 0
    bad: int = 0
    duplicates: int = 0
    repeats: int = 0
    late: int = 0
    kernel_drops: int = 0
    unfinished: int = 0
    queued: int = 0
    coalescing: bool = False
    receive_buffer: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class _Queued:
    item: Item
    buffer: NDArray[np.uint8]
    size: int


class EjfatReceiver:
    """A Receiver from UDP. `open` makes one that runs; it never comes to an end by itself."""

    def __init__(
        self, sockets: Sequence[socket.socket], settings: ReceiverSettings, clock: Clock | None = None
    ) -> None:
        self._sockets = sockets
        self._poll = select.poll()
        for sock in sockets:
            self._poll.register(sock, select.POLLIN)
        self._by_descriptor = {sock.fileno(): sock for sock in sockets}
        self.port = sockets[0].getsockname()[1]
        """The first UDP port that it listens on."""
        self._settings = settings
        self._clock = clock or SystemClock()
        self._pool = BufferPool(settings.memory // 4)
        limits = Limits(settings.max_event_bytes, settings.memory, gaps=not settings.shared)
        self._reassembler = Reassembler(limits, settings.event_timeout, self._pool)
        self._buffer = np.empty(BUFFER_BYTES, np.uint8)
        self._wait = min(LONGEST_WAIT, settings.event_timeout / 4)
        self._scatter: Scatter | None = None
        self._greatest = self._packet = 0
        """Bytes of the longest message and of the longest packet since the last event."""
        self._look_ns = 0
        self._ready = threading.Condition()
        self._queue: deque[_Queued] = deque()
        self._untold = 0
        self._held_bytes = 0
        self._out: deque[_Queued] = deque()
        self._ends: list[tuple[Event, EndOfSeries]] = []
        self._recent_ends: deque[EndOfSeries] = deque(maxlen=ENDS_REMEMBERED)
        self._end_repeats = 0
        self._recent: deque[Incomplete] = deque(maxlen=RECENT_INCOMPLETE)
        self._lost_ranges: dict[int, list[tuple[int, int]]] = {}
        self._looked = ReceiverFigures()
        self._corrupt = self._dropped = self._shed = self._items = self._bytes = 0
        self._last_error = ""
        self._failure: Exception | None = None
        self._ended = False
        self._drain = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ejfat-reader-{self.port}", daemon=True)

    @classmethod
    def open(cls, settings: ReceiverSettings) -> Self:
        """Return a receiver that listens.

        Raises:
            ConfigError: the port is taken, or the address is not one of this host.
        """
        count = 1 << settings.port_range
        sockets = ejfat_socket.listen_range(settings.address, settings.port, count, settings.receive_buffer)
        receiver = cls(sockets, settings)
        receiver.start()
        return receiver

    def start(self) -> None:
        """Begin to read."""
        coalescing = [ejfat_socket.coalesce(sock) for sock in self._sockets]
        granted = min(sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for sock in self._sockets)
        self._looked = ReceiverFigures(coalescing=all(coalescing), receive_buffer=granted)
        for sock in self._sockets:
            ejfat_socket.set_receive_timeout(sock, self._wait)
            sock.setblocking(len(self._sockets) == 1)
        if len(self._sockets) == 1 and ejfat_mmsg.AVAILABLE and self._settings.in_place:
            self._scatter = Scatter(self._sockets[0].fileno(), self._reassembler)
        self._thread.start()

    def receive(self, max_items: int, timeout: float) -> Sequence[Item]:
        """Return up to `max_items` items in the order in which they became whole; empty if none within `timeout` s.

        Raises:
            RayfanBug: the reader has failed; its error is the cause.
        """
        with self._ready:
            if not self._queue:
                self._ready.wait_for(lambda: self._queue or self._ended, timeout)
            batch = [self._queue.popleft() for _ in range(min(max_items, len(self._queue)))]
        if not batch and self._failure is not None:
            raise RayfanBug("EJFAT reader failed; restart the ingress and report this") from self._failure
        self._out.extend(batch)
        self._items += len(batch)
        self._bytes += sum(queued.size for queued in batch)
        return [queued.item for queued in batch]

    def release(self, count: int) -> None:
        """Give the memory of the next `count` items of the batch back, to be used again."""
        if count > len(self._out):
            raise RayfanBug(f"EJFAT receiver: {count} items released, {len(self._out)} are out")
        released = [self._out.popleft() for _ in range(count)]
        for queued in released:
            self._pool.give(queued.buffer)
        with self._ready:
            self._held_bytes -= sum(queued.size for queued in released)

    def fill(self) -> float:
        """Return how full the queue is, 0 to 1: in items or in bytes, whichever is more."""
        settings = self._settings
        return min(1.0, max(len(self._queue) / settings.queue_size, self._held_bytes / settings.memory))

    def counters(self) -> Counters:
        """Return items and pixel bytes handed out, and the errors: bad datagrams, corrupt events."""
        return Counters(self._items, self._bytes, self._reassembler.tally.bad + self._corrupt)

    def figures(self) -> ReceiverFigures:
        """Return all that is counted; `lost` and `kernel_drops` are up to 50 ms old."""
        tally = self._reassembler.tally
        return replace(
            self._looked,
            complete=tally.events,
            incomplete=tally.incomplete,
            corrupt=self._corrupt,
            dropped=self._dropped,
            shed=self._shed,
            memory_used=self._reassembler.held + self._held_bytes,
            packets=tally.packets,
            bytes=tally.bytes,
            bad=tally.bad,
            duplicates=tally.duplicates,
            repeats=tally.repeats + self._end_repeats,
            late=tally.late,
            unfinished=self._reassembler.unfinished,
            queued=len(self._queue),
            last_error=self._last_error or tally.last_error,
        )

    def incomplete_events(self) -> list[Incomplete]:
        """Return the events given up last, oldest first."""
        return list(self._recent)

    def lost_ranges(self) -> dict[int, list[tuple[int, int]]]:
        """Return by data id the event numbers that are missing, as closed ranges."""
        return self._lost_ranges

    def close(self, drain: bool) -> None:
        """Stop; with `drain`, what the kernel holds is read and can still be received."""
        self._drain = drain
        self._stopping.set()
        self._thread.join(JOIN_SECONDS)
        if self._thread.is_alive():
            _log.error("EJFAT reader did not stop within %g s", JOIN_SECONDS)
        for sock in self._sockets:
            sock.close()
        if not drain:
            with self._ready:
                self._queue.clear()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._step()
            if self._drain:
                self._read_rest()
            self._finish()
        except Exception as error:  # noqa: BLE001 - the boundary of the reader: `receive` raises it
            _log.exception("EJFAT reader failed")
            self._failure = error
        finally:
            with self._ready:
                self._ended = True
                self._ready.notify_all()

    def _step(self, wait: bool = True) -> bool:
        """Take what one call a port returns; return False if nothing came for a while."""
        if self._untold and not self._poll.poll(0):
            with self._ready:
                self._tell()
        if self._scatter is not None and self._scatter.armed:
            return self._take_in_place(self._scatter)
        if len(self._sockets) == 1:
            return self._take_from(self._sockets[0])
        ready = self._poll.poll(self._wait * 1000 if wait else 0)
        if not ready:
            self._look(self._clock.monotonic_ns())
        taken = [self._take_from(self._by_descriptor[descriptor]) for descriptor, _ in ready]
        return any(taken)

    def _take_from(self, sock: socket.socket) -> bool:
        try:
            size, ancillary, _, _ = sock.recvmsg_into([self._buffer.data], ejfat_socket.ANCILLARY_BYTES)
        except BlockingIOError:
            self._look(self._clock.monotonic_ns())
            return False
        now_ns = self._clock.monotonic_ns()
        step = ejfat_socket.segment_size(ancillary, size)
        self._greatest, self._packet = max(self._greatest, size), max(self._packet, step)
        for event in self._reassembler.feed(self._buffer[:size], step, now_ns):
            if self._scatter is not None and not self._reassembler.unfinished and step:
                self._expect_another(self._scatter, event)
            self._take(event)
        if now_ns >= self._look_ns:
            self._look(now_ns)
        return True

    def _take_in_place(self, scatter: Scatter) -> bool:
        try:
            events = scatter.receive(self._clock.monotonic_ns())
        except BlockingIOError:
            self._look(self._clock.monotonic_ns())
            return False
        for event in events:
            self._take(event)
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._look_ns:
            self._look(now_ns)
        return True

    def _expect_another(self, scatter: Scatter, event: Event) -> None:
        """Expect an event like the one that was just received: as long, and cut and batched alike."""
        start = RE_BYTES if event.tick is None else HEAD_BYTES
        if not scatter.armed:
            scatter.expect(Shape(len(event.payload), self._packet, start, self._greatest // self._packet))
        self._greatest = self._packet = 0

    def _read_rest(self) -> None:
        """Read what the socket's buffer held when stopping, and no more: a sender may go on for ever."""
        for sock in self._sockets:
            sock.setblocking(False)
        most = self._reassembler.tally.bytes + self._looked.receive_buffer * len(self._sockets)
        while self._reassembler.tally.bytes < most and self._step(wait=False):
            pass

    def _finish(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._scatter is not None:
            self._scatter.disarm()
        self._recent.extend(self._reassembler.give_up_all(now_ns))
        self._look(now_ns)

    def _look(self, now_ns: int) -> None:
        """Give up what is too old, let end markers go that waited for it, and refresh the figures."""
        self._look_ns = now_ns + round(self._wait * 1e9)
        self._recent.extend(self._reassembler.expire(now_ns))
        self._let_ends_go(None)
        lost = self._reassembler.lost
        if lost != self._looked.lost:
            self._lost_ranges = self._reassembler.lost_ranges()
        drops = sum(ejfat_socket.kernel_drops(sock) for sock in self._sockets)
        self._looked = replace(self._looked, lost=lost, kernel_drops=drops)

    def _take(self, event: Event) -> None:
        try:
            item = codec.decode(event.payload, self._settings.verify)
        except ProtocolError as error:
            self._corrupt += 1
            self._last_error = f"event {event.number} of data id {event.data_id}: {error}"
            self._pool.give(event.payload)
            return
        if self._settings.shared and isinstance(item, EndOfSeries) and self._is_old(item):
            self._end_repeats += 1
            self._pool.give(event.payload)
            return
        if self._ends:
            self._let_ends_go(event)
        if isinstance(item, EndOfSeries) and self._reassembler.begun_before(event.data_id, event.number):
            self._ends.append((event, item))
            return
        self._enqueue(item, event.payload)
        if self._ends:
            self._let_ends_go(None)

    def _is_old(self, end: EndOfSeries) -> bool:
        """Return whether this end marker was here before, and remember it."""
        if end in self._recent_ends:
            return True
        self._recent_ends.append(end)
        return False

    def _let_ends_go(self, later: Event | None) -> None:
        """Queue the end markers that `later` has overtaken; if None, those that nothing unfinished comes before."""
        waiting, self._ends = self._ends, []
        for event, end in waiting:
            if later is None:
                go = not self._reassembler.begun_before(event.data_id, event.number)
            else:
                go = later.data_id == event.data_id and later.number > event.number
            if go:
                self._enqueue(end, event.payload)
            else:
                self._ends.append((event, end))

    def _tell(self) -> None:
        """Wake who waits for items; to be called with the lock held."""
        self._untold = 0
        self._ready.notify()

    def _enqueue(self, item: Item, buffer: NDArray[np.uint8]) -> None:
        size = item.data.nbytes if isinstance(item, Frame) else 0
        most = self._settings.queue_size if size else 2 * self._settings.queue_size
        with self._ready:
            room = len(self._queue) < most
            fits = self._held_bytes + size <= self._settings.memory
            if room and fits:
                self._queue.append(_Queued(item, buffer, size))
                self._held_bytes += size
                self._untold += 1
                if self._untold >= MOST_UNTOLD:
                    self._tell()
        if not (room and fits):
            self._dropped += not room
            self._shed += room
            self._pool.give(buffer)
