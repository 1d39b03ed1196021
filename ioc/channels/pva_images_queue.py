"""What waits for one subscription: its queue, its window, and which of it was replaced.

Rules. A frame is *held* while it waits in queues or a writer sends from its memory. A frame that had to be *moved* has
a copy of its own: its memory is free although it still waits. A full queue has its newest update replaced by the one
that comes, which is then marked as overrun; the queue of a member has no limit, because the member's link takes no
more than its window. With flow control, an update goes only while the client has said that it has room for it.
"""

from collections import deque
from dataclasses import dataclass

from ioc.channels.pva_wire_image import Image, Parts, image_of
from ioc.channels.pva_wire_ntndarray import Selection
from ioc.core.frame import EndOfSeries, Frame

QUEUE_BYTES = 256 << 20
"""Pixels that may wait for one client at most, should it have asked for room for more."""
LARGEST_WINDOW = (1 << 31) - 1


class Held:
    """One item on its way: `waiting` places that will need it, `using` writers that send from its own memory now."""

    __slots__ = ("borrowed", "image", "item", "moving", "using", "waiting")

    def __init__(self, item: Frame | EndOfSeries | None, image: Image | None = None) -> None:
        """Hold an item; with an image only, and no item, nothing is borrowed."""
        self.item = item
        self.image = image
        self.waiting = 0
        self.using = 0
        self.borrowed = item is not None
        self.moving = False

    def own(self, copy: Frame) -> None:
        """Go on with a copy of the frame: its own memory is not needed any more."""
        self.item = copy
        self.image = None if self.image is None else image_of(copy)
        self.borrowed = False

    @property
    def free(self) -> bool:
        """Whether the memory of the item is not needed any more."""
        return not self.using and not (self.waiting and self.borrowed)

    @property
    def pixel_bytes(self) -> int:
        """Bytes of the pixels that are sent with it."""
        pixels = self.image.pixels if self.image is not None else None
        return pixels.nbytes if pixels is not None else 0


@dataclass(slots=True)
class Taken:
    """An update that is being sent; `original`: from the item's own memory."""

    held: Held
    parts: Parts
    original: bool


def begin_use(held: Held) -> bool:
    """Let a writer send a held item; return whether it does so from the item's own memory."""
    if held.borrowed:
        held.using += 1
    return held.borrowed


class UpdateQueue:
    """The updates that wait for one subscription; used under the lock of its channel."""

    def __init__(self, ioid: int, selection: Selection, limit: int | None, window: int | None) -> None:
        """Begin empty; `limit` updates may wait, None: any number; `window` None: no flow control."""
        self.ioid = ioid
        self.selection = selection
        self.overruns = 0
        self.sent = 0
        self._limit = limit
        self._window = window
        self._first = True
        self._waiting: deque[tuple[Held, bool]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def window(self) -> int | None:
        """How many updates the client has room for, None: it does not say."""
        return self._window

    @property
    def sendable(self) -> bool:
        """Whether something waits that may go."""
        return bool(self._waiting) and self._window != 0

    def put(self, held: Held, beyond_limit: bool = False) -> None:
        """Have an update wait; a full queue has its newest one replaced, unless it may grow `beyond_limit`."""
        size = held.pixel_bytes
        full = (
            self._limit is not None
            and not beyond_limit
            and (len(self._waiting) >= self._limit or (len(self._waiting) > 1 and self._bytes + size > QUEUE_BYTES))
        )
        if full:
            replaced, _ = self._waiting.pop()
            replaced.waiting -= 1
            self._bytes -= replaced.pixel_bytes
            self.overruns += 1
        held.waiting += 1
        self._bytes += size
        self._waiting.append((held, full))

    def take(self, most_bytes: int) -> list[Taken]:
        """Return the next updates, one at least and `most_bytes` of pixels at most, as far as the window goes."""
        taken: list[Taken] = []
        left = most_bytes
        while self.sendable:
            held, overrun = self._waiting[0]
            size = held.pixel_bytes
            if taken and size > left:
                break
            left -= size
            self._waiting.popleft()
            self._bytes -= size
            taken.append(self._send(held, overrun))
        return taken

    def grant(self, count: int) -> None:
        """Let `count` updates more go; without flow control that means nothing."""
        if self._window is not None:
            self._window = min(LARGEST_WINDOW, self._window + count)

    def clear(self) -> None:
        """Forget what waits; the next update begins anew, with all fields."""
        for held, _ in self._waiting:
            held.waiting -= 1
        self._waiting.clear()
        self._bytes = 0
        self._first = True

    def _send(self, held: Held, overrun: bool) -> Taken:
        assert held.image is not None, "only images wait"
        parts = held.image.update(self.selection, self.ioid, self._first, overrun)
        held.waiting -= 1
        self._first = False
        self.sent += 1
        if self._window is not None:
            self._window -= 1
        return Taken(held, parts, begin_use(held))
