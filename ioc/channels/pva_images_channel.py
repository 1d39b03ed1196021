"""One served image channel: frames on their way to clients, sent from where they lie; implements base.Link.

Rules. What was taken and is not finished with is *outstanding*, in order. A frame is finished with when no client needs
its memory any more: it was sent, replaced in a client's queue, or moved. The newest frame is kept for whoever comes
later. A frame that is in the way is *moved*, that is copied: when the caller wants the last frame back, when
nothing was finished for `LONGEST_HOLD`, or when one client is slow and the next one has nothing to do. So a client that
stalls costs the memory of its own queue, and the others nothing.

A member's link differs: its clients' queues have no limit but the link's window, nothing is replaced or moved, and a
frame is finished with when the client's host has acknowledged its last byte. So back-pressure reaches the caller,
whose delivery class decides. It is gone with its last client: what is outstanding then was not received.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ioc.channels.base import Accepted, Counters, Refusal
from ioc.channels.bell import Bell
from ioc.channels.pva_images_queue import Held, Taken, UpdateQueue, begin_use
from ioc.channels.pva_images_replay import ReplayWindow
from ioc.channels.pva_poster import Poster
from ioc.channels.pva_wire_image import EMPTY, image_of
from ioc.channels.pva_wire_ntndarray import Selection
from ioc.channels.pva_wire_request import Replay
from ioc.core.frame import Frame, Item

log = logging.getLogger(__name__)

LONGEST_HOLD = 100_000_000
"""Nanoseconds without a finished frame after which what is outstanding is moved."""
SHORTEST_HOLD = 1_000_000
"""Nanoseconds after which a frame is moved at the earliest when the caller waits for it."""
SHARE_OF_TIME = 20
"""Such copies take at most one part in this many of the time of one thread."""
CLOSE_DEADLINE = 5.0
"""Seconds that a drain may take."""
DRAIN_STEP = 0.005


OnClose = Callable[["ServedChannel"], None]


class Writer(Protocol):
    """What sends the updates of subscriptions to one client."""

    def wake(self, subscription: "Subscription") -> None:
        """Send what waits for a subscription; never waits."""
        ...


@dataclass(slots=True, eq=False)
class Subscription:
    """One client's monitor of a channel; `scheduled` while its writer is going to look at it.

    `broken`: its connection is, and nothing more reaches the client.
    """

    queue: UpdateQueue
    writer: Writer
    channel: "ServedChannel | None" = None
    scheduled: bool = False
    broken: bool = False
    replay: Replay | None = None


class ServedChannel:
    """The publisher to all subscriptions of one channel, or of one member."""

    leaving = False
    """A client of pvAccess does not announce that it leaves; see base.Link."""
    ready = True
    """Who only looks may be shown frames at any time; acknowledged.AcknowledgedLink is for those that acknowledge."""

    def __init__(
        self, name: str, window: int, poster: Poster, member: bool = False, on_close: "OnClose | None" = None
    ) -> None:
        """Make a channel; `on_close` is called with it when it is closed and has clients left, to tell them."""
        self.missed = 0
        self.member = member
        self._on_close = on_close
        self._name = name
        self._window = window
        self._poster = poster
        self._lock = threading.Lock()
        self._outstanding: deque[Held] = deque()
        self._newest: Held | None = None
        self._subscriptions: list[Subscription] = []
        self._bell = Bell()
        self._alive = True
        self._done = 0
        self._ring_at = 0
        self._frames = self._bytes = self._errors = self._overruns = 0
        self._moved_ns = 0  # how long the last copy took
        self._progress_ns = time.monotonic_ns()
        self._due_ns: int | None = None
        self._replay = ReplayWindow()

    @property
    def name(self) -> str:
        return self._name

    @property
    def watched(self) -> bool:
        """Return whether a client monitors this channel."""
        return bool(self._subscriptions)

    @property
    def overruns(self) -> int:
        """Return how many updates were replaced in the queues of clients, of those that are gone too."""
        with self._lock:
            return self._overruns + sum(one.queue.overruns for one in self._subscriptions)

    def publish(self, items: Sequence[Item]) -> Accepted:
        with self._lock:
            if not self._alive:
                return Accepted(0, Refusal.GONE)
            count = len(items)
            if self._subscriptions:
                kept = self._newest is not None and self._newest.borrowed
                count = min(count, max(0, self._window + kept - len(self._outstanding)))
            for item in items[:count]:
                self._take(item)
            self._settle()
            awake = self._sendable()
            self._look_ahead()
        for subscription in awake:
            subscription.writer.wake(subscription)
        return Accepted(count) if count == len(items) else Accepted(count, Refusal.FULL)

    def done(self) -> int:
        return self._done

    def expect_acknowledgement(self, within: float | None) -> None:
        """Do nothing: see `ready`."""

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
            elif self._only_kept():
                self._plan(max(SHORTEST_HOLD, SHARE_OF_TIME * self._moved_ns))

    def counters(self) -> Counters:
        """Return frames finished with, bytes of pixels sent to clients, and frames that could not be converted."""
        return Counters(self._frames, self._bytes, self._errors)

    def close(self, drain: bool) -> None:
        """Stop; with `drain`, what was accepted is sent first, as far as clients take it in time."""
        with self._lock:
            self._alive = False
        deadline = time.monotonic() + CLOSE_DEADLINE
        while drain and self._busy() and time.monotonic() < deadline:
            time.sleep(DRAIN_STEP)  # writers are at it; there is no event for "all sent"
        if drain and self._busy():
            log.warning("channel %s: not drained within %g s", self._name, CLOSE_DEADLINE)
        with self._lock:
            self._forget_newest()
            for subscription in self._subscriptions:
                subscription.queue.clear()
            self._settle()
            self._bell.close()
        if self.watched and self._on_close is not None:
            self._on_close(self)

    def join(self, subscription: Subscription, replay: Replay | None = None) -> None:
        """Send a subscription every frame from now on; first the newest one or the empty image, or what it missed."""
        with self._lock:
            missed = [] if replay is None else self._replay.begin(replay)
            if replay is None or replay.after is None or not self._replayed(missed, subscription.queue):
                subscription.queue.put(self._newest_held() or Held(None, EMPTY))
            subscription.channel = self
            subscription.replay = replay
            self._subscriptions.append(subscription)
            subscription.scheduled = subscription.queue.sendable
            awake = subscription.scheduled
        if awake:
            subscription.writer.wake(subscription)

    def leave(self, subscription: Subscription) -> None:
        """Send a subscription no more; a member is gone with its last one."""
        with self._lock:
            if subscription not in self._subscriptions:
                return
            self._subscriptions.remove(subscription)
            if subscription.replay is not None:
                self._replay.end()
            self._overruns += subscription.queue.overruns
            self._end_if_nobody_is_left()
            subscription.queue.clear()
            self._settle()

    def grant(self, subscription: Subscription, count: int) -> None:
        """Take notice that a client has room for `count` updates more."""
        with self._lock:
            subscription.queue.grant(count)
            awake = subscription.queue.sendable and not subscription.scheduled
            subscription.scheduled = subscription.scheduled or awake
        if awake:
            subscription.writer.wake(subscription)

    def take(self, subscription: Subscription, most_bytes: int) -> list[Taken]:
        """Return the next updates of a subscription to send, [] if there are none; give them back with `sent`."""
        with self._lock:
            taken = subscription.queue.take(most_bytes)
            if not taken:
                subscription.scheduled = False
            return taken

    def fetch(self, selection: Selection, ioid: int, last: bool) -> Taken:
        """Return the newest frame, or the empty image, as the answer to a get; give it back with `sent`."""
        with self._lock:
            held = self._newest_held() or Held(None, EMPTY)
            assert held.image is not None
            return Taken(held, held.image.answer(selection, ioid, last), begin_use(held))

    def sent(self, taken: Sequence[Taken]) -> None:
        """Take updates back: nobody reads from their memory any more."""
        with self._lock:
            for one in taken:
                one.held.using -= one.original
                self._bytes += one.held.pixel_bytes
            self._settle()

    def broken(self, subscription: Subscription, taken: Sequence[Taken]) -> None:
        """Take updates back that the other host has not acknowledged and never will: its connection broke."""
        with self._lock:
            subscription.broken = True
            self._end_if_nobody_is_left()
            for one in taken:
                one.held.using -= one.original
            self._settle()

    def in_the_way(self) -> bool:
        """Return whether frames that wait keep others from going on: then they are to be moved."""
        with self._lock:
            return self._in_the_way()

    def _end_if_nobody_is_left(self) -> None:
        """End a member that nobody can be reached for any more; what is outstanding was not received."""
        if self.member and all(one.broken for one in self._subscriptions):
            self._alive = False
            self._outstanding.clear()
            self._bell.ring()

    def _take(self, item: Item) -> None:
        held = Held(item)
        self._outstanding.append(held)
        if not isinstance(item, Frame):
            return
        if self._replay.wanted:
            held.own(replace(item, data=np.array(item.data, order="C")))  # it stays here longer than its memory
            self._replay.keep(held)
        if self._subscriptions and not self._convert(held):
            return
        if not self.member:
            self._forget_newest()
            self._newest = held
            held.waiting += 1
        for subscription in self._subscriptions:
            subscription.queue.put(held)

    def _convert(self, held: Held) -> bool:
        """Make the image of a frame; return whether that was possible."""
        if held.image is not None:
            return True
        assert isinstance(held.item, Frame)
        try:
            held.image = image_of(held.item)
        except Exception:  # the stage boundary of this channel: the frame is counted, the next one may do
            self._errors += 1
            if self._errors & (self._errors - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
                unique_id = held.item.unique_id
                log.exception("channel %s: frame %d is not served (error %d)", self._name, unique_id, self._errors)
        return held.image is not None

    def _replayed(self, missed: list[Held], queue: UpdateQueue) -> bool:
        """Have frames wait that a client missed, whatever its queue is; return whether there are any."""
        usable = [held for held in missed if self._convert(held)]
        for held in usable:
            queue.put(held, beyond_limit=True)
        return bool(usable)

    def _newest_held(self) -> Held | None:
        if self._newest is not None and not self._convert(self._newest):
            self._forget_newest()
        return self._newest

    def _forget_newest(self) -> None:
        if self._newest is not None:
            self._newest.waiting -= 1
            self._newest = None

    def _settle(self) -> None:
        """Finish with what nobody needs any more, in order; the lock is held."""
        outstanding = self._outstanding
        before = self._done
        while outstanding and outstanding[0].free:
            self._frames += isinstance(outstanding.popleft().item, Frame)
            self._done += 1
        if self._ring_at > self._done and self._only_kept():
            self._plan(max(SHORTEST_HOLD, SHARE_OF_TIME * self._moved_ns))
        if self._done == before:
            return
        self._progress_ns = time.monotonic_ns()
        if self._done >= self._ring_at:
            self._bell.ring()

    def _sendable(self) -> list[Subscription]:
        awake = [one for one in self._subscriptions if not one.scheduled and one.queue.sendable]
        for subscription in awake:
            subscription.scheduled = True
        return awake

    def _busy(self) -> bool:
        with self._lock:
            waits = any(len(one.queue) for one in self._subscriptions)
            return waits or any(held.using for held in self._outstanding)

    def _only_kept(self) -> bool:
        """Return whether all that is outstanding is the newest frame, kept for whoever comes, and what follows it."""
        first = self._outstanding[0] if self._outstanding else None
        return first is not None and first is self._newest and first.waiting == 1 and not first.using

    def _in_the_way(self) -> bool:
        if self.member or not self._outstanding:
            return False
        now = time.monotonic_ns()
        if now - self._progress_ns >= LONGEST_HOLD:
            return True
        crowded = 2 * len(self._outstanding) >= self._window
        return crowded and any(not len(one.queue) for one in self._subscriptions)

    def _look_ahead(self) -> None:
        """Plan to move what may be in the way; the lock is held."""
        if self.member or not self._outstanding:
            return
        if not isinstance(self._outstanding[-1].item, Frame) or self._in_the_way():
            self._plan(0)
        elif self._due_ns is None:
            self._plan(LONGEST_HOLD)

    def _plan(self, after_ns: int) -> None:
        due = time.monotonic_ns() + after_ns
        if not self.member and (self._due_ns is None or due < self._due_ns):
            self._due_ns = due
            self._poster.put(self._relieve, due)

    def _relieve(self) -> None:
        """Move frames that are in the way and in no writer's hands; on the poster's thread."""
        with self._lock:
            if self._due_ns is None or time.monotonic_ns() < self._due_ns:
                return  # planned earlier, and an earlier one was planned since
            self._due_ns = None
            ended = bool(self._outstanding) and not isinstance(self._outstanding[-1].item, Frame)
            asked = self._ring_at > self._done and self._only_kept()
            victims = list(self._outstanding) if self._in_the_way() else []
            if (ended or asked) and self._newest is not None and not victims:
                victims = [self._newest]
        for held in victims:
            self.move(held)
        with self._lock:
            if any(held.borrowed and isinstance(held.item, Frame) for held in self._outstanding):
                self._plan(LONGEST_HOLD)

    def move(self, held: Held) -> None:
        """Give what waits a copy of its pixels, so that the frame's memory is free."""
        with self._lock:
            frame = held.item
            if not held.borrowed or held.moving or not held.waiting or not isinstance(frame, Frame):
                return
            held.moving = True
            held.using += 1
        began = time.monotonic_ns()
        copy = replace(frame, data=np.array(frame.data, order="C"))
        with self._lock:
            held.using -= 1
            held.own(copy)
            self._moved_ns = time.monotonic_ns() - began
            self._settle()
