"""A member's end of the local channel: joins the distributor, maps its segments, hands out views of frames."""

import logging
import mmap
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ioc.channels import local_wire as wire
from ioc.channels.base import Counters
from ioc.channels.book import Book
from ioc.channels.journal import FAILED, Account
from ioc.core.errors import ProtocolError, mismatch
from ioc.core.frame import EndOfSeries, Frame, Item

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.1
WELCOME_SECONDS = 2.0


class LocalReceiver:
    """A member's end; joins, and joins again when the distributor comes back. Implements base.Receiver.

    `missed` is the distributor's word on how many frames it dropped for this member so far. `suspects` are series and
    id of frames that somebody died with: whoever works on one forgets it there when it is done. `beside` returns
    descriptors of others: `receive` waits no longer when one of them is readable.
    """

    def __init__(self, path: Path, who: wire.Hello, book: Book, account: Account | None = None) -> None:
        """Receive as member `who` from the distributor that listens at `path`, counting in `book`.

        `account` is where the ids are noted; without one, nobody will know which they were.
        """
        self._path = path
        self._who = who
        self._book = book
        self.account = account
        self.suspects: set[tuple[int, int]] = set()
        self.beside: Callable[[], Sequence[int]] = tuple
        self._socket: socket.socket | None = None
        self._knocking: socket.socket | None = None
        self._bell: memoryview | None = None
        self._rung = -1
        self._segments: dict[int, mmap.mmap] = {}
        self._ready: deque[Item] = deque()
        self._closing = False
        self._giving_back = False
        self._next_try_ns = 0
        self._errors = 0
        self._out = 0
        self._stale = 0
        self.finished = False
        self.joins = 0
        self.missed = 0

    @property
    def connected(self) -> bool:
        """Whether the distributor knows this member now."""
        return self._socket is not None

    @property
    def orphans(self) -> int:
        """Items in our hands that came by an earlier connection: nobody else has them any more."""
        return self._out if self._socket is None else self._stale

    def receive(self, max_items: int, timeout: float) -> Sequence[Item]:
        deadline = time.monotonic() + timeout
        while not self._ready and not self.finished:
            left = deadline - time.monotonic()
            if left < 0 or not (self._socket or self._join(left)):
                return ()
            if not self._read(max(left, 0.0)):
                return ()
        return self._hand_out(max_items)

    def poll(self, max_items: int) -> Sequence[Item]:
        """Return what is there, after one look at the socket if nothing is; never waits."""
        if not self._ready and not self.finished and (self._socket or self._join_without_waiting()):
            self._read(0.0)
        return self._hand_out(max_items)

    def fileno(self) -> int | None:
        """Return a descriptor that becomes readable when something comes; None while nobody is there."""
        connection = self._socket or self._knocking
        return None if connection is None else connection.fileno()

    def _hand_out(self, max_items: int) -> Sequence[Item]:
        ready = self._ready
        batch = [ready.popleft() for _ in range(min(max_items, len(ready)))]
        if batch:
            self._out += len(batch)
            counts = self._book.counts
            counts.taken += len(batch)
            if self.account is not None:
                self.account.came.extend(batch)  # first: a commit says how many of these ids count
            counts.received += sum(isinstance(item, Frame) for item in batch)
            self._book.commit()
        return batch

    def release(self, count: int) -> None:
        counts = self._book.counts
        self._out -= count
        stale = min(count, self._stale)
        self._stale -= stale
        counts.done += count - stale
        self._book.commit()
        if self._bell is not None and self._rung < (asked := self._bell[0]) <= counts.done:
            self._rung = asked  # once: until the distributor has heard, each further message would be in vain
            self._say(wire.PROGRESS)

    def fail(self, frames: Sequence[Frame]) -> None:
        """Note the ids of frames that a processor failed on; they are released next."""
        if self.account is not None:
            for frame in frames:
                self.account.left.add(frame.series, frame.unique_id, FAILED)

    def counters(self) -> Counters:
        counts = self._book.counts
        return Counters(counts.received, counts.bytes, self._errors)

    def leave(self) -> None:
        """Ask for no more frames; those on their way still come, then `finished` is true."""
        self._closing = True
        if self._socket is None:
            self._disconnect()
            self.finished = not self._ready
        else:
            self._say(wire.LEAVE)

    def give_back(self) -> None:
        """Leave what is not released to a next life, and all that still comes; `finished` is true when that is settled.

        Nothing may be released from now on.
        """
        self._closing = self._giving_back = True
        self._ready.clear()
        self._say(wire.GIVE_BACK)
        if self._socket is None:
            self._disconnect()
            self.finished = True

    def rejoin(self) -> None:
        """Take part again after `leave`."""
        self._closing = self._giving_back = self.finished = False

    def close(self, drain: bool) -> None:
        if drain:
            self.leave()
            return
        self._disconnect()
        self._ready.clear()
        self._segments.clear()
        self.finished = True

    def _join(self, wait: float) -> bool:
        pause = (self._next_try_ns - time.monotonic_ns()) / 1e9
        if pause > 0:
            time.sleep(min(pause, wait))  # nothing to wait on: the distributor is not there
            if pause > wait:
                return False
        connection = self._knock()
        if connection is None:
            return False
        connection.settimeout(WELCOME_SECONDS)
        return self._enter(connection)

    def _join_without_waiting(self) -> bool:
        """Join a little further: knock, or see whether the distributor has answered; return whether it has."""
        now = time.monotonic_ns()
        if self._knocking is None:
            if now < self._next_try_ns:
                return False
            self._knocking = self._knock()
            return False
        if not select.select([self._knocking], [], [], 0)[0]:
            if now > self._next_try_ns + WELCOME_SECONDS * 1e9:
                self._knocking.close()
                self._knocking = None
            return False
        connection, self._knocking = self._knocking, None
        return self._enter(connection)

    def _knock(self) -> socket.socket | None:
        """Return a connection on which we have said who we are; None if nobody listens."""
        self._next_try_ns = time.monotonic_ns() + round(RETRY_SECONDS * 1e9)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(WELCOME_SECONDS)
        try:
            connection.connect(os.fspath(self._path))
            connection.send(wire.hello(self._who))
        except OSError as error:
            connection.close()
            log.debug("%s: not joined yet: %s", self._path, error)
            return None
        return connection

    def _enter(self, connection: socket.socket) -> bool:
        """Take the distributor's welcome; return whether it came."""
        try:
            message, descriptors, _, _ = socket.recv_fds(connection, wire.LARGEST_MESSAGE, 1)
            link = wire.parse_welcome(message)
        except (OSError, ProtocolError) as error:
            connection.close()
            log.debug("%s: not joined yet: %s", self._path, error)
            return False
        self._bell = memoryview(mmap.mmap(descriptors[0], mmap.PAGESIZE, prot=mmap.PROT_READ)).cast("q")
        os.close(descriptors[0])
        self._rung = -1
        counts = self._book.counts
        counts.link, counts.taken, counts.done = link, 0, 0
        if self.account is not None:
            self.account.came.joined(link)
        self._stale = self._out  # what came by the connection before counts in nobody's books but ours
        self._book.commit()
        self._socket = connection
        self.joins += 1
        return True

    def _read(self, wait: float) -> bool:
        """Take what the distributor says within so many seconds; return whether it said anything."""
        assert self._socket is not None
        if not self._waited(self._socket, wait):
            return False
        try:
            message, descriptors, _, _ = socket.recv_fds(self._socket, wire.LARGEST_MESSAGE + 1024, 1)
            self._handle(message, descriptors)
        except ConnectionResetError:
            pass  # told once when the other side closed with something of ours unread; what it sent can still be read
        except (OSError, ProtocolError) as error:
            self._errors += 1
            log.warning("%s: the way to the distributor broke: %s", self._path, error)
            self._disconnect()
            self.finished = self._giving_back
        return True

    def _waited(self, connection: socket.socket, seconds: float) -> bool:
        """Return whether the distributor has said something within so many seconds, or until others are readable."""
        beside = self.beside()
        if not beside:
            return bool(select.select([connection], [], [], seconds)[0])
        poll = select.poll()  # unlike select, it does not mind a descriptor that its owner has just closed
        for descriptor in (connection.fileno(), *beside):
            poll.register(descriptor, select.POLLIN)
        return any(descriptor == connection.fileno() for descriptor, _ in poll.poll(1000 * seconds))

    def _handle(self, message: bytes, descriptors: Sequence[int]) -> None:
        kind = message[:1]
        if kind == wire.ITEMS:
            self.missed = wire.parse_items_head(message)
            if not self._giving_back:
                self._ready.extend(self._item(entry) for entry in wire.parse_items(message))
        elif kind == wire.SEGMENT:
            self._map(message, descriptors)
        elif kind == wire.RETIRE:
            self._segments.pop(wire.parse_retire(message), None)  # unmapped when the last frame in it goes
        elif kind in (wire.BYE, b""):
            self._disconnect()
            self.finished = kind == wire.BYE or self._closing
        else:
            raise ProtocolError(mismatch("message of the distributor", "ITEMS, SEGMENT, RETIRE or BYE", message[:16]))

    def _map(self, message: bytes, descriptors: Sequence[int]) -> None:
        number, size = wire.parse_segment(message)
        if len(descriptors) != 1:
            raise ProtocolError(mismatch(f"SEGMENT {number}", "one descriptor", len(descriptors)))
        try:
            if os.fstat(descriptors[0]).st_size != size:
                raise ProtocolError(mismatch(f"SEGMENT {number}", f"{size} bytes", os.fstat(descriptors[0]).st_size))
            self._segments[number] = mmap.mmap(descriptors[0], size, prot=mmap.PROT_READ)
        finally:
            os.close(descriptors[0])

    def _item(self, entry: "wire.Described | EndOfSeries") -> Item:
        if isinstance(entry, EndOfSeries):
            return entry
        number, offset, shape, dtype, series, unique_id, timestamp_ns, attributes = entry
        if type(entry) is wire.Suspect:
            self.suspects.add((series, unique_id))
        segment = self._segments.get(number)
        if segment is None:
            raise ProtocolError(mismatch("frame", "a segment that was introduced", number))
        try:
            data = np.ndarray(shape, dtype, segment, offset)
        except (TypeError, ValueError) as error:
            raise ProtocolError(f"frame {unique_id}: outside its segment: {error}") from None
        return Frame(series, unique_id, timestamp_ns, data, attributes)

    def _say(self, message: bytes) -> None:
        try:
            if self._socket is not None:
                self._socket.send(message)
        except OSError:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._knocking is not None:
            self._knocking.close()
            self._knocking = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._bell is not None:
            self._bell.release()
            self._bell = None
