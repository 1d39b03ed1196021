"""The thread that writes to one client: answers in order, and updates from the frames' own memory, many in one call.

Rules. A send waits in the kernel, with the interpreter free, for a bounded time (pva_images_socket); then the writer
looks whether what it holds is in the way, and if so copies the rest of it. What a member was sent is finished with when
its host has acknowledged it (pva_images_unconfirmed).
"""

import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from ioc.channels.pva_images_channel import ServedChannel, Subscription
from ioc.channels.pva_images_queue import Taken
from ioc.channels.pva_images_socket import SEND_BUFFER, buffer, buffer_for, prepare
from ioc.channels.pva_images_unconfirmed import Unconfirmed
from ioc.channels.pva_wire_image import Parts
from ioc.channels.pva_wire_ntndarray import Selection

log = logging.getLogger(__name__)

BATCH_BYTES = 1 << 20
"""Pixels handed to the kernel in one call at most, but always one frame."""
CONFIRM_SECONDS = 0.002
"""Between two looks at what the other host has acknowledged."""
MOST_PARTS = 512
"""Pieces in one call; the kernel takes 1024 (IOV_MAX)."""
MOST_BACKLOG = 4096
MOST_BACKLOG_BYTES = 4 << 20
"""Answers, and their bytes, that may wait for a client that does not read them; images do not count."""
JOIN_DEADLINE = 5.0


@dataclass(frozen=True, slots=True)
class Fetch:
    """A get that is to be answered with the newest frame at the time when it is sent."""

    channel: ServedChannel
    selection: Selection
    ioid: int
    last: bool


Job = bytes | Fetch | Subscription | None


class SocketWriter:
    """Writes to one connected socket on a thread of its own, which closes it once it was told to stop.

    Not before: the number of a closed descriptor is given to the next client while the old one is still watched.
    """

    def __init__(self, connection: socket.socket, name: str, lost: Callable[[], None]) -> None:
        """Prepare; `lost` is called on the thread when nothing can be sent any more, and `stop` has to follow."""
        self.sent_bytes = 0
        self._socket = connection
        self._lost = lost
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._closing = False
        self._told_bytes = self._answered_bytes = 0
        self._unconfirmed = Unconfirmed(connection)
        self._buffer = SEND_BUFFER
        prepare(connection)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def overdue(self) -> bool:
        """Whether more waits than a client may leave unread."""
        return self._jobs.qsize() > MOST_BACKLOG or self._told_bytes - self._answered_bytes > MOST_BACKLOG_BYTES

    def send(self, data: bytes) -> None:
        """Have bytes sent; called by one thread."""
        self._told_bytes += len(data)
        self._jobs.put(data)

    def fetch(self, wanted: Fetch) -> None:
        """Have a get answered."""
        self._jobs.put(wanted)

    def wake(self, subscription: Subscription) -> None:
        """Have what waits for a subscription sent."""
        self._jobs.put(subscription)

    @property
    def acknowledged(self) -> int:
        """How many bytes the other host has acknowledged; 0 if the socket is closed."""
        return self._unconfirmed.acknowledged()

    def confirm(self) -> None:
        """Finish with what members were sent and their hosts have acknowledged; any thread may call it."""
        self._unconfirmed.confirm()

    def stop(self) -> None:
        """Cut the connection; the thread ends soon."""
        self._closing = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            log.debug("%s: was cut off already", self._thread.name)
        self._jobs.put(None)

    @property
    def running(self) -> bool:
        """Whether the thread has not ended yet."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait until the thread has ended."""
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(JOIN_DEADLINE)
            if self._thread.is_alive():
                log.error("%s: still writing %g s after it was told to stop", self._thread.name, JOIN_DEADLINE)

    def _run(self) -> None:
        try:
            while not self._closing:
                self._do(self._next())
        except OSError as error:
            log.debug("%s: %s", self._thread.name, error)
        except Exception:  # the stage boundary: one client's writer must not end unseen
            log.exception("%s failed", self._thread.name)
        self._unconfirmed.confirm()
        self._unconfirmed.give_up()
        self._lost()
        while not self._closing:
            self._jobs.get()
        self._socket.close()

    def _next(self) -> Job:
        while self._unconfirmed:
            self._unconfirmed.confirm()
            try:
                return self._jobs.get(timeout=CONFIRM_SECONDS if self._unconfirmed else None)
            except Empty:
                continue
        return self._jobs.get()

    def _do(self, job: Job) -> None:
        if isinstance(job, bytes):
            self._send([job], None, [])
            self._answered_bytes += len(job)
        elif isinstance(job, Fetch):
            self._send_updates(job.channel, [job.channel.fetch(job.selection, job.ioid, job.last)])
        elif isinstance(job, Subscription) and job.channel is not None:
            taken = job.channel.take(job, BATCH_BYTES)
            if taken:
                self._fit(taken[0].held.pixel_bytes)
                if job.channel.member:
                    self._send_to_member(job, taken)
                else:
                    self._send_updates(job.channel, taken)
                self._jobs.put(job)  # behind what came meanwhile

    def _fit(self, frame_bytes: int) -> None:
        wanted = buffer_for(frame_bytes)
        if wanted != self._buffer:
            self._buffer = wanted
            buffer(self._socket, wanted)

    def _send_to_member(self, subscription: Subscription, taken: list[Taken]) -> None:
        self._unconfirmed.add(self.sent_bytes, subscription, taken)
        self._send([part for one in taken for part in one.parts], None, [])
        self._unconfirmed.confirm()

    def _send_updates(self, channel: ServedChannel, taken: list[Taken]) -> None:
        try:
            self._send([part for one in taken for part in one.parts], channel, taken)
        finally:
            if taken:
                channel.sent(taken)

    def _send(self, parts: Parts, channel: ServedChannel | None, taken: list[Taken]) -> None:
        """Send all parts; may take the frames out of `taken` and send copies."""
        while parts:
            try:
                count = self._socket.sendmsg(parts[:MOST_PARTS])
            except BlockingIOError:
                count = 0  # nothing went in the time that a send may wait
            self.sent_bytes += count
            _advance(parts, count)
            if parts and channel is not None and channel.in_the_way():
                parts[:] = [bytes(part) for part in parts]
                channel.sent(taken)
                taken.clear()
                channel = None


def _advance(parts: Parts, count: int) -> None:
    """Remove the first `count` bytes."""
    gone = 0
    for part in parts:
        if len(part) > count:
            break
        count -= len(part)
        gone += 1
    del parts[:gone]
    if count:
        parts[0] = memoryview(parts[0])[count:]
