"""The image channel of a process: what it puts out, for whoever looks."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ioc.channels.base import Accepted, Counters, ImageLink, Refusal
from ioc.channels.memory_book import MemoryBook
from ioc.core.clock import Clock
from ioc.core.frame import Frame, Item

UNWATCHED_NS = 100_000_000
"""While nobody watches, one frame in this time is kept for whoever comes later."""


class ImageOutput:
    """Publishes on an image channel; implements base.Publisher.

    The frames of a processor may be views of shared memory that is used again as soon as the frame is finished with,
    and the channel sends later: so each is copied, unless nobody watches. The copies are booked in the memory budget;
    a frame for which it has nothing left is `shed`: its viewers miss it.
    """

    def __init__(self, channel: ImageLink, clock: Clock, memory: MemoryBook) -> None:
        self.shed = 0
        self._channel = channel
        self._clock = clock
        self._memory = memory
        self._kept_ns = 0
        self._sizes: deque[int] = deque()  # bytes booked for each item that the channel has not finished with
        self._done = 0

    def publish(self, items: Sequence[Item]) -> Accepted:
        self._settle()
        if self._channel.watched:
            return self._publish_copies(items)
        now = self._clock.monotonic_ns()
        if now - self._kept_ns >= UNWATCHED_NS and isinstance(items[-1], Frame):
            self._kept_ns = now
            self._publish_copies(items[-1:])
        return Accepted(len(items))

    def counters(self) -> Counters:
        return self._channel.counters()

    def close(self, drain: bool) -> None:
        self._channel.close(drain)

    def _publish_copies(self, items: Sequence[Item]) -> Accepted:
        copies: list[Item] = []
        for item in items:
            size = item.data.nbytes if isinstance(item, Frame) else 0
            if not self._memory.take(size):
                self.shed += 1
                continue
            self._sizes.append(size)
            copies.append(_owned(item))
        taken = self._channel.publish(copies).count if copies else 0
        for _ in copies[taken:]:
            self._memory.give(self._sizes.pop())
        return Accepted(taken, None if taken == len(items) else Refusal.FULL)

    def _settle(self) -> None:
        done = self._channel.done()
        for _ in range(done - self._done):
            self._memory.give(self._sizes.popleft())
        self._done = done


def _owned(item: Item) -> Item:
    if not isinstance(item, Frame):
        return item
    return replace(item, data=np.array(item.data, order="C"))
