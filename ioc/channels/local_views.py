"""The viewers of one image channel that live on the same host: frames copied once into shared memory, and described.

Rules. A viewer has at most so many frames at a time as it wished, and no more than its part of the memory. Of those
that it has no room for the newest is owed to it, until it has: as in pvAccess, what is missed lies before something
that comes, and the ids say it. So one that stalls costs its part and nothing else. The memory is booked when the first
viewer comes, and given back behind the last one; viewers of frames that it is too small for go on by pvAccess. What a
viewer has is not written to again, also when it has left: then the others are sent away, too, and come again to memory
that is new.
"""

import logging
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ioc.channels import local_view_wire as words
from ioc.channels import local_wire as wire
from ioc.channels.local_pool import PooledFrame, Segment, Slot
from ioc.channels.local_store import FrameStore
from ioc.channels.memory_book import MemoryBook
from ioc.channels.pva_images_visitor import Visit, Visitor
from ioc.core.errors import PeerError, ProtocolError, RefusedError, UserError, mismatch
from ioc.core.frame import Frame, Item

log = logging.getLogger(__name__)

MOST_VIEWERS = 8
"""Of one channel."""
ROOM_PART = 3
"""One part in so many of the memory of image channels is what the viewers of one channel take, and one part is not for
viewers."""
USEFUL = 2 * words.MOST_FRAMES
"""Slots in that memory at most."""
LEAST_SHARE = 2
"""Frames that a viewer must have room for: one that it looks at, and one that it is owed."""
REFUSAL_SECONDS = 10.0
"""s that nobody is let in where frames were too large."""


@dataclass(slots=True, eq=False)
class Viewer:
    """One viewer: its connection, what it may have, and what it has, by number."""

    connection: socket.socket
    visitor: Visitor
    wish: words.Wish
    held: dict[int, Slot] = field(default_factory=dict)
    segments: set[int] = field(default_factory=set)
    owed: PooledFrame | None = None
    room: int = 0
    given: int = 0
    missed: int = 0

    def fileno(self) -> int:
        """Return the descriptor of the connection."""
        return self.connection.fileno()

    def say(self, message: bytes, descriptor: int | None = None) -> bool:
        """Send a message; return whether that was possible at once."""
        try:
            if descriptor is None:
                self.connection.send(message)
            else:
                socket.send_fds(self.connection, [message], [descriptor])
        except OSError:  # full, or gone, which the thread that hears the connection is about to see
            return False
        return True

    def introduce(self, segment: Segment) -> bool:
        """Hand over a segment unless that was done; return whether the viewer has it."""
        if segment.number not in self.segments:
            if not self.say(wire.segment(segment.number, segment.size), segment.descriptor):
                return False
            self.segments.add(segment.number)
        return True

    def let_go(self, numbers: Sequence[int]) -> None:
        """Free frames that the viewer does not look at any more.

        Raises:
            ProtocolError: it has no such frame.
        """
        for number in numbers:
            slot = self.held.pop(number, None)
            if slot is None:
                raise ProtocolError(mismatch(f"{self.visitor.peer}: frame that is free", "one that it has", number))
            slot.drop()

    def may_have(self, frames: int) -> None:
        """Let the viewer have so many frames at a time."""
        frames = min(frames, self.wish.frames)
        if frames != self.room and self.say(words.room(frames)):
            self.room = frames

    def owe(self, frame: PooledFrame | None) -> None:
        """Owe the viewer a frame, which it has no room for now, and no other any more."""
        before, self.owed = self.owed, frame
        if frame is not None and frame.slot is not None:
            frame.slot.hold()
        if before is not None and before.slot is not None:
            before.slot.drop()

    def let_all_go(self) -> None:
        """Free everything that the viewer has: nobody looks at it any more."""
        self.owe(None)
        self.let_go(tuple(self.held))


