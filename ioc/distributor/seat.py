"""One member's seat in a group: its queue, what is on its way to it, and its account.

Rules: a frame is *assigned* to a seat, waits in the queue, goes to the member within the window, and is *completed*
when the member says so. The seat outlives its member: what was in the hands of a member that died goes back in front
of the queue under Lossless and Acknowledged (unless it was in the hands of two that died: then it is set aside), and
is booked as dropped, by id, otherwise. The same goes for what a member gave back, but that nobody died with it.
`assigned = completed + dropped + queued + in flight`, always.
"""

from collections import Counter, deque
from collections.abc import Sequence
from typing import Protocol

from ioc.channels.acknowledged import AcknowledgedLink
from ioc.channels.base import Link
from ioc.channels.journal import MOVED, Account
from ioc.channels.local import LocalLink
from ioc.channels.local_pool import PooledFrame, drop_all, hold_all
from ioc.core.config_table import Policy
from ioc.core.frame import EndOfSeries, Frame
from ioc.core.ledger import Reason
from ioc.core.overflow import WIDEST_WINDOW, Limits, MemberQueue
from ioc.core.status import MemberStatus

Waiting = PooledFrame | EndOfSeries
MOST_DEATHS = 2
"""A frame that was being worked on by this many members that died is not handed out again."""


class Aside(Protocol):
    """Takes frames that killed two members; used by the thread of the distributor."""

    def set_aside(self, name: str, frame: PooledFrame) -> None:
        """Keep a frame that `name` died with; its memory may be used again once it is let go of. Waits for nothing."""
        ...

    def tend(self) -> None:
        """Let go of what is kept elsewhere by now."""
        ...

    def close(self) -> None:
        """Finish what is under way, and end."""
        ...


