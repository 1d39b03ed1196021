"""The queue in front of one member, and what its delivery class does when it overflows.

Rules: `frames` bounds what waits in the queue besides the window of items on their way; `size_bytes` bounds their
bytes, but one frame may always wait. End markers are never dropped and keep their place.

    Latest         a new frame replaces the one that waits (reason `replaced`)
    Bounded        a frame is dropped (reason `queue_full`): the oldest that waits, or the newest, the one that comes
    Lossless       nothing is dropped: `has_room` tells the source to wait
    Acknowledged   as Lossless; what a member did not finish goes to another one (ioc/distributor/distributor.py)

A change of the limits drops nothing. What waits then and is more than the new limits hold stays: until the member has
taken it, Bounded drops the frames that come instead.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from ioc.core.config_table import Drop, Policy
from ioc.core.frame import EndOfSeries, Frame
from ioc.core.ledger import Reason

WIDEST_WINDOW = 64
"""Items on their way to a member at most: enough to fill one wake-up, few enough to lose little with the member."""

FrameT = TypeVar("FrameT", bound=Frame)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait for a member, and what happens then. `size_bytes` None: no limit but `frames`."""

    policy: Policy
    frames: int
    size_bytes: int | None = None
    drop: Drop = Drop.OLDEST

    @property
    def depth(self) -> int:
        """Return how many frames may wait."""
        return 1 if self.policy is Policy.LATEST else self.frames

    @property
    def window(self) -> int:
        """Return how many items may be on their way to the member at a time."""
        if self.policy is Policy.LATEST:
            return 1
        return max(1, min(WIDEST_WINDOW, self.frames // 2))


class MemberQueue(Generic[FrameT]):
    """Items that wait for one member, oldest first."""

    __slots__ = ("_items", "_kept", "frames", "high_water", "limits", "size_bytes")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._items: deque[FrameT | EndOfSeries] = deque()
        self._kept = 0  # frames at the front that a change of limits must not cost
        self.frames = 0
        self.size_bytes = 0
        self.high_water = 0

    def __len__(self) -> int:
        return len(self._items)

    def change(self, limits: Limits) -> None:
        """Use other limits from now on; nothing that waits is lost by it, except under Latest."""
        self.limits = limits
        over = self.frames > limits.depth or self._too_large()
        self._kept = self.frames if over and limits.policy is not Policy.LATEST else 0

    def has_room(self, size_bytes: int) -> bool:
        """Return whether a frame of that size can wait without dropping another."""
        limits = self.limits
        depth = 1 if limits.policy is Policy.LATEST else limits.frames
        if self.frames >= depth:
            return False
        return limits.size_bytes is None or self.frames == 0 or self.size_bytes + size_bytes <= limits.size_bytes

    def room(self, size_bytes: int) -> int:
        """Return how many frames of that size can wait without dropping another."""
        limits = self.limits
        free = max(0, (1 if limits.policy is Policy.LATEST else limits.frames) - self.frames)
        if limits.size_bytes is None or not free:
            return free
        fitting = max(0, limits.size_bytes - self.size_bytes) // max(size_bytes, 1)
        return min(free, fitting if self.frames else max(fitting, 1))

    def extend(self, frames: Sequence[FrameT]) -> None:
        """Append frames of one size for which there is `room`."""
        self._items.extend(frames)
        self.frames += len(frames)
        self.size_bytes += sum(frame.data.nbytes for frame in frames)
        self.high_water = max(self.high_water, self.frames)

    def put(self, frame: FrameT) -> list[FrameT]:
        """Append a frame; return the frames that were dropped for it, which may be this very one.

        A queue that may not drop takes it in any case: ask `has_room` first.
        """
        dropped: list[FrameT] = []
        size = frame.data.nbytes
        if self.limits.policy.may_drop and not self.has_room(size):
            if self._kept or self._drops_newest:
                return [frame]
            while not self.has_room(size) and (oldest := self.drop_oldest()) is not None:
                dropped.append(oldest)
        self._items.append(frame)
        self.frames += 1
        self.size_bytes += size
        self.high_water = max(self.high_water, self.frames)
        return dropped

    def put_end(self, marker: EndOfSeries) -> None:
        """Append an end marker, which needs no room."""
        self._items.append(marker)

    def put_back(self, items: list[FrameT | EndOfSeries]) -> None:
        """Put items that did not arrive in front again, in their old order."""
        for item in reversed(items):
            self._items.appendleft(item)
            if isinstance(item, Frame):
                self.frames += 1
                self.size_bytes += item.data.nbytes
                self._kept += self._kept > 0
        self.high_water = max(self.high_water, self.frames)

    def peek(self, count: int) -> list[FrameT | EndOfSeries]:
        """Return the first `count` items without taking them."""
        items = self._items
        return list(items) if count >= len(items) else list(islice(items, count))

    def take(self, count: int) -> None:
        """Remove the first `count` items."""
        for _ in range(count):
            item = self._items.popleft()
            if isinstance(item, Frame):
                self._forget(item)

    def take_frames(self) -> list[FrameT]:
        """Remove and return all frames; end markers stay."""
        frames = [item for item in self._items if isinstance(item, Frame)]
        self._items = deque(item for item in self._items if isinstance(item, EndOfSeries))
        self.frames = self.size_bytes = self._kept = 0
        return frames

    def waiting(self) -> list[FrameT]:
        """Return the frames that wait, in the order in which they would be dropped."""
        frames = [item for item in self._items if isinstance(item, Frame)]
        return frames[::-1] if self._drops_newest else frames

    def remove(self, frame: FrameT) -> None:
        """Take one frame out, wherever it waits."""
        for at, item in enumerate(self._items):
            if item is frame:
                del self._items[at]
                self._forget(frame)
                return

    def capacity(self) -> int:
        """Return how many frames can wait if they are as large as those that do, on average."""
        limits = self.limits
        if limits.size_bytes is None or not self.size_bytes:
            return limits.depth
        return max(1, min(limits.depth, limits.size_bytes * self.frames // self.size_bytes))

    def drop_oldest(self) -> FrameT | None:
        """Remove and return the oldest frame; None if no frame waits."""
        for at, item in enumerate(self._items):
            if isinstance(item, Frame):
                del self._items[at]
                self._forget(item)
                return item
        return None

    @property
    def reason(self) -> Reason:
        """Why this queue drops when it does."""
        return Reason.REPLACED if self.limits.policy is Policy.LATEST else Reason.QUEUE_FULL

    @property
    def _drops_newest(self) -> bool:
        return self.limits.drop is Drop.NEWEST and self.limits.policy is Policy.BOUNDED

    def _too_large(self) -> bool:
        most = self.limits.size_bytes
        return most is not None and self.frames > 1 and self.size_bytes > most

    def _forget(self, frame: Frame) -> None:
        self.frames -= 1
        self.size_bytes -= frame.data.nbytes
        if self._kept:
            self._kept -= 1
