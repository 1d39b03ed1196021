"""Reads UDP sockets: takes what comes, has it put together, and hands whole events to the `Intake`.

How it works: a call takes up to two megabytes of datagrams. While packets flow, who has taken all naps before the next
call; when none come, it blocks in the kernel (`ejfat_naps`). One thread at a time (`ejfat_receiver` says which).
"""

import select
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ioc.channels import ejfat_mmsg, ejfat_socket
from ioc.channels.ejfat_asking import Asking
from ioc.channels.ejfat_intake import Intake
from ioc.channels.ejfat_landing import Shape
from ioc.channels.ejfat_naps import Naps
from ioc.channels.ejfat_pacing import LEAST_WAIT_NS, Pause
from ioc.channels.ejfat_reassembly import Event, Incomplete, Reassembler
from ioc.channels.ejfat_scatter import Scatter
from ioc.channels.ejfat_wire import HEAD_BYTES, RE_BYTES
from ioc.core.clock import Clock

BUFFER_BYTES = 1 << 17
"""More than the 64 KiB that a call can return."""

RECENT_INCOMPLETE = 1000


@dataclass(frozen=True, slots=True)
class Patience:
    """s that the reader blocks before it looks at time-outs, and s without new bytes until an event is given up."""

    wait: float
    event_timeout: float


