"""The link to a PVA member that may have to acknowledge: around the link of its image channel, whoever serves that.

Rules under policy Acknowledged. A client is dealt frames only once it has said, by an RPC on the channel `...:Ack`,
that it acknowledges; one that never does is shown nothing and holds nobody up (`ready` is False). It has at most its
window of frames at a time. A frame is done when it was acknowledged, and its memory is kept until then. A member that
has frames and acknowledges none for `within` seconds is not there any more: its clients are cut off, and what it had
goes to others (ioc/distributor). Under the other policies a frame is done when the image channel is.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from ioc.channels.base import Accepted, Counters, ImageLink, Refusal
from ioc.core.acknowledgement import MODEST_WINDOW, Acknowledgement, Answer, Outstanding
from ioc.core.errors import PeerError
from ioc.core.frame import Frame, Item

log = logging.getLogger(__name__)


class AcknowledgedLink:
    """The link to the clients of one member channel; implements base.Link."""

    def __init__(self, inner: ImageLink, wake: Callable[[], None]) -> None:
        """Wrap the link of an image channel; `wake` has the owner look at `done`, any thread may call it."""
        self.missed = 0
        self.leaving = False
        self._inner = inner
        self._wake = wake
        self._lock = threading.Lock()
        self._out = Outstanding()
        self._within_ns: int | None = None
        self._says_so = False
        self._silent = False
        self._wanted = MODEST_WINDOW
        self._moved_ns = 0  # when it last acknowledged, or was given a frame while it had none

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def ready(self) -> bool:
        return self._within_ns is None or (self._says_so and self._inner.watched)

    def expect_acknowledgement(self, within: float | None) -> None:
        with self._lock:
            self._within_ns = None if within is None else round(within * 1e9)
            self._moved_ns = time.monotonic_ns()

    def publish(self, items: Sequence[Item]) -> Accepted:
        with self._lock:
            fitting = leading(items, self._room())
            if not self._out.frames:
                self._moved_ns = time.monotonic_ns()
            for item in fitting:  # before they are posted: the answer may be faster than we are
                self._out.give(item)
        taken = self._inner.publish(fitting)
        with self._lock:
            self._out.take_back(len(fitting) - taken.count)
        if taken.refusal is None and len(fitting) < len(items):
            return Accepted(taken.count, Refusal.FULL)
        return taken

    def done(self) -> int:
        posted = self._inner.done()
        with self._lock:
            return self._out.settle(posted, self._within_ns is not None)

    def take_failed(self) -> set[tuple[int, int]]:
        """Return series and id of the frames that the member is done with and failed on, each once."""
        with self._lock:
            return self._out.take_failed()

    def alive(self) -> bool:
        if not self._inner.alive() or self._silent:
            return False
        within_ns, frames = self._within_ns, self._out.frames
        if within_ns is None or not frames:
            return True
        silent_ns = time.monotonic_ns() - self._moved_ns
        self._silent = silent_ns > within_ns
        if self._silent:
            text = "%s: has %d frames and acknowledged none for %.1f s; it is cut off and they go to others"
            log.warning(text, self.name, frames, silent_ns / 1e9)
        return not self._silent

    def fileno(self) -> int:
        return self._inner.fileno()

    def refresh(self) -> None:
        self._inner.refresh()

    def ring_at(self, done: int) -> None:
        self._inner.ring_at(done)

    def counters(self) -> Counters:
        return self._inner.counters()

    def close(self, drain: bool) -> None:
        self._silent = True
        self._inner.close(drain)

    def acknowledge(self, said: Acknowledgement) -> Answer:
        """Book what a client said; any thread may call.

        Raises:
            PeerError: the member is not there any more, so its frames went to others.
        """
        if self._silent or not self._inner.alive():
            raise PeerError(f"{self.name}: the member is not there any more; monitor the channel again")
        with self._lock:
            self._says_so = True
            self._wanted = said.window or self._wanted
            answer = self._out.acknowledge(said)
            if answer.acknowledged:
                self._moved_ns = time.monotonic_ns()
        self._wake()
        return answer

    def _room(self) -> int | None:
        """Return how many frames may be given now, None for any number."""
        if self._within_ns is None:
            return None
        return max(0, self._wanted - self._out.frames) if self._says_so else 0


def leading(items: Sequence[Item], frames: int | None) -> Sequence[Item]:
    """Return the first items, as many as have at most so many frames among them."""
    if frames is not None:
        for at, item in enumerate(items):
            if isinstance(item, Frame):
                if not frames:
                    return items[:at]
                frames -= 1
    return items
