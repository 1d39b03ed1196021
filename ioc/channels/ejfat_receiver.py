"""Receives EJFAT events over UDP as items: a thread of its own reads, reassembles and decodes.

How it works: the reader takes up to two megabytes of datagrams a call, and hands whole events to the `Intake`, a
bounded queue of items. While packets flow and it has taken all, it naps; when none come, it blocks in the kernel
(`ejfat_naps`).
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

from ioc.channels import ejfat_mmsg, ejfat_socket
from ioc.channels.base import Counters
from ioc.channels.ejfat_asking import Asking, AskingFigures
from ioc.channels.ejfat_intake import Intake, IntakeSettings
from ioc.channels.ejfat_landing import Shape
from ioc.channels.ejfat_naps import Naps
from ioc.channels.ejfat_pacing import Pause
from ioc.channels.ejfat_payload import PayloadReader, RayfanReader
from ioc.channels.ejfat_pool import BufferPool
from ioc.channels.ejfat_reassembly import Event, Incomplete, Limits, Reassembler
from ioc.channels.ejfat_recovery import Recovery
from ioc.channels.ejfat_scatter import Scatter
from ioc.channels.ejfat_wire import HEAD_BYTES, RE_BYTES
from ioc.core.clock import Clock, SystemClock
from ioc.core.errors import RayfanBug
from ioc.core.frame import Item

BUFFER_BYTES = 1 << 17
"""More than the 64 KiB that a call can return."""

LONGEST_WAIT = 0.05
"""Seconds that the reader blocks before it looks at time-outs and whether it is to stop."""

JOIN_SECONDS = 5.0
RECENT_INCOMPLETE = 1000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """Where to listen and what to hold.

    It listens on 2 to the power `port_range` ports from `port` on; port 0 means free ones. `event_timeout` is s without
    new bytes until an event is given up. `memory` is bytes: as much for unfinished events, and as much for whole ones
    that are queued or handed out; `queue_size` counts items. `verify` compares the pixels with the sender's checksum.
    `receive_buffer` is bytes asked of the kernel. `shared`: a load balancer deals the events out, so that other workers
    have the numbers between, and end markers come more than once. `in_place`: receive events straight into their memory
    where that can be done. `resend_delay` is s after which lost packets are asked for where senders offer it; None:
    never.
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
    resend_delay: float | None = None


@dataclass(frozen=True, slots=True)
class ReceiverFigures:
    """What arrived and what did not.

    Events: `complete`, `incomplete` (given up), `lost` (gaps in the numbers, nothing whole), `corrupt` (whole, but no
    item or a wrong checksum; of these `refused` for their seal), `dropped` (found the queue full), `shed` (found the
    memory full). Datagrams: `packets`, `bad`, `duplicates`, `repeats` (of events complete already; copies of end
    markers), `late`, `kernel_drops`. `receive_buffer` is bytes granted, `memory_used` bytes of events, whole or not,
    that are here.
    """

    complete: int = 0
    incomplete: int = 0
    lost: int = 0
    corrupt: int = 0
    refused: int = 0
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


