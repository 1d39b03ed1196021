"""Where a consumer's frames go: the image channel of the consumer."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ioc.channels.base import Accepted, Counters
from ioc.channels.images import ImageLink
from ioc.core.clock import Clock
from ioc.core.frame import Frame, Item

UNWATCHED_NS = 100_000_000
"""While nobody watches, one frame in this time is kept for whoever comes later."""


class ImageOutput:
    """Publishes on an image channel; implements base.Publisher.

    The frames of a processor may be views of shared memory that is used again as soon as the frame is finished with,
    and the channel sends later: so each is copied, unless nobody watches.
    """

    def __init__(self, channel: ImageLink, clock: Clock) -> None:
        self._channel = channel
        self._clock = clock
        self._kept_ns = 0

    def publish(self, items: Sequence[Item]) -> Accepted:
        if self._channel.watched:
            return self._channel.publish([_owned(item) for item in items])
        now = self._clock.monotonic_ns()
        if now - self._kept_ns >= UNWATCHED_NS and isinstance(items[-1], Frame):
            self._kept_ns = now
            self._channel.publish([_owned(items[-1])])
        return Accepted(len(items))

    def counters(self) -> Counters:
        return self._channel.counters()

    def close(self, drain: bool) -> None:
        self._channel.close(drain)


def _owned(item: Item) -> Item:
    if not isinstance(item, Frame):
        return item
    return replace(item, data=np.array(item.data, order="C"))
