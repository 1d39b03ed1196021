"""The distributor's end of the local channel: pixels in shared memory, descriptions over a Unix socket.

The distributor listens on a SEQPACKET socket in the run folder. A member connects, says who it is, gets the segments'
descriptors and then descriptions of frames, many in one message. It tells its progress through its book of counters,
which the distributor reads without a call, and sends a message only when the distributor asked to be woken (the
*bell*: a shared word with the count at which to ring). A member that dies is seen at once, by its closed socket.
"""

import logging
import mmap
import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ioc.channels import local_wire as wire
from ioc.channels.base import Accepted, Counters, Refusal
from ioc.channels.book import BookReader, Counts, book_name
from ioc.channels.local_pool import PooledFrame, Segment
from ioc.core.errors import PeerError, ProtocolError, RayfanBug, UserError, mismatch
from ioc.core.frame import EndOfSeries, Frame, Item

log = logging.getLogger(__name__)

LONGEST_SOCKET_PATH = 107
"""Bytes of a path in sockaddr_un, less the closing 0 (unix(7))."""
_SILENT = (1 << 62) - 1


class LocalServer:
    """The distributor's door for local members."""

    def __init__(self, path: Path, giver: str | None = None) -> None:
        """Listen at `path`; `giver` names the one who gives where members may have several.

        What an earlier life left at `path` is replaced in one step: who looks there always finds something.

        Raises:
            UserError: the path is too long for a socket.
        """
        fresh = path.with_name(f"{giver or path.name}.new")
        if max(len(os.fsencode(one)) for one in (path, fresh)) > LONGEST_SOCKET_PATH:
            raise UserError(mismatch("run_dir", f"a socket path of at most {LONGEST_SOCKET_PATH} bytes", str(path)))
        fresh.unlink(missing_ok=True)
        self._path = path
        self._giver = giver
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(os.fspath(fresh))
        self._listener.listen(64)
        fresh.rename(path)
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
            book = BookReader(self._path.parent / book_name(who.name, self._giver))
        except PeerError as error:
            log.warning("a local member was not let in: %s", error)
            connection.close()
            return None
        return LocalLink(connection, who, book)

    def close(self, expected: bool = False) -> None:
        """Stop listening; `expected`: the path stays, because a next life may come that has more to give."""
        for connection in (self._listener, *self._waiting):
            connection.close()
        if not expected:
            self._path.unlink(missing_ok=True)


class LocalLink:
    """The distributor's end of the way to one local member; implements base.Link."""

    def __init__(self, connection: socket.socket, who: wire.Hello, book: BookReader) -> None:
        self.who = who
        self.leaving = False
        self.gave_back = False
        self.ready = True
        self.missed = 0
        self._socket = connection
        self._book = book
        self._number = time.monotonic_ns()
        self._alive = True
        self._closed = False
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

    def expect_acknowledgement(self, within: float | None) -> None:
        """Do nothing: a local member tells by its book what it has finished with, under any policy."""

    def fileno(self) -> int:
        return self._socket.fileno()

    def alive(self) -> bool:
        return self._alive and not self.gave_back

    def done(self) -> int:
        if self._closed:
            return self._done
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
                elif message == wire.GIVE_BACK:
                    self.leaving = self.gave_back = True
                    return
                elif message == wire.PROGRESS:
                    self.silence()
                    return  # whatever else there is makes the descriptor readable again
                else:
                    raise ProtocolError(
                        mismatch(f"message of member {self.name}", "LEAVE, PROGRESS or GIVE_BACK", message[:16])
                    )
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
        if self._closed:
            return
        self._closed = True
        if drain and self._alive:
            self.bye()
        self._alive = False
        self._socket.close()
        self._bell.release()
        os.close(self._bell_descriptor)
        self._book.close()

    def _introduce(self, items: Sequence[Item]) -> bool:
        known: Segment | None = None
        for item in items:
            if not isinstance(item, PooledFrame) or item.slot is None or item.slot.segment is known:
                continue
            known = item.slot.segment
            if known.number not in self._segments:
                if not self._send(wire.segment(known.number, known.size), known.descriptor):
                    return False
                self._segments.add(known.number)
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
    if data is slot.array and not item.suspect:
        return wire.frame_item(slot.place, item)
    place = wire.frame_place(slot.segment.number, slot.offset, data.shape, data.dtype)
    return wire.frame_item(wire.suspect_place(place) if item.suspect else place, item)