class EjfatReceiver:
    """A Receiver from UDP. `open` makes one that runs; it never comes to an end by itself."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        settings: ReceiverSettings,
        clock: Clock | None = None,
        reader: PayloadReader | None = None,
    ) -> None:
        """Keep what is needed; `reader` None: events are frames in Rayfan's own format."""
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
        if settings.resend_delay is not None:
            self._wait = min(self._wait, settings.resend_delay / 2)
        self._scatter: Scatter | None = None
        self._greatest = self._packet = 0
        """Bytes of the longest message and of the longest packet since the last event."""
        self._look_ns = 0
        self._reader = reader or RayfanReader(settings.verify)
        delay = settings.resend_delay
        queue = IntakeSettings(settings.queue_size, settings.memory, settings.shared, patient=delay is not None)
        self._asking: Asking | None = None
        if delay is not None:
            recovery = Recovery(self._reassembler, delay, settings.event_timeout)
            self._asking = Asking(self._reassembler, recovery, self._clock, settings.shared)
        waits = self._asking.waits if self._asking is not None else self._reassembler.begun_before
        self._intake = Intake(queue, self._reader, self._pool, waits)
        self._recent: deque[Incomplete] = deque(maxlen=RECENT_INCOMPLETE)
        self._lost_ranges: dict[int, list[tuple[int, int]]] = {}
        self._looked = ReceiverFigures()
        self._failure: Exception | None = None
        self._drain = False
        self._stopping = threading.Event()
        self._pause = Pause()
        self._naps = Naps()
        self._thread = threading.Thread(target=self._run, name=f"ejfat-reader-{self.port}", daemon=True)

    @classmethod
    def open(cls, settings: ReceiverSettings, reader: PayloadReader | None = None) -> Self:
        """Return a receiver that listens.

        Raises:
            ConfigError: the port is taken, or the address is not one of this host.
        """
        count = 1 << settings.port_range
        sockets = ejfat_socket.listen_range(settings.address, settings.port, count, settings.receive_buffer)
        receiver = cls(sockets, settings, reader=reader)
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
        batch = self._intake.receive(max_items, timeout)
        if not batch and self._failure is not None:
            raise RayfanBug("EJFAT reader failed; restart the ingress and report this") from self._failure
        return batch

    def release(self, count: int) -> None:
        """Give the memory of the next `count` items of the batch back, to be used again."""
        self._intake.release(count)

    def fill(self) -> float:
        """Return how full the queue is, 0 to 1: in items or in bytes, whichever is more."""
        return self._intake.fill()

    def is_dealt(self, series: int) -> bool:
        """Return whether ids of this series may be missing although no event is: its sender got only a part."""
        return self._settings.shared or self._reader.is_dealt(series)

    def counters(self) -> Counters:
        """Return items and pixel bytes handed out, and the errors: bad datagrams, corrupt events."""
        intake = self._intake.tally
        return Counters(intake.items, intake.bytes, self._reassembler.tally.bad + intake.corrupt)

    def figures(self) -> ReceiverFigures:
        """Return all that is counted; `lost` and `kernel_drops` are up to 50 ms old."""
        tally, intake = self._reassembler.tally, self._intake.tally
        return replace(
            self._looked,
            complete=tally.events,
            incomplete=tally.incomplete,
            corrupt=intake.corrupt,
            refused=intake.refused,
            dropped=intake.dropped,
            shed=intake.shed,
            memory_used=self._reassembler.held + self._intake.held_bytes,
            packets=tally.packets,
            bytes=tally.bytes,
            bad=tally.bad,
            duplicates=tally.duplicates,
            repeats=tally.repeats + intake.end_repeats,
            late=tally.late,
            unfinished=self._reassembler.unfinished,
            queued=self._intake.queued,
            last_error=intake.last_error or tally.last_error,
        )

    def incomplete_events(self) -> list[Incomplete]:
        """Return the events given up last, oldest first."""
        return list(self._recent)

    def lost_ranges(self) -> dict[int, list[tuple[int, int]]]:
        """Return by data id the event numbers that are missing, as closed ranges."""
        return self._lost_ranges

    def asking(self) -> AskingFigures:
        """Return what was asked for and sent again."""
        return self._asking.figures() if self._asking is not None else AskingFigures()

    def refused_events(self) -> dict[int, list[tuple[int, int]]]:
        """Return by data id the numbers of events that were refused for their seal, as closed ranges."""
        return {data_id: list(numbers) for data_id, numbers in list(self._intake.tally.refused_ids.items())}

    def close(self, drain: bool) -> None:
        """Stop; with `drain`, what the kernel holds is read and can still be received."""
        self._drain = drain
        self._stopping.set()
        self._pause.end()
        self._thread.join(JOIN_SECONDS)
        if self._thread.is_alive():
            _log.error("EJFAT reader did not stop within %g s", JOIN_SECONDS)
        for sock in self._sockets:
            sock.close()
        if self._asking is not None:
            self._asking.close()
        if not drain:
            self._intake.clear()

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
            self._intake.end()

    def _step(self, wait: bool = True) -> bool:
        """Take what one call a port returns; return False if nothing came for a while."""
        if self._asking is not None and self._asking.arrived:
            self._take_resent(self._asking)
        if len(self._sockets) == 1:
            return self._take_one(wait)
        ready = self._poll.poll(self._wait * 1000 if wait else 0)
        if not ready:
            self._look(self._clock.monotonic_ns())
        taken = [self._take_from(self._by_descriptor[descriptor], wait=False) for descriptor, _ in ready]
        if self._intake.untold and not self._poll.poll(0):
            self._intake.tell()
        return any(taken)

    def _take_one(self, wait: bool) -> bool:
        """Take what is there; if that is nothing, nap or block."""
        blocks = wait and self._naps.over
        if self._scatter is not None and self._scatter.armed:
            taken = self._take_in_place(self._scatter, blocks)
            emptied = self._scatter.emptied or not taken
        else:
            taken = self._take_from(self._sockets[0], blocks)
            emptied = not taken
        self._naps.took(taken)
        if emptied and self._intake.untold:
            self._intake.tell()
        if not taken and (blocks or not wait):
            self._look(self._clock.monotonic_ns())
        elif emptied and wait:
            self._pause.wait(self._naps.next(self._reassembler.tally.bytes))
        return taken

    def _take_from(self, sock: socket.socket, wait: bool) -> bool:
        flags = 0 if wait else socket.MSG_DONTWAIT
        try:
            size, ancillary, _, _ = sock.recvmsg_into([self._buffer.data], ejfat_socket.ANCILLARY_BYTES, flags)
        except BlockingIOError:
            return False
        now_ns = self._clock.monotonic_ns()
        step = ejfat_socket.segment_size(ancillary, size)
        self._greatest, self._packet = max(self._greatest, size), max(self._packet, step)
        for event in self._reassembler.feed(self._buffer[:size], step, now_ns):
            if self._scatter is not None and step:
                self._expect_another(self._scatter, event)
            self._take(event)
        if now_ns >= self._look_ns:
            self._look(now_ns)
        return True

    def _take(self, event: Event) -> None:
        given = self._intake.take(event)
        if self._asking is not None:
            self._asking.took(event, given)

    def _take_resent(self, asking: Asking) -> None:
        """Put in what was sent again; the memory that the kernel writes to must not be that of such an event."""
        if self._scatter is not None:
            self._scatter.disarm()
        for event in asking.feed(self._clock.monotonic_ns()):
            self._take(event)

    def _take_in_place(self, scatter: Scatter, wait: bool) -> bool:
        try:
            events = scatter.receive(self._clock.monotonic_ns(), wait)
        except BlockingIOError:
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
        if self._asking is not None:
            self._await_resent(self._asking)

    def _await_resent(self, asking: Asking) -> None:
        """Go on while anything is asked for, no longer than it can take until that is given up."""
        end_ns = self._clock.monotonic_ns() + round(2e9 * self._settings.event_timeout)
        for sock in self._sockets:
            sock.setblocking(len(self._sockets) == 1)
        while asking.busy and self._clock.monotonic_ns() < end_ns:
            self._look(self._clock.monotonic_ns())
            self._step()

    def _finish(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._scatter is not None:
            self._scatter.disarm()
        self._recent.extend(self._reassembler.give_up_all(now_ns))
        self._look(now_ns)

    def _look(self, now_ns: int) -> None:
        """Give up what is too old, let end markers go that waited for it, and refresh the figures."""
        self._look_ns = now_ns + round(self._wait * 1e9)
        given_up = self._reassembler.expire(now_ns)
        self._recent.extend(given_up)
        if self._asking is not None:
            self._asking.look(given_up, now_ns)
        self._intake.let_ends_go()
        lost = self._reassembler.lost
        if lost != self._looked.lost:
            self._lost_ranges = self._reassembler.lost_ranges()
        drops = sum(ejfat_socket.kernel_drops(sock) for sock in self._sockets)
        self._looked = replace(self._looked, lost=lost, kernel_drops=drops)