class Seat:
    """The place of one member."""

    aside: Aside | None = None
    """Who keeps a copy of what is set aside; None: nobody."""

    def __init__(self, name: str, set_number: int, limits: Limits, expected: bool, account: Account) -> None:
        """Make an empty seat; `expected` means that a member is (re)started for it, so it is worth waiting for.

        A seat that is not `wanted` any more gets no further frames; what waits is still delivered. `account` is where
        it says what became of which id; a member that is not expected has no book, so its seat says what it finished.
        """
        self.name = name
        self.set_number = set_number
        self.expected = expected
        self.wanted = True
        self.queue: MemberQueue[PooledFrame] = MemberQueue(limits)
        self.link: Link | None = None
        self.assigned = 0
        self.completed = 0
        self.dropped: Counter[Reason] = Counter()
        self.last_end: int | None = None
        self.widest = WIDEST_WINDOW
        self.account = account
        self.tells_done = not expected
        """Whether the member has no book, so that the seat says what it finished and failed on."""
        self._on_way: deque[Waiting] = deque()
        self._frames_on_way = 0
        self._seen = 0

    @property
    def present(self) -> bool:
        """Whether a member sits here that is to get frames."""
        link = self.link
        return self.wanted and link is not None and link.alive() and not link.leaving and link.ready

    @property
    def silent(self) -> bool:
        """Whether somebody is here who does not acknowledge where that is asked for, so that it gets no frames."""
        return self.link is not None and not self.link.ready

    @property
    def frames_on_way(self) -> int:
        """Frames that the member has not finished with."""
        return self._frames_on_way

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is on its way."""
        return not self._on_way and not len(self.queue)

    def room(self, size_bytes: int) -> int:
        """Return how many frames of a size can be assigned without dropping one."""
        return self.queue.room(size_bytes)

    def assign(self, frames: Sequence[PooledFrame]) -> None:
        """Put frames of one size into the queue; what has to go for them is booked."""
        self.assigned += len(frames)
        self.account.touch()
        self.account.came.extend(frames)
        hold_all(frames)
        if self.queue.room(frames[0].data.nbytes) >= len(frames):
            self.queue.extend(frames)
            return
        for frame in frames:
            for loser in self.queue.put(frame):
                self._drop(loser, self.queue.reason)

    def end_series(self, marker: EndOfSeries) -> None:
        """Put an end marker into the queue."""
        self.last_end = marker.series
        self.queue.put_end(marker)

    def sit(self, link: Link) -> None:
        """Give the seat to a member; one that sat here before is gone."""
        if self.link is not None:
            self.vacate()
        self.link = link
        self._seen = 0

    def pump(self) -> bool:
        """Book what the member finished and hand it more; return whether it got something.

        It gets more when half of its window is free: until then it has enough to do, and frames that go together cost
        less.
        """
        if self.link is None:
            return False
        if self._on_way:
            self._collect()
        if not len(self.queue):
            return False
        window = min(self.queue.limits.window, self.widest)
        room = 0 if self.link.leaving and self.expected else window - len(self._on_way)
        if room <= 0 or 2 * room < window or not self.link.alive():
            return False
        self.link.missed = self.dropped.total()
        before = self.queue.frames
        items = self.queue.peek(room)
        count = self.link.publish(items).count
        self.queue.take(count)
        self._on_way.extend(items[:count] if count < len(items) else items)
        self._frames_on_way += before - self.queue.frames
        return count > 0

    @property
    def crowded(self) -> bool:
        """Whether something waits for the member to finish with what it has."""
        return len(self.queue) > 0

    def ring(self) -> bool:
        """Ask the member to wake us when half of its window is free again; return whether it is so already."""
        if self.link is None:
            return False
        target = self._seen + max(1, len(self._on_way) // 2)
        self.link.ring_at(target)
        return self.link.done() >= target  # else a member that was faster than our asking would not ring

    def may_leave(self) -> bool:
        """Return whether the member asked to leave and has finished; what waits is left to one that comes after it."""
        if self.link is None or not self.link.leaving or self._on_way:
            return False
        return self.expected or not len(self.queue)

    def vacate(self, politely: bool = False) -> None:
        """Take the member's last word and settle what it had in its hands; `politely` tells it that it is over."""
        if self.link is None:
            return
        self._collect()
        gave_back = isinstance(self.link, LocalLink) and self.link.gave_back
        self.link.close(drain=politely)
        self.link = None
        left = list(self._on_way)
        self._on_way.clear()
        self._frames_on_way = 0
        policy = self.queue.limits.policy
        if policy is Policy.ACKNOWLEDGED or (policy is Policy.LOSSLESS and self.expected):
            self.queue.put_back(left if gave_back else self._survivors(left))
            return
        for item in left:
            if isinstance(item, PooledFrame):
                self._drop(item, Reason.MEMBER_GONE)
        if self.expected:
            self.queue.put_back([item for item in left if isinstance(item, EndOfSeries)])

    def give_away(self) -> list[PooledFrame]:
        """Return the frames that wait, which are not this member's any more."""
        frames = self.queue.take_frames()
        self.assigned -= len(frames)
        self.account.touch()
        for frame in frames:
            self.account.left.add(frame.series, frame.unique_id, MOVED)
        return frames

    def adopt(self, frames: list[PooledFrame]) -> None:
        """Take frames that another member gave away; they are older than what waits here, so they come first."""
        self.assigned += len(frames)
        self.account.touch()
        self.account.came.extend(frames)
        self.queue.put_back(list(frames))

    def abandon(self) -> None:
        """Book everything that still waits as dropped: nobody will come for it."""
        self.vacate()
        while (frame := self.queue.drop_oldest()) is not None:
            self._drop(frame, Reason.MEMBER_GONE)
        self.queue.take(len(self.queue))

    def shed(self, frame: PooledFrame) -> None:
        """Drop a frame that waits, to free its memory."""
        self.queue.remove(frame)
        self._drop(frame, Reason.SHED)

    def status(self, now_ns: int) -> MemberStatus:
        """Return the account; `now_ns` counts from 1970, for the lag in seconds."""
        oldest = next((item for item in self._on_way if isinstance(item, Frame)), None)
        if oldest is None:
            oldest = next((item for item in self.queue.peek(4) if isinstance(item, Frame)), None)
        return MemberStatus(
            name=self.name,
            present=self.present,
            silent=self.silent,
            assigned=self.assigned,
            completed=self.completed,
            queued=self.queue.frames,
            in_flight=self._frames_on_way,
            high_water=self.queue.high_water,
            capacity=self.queue.capacity(),
            lag_seconds=max(0.0, (now_ns - oldest.timestamp_ns) / 1e9) if oldest else 0.0,
            dropped={reason.value: count for reason, count in self.dropped.items()},
        )

    def _collect(self) -> None:
        assert self.link is not None
        done = self.link.done()
        fresh = done - self._seen
        self._seen = done
        finished = [self._on_way.popleft() for _ in range(fresh)]
        frames = [item for item in finished if isinstance(item, PooledFrame)]
        self._frames_on_way -= len(frames)
        self.completed += len(frames)
        self.account.completed = self.completed
        self.account.touch()
        if self.tells_done:
            self.account.done.extend(frames)
            self._note_failed()
        drop_all(frames)

    def _note_failed(self) -> None:
        """Book what the member failed on; it is done with, too."""
        if isinstance(self.link, AcknowledgedLink):
            for series, unique_id in sorted(self.link.take_failed()):
                self.account.fail(series, unique_id)

    def _survivors(self, left: list[Waiting]) -> list[Waiting]:
        """Return what is to be handed out again; a frame that was the first of two that died is set aside.

        The member may have worked on several at once, so all are suspect, and are worked on one by one from now on.
        """
        suspects = [item for item in left if isinstance(item, PooledFrame)]
        for frame in suspects:
            frame.suspect = True
        if not suspects:
            return left
        first = suspects[0]
        first.deaths += 1
        if first.deaths < MOST_DEATHS:
            return left
        if self.aside is not None:
            self.aside.set_aside(self.name, first)
        self._drop(first, Reason.QUARANTINED)
        return [item for item in left if item is not first]

    def _drop(self, frame: PooledFrame, reason: Reason) -> None:
        self.dropped[reason] += 1
        self.account.drop(frame.series, frame.unique_id, reason)
        assert frame.slot is not None
        frame.slot.drop()
