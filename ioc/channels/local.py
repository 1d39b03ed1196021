"""Frames between processes of one host: pixels in shared memory, descriptions over a Unix socket.

The distributor listens on a SEQPACKET socket in the run folder. A member connects, says who it is, gets the segments'
descriptors and then descriptions of frames, many in one message. It tells its progress through its book of counters,
which the distributor reads without a call, and sends a message only when the distributor asked to be woken (the
*bell*: a shared word with the count at which to ring). A member that dies is seen at once, by its closed socket.
"""

import logging
import mmap
import os
import select
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ioc.channels import local_wire as wire
from ioc.channels.base import Accepted, Counters, Refusal
from ioc.channels.book import Book, BookReader, Counts
from ioc.channels.local_pool import PooledFrame, Segment
from ioc.core.errors import PeerError, ProtocolError, RayfanBug, UserError, mismatch
from ioc.core.frame import EndOfSeries, Frame, Item

log = logging.getLogger(__name__)

LONGEST_SOCKET_PATH = 107
"""Bytes of a path in sockaddr_un, less the closing 0 (unix(7))."""
RETRY_SECONDS = 0.1
WELCOME_SECONDS = 2.0
_SILENT = (1 << 62) - 1


class LocalServer:
    """The distributor's door for local members."""

    def __init__(self, path: Path) -> None:
        """Listen at `path`.

        Raises:
            UserError: the path is too long for a socket.
        """
        if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
            raise UserError(mismatch("run_dir", f"a socket path of at most {LONGEST_SOCKET_PATH} bytes", str(path)))
        path.unlink(missing_ok=True)
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(os.fspath(path))
        self._listener.listen(64)
        self._listener.setblocking(False)
        self._waiting: list[socket.socket] = []

    def filenos(self) -> list[int]:
        """Return the descriptors on which somebody may be about to join."""
        return [self._listener.fileno(), *(waiting.fileno() for waiting in self._waiting)]

    def accept(self) -> Iterator["LocalLink"]:
        """Yield a link for every member that has said who it is since the last call; never waits."""
        try:
            while True:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                self._waiting.append(connection)
        except BlockingIOError:
            pass
        for connection in tuple(self._waiting):
            try:
                message = connection.recv(wire.LARGEST_MESSAGE)
            except BlockingIOError:
                continue
            except OSError as error:
                message = b""
                log.debug("a member went away before it said who it is: %s", error)
            self._waiting.remove(connection)
            link = self._greet(connection, message)
            if link is not None:
                yield link

    def _greet(self, connection: socket.socket, message: bytes) -> "LocalLink | None":
        try:
            who = wire.parse_hello(message)
            book = BookReader(self._path.parent / f"{who.name}.book")
        except PeerError as error:
            log.warning("a local member was not let in: %s", error)
            connection.close()
            return None
        return LocalLink(connection, who, book)

    def close(self) -> None:
        """Stop listening."""
        for connection in (self._listener, *self._waiting):
            connection.close()
        self._path.unlink(missing_ok=True)


