"""A PVA member's end: takes the frames of its member channel and acknowledges those that were released.

It says that it acknowledges once its monitor is set up, and again after every reconnection. What was released travels
in one call at a time: while one is under way the next ids gather. A call that fails is not repeated: what the server
did not hear of, it gives to another member, and the sink sorts out the copy (ioc/core/once.py).
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence

from p4p import Value
from p4p.client.raw import Context
from p4p.nt import NTURI

from ioc.channels.base import Counters
from ioc.channels.pva_receiver import PvaReceiver
from ioc.channels.pva_source import Packing
from ioc.channels.pva_source import Wish as PvaWish
from ioc.core.errors import RayfanBug, mismatch
from ioc.core.frame import Frame, Item
from ioc.core.overflow import WIDEST_WINDOW
from ioc.core.sequence import Ranges

log = logging.getLogger(__name__)

GREETING_PATIENCE = 0.02
"""s between two looks whether the monitor is set up."""
FLUSH_SECONDS = 2.0
_HELLO = NTURI([("window", "i")])
_DONE = NTURI([("series", "l"), ("ids", "s")])


class MemberReceiver:
    """Takes and acknowledges the frames of one member channel; implements base.Receiver."""

    def __init__(self, channel_name: str, window: int = 16, compressed: bool = False) -> None:
        """Join by the channel `...:Image`, having at most `window` frames at a time, 1 to 64.

        `compressed`: take compressed frames, too.
        """
        if not 1 <= window <= WIDEST_WINDOW:
            raise RayfanBug(mismatch(f"window of {channel_name}", f"1 to {WIDEST_WINDOW}", window))
        self.acknowledged = 0
        self._ack_name = channel_name.removesuffix("Image") + "Ack"
        self._window = window
        packing = Packing.KEEP if compressed else Packing.REFUSE
        wish = PvaWish(2 * WIDEST_WINDOW, packing=packing)  # room for more than a window: none is merged
        self._receiver = PvaReceiver.of(channel_name, wish)
        self._context = Context("pva", nt=False, useenv=True)
        self._lock = threading.Condition()
        self._out: deque[Item] = deque()
        self._ready: dict[int, Ranges] = {}
        self._greeted: int | None = None
        self._call: object = None
        self._answered: list[object] = []
        self._closed = False

    @property
    def greeted(self) -> bool:
        """Whether the server was told that this member acknowledges, in the present connection."""
        return self._receiver.connected and self._greeted == self._receiver.disconnects

    @property
    def disconnects(self) -> int:
        """How often the connection was lost."""
        return self._receiver.disconnects

    def receive(self, max_items: int, timeout: float) -> Sequence[Item]:
        deadline = time.monotonic() + timeout
        while True:
            left = max(0.0, deadline - time.monotonic())
            items = self._receiver.receive(max_items, left if self.greeted else min(left, GREETING_PATIENCE))
            if self._receiver.connected and not self.greeted:
                self._greet()
            if items or left <= 0 or self._closed:
                self._out.extend(items)
                return items

    def release(self, count: int) -> None:
        """Acknowledge the next `count` frames that were received."""
        with self._lock:
            for _ in range(count):
                item = self._out.popleft()
                if isinstance(item, Frame):
                    self._ready.setdefault(item.series, Ranges()).add(item.unique_id, item.unique_id)
            self._say_next()
        self._let_go()

    def counters(self) -> Counters:
        return self._receiver.counters()

    def figures(self) -> dict[str, float | int | str]:
        """Return what is worth showing besides the counters."""
        return {**self._receiver.figures(), "Acknowledged": self.acknowledged}

    def close(self, drain: bool) -> None:
        """Leave; with `drain`, what was released is acknowledged first."""
        with self._lock:
            if drain and not self._lock.wait_for(lambda: not self._ready and self._call is None, FLUSH_SECONDS):
                log.warning("%s: not all was acknowledged within %g s", self._ack_name, FLUSH_SECONDS)
            self._closed = True
        self._let_go()
        self._receiver.close(drain=False)
        self._context.close()

    def _greet(self) -> None:
        connection = self._receiver.disconnects
        with self._lock:
            if self._call is None:
                self._say(_HELLO.wrap(self._ack_name, kws={"window": self._window}), connection)
        self._let_go()

    def _say_next(self) -> None:
        if self._call is None and self._ready and not self._closed:
            series, ranges = self._ready.popitem()
            ids = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
            self._say(_DONE.wrap(self._ack_name, kws={"series": series, "ids": ids}), None)

    def _say(self, words: Value, connection: int | None) -> None:
        """Begin a call, the lock held; `connection` is the one that is greeted by it."""
        self._call = words  # before the answer can come
        self._call = self._context.rpc(self._ack_name, lambda answer: self._heard(answer, connection), words)

    def _let_go(self) -> None:
        """Let go of calls that were answered: p4p waits there for its own thread, which may wait for our lock."""
        with self._lock:
            answered, self._answered = self._answered, []
        answered.clear()

    def _heard(self, answer: object, connection: int | None) -> None:
        """Take the answer of a call; on p4p's thread."""
        with self._lock:
            self._answered.append(self._call)
            self._call = None
            if not isinstance(answer, Value):
                log.warning("%s: %s", self._ack_name, answer)
            elif connection is not None:
                self._greeted = connection
            else:
                self.acknowledged += int(answer["acknowledged"])
            self._say_next()
            self._lock.notify_all()