class Views:
    """The viewers of one channel: `give` is for the thread that publishes, the rest for the one that hears them."""

    def __init__(self, name: str, memory: MemoryBook) -> None:
        """Begin without viewers; their frames lie in memory that is booked in `memory`."""
        self.name = name
        self._memory = memory
        self._room = memory.limit // ROOM_PART
        self._lock = threading.Lock()
        self._viewers: list[Viewer] = []
        self._store: FrameStore | None = None
        self._trouble = ""
        self._opens = 0.0
        self._share = LEAST_SHARE

    @property
    def watched(self) -> bool:
        """Whether somebody views the channel."""
        return bool(self._viewers)

    def visits(self) -> list[Visit]:
        """Return who views the channel; any thread may call it."""
        with self._lock:
            return [Visit(one.visitor, (self.name,), one.given, one.missed, len(one.held), 0) for one in self._viewers]

    def admit(self, viewer: Viewer) -> None:
        """Give a viewer every frame from now on.

        Raises:
            RefusedError: there are too many, or the memory is taken.
        """
        with self._lock:
            if len(self._viewers) >= MOST_VIEWERS:
                raise RefusedError(f"{self.name}: there are {MOST_VIEWERS} viewers already")
            if time.monotonic() < self._opens or (self._trouble and self._viewers):
                raise RefusedError(self._trouble)
            if self._store is None:
                self._book()
                self._store = FrameStore(self._room, USEFUL)
            self._trouble = ""
            self._viewers.append(viewer)  # before it knows: what is published from then on is for it
            viewer.say(wire.welcome(0))

    def hear(self, viewer: Viewer) -> None:
        """Take a message of a viewer, if there is one.

        Raises:
            PeerError: it is gone, or talks nonsense, or frames are too large to be shown; it is to be dismissed.
        """
        try:
            message = viewer.connection.recv(words.LARGEST_WORD)
        except BlockingIOError:
            return
        except OSError as error:
            raise PeerError(f"it broke: {error}") from None
        if not message:
            raise PeerError(self._trouble or "it left")
        numbers = words.parse_free(message)
        with self._lock:
            viewer.let_go(numbers)
            owed = viewer.owed
            if owed is not None and len(viewer.held) < viewer.room and self._describe(viewer, owed):
                viewer.owe(None)

    def dismiss(self, viewer: Viewer, reason: str) -> None:
        """Show a viewer nothing more; behind the last one the memory is given back."""
        with self._lock:
            if viewer not in self._viewers:
                return
            self._viewers.remove(viewer)
            viewer.say(words.bye(reason))
            if viewer.held and self._viewers:
                self._send_away("another viewer left with frames in its hands")  # which it may look at as before
            else:
                viewer.let_all_go()
            if not self._viewers and self._store is not None:
                self._store.close()
                self._store = None
                self._memory.give(self._room)

    def give(self, items: Sequence[Item]) -> None:
        """Show frames to everybody who has room; never waits."""
        if not self._viewers:
            return
        with self._lock:
            for item in items:
                if isinstance(item, Frame):
                    self._show(item)
            self._tidy()

    def _book(self) -> None:
        """Book the memory for viewers, but not what copies for pvAccess clients need."""
        taken = self._memory.take(self._room)
        if taken and self._memory.total > self._memory.limit - self._room:
            self._memory.give(self._room)
            taken = False
        if not taken:
            raise RefusedError(f"{self.name}: the memory of image channels is taken; raise memory_budget")

    def _show(self, frame: Frame) -> None:
        pooled = self._place(frame)
        if pooled is None or pooled.slot is None:
            return
        for viewer in self._viewers:
            viewer.missed += viewer.owed is not None
            viewer.may_have(self._share - 1)
            shown = len(viewer.held) < viewer.room and self._describe(viewer, pooled)
            viewer.owe(None if shown else pooled)
        pooled.slot.drop()

    def _place(self, frame: Frame) -> PooledFrame | None:
        """Return a copy of a frame in shared memory, None if there is no room for it: then nobody is here any more."""
        self._share = min(USEFUL, self._room // max(frame.data.nbytes, 1)) // max(1, len(self._viewers))
        try:
            assert self._store is not None, "there is one while there are viewers"
            pooled = self._store.place(_native(frame)) if self._share >= LEAST_SHARE else None
        except UserError as error:
            self._end_all(str(error))
            return None
        if pooled is None:
            needed = f"{len(self._viewers)} viewers of frames of {frame.data.nbytes} bytes"
            self._end_all(f"{self._room} bytes are not enough for {needed}; raise memory_budget")
        return pooled

    def _describe(self, viewer: Viewer, frame: PooledFrame) -> bool:
        """Tell a viewer where a frame lies; return whether that was possible."""
        slot = frame.slot
        assert slot is not None
        try:
            entry = wire.frame_item(slot.place, frame)
        except ProtocolError as error:
            self._end_all(str(error))
            return False
        if not viewer.introduce(slot.segment) or not viewer.say(wire.items_head(viewer.missed) + entry):
            return False
        slot.hold()
        viewer.held[viewer.given] = slot
        viewer.given += 1
        return True

    def _end_all(self, why: str) -> None:
        """Have all viewers dismissed by the thread that hears them: frames of this channel cannot be shown."""
        if not self._trouble:
            log.warning("channel %s: viewers in shared memory have to go on by pvAccess: %s", self.name, why)
        self._opens = time.monotonic() + REFUSAL_SECONDS
        self._send_away(why)

    def _send_away(self, why: str) -> None:
        self._trouble = why
        for viewer in self._viewers:
            viewer.connection.shutdown(socket.SHUT_RD)  # makes it readable for that thread

    def _tidy(self) -> None:
        for segment in self._store.unused() if self._store is not None else ():
            for viewer in self._viewers:
                if segment.number in viewer.segments:
                    viewer.segments.discard(segment.number)
                    viewer.say(wire.retire(segment.number))
            segment.close()


def _native(frame: Frame) -> Frame:
    """Return a frame with pixels in this machine's byte order."""
    data = frame.data
    if data.dtype.isnative:
        return frame
    swapped = np.asarray(data, data.dtype.newbyteorder("="))
    return Frame(frame.series, frame.unique_id, frame.timestamp_ns, swapped, frame.attributes)
