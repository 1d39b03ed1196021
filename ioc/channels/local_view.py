"""A viewer's end of an image server's door: frames in shared memory, without a copy, valid while somebody has them.

Rules. A thread takes what the server says and rings; it also tells the server which frames nobody has any more, so that
room for as many others is there. When the server ends or breaks a rule, the view is over; what came before stays valid.
"""

import logging
import mmap
import os
import select
import socket
import stat
import threading
from collections import deque
from collections.abc import Callable, Sequence

from ioc.channels import local_view_wire as words
from ioc.channels import local_wire as wire
from ioc.channels.local_door import user_of
from ioc.channels.local_lease import Mapped, Returns, leased
from ioc.core.errors import PeerError, ProtocolError, mismatch
from ioc.core.frame import EndOfSeries, Frame

log = logging.getLogger(__name__)

KNOCK_SECONDS = 2.0
IDLE_SECONDS = 0.05
"""Between two looks at what nobody has any more, while that is less than half of the room."""
JOIN_DEADLINE = 5.0


class LocalView:
    """The view of one channel; `pop` is for one thread."""

    def __init__(self, door: str, wish: words.Wish, ring: Callable[[], None]) -> None:
        """Knock and be let in; `ring` is called on the view's thread when there is something to pop.

        Raises:
            PeerError: nobody of ours opens, or this viewer is not let in; the message says why.
        """
        self.missed = 0
        self.over: str | None = None
        self._ring = ring
        self._ready: deque[Frame] = deque()
        self._segments: dict[int, Mapped] = {}
        self._returns = Returns()
        self._given = 0
        self._socket = _knock(door, wish)
        self._poll = select.poll()  # select.select takes no descriptor above 1023
        for readable in (self._socket, self._returns.descriptor):
            self._poll.register(readable, select.POLLIN)
        self._thread = threading.Thread(target=self._run, name=f"view of {wish.channel}", daemon=True)
        self._thread.start()

    def peek(self) -> Frame | None:
        """Return the frame that `pop` returns next, None if there is none."""
        return self._ready[0] if self._ready else None

    def pop(self) -> Frame | None:
        """Return the next frame, None if there is none."""
        return self._ready.popleft() if self._ready else None

    def close(self) -> None:
        """See no more; frames that somebody has stay valid."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            log.debug("%s: was over already", self._thread.name)
        self._thread.join(JOIN_DEADLINE)
        if self._thread.is_alive():
            log.error("%s: still there %g s after it was told to stop", self._thread.name, JOIN_DEADLINE)

    def _run(self) -> None:
        try:
            while True:
                self._step()
        except (PeerError, OSError) as error:
            self.over = str(error)
        except Exception as error:  # the stage boundary: a view that fails must not end unseen
            log.exception("%s failed", self._thread.name)
            self.over = f"{type(error).__name__}: {error}"
        self._socket.close()
        self._ring()

    def _step(self) -> None:
        ready = [descriptor for descriptor, _ in self._poll.poll(IDLE_SECONDS * 1000)]
        self._returns.refresh()
        while numbers := self._returns.take(words.MOST_FREED):
            self._socket.send(words.free(numbers))
        if self._socket.fileno() in ready:
            message, descriptors, _, _ = socket.recv_fds(self._socket, wire.LARGEST_MESSAGE + 1024, 1)
            try:
                self._handle(message, descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _handle(self, message: bytes, descriptors: Sequence[int]) -> None:
        kind = message[:1]
        if kind == wire.ITEMS:
            self.missed = wire.parse_items_head(message)
            for entry in wire.parse_items(message):
                self._ready.append(self._frame(entry))
            self._ring()
        elif kind == wire.SEGMENT:
            self._map(message, descriptors)
        elif kind == wire.RETIRE:
            self._segments.pop(wire.parse_retire(message), None)  # unmapped when the last frame in it goes
        elif kind == words.ROOM:
            self._returns.ring_at = max(1, words.parse_room(message) // 2)
        elif kind == words.BYE:
            raise PeerError(words.parse_bye(message))
        elif kind != wire.WELCOME:
            raise PeerError("the server is gone" if not message else f"the server says {message[:16]!r}")

    def _map(self, message: bytes, descriptors: Sequence[int]) -> None:
        number, size = wire.parse_segment(message)
        if len(descriptors) != 1 or os.fstat(descriptors[0]).st_size != size:
            raise ProtocolError(mismatch(f"SEGMENT {number}", f"a descriptor of {size} bytes", len(descriptors)))
        self._segments[number] = Mapped(mmap.mmap(descriptors[0], size, prot=mmap.PROT_READ), self._returns)

    def _frame(self, entry: "wire.Described | EndOfSeries") -> Frame:
        if isinstance(entry, EndOfSeries):
            raise ProtocolError(mismatch("item for a viewer", "a frame", "an end marker"))
        segment = self._segments.get(entry.segment)
        if segment is None:
            raise ProtocolError(mismatch("frame", "a segment that was introduced", entry.segment))
        data = leased(segment, (entry.offset, entry.shape, entry.dtype), self._given)
        self._given += 1
        return Frame(entry.series, entry.unique_id, entry.timestamp_ns, data, entry.attributes)


def _knock(door: str, wish: words.Wish) -> socket.socket:
    """Return the connection on which this viewer was let in.

    Raises:
        PeerError: the door is not there or another user's, or the server refuses.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(KNOCK_SECONDS)
    try:
        found = os.lstat(door)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.getuid():
            raise PeerError(f"{door}: not a door of this user")
        connection.connect(door)
        if user_of(connection) != os.getuid():
            raise PeerError(f"{door}: another user is behind it")
        connection.send(words.hello(wish))
        answer = connection.recv(words.LARGEST_WORD)
        if answer[:1] != wire.WELCOME:
            raise PeerError(words.parse_bye(answer) if answer[:1] == words.BYE else f"{door}: no welcome")
    except (OSError, ValueError) as error:
        connection.close()
        raise PeerError(f"{door}: {error}") from None
    except PeerError:
        connection.close()
        raise
    return connection
