"""The link to the clients of one member channel, which may acknowledge what they got by RPC; implements base.Link.

Rules under policy Acknowledged: those of pva_member, with this server in p4p's place. A client is dealt frames only
once it has said that it acknowledges; a frame is done when it was acknowledged; a member that has frames and
acknowledges none for `within` seconds is gone. Under the other policies a frame is done when the client's host has it.
"""

import logging
import time
from collections.abc import Sequence

from ioc.channels.base import Accepted, Refusal
from ioc.channels.pva_images_channel import OnClose, ServedChannel
from ioc.channels.pva_member import leading
from ioc.channels.pva_poster import Poster
from ioc.core.acknowledgement import MODEST_WINDOW, Acknowledgement, Answer, Outstanding
from ioc.core.errors import PeerError
from ioc.core.frame import Item

log = logging.getLogger(__name__)


class ServedMember(ServedChannel):
    """The link of a member."""

    def __init__(self, name: str, window: int, poster: Poster, on_close: OnClose | None = None) -> None:
        super().__init__(name, window, poster, True, on_close)
        self._out = Outstanding()
        self._within_ns: int | None = None
        self._says_so = False
        self._wanted = MODEST_WINDOW
        self._heard_ns = 0  # when it last acknowledged, or was given a frame while it had none

    @property
    def ready(self) -> bool:
        return self._within_ns is None or (self._says_so and self.watched)

    def expect_acknowledgement(self, within: float | None) -> None:
        with self._lock:
            self._within_ns = None if within is None else round(within * 1e9)
            self._heard_ns = time.monotonic_ns()

    def publish(self, items: Sequence[Item]) -> Accepted:
        with self._lock:
            fitting = leading(items, self._frames_wanted())[: max(0, self._window - len(self._outstanding))]
            if not self._out.frames:
                self._heard_ns = time.monotonic_ns()
            for item in fitting:  # before they are sent: the answer may be faster than we are
                self._out.give(item)
        taken = super().publish(fitting)
        if taken.refusal is None and len(fitting) < len(items):
            return Accepted(taken.count, Refusal.FULL)
        return taken

    def done(self) -> int:
        with self._lock:
            return self._out.settle(self._done, self._within_ns is not None)

    def alive(self) -> bool:
        if not self._alive or self._within_ns is None or not self._out.frames:
            return self._alive
        with self._lock:
            silent_ns = time.monotonic_ns() - self._heard_ns
            if self._out.frames and silent_ns > self._within_ns:
                self._alive = False
                text = "%s: has %d frames and acknowledged none for %.1f s; it is cut off and they go to others"
                log.warning(text, self._name, self._out.frames, silent_ns / 1e9)
        return self._alive

    def ring_at(self, done: int) -> None:
        if self._within_ns is None:
            super().ring_at(done)
            return
        with self._lock:
            if self._out.done >= done:
                self._bell.ring()

    def acknowledge(self, said: Acknowledgement) -> Answer:
        """Book what a client said; any thread may call.

        Raises:
            PeerError: the member is not there any more, so its frames went to others.
        """
        with self._lock:
            if not self._alive:
                raise PeerError(f"{self._name}: the member is not there any more; monitor the channel again")
            self._says_so = True
            self._wanted = said.window or self._wanted
            answer = self._out.acknowledge(said)
            if answer.acknowledged:
                self._heard_ns = time.monotonic_ns()
            self._bell.ring()
        return answer

    def _frames_wanted(self) -> int | None:
        """Return how many frames may be given now, None for any number."""
        if self._within_ns is None:
            return None
        return max(0, self._wanted - self._out.frames) if self._says_so else 0