@dataclass(frozen=True, slots=True)
class Destination:
    """Where what comes is put together, who takes whole events, and who asks for lost packets (None: nobody)."""

    reassembler: Reassembler
    intake: Intake
    asking: Asking | None


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen at the last look: events missing, datagrams dropped by the kernel; and what it granted."""

    lost: int = 0
    kernel_drops: int = 0
    coalescing: bool = False
    receive_buffer: int = 0


class EventReader:
    """Reads sockets, on behalf of the thread that calls it."""

    def __init__(
        self, sockets: Sequence[socket.socket], to: Destination, patience: Patience, clock: Clock, pause: Pause
    ) -> None:
        """Keep what is needed; `pause` ends when the reader is to stop."""
        self._sockets = sockets
        self._poll = select.poll()
        for sock in sockets:
            self._poll.register(sock, select.POLLIN)
        self._by_descriptor = {sock.fileno(): sock for sock in sockets}
        self._reassembler, self._intake, self._asking = to.reassembler, to.intake, to.asking
        self._wait, self._event_timeout = patience.wait, patience.event_timeout
        self._clock = clock
        self._pause = pause
        self._naps = Naps()
        self._buffer = np.empty(BUFFER_BYTES, np.uint8)
        self._scatter: Scatter | None = None
        self._greatest = self._packet = 0
        """Bytes of the longest message and of the longest packet since the last event."""
        self._look_ns = 0
        self._nap_until_ns = 0
        self._emptied = True
        self._emptied_ns = 0
        self.recent: deque[Incomplete] = deque(maxlen=RECENT_INCOMPLETE)
        """The events given up last."""
        self.lost_ranges: dict[int, list[tuple[int, int]]] = {}
        """By data id the event numbers that are missing."""
        self.looked = Looked()

    def start(self, in_place: bool) -> None:
        """Make the sockets ready; `in_place`: receive events straight into their memory where that can be done."""
        coalescing = [ejfat_socket.coalesce(sock) for sock in self._sockets]
        granted = min(sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for sock in self._sockets)
        self.looked = Looked(coalescing=all(coalescing), receive_buffer=granted)
        for sock in self._sockets:
            ejfat_socket.set_receive_timeout(sock, self._wait)
            sock.setblocking(len(self._sockets) == 1)
        if len(self._sockets) == 1 and ejfat_mmsg.AVAILABLE and in_place:
            self._scatter = Scatter(self._sockets[0].fileno(), self._reassembler)

    def step(self, wait: bool = True) -> bool:
        """Take what one call a port returns; return False if nothing came for a while.

        With `wait` whoever waits for items is told, and it naps or blocks when it has taken all.
        """
        if self._asking is not None and self._asking.arrived:
            self._take_resent(self._asking)
        single = len(self._sockets) == 1
        blocks = wait and self._naps.over
        taken = self._take_one(blocks) if single else self._take_ready(wait)
        now_ns = self._clock.monotonic_ns()
        if self._emptied:
            self._emptied_ns = now_ns
            if wait and self._intake.untold:
                self._intake.tell()
        if now_ns >= self._look_ns:
            self.look(now_ns)
        if single:
            self._naps.took(taken)
            self._nap(now_ns, at_once=wait and (taken or not blocks))
        return taken

    def fetch(self, seconds: float) -> None:
        """Read until an item is there, for `seconds` at most; for the thread that waits for items."""
        limit_ns = self._clock.monotonic_ns() + round(seconds * 1e9)
        while not self._pause.ended and self._await(limit_ns - self._clock.monotonic_ns()):
            self.step(wait=False)
            if self._intake.queued or self._clock.monotonic_ns() >= limit_ns:
                return

    @property
    def idle(self) -> bool:
        """Whether nothing comes: who reads blocks."""
        return self._emptied and self._naps.over

    def is_behind(self, longest: float) -> bool:
        """Return whether there was always more to take for `longest` s."""
        return not self._emptied and self._clock.monotonic_ns() - self._emptied_ns > longest * 1e9

    def read_rest(self) -> None:
        """Read what the sockets' buffers hold, and no more: a sender may go on for ever."""
        for sock in self._sockets:
            sock.setblocking(False)
        tally = self._reassembler.tally
        most = tally.bytes + self.looked.receive_buffer * len(self._sockets)
        while tally.bytes < most and self.step(wait=False):
            pass
        if self._asking is not None:
            self._await_resent(self._asking)

    def finish(self) -> None:
        """Give up what is unfinished: no more will come."""
        now_ns = self._clock.monotonic_ns()
        if self._scatter is not None:
            self._scatter.disarm()
        self.recent.extend(self._reassembler.give_up_all(now_ns))
        self.look(now_ns)

    def look(self, now_ns: int) -> None:
        """Give up what is too old, let end markers go that waited for it, and refresh the figures."""
        self._look_ns = now_ns + round(self._wait * 1e9)
        given_up = self._reassembler.expire(now_ns)
        self.recent.extend(given_up)
        if self._asking is not None:
            self._asking.look(given_up, now_ns)
        self._intake.let_ends_go()
        lost = self._reassembler.lost
        if lost != self.looked.lost:
            self.lost_ranges = self._reassembler.lost_ranges()
        drops = sum(ejfat_socket.kernel_drops(sock) for sock in self._sockets)
        self.looked = replace(self.looked, lost=lost, kernel_drops=drops)

    def _await(self, left_ns: int) -> bool:
        """Wait until it is worth while to read, for `left_ns` at most; return whether it is now."""
        if self._naps.over:
            if left_ns > 0:
                self._poll.poll(min(self._wait, left_ns / 1e9) * 1000)
            return True
        nap_ns = self._nap_until_ns - self._clock.monotonic_ns()
        if nap_ns < LEAST_WAIT_NS:
            return True
        if left_ns > 0:
            self._pause.wait(min(nap_ns, left_ns) / 1e9)
        return nap_ns <= left_ns

    def _nap(self, now_ns: int, at_once: bool) -> None:
        """Nap if all was taken: `at_once`, or before the next call of who reads for himself."""
        seconds = self._naps.next(self._reassembler.tally.bytes) if self._emptied else 0.0
        self._nap_until_ns = now_ns + round(seconds * 1e9)
        if at_once and seconds:
            self._pause.wait(seconds)

    def _take_one(self, wait: bool) -> bool:
        """Take what is there of the only port."""
        if self._scatter is not None and self._scatter.armed:
            taken = self._take_in_place(self._scatter, wait)
            self._emptied = self._scatter.emptied or not taken
        else:
            taken = self._take_from(self._sockets[0], wait)
            self._emptied = not taken
        return taken

    def _take_ready(self, wait: bool) -> bool:
        """Take a message of each port that has one."""
        ready = self._poll.poll(self._wait * 1000 if wait else 0)
        taken = [self._take_from(self._by_descriptor[descriptor], wait=False) for descriptor, _ in ready]
        self._emptied = not ready or not self._poll.poll(0)
        return any(taken)

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
        return True

    def _expect_another(self, scatter: Scatter, event: Event) -> None:
        """Expect an event like the one that was just received: as long, and cut and batched alike."""
        start = RE_BYTES if event.tick is None else HEAD_BYTES
        if not scatter.armed:
            scatter.expect(Shape(len(event.payload), self._packet, start, self._greatest // self._packet))
        self._greatest = self._packet = 0

    def _await_resent(self, asking: Asking) -> None:
        """Go on while anything is asked for, no longer than it can take until that is given up."""
        end_ns = self._clock.monotonic_ns() + round(2e9 * self._event_timeout)
        for sock in self._sockets:
            sock.setblocking(len(self._sockets) == 1)
        while asking.busy and self._clock.monotonic_ns() < end_ns:
            self.look(self._clock.monotonic_ns())
            self.step()