class LocalLink:
    """The distributor's end of the way to one local member; implements base.Link."""

    def __init__(self, connection: socket.socket, who: wire.Hello, book: BookReader) -> None:
        self.who = who
        self.leaving = False
        self.missed = 0
        self._socket = connection
        self._book = book
        self._number = time.monotonic_ns()
        self._alive = True
        self._segments: set[int] = set()
        self._items = 0
        self._bytes = 0
        self._done = 0
        self._bell_descriptor = os.memfd_create("rayfan-bell", os.MFD_CLOEXEC)
        os.ftruncate(self._bell_descriptor, mmap.PAGESIZE)
        self._bell = memoryview(mmap.mmap(self._bell_descriptor, mmap.PAGESIZE)).cast("q")
        self.silence()
        self._send(wire.welcome(self._number), self._bell_descriptor)

    @property
    def name(self) -> str:
        return self.who.name

    def fileno(self) -> int:
        return self._socket.fileno()

    def alive(self) -> bool:
        return self._alive

    def done(self) -> int:
        try:
            counts = self._book.read()
        except PeerError as error:
            log.error("member %s is cut off: %s", self.name, error)
            self._alive = False
            return self._done
        if counts.link == self._number:
            self._done = counts.done
        return self._done

    def counts(self) -> Counts:
        """Return the member's own counters."""
        return self._book.read()

    def ring_at(self, done: int) -> None:
        """Ask to be woken when the member has finished with `done` items."""
        self._bell[0] = done

    def silence(self) -> None:
        """Ask not to be woken."""
        self._bell[0] = _SILENT

    def refresh(self) -> None:
        try:
            while True:
                message = self._socket.recv(wire.LARGEST_MESSAGE)
                if not message:
                    self._alive = False
                    return
                if message == wire.LEAVE:
                    self.leaving = True
                elif message == wire.PROGRESS:
                    self.silence()
                else:
                    raise ProtocolError(mismatch(f"message of member {self.name}", "LEAVE, PROGRESS", message[:16]))
        except BlockingIOError:
            return
        except (OSError, ProtocolError) as error:
            log.warning("member %s is cut off: %s", self.name, error)
            self._alive = False

    def publish(self, items: Sequence[Item]) -> Accepted:
        taken = 0
        for message, count, size in _messages(items, wire.items_head(self.missed)):
            if not (self._introduce(items[taken : taken + count]) and self._send(message)):
                break
            taken += count
            self._items += count
            self._bytes += size
        if taken == len(items):
            return Accepted(taken)
        return Accepted(taken, Refusal.FULL if self._alive else Refusal.GONE)

    def retire(self, segment: Segment) -> None:
        """Tell the member that it may let go of a segment."""
        if segment.number in self._segments:
            self._segments.discard(segment.number)
            self._send(wire.retire(segment.number))

    def bye(self) -> None:
        """Tell the member that nothing more comes."""
        self._send(wire.BYE)

    def counters(self) -> Counters:
        return Counters(self._items, self._bytes)

    def close(self, drain: bool) -> None:
        if drain and self._alive:
            self.bye()
        self._alive = False
        self._socket.close()
        self._bell.release()
        os.close(self._bell_descriptor)
        self._book.close()

    def _introduce(self, items: Sequence[Item]) -> bool:
        for item in items:
            if isinstance(item, PooledFrame) and item.slot is not None:
                segment = item.slot.segment
                if segment.number not in self._segments:
                    if not self._send(wire.segment(segment.number, segment.size), segment.descriptor):
                        return False
                    self._segments.add(segment.number)
        return True

    def _send(self, message: bytes, descriptor: int | None = None) -> bool:
        try:
            if descriptor is None:
                self._socket.send(message)
            else:
                socket.send_fds(self._socket, [message], [descriptor])
        except BlockingIOError:
            return False
        except OSError:
            self._alive = False
            return False
        return True


