"""What lies between distributor and image channel, so that `Pva1:` can be disabled or slowed down as a plug-in can.

Rules (ADCore, NDPluginDriver.cpp): while it is disabled, or sooner than MinCallbackTime after the frame before, a frame
passes by: it is not sent, and not counted. The caller takes memory back in order; so a frame that passed by is finished
with when all that were sent before it are. End markers go on in any case. Used by the thread of the flow alone.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ioc.channels.base import Accepted, Counters, ImageLink
from ioc.core.clock import Clock
from ioc.core.frame import Attribute, Frame, Item


class Seen(NamedTuple):
    """What is known of the newest frame that was sent, without its pixels."""

    unique_id: int
    timestamp_ns: int
    nbytes: int
    attributes: Mapping[str, Attribute]


class ImageSwitch:
    """The link to all clients of an image channel; implements base.ImageLink."""

    def __init__(self, inner: ImageLink, clock: Clock) -> None:
        """Send what does not pass by to `inner`."""
        self.missed = 0
        self.enabled = True
        self.least_ns = 0
        """Nanoseconds between two frames at least."""
        self.frames = 0
        self.newest: Seen | None = None
        self._inner = inner
        self._clock = clock
        self._taken_ns: int | None = None
        self._given = 0
        self._passed: deque[tuple[int, int]] = deque()
        """How many were sent before, and how many passed by then; of those that are not finished with."""
        self._passed_done = 0

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def ready(self) -> bool:
        return self._inner.ready

    @property
    def leaving(self) -> bool:
        return self._inner.leaving

    @property
    def watched(self) -> bool:
        return self._inner.watched

    def publish(self, items: Sequence[Item]) -> Accepted:
        if self.enabled and not self.least_ns:
            return self._send(items)
        for at, item in enumerate(items):
            if isinstance(item, Frame) and not self._wants():
                self._pass_by()
                continue
            taken = self._send([item])
            if not taken.count:
                return Accepted(at, taken.refusal)
        return Accepted(len(items))

    def done(self) -> int:
        sent = self._inner.done()
        while self._passed and self._passed[0][0] <= sent:
            self._passed_done += self._passed.popleft()[1]
        return sent + self._passed_done

    def ring_at(self, done: int) -> None:
        wanted = done - self._passed_done
        for before, passed in self._passed:
            if wanted <= before:
                break
            wanted = max(before, wanted - passed)
            if wanted == before:
                break
        self._inner.ring_at(wanted)

    def expect_acknowledgement(self, within: float | None) -> None:
        self._inner.expect_acknowledgement(within)

    def alive(self) -> bool:
        return self._inner.alive()

    def fileno(self) -> int:
        return self._inner.fileno()

    def refresh(self) -> None:
        self._inner.refresh()

    def counters(self) -> Counters:
        return self._inner.counters()

    def close(self, drain: bool) -> None:
        self._inner.close(drain)

    def _send(self, items: Sequence[Item]) -> Accepted:
        taken = self._inner.publish(items)
        self._given += taken.count
        frames = [item for item in items[: taken.count] if isinstance(item, Frame)]
        if frames:
            last = frames[-1]
            self.frames += len(frames)
            self.newest = Seen(last.unique_id, last.timestamp_ns, last.data.nbytes, last.attributes)
            if self.least_ns:
                self._taken_ns = self._clock.monotonic_ns()
        return taken

    def _wants(self) -> bool:
        if not self.enabled:
            return False
        return self._taken_ns is None or self._clock.monotonic_ns() - self._taken_ns >= self.least_ns

    def _pass_by(self) -> None:
        if self._passed and self._passed[-1][0] == self._given:
            self._passed.append((self._given, self._passed.pop()[1] + 1))
        else:
            self._passed.append((self._given, 1))
