"""One served NTNDArray channel: a bounded queue of frames, and a SharedPV of its own for every client.

Rules. The queue holds what was taken and is not finished with. While somebody watches, each frame is converted once
and posted to every client; pixels are copied on the way, so the frame's memory is free as soon as it is finished with.
While nobody watches, frames are finished with at once, unconverted, all but the newest: it is *held*, by reference,
until a newer one comes, or a client, or the end of the series, or until it was held for `LONGEST_HOLD`; then it is
converted and kept for whoever comes later. A caller that waits for it (`ring_at`) gets it back earlier.

`done` says that a frame was handed to p4p for all clients, not that they received it: pvAccess merges what a slow
client does not take, and only a gap in `uniqueId` tells.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence

from p4p import Value
from p4p.server.raw import SharedPV

from ioc.channels.base import Accepted, Counters, Refusal
from ioc.channels.bell import Bell
from ioc.channels.ntndarray import empty_value, to_value
from ioc.channels.pva_poster import Poster
from ioc.core.frame import Frame, Item

log = logging.getLogger(__name__)

LONGEST_HOLD = 100_000_000
"""Nanoseconds after which a frame that nobody watches is copied, so that its memory is free."""
SHORTEST_HOLD = 1_000_000
"""Nanoseconds between such copies at least when the caller waits for the memory."""
SHARE_OF_TIME = 20
"""Such copies take at most one part in this many of the time of one thread."""
CLOSE_DEADLINE = 5.0
"""Seconds that a drain may take."""


class ImageChannel:
    """The publisher to all clients of one channel; implements base.Link.

    Made by `ImageChannels`. Clients come and go on the poster's thread only.
    """

    leaving = False
    """A client of pvAccess does not announce that it leaves; see base.Link."""

    def __init__(self, name: str, window: int, poster: Poster) -> None:
        self.missed = 0
        self._name = name
        self._window = window
        self._poster = poster
        self._lock = threading.Lock()
        self._queue: deque[Item] = deque()
        self._scheduled = False
        self._watchers = 0
        self._done = 0
        self._ring_at = 0
        self._alive = True
        self._bell = Bell()
        self._frames = self._bytes = self._errors = 0
        self._keep_due_ns: int | None = None
        self._kept_ns = 0  # how long the last copy of a held frame took
        self._clients: dict[int, SharedPV] = {}  # only for the poster's thread, as all below
        self._latest: Value | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def ready(self) -> bool:
        return True

    def expect_acknowledgement(self, within: float | None) -> None:
        """Do nothing: who only looks acknowledges nothing; see pva_member.MemberChannel for those that do."""

    @property
    def watched(self) -> bool:
        """Return whether a client has this channel open."""
        return self._watchers > 0

    def publish(self, items: Sequence[Item]) -> Accepted:
        with self._lock:
            if not self._alive:
                return Accepted(0, Refusal.GONE)
            passing = not self._watchers and not self._scheduled
            count = len(items) if passing else min(len(items), max(0, self._window - len(self._queue)))
            self._queue.extend(items[:count] if count < len(items) else items)
            if passing:
                self._pass_by()
            elif count:
                self._schedule()
        return Accepted(count) if count == len(items) else Accepted(count, Refusal.FULL)

    def done(self) -> int:
        return self._done

    def alive(self) -> bool:
        return self._alive

    def fileno(self) -> int:
        return self._bell.fileno()

    def refresh(self) -> None:
        with self._lock:
            self._bell.refresh()

    def ring_at(self, done: int) -> None:
        with self._lock:
            self._ring_at = done
            if self._done >= done:
                self._bell.ring()
            elif self._queue and not self._scheduled:
                self._plan(max(SHORTEST_HOLD, SHARE_OF_TIME * self._kept_ns))

    def counters(self) -> Counters:
        """Return frames finished with, bytes of pixels posted to clients, and frames that could not be converted."""
        return Counters(self._frames, self._bytes, self._errors)

    def close(self, drain: bool) -> None:
        """Stop; with `drain`, what was accepted is posted first. Clients are cut off."""
        with self._lock:
            self._alive = False
        if not self._poster.call(lambda: self._shut(drain), CLOSE_DEADLINE):
            log.warning("channel %s: not drained within %g s", self._name, CLOSE_DEADLINE)
        with self._lock:
            self._bell.close()

    def attach(self, pv: SharedPV) -> None:
        """Open a client's SharedPV with the newest frame; on the poster's thread."""
        with self._lock:
            self._watchers += 1
            held = bool(self._queue) and not self._scheduled
            self._scheduled = self._scheduled or held
        if held:
            self._work()
        if not self._alive:
            pv.close(destroy=True)
            return
        pv.open(self._latest if self._latest is not None else empty_value())
        self._clients[id(pv)] = pv

    def detach(self, pv: SharedPV) -> None:
        """Forget a client that has gone; on the poster's thread."""
        with self._lock:
            self._watchers -= 1
        if self._clients.pop(id(pv), None) is not None:
            pv.close()  # lets go of its frame now: the object itself is in a cycle that waits for the collector

    def lose(self) -> None:
        """Be gone: what is queued stays unfinished; on the poster's thread."""
        with self._lock:
            self._alive = False
            self._queue.clear()
            self._bell.ring()

    def _pass_by(self) -> None:
        """Finish with all but the newest frame and what follows it; the lock is held, nobody watches."""
        queue = self._queue
        newest = next((at for at in range(len(queue) - 1, -1, -1) if isinstance(queue[at], Frame)), 0)
        for _ in range(newest):
            self._finish(queue.popleft())
        if len(queue) == 1 and isinstance(queue[0], Frame):
            if self._keep_due_ns is None:
                self._plan(LONGEST_HOLD)
        elif queue:
            self._schedule()

    def _plan(self, after_ns: int) -> None:
        due = time.monotonic_ns() + after_ns
        if self._keep_due_ns is None or due < self._keep_due_ns:
            self._keep_due_ns = due
            self._poster.put(self._keep, due)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._poster.put(self._work)

    def _keep(self) -> None:
        with self._lock:
            if self._keep_due_ns is None or time.monotonic_ns() < self._keep_due_ns:
                return  # planned earlier, and an earlier one was planned since
            self._keep_due_ns = None
            if self._scheduled or not self._queue:
                return
            self._scheduled = True
        began = time.monotonic_ns()
        self._work()
        self._kept_ns = time.monotonic_ns() - began

    def _work(self) -> None:
        """Finish with the first item of the queue; on the poster's thread, while `_scheduled`."""
        with self._lock:
            if not self._queue:
                self._scheduled = False
                return
            item = self._queue[0]
            superseded = not self._watchers and any(isinstance(later, Frame) for later in list(self._queue)[1:])
        if isinstance(item, Frame) and not superseded:
            self._deliver(item)
        with self._lock:
            self._finish(self._queue.popleft())
            self._scheduled = bool(self._queue)
            if self._scheduled:
                self._poster.put(self._work)

    def _deliver(self, frame: Frame) -> None:
        try:
            value = to_value(frame)
            self._latest = value
            for pv in self._clients.values():
                pv.post(value)
            self._bytes += frame.data.nbytes * len(self._clients)
        except Exception:  # the stage boundary of this channel: the frame is counted, the next one may do
            self._errors += 1
            if self._errors & (self._errors - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
                log.exception(
                    "channel %s: frame %d is not served (error %d)", self._name, frame.unique_id, self._errors
                )

    def _finish(self, item: Item) -> None:
        self._done += 1
        self._frames += isinstance(item, Frame)
        if self._done >= self._ring_at:
            self._bell.ring()

    def _shut(self, drain: bool) -> None:
        with self._lock:
            self._scheduled = True
        while drain and self._queue:
            self._work()
        with self._lock:
            self._queue.clear()
        for pv in self._clients.values():
            pv.close(destroy=True)
        self._clients.clear()