def _messages(items: Iterable[Item], head: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield ITEMS messages with the number of items and bytes of pixels in each."""
    parts, count, size, length = [head], 0, 0, len(head)
    for item in items:
        entry = _entry(item)
        if length + len(entry) > wire.LARGEST_MESSAGE:
            yield b"".join(parts), count, size
            parts, count, size, length = [head], 0, 0, len(head)
        parts.append(entry)
        length += len(entry)
        count += 1
        size += item.data.nbytes if isinstance(item, Frame) else 0
    if count:
        yield b"".join(parts), count, size


def _entry(item: Item) -> bytes:
    if isinstance(item, EndOfSeries):
        return wire.end_item(item)
    if not isinstance(item, PooledFrame) or item.slot is None:
        raise RayfanBug("a frame that does not lie in shared memory was given to a local member")
    data, slot = item.data, item.slot
    return wire.frame_item(
        wire.Described(
            slot.segment.number,
            slot.offset,
            data.shape,
            data.dtype,
            item.series,
            item.unique_id,
            item.timestamp_ns,
            item.attributes,
        )
    )


class LocalReceiver:
    """A member's end; joins, and joins again when the distributor comes back. Implements base.Receiver.

    `missed` is the distributor's word on how many frames it dropped for this member so far.
    """

    def __init__(self, path: Path, who: wire.Hello, book: Book) -> None:
        """Receive as member `who` from the distributor that listens at `path`, counting in `book`."""
        self._path = path
        self._who = who
        self._book = book
        self._socket: socket.socket | None = None
        self._bell: memoryview | None = None
        self._segments: dict[int, mmap.mmap] = {}
        self._ready: deque[Item] = deque()
        self._closing = False
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

    def receive(self, max_items: int, timeout: float) -> Sequence[Item]:
        deadline = time.monotonic() + timeout
        while not self._ready and not self.finished:
            left = deadline - time.monotonic()
            if left < 0 or not (self._socket or self._join(left)):
                return ()
            self._read(max(left, 0.0))
        batch = [self._ready.popleft() for _ in range(min(max_items, len(self._ready)))]
        if batch:
            self._out += len(batch)
            counts = self._book.counts
            counts.taken += len(batch)
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
        if self._bell is not None and self._bell[0] <= counts.done:
            self._say(wire.PROGRESS)

    def counters(self) -> Counters:
        counts = self._book.counts
        return Counters(counts.received, counts.bytes, self._errors)

    def leave(self) -> None:
        """Ask for no more frames; those on their way still come, then `finished` is true."""
        self._closing = True
        if self._socket is None:
            self.finished = not self._ready
        else:
            self._say(wire.LEAVE)

    def rejoin(self) -> None:
        """Take part again after `leave`."""
        self._closing = self.finished = False

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
        self._next_try_ns = time.monotonic_ns() + round(RETRY_SECONDS * 1e9)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(WELCOME_SECONDS)
        try:
            connection.connect(os.fspath(self._path))
            connection.send(wire.hello(self._who))
            message, descriptors, _, _ = socket.recv_fds(connection, wire.LARGEST_MESSAGE, 1)
            link = wire.parse_welcome(message)
        except (OSError, ProtocolError) as error:
            connection.close()
            log.debug("%s: not joined yet: %s", self._path, error)
            return False
        self._bell = memoryview(mmap.mmap(descriptors[0], mmap.PAGESIZE, prot=mmap.PROT_READ)).cast("q")
        os.close(descriptors[0])
        counts = self._book.counts
        counts.link, counts.taken, counts.done = link, 0, 0
        self._stale = self._out  # what came by the connection before counts in nobody's books but ours
        self._book.commit()
        self._socket = connection
        self.joins += 1
        return True

    def _read(self, wait: float) -> None:
        assert self._socket is not None
        if not select.select([self._socket], [], [], wait)[0]:
            return
        try:
            message, descriptors, _, _ = socket.recv_fds(self._socket, wire.LARGEST_MESSAGE + 1024, 1)
            self._handle(message, descriptors)
        except ConnectionResetError:
            return  # told once when the other side closed with something of ours unread; what it sent can still be read
        except (OSError, ProtocolError) as error:
            self._errors += 1
            log.warning("%s: the way to the distributor broke: %s", self._path, error)
            self._disconnect()

    def _handle(self, message: bytes, descriptors: Sequence[int]) -> None:
        kind = message[:1]
        if kind == wire.ITEMS:
            self.missed = wire.parse_items_head(message)
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
        segment = self._segments.get(entry.segment)
        if segment is None:
            raise ProtocolError(mismatch("frame", "a segment that was introduced", entry.segment))
        try:
            data = np.ndarray(entry.shape, entry.dtype, buffer=segment, offset=entry.offset)
        except (TypeError, ValueError) as error:
            raise ProtocolError(f"frame {entry.unique_id}: outside its segment: {error}") from None
        return Frame(entry.series, entry.unique_id, entry.timestamp_ns, data, entry.attributes)

    def _say(self, message: bytes) -> None:
        try:
            if self._socket is not None:
                self._socket.send(message)
        except OSError:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._bell is not None:
            self._bell.release()
            self._bell = None
