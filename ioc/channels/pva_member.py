"""The channel of one member of a group: an image channel whose clients may acknowledge what they got.

Rules under policy Acknowledged. A client is dealt frames only once it has said, by an RPC on the channel `...:Ack`,
that it acknowledges; one that never does is shown nothing and holds nobody up (`ready` is False). It has at most its
window of frames at a time. A frame is done when it was acknowledged, and its memory is kept until then. A member that
has frames and acknowledges none for `within` seconds is not there any more: its clients are cut off, and what it had
goes to others (ioc/distributor). Under the other policies a frame is done when it was posted, as in every image
channel.
"""

import logging
import time
from collections.abc import Callable, Sequence

from p4p import Type, Value
from p4p.server import ServerOperation
from p4p.server.raw import SharedPV

from ioc.channels.base import Accepted, Refusal
from ioc.channels.pva_channel import ImageChannel
from ioc.channels.pva_poster import Poster
from ioc.core.acknowledgement import MODEST_WINDOW, Acknowledgement, Answer, Outstanding, parse
from ioc.core.errors import PeerError, ProtocolError, mismatch
from ioc.core.frame import Frame, Item

log = logging.getLogger(__name__)

ANSWER = Type([("acknowledged", "l"), ("unknown", "l"), ("waiting", "l")], id="rayfan:Acknowledged:1.0")
"""What a call returns: frames acknowledged by it, ids that were not out, frames that are still out."""
URI_ID = "epics:nt/NTURI:1.0"


class MemberChannel(ImageChannel):
    """The link to the clients of one member channel; implements base.Link."""

    def __init__(self, name: str, window: int, poster: Poster) -> None:
        super().__init__(name, window, poster)
        self._out = Outstanding()
        self._within_ns: int | None = None
        self._says_so = False
        self._wanted = MODEST_WINDOW
        self._moved_ns = 0  # when it last acknowledged, or was given a frame while it had none

    @property
    def ready(self) -> bool:
        return self._within_ns is None or (self._says_so and self.watched)

    def expect_acknowledgement(self, within: float | None) -> None:
        with self._lock:
            self._within_ns = None if within is None else round(within * 1e9)
            self._moved_ns = time.monotonic_ns()

    def publish(self, items: Sequence[Item]) -> Accepted:
        with self._lock:
            fitting = _leading(items, self._room())[: max(0, self._window - len(self._queue))]
            if not self._out.frames:
                self._moved_ns = time.monotonic_ns()
            for item in fitting:  # before they are posted: the answer may be faster than we are
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
            silent_ns = time.monotonic_ns() - self._moved_ns
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
                self._moved_ns = time.monotonic_ns()
            self._bell.ring()
        return answer

    def _room(self) -> int | None:
        """Return how many frames may be given now, None for any number."""
        if self._within_ns is None:
            return None
        return max(0, self._wanted - self._out.frames) if self._says_so else 0


class AcknowledgeChannel:
    """What p4p calls about the channel `...:Ack` of one member."""

    def __init__(self, name: str, link_of: Callable[[], MemberChannel | None], served: set[SharedPV]) -> None:
        self._name = name
        self._link_of = link_of
        self._served = served

    def serve(self) -> SharedPV:
        """Return the SharedPV for one client, which is among those that are served until the client has gone."""
        pv = SharedPV(handler=self, initial=Value(ANSWER))
        self._served.add(pv)
        return pv

    def onLastDisconnect(self, pv: SharedPV) -> None:  # noqa: N802 - p4p's name
        self._served.discard(pv)

    def rpc(self, _pv: SharedPV, operation: ServerOperation) -> None:
        """Answer a call; on p4p's thread, never waits."""
        try:
            link = self._link_of()
            if link is None:
                raise PeerError(mismatch(self._name, "a client that monitors the member's Image", "none"))
            answer = link.acknowledge(parse(query(operation.value())))
        except PeerError as error:
            operation.done(error=str(error))
            return
        counts = {"acknowledged": answer.acknowledged, "unknown": answer.unknown, "waiting": answer.waiting}
        operation.done(Value(ANSWER, counts))

    def put(self, _pv: SharedPV, operation: ServerOperation) -> None:
        """Refuse: it is an RPC."""
        operation.done(error=f"{self._name}: acknowledge by RPC, for example pvcall {self._name} series=1 uniqueId=5")


def query(value: Value) -> dict[str, object]:
    """Return the arguments of a call: the query of an NTURI, or a plain structure.

    Raises:
        ProtocolError: it is neither.
    """
    try:
        arguments = value["query"] if value.getID() == URI_ID else value
        return dict(arguments.items()) if isinstance(arguments, Value) else {}
    except (AttributeError, KeyError, TypeError) as error:
        raise ProtocolError(f"acknowledgement: expected an NTURI with a query: {error}") from None


def _leading(items: Sequence[Item], frames: int | None) -> Sequence[Item]:
    """Return the first items, as many as have at most so many frames among them."""
    if frames is not None:
        for at, item in enumerate(items):
            if isinstance(item, Frame):
                if not frames:
                    return items[:at]
                frames -= 1
    return items
