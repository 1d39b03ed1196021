"""The newest frames of a channel, kept for clients that ask for them after they were cut off.

    record[replay=64]                                   keep 64 frames for me, should my connection break
    record[replay=64,replaySeries=3,replayAfter=17]     I have had frame 17 of series 3: go on behind it

Rules. Frames are kept, as copies, from the first client on that asks for it until `PATIENCE` after the last one has
gone. What a client asks for that is not here any more is a gap in the ids that it gets. Rayfan's own; servers of others
do not know these options and pass over them.
"""

import time
from collections import deque

from ioc.channels.pva_images_queue import Held
from ioc.channels.pva_wire_request import Replay
from ioc.core.frame import Frame

MOST_BYTES = 64 << 20
"""Pixels that are kept for one channel at most, but always one frame."""
PATIENCE = 30.0
"""s that a client may take to come back."""


class ReplayWindow:
    """The newest frames of one channel; used under the lock of its channel."""

    def __init__(self) -> None:
        self._frames: deque[Held] = deque()
        self._bytes = 0
        self._room = 0
        self._users = 0
        self._left = 0.0

    @property
    def wanted(self) -> bool:
        """Whether somebody wants frames to be kept; forgets them if not."""
        if self._users or time.monotonic() - self._left < PATIENCE:
            return bool(self._room)
        if self._room:
            self._room = 0
            self._frames.clear()
            self._bytes = 0
        return False

    def begin(self, wish: Replay) -> list[Held]:
        """Keep frames for one client more; return those that it has missed."""
        missed = [held for held in self._frames if _is_behind(held, wish)] if self.wanted else []
        self._users += 1
        self._room = max(self._room, wish.frames)
        return missed

    def end(self) -> None:
        """Take notice that a client for whom frames are kept has gone."""
        self._users -= 1
        self._left = time.monotonic()

    def keep(self, held: Held) -> None:
        """Keep a frame that has its own memory."""
        self._frames.append(held)
        self._bytes += _size(held)
        while len(self._frames) > self._room or (self._bytes > MOST_BYTES and len(self._frames) > 1):
            self._bytes -= _size(self._frames.popleft())


def _is_behind(held: Held, wish: Replay) -> bool:
    frame = held.item
    return isinstance(frame, Frame) and wish.after is not None and (frame.series, frame.unique_id) > wish.after


def _size(held: Held) -> int:
    return held.item.data.nbytes if isinstance(held.item, Frame) else 0
