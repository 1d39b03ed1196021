"""The thread that frames flow through: takes images from the source when they are due and offers them to the members.

How it works: one loop, no locks. Everything that changes the detector or the distributor is a command that is run
between two frames; whoever hands it in gets a Future. The loop sleeps on the descriptors of the members, of the door
for new ones and of the command queue, until the next frame is due. What others may see of it is a snapshot, made
ten times a second in the loop itself.
"""

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TypeVar

from detector_sim.acquisition import Acquisition, DetectorState
from detector_sim.images import Images
from detector_sim.snapshot import Listener, Snapshot
from ioc.channels.base import Link
from ioc.channels.journal import ABORTED, ENDED
from ioc.channels.local import LocalLink, LocalServer
from ioc.channels.local_pool import PooledFrame, Segment, drop_all
from ioc.core.clock import Clock
from ioc.core.commands import Commands
from ioc.core.errors import RefusedError, UserError
from ioc.core.frame import Attribute, EndOfSeries
from ioc.core.status import SeriesStatus
from ioc.distributor.distributor import Distributor

log = logging.getLogger(__name__)

MOST_FRAMES_PER_TURN = 32
"""Frames made before members and commands get their turn again."""
LARGE_FRAME = 1 << 16
"""Bytes from which on making a frame may take so long that the clock is looked at for each."""
LONGEST_BURST_NS = 1_000_000
"""ns after which large frames that are made go to their members, while they are still in the cache."""
SNAPSHOT_SECONDS = 0.1
LONGEST_SLEEP = 0.1
BLOCKED_SLEEP = 0.005
"""s after which it is looked what members have finished with that were not asked to ring."""
MOST_SERIES = 16
"""Series that a snapshot tells of, the newest; the journal has them all."""
T = TypeVar("T")


class Flow:
    """The flow of one detector. Make it, `start` it, `submit` commands, `drain` it."""

    def __init__(
        self, acquisition: Acquisition, distributor: Distributor, store: Images, server: LocalServer, clock: Clock
    ) -> None:
        self.acquisition = acquisition
        self.distributor = distributor
        self.server = server
        self.listener: Listener | None = None
        self._account = distributor.journal.account("", "detector")
        self.published = 0
        self.callbacks = True
        self.wait_for_plugins = False
        self.attributes: Callable[[int, int], Mapping[str, Attribute]] | None = None
        self.follower: Callable[[list[PooledFrame]], None] | None = None
        self.newest_ns = 0
        self._clock = clock
        self._store = store
        self._image = 0
        self._held: PooledFrame | None = None
        self._retired: list[Segment] = []
        self._series: list[SeriesStatus] = []
        self._finished: list[Future[None]] = []
        self._held_back: list[Future[None]] = []
        self._commands = Commands((Exception,), _told)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._over = False
        self._at_the_door = True
        self._waiting_for = ""
        self._drained = False
        self.snapshot = Snapshot(clock.monotonic_ns(), [], [], 0)
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="flow", daemon=True)

    def start(self) -> None:
        """Let the loop run."""
        self._thread.start()

    def submit(self, command: Callable[[], T]) -> "Future[T]":
        """Run `command` in the loop, between two frames; the Future has its result or its error."""
        future = self._commands.submit(command)
        os.eventfd_write(self._wake, 1)
        if self._over:
            self._commands.refuse(RefusedError("the detector has stopped"))
        return future

    def wake(self) -> None:
        """Have the loop look what members have finished with; any thread may call."""
        os.eventfd_write(self._wake, 1)

    def acquire(self) -> "Future[None]":
        """Begin an acquisition; the Future is done when it has ended."""
        ended: Future[None] = Future()

        def begin() -> None:
            self._finished.append(ended)
            if self.acquisition.start():
                self._image = 0 if self._store.anew else self._image
                self._tell(True)

        self.submit(begin).add_done_callback(lambda made: _pass_failure(made, ended))
        return ended

    def abort(self) -> "Future[None]":
        """End the acquisition at once; the frame that waits for room is not published."""
        return self.submit(self._abort)

    def replace_store(self, store: Images) -> None:
        """Serve another source's images from the next frame on; to be called in the loop."""
        self._drop_held()
        self._retired += self._store.close()
        self._store = store
        self._image = 0
        self.distributor.bound_windows(store.capacity)

    @property
    def reserved_bytes(self) -> int:
        """Shared memory of the images served now and of earlier ones that are still on their way."""
        return self._store.size_bytes + sum(segment.size for segment in self._retired)

    @property
    def store(self) -> Images:
        """The images served now."""
        return self._store

    def drain(self, deadline: float) -> bool:
        """End the acquisition, let every member finish within `deadline` seconds; return whether all did.

        The flow is over then; asking again gives the same answer.
        """
        if not self._thread.is_alive():
            return self._drained
        self.abort().result(deadline)
        limit = time.monotonic() + deadline
        idle = self.submit(self.distributor.idle).result(deadline)
        while not idle and time.monotonic() < limit:
            time.sleep(SNAPSHOT_SECONDS / 10)  # the loop is busy delivering; there is no event for "all done"
            idle = self.submit(self.distributor.idle).result(deadline)
        self.submit(self._say_goodbye).result(deadline)
        self._thread.join(deadline)
        self._drained = idle
        return idle

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:  # the thread's owner is told, and tells the supervisor
            self.failure = error
            log.exception("the flow of frames ended with an error")
            raise
        finally:
            self.distributor.commit()
            self._snap()
            self._over = True
            self._commands.refuse(RefusedError("the detector has stopped"))

    def _loop(self) -> None:
        due_snapshot = 0
        while not self._stopping:
            self._commands.run()
            if self._at_the_door:
                self._open_door()
            moved = self.distributor.pump()  # first: what is finished makes room for what is made
            if self._acquire_some():
                moved = True
                self.distributor.pump()
            self._let_go()
            now = self._clock.monotonic_ns()
            if now >= due_snapshot:
                self._tidy()
                self.distributor.commit()
                self._snap()
                self._at_the_door = True
                due_snapshot = now + round(SNAPSHOT_SECONDS * 1e9)
            if not moved and self._commands.empty:
                self._sleep()

    def _open_door(self) -> None:
        self._at_the_door = False
        for link in self.server.accept():
            self._admit(link)

    def _admit(self, link: LocalLink) -> None:
        try:
            seat = self.distributor.join(link.who.group, link.who.member, link)
            log.info("%s joined group %s, set %d", link.name, link.who.group, seat.set_number)
        except RefusedError as error:
            log.warning("%s may not join: %s", link.name, error)
            link.close(drain=True)

    def _acquire_some(self) -> bool:
        due = self.acquisition.due_count(MOST_FRAMES_PER_TURN)
        if not due:
            return False
        self.distributor.muster()
        frames = self._burst(due)
        if not frames:
            return False
        if self.callbacks:
            self.distributor.offer(frames)
            self.published += len(frames)
            self.newest_ns = frames[-1].timestamp_ns
            self._count_series(frames)
            if self.follower is not None:
                self.follower(frames)
            self.distributor.commit()  # before members see what was assigned
        drop_all(frames)
        self._waiting_for = ""
        self._end(self.acquisition.taken(self.callbacks, len(frames)))
        return True

    def _burst(self, most: int) -> list[PooledFrame]:
        """Return the next frames, up to `most`, of one size, for which there is room; none if it has to be waited."""
        self._held = first = self._held or self._make(0)
        if first is None:
            return []
        size = first.data.nbytes
        if self.callbacks:
            most = self.distributor.room(most, size)
        if not most:
            self._waiting_for = "room at a lossless member"
            return []
        frames, self._held = [first], None
        limit = self._clock.monotonic_ns() + LONGEST_BURST_NS
        while len(frames) < most and (size < LARGE_FRAME or self._clock.monotonic_ns() < limit):
            frame = self._make(len(frames))
            if frame is None:
                break
            if frame.data.nbytes != size:
                self._held = frame
                break
            frames.append(frame)
        return frames

    def _make(self, ahead: int) -> PooledFrame | None:
        """Return the frame that is `ahead` of the next one, None if there is none just now.

        What ends the series is found, and acted upon, only by the first frame of a burst.
        """
        count = self._store.count
        if count is not None and self._image >= count:
            if not ahead:
                self._end(self.acquisition.exhausted())
            return None
        try:
            image = self._store.image(self._image)
            while image is None and self._store.short_of_memory and not ahead and self.distributor.shed():
                image = self._store.image(self._image)
        except UserError as error:
            if not ahead:
                log.error("the source failed: %s", error)
                self._end(self.acquisition.fail(str(error)))
            return None
        if image is None:
            if not ahead:
                self._waiting_for = "memory for a frame" if self._store.short_of_memory else "a frame of the source"
            return None
        self._image += 1
        acquisition = self.acquisition
        stamp = image.timestamp_ns if image.timestamp_ns is not None else self._clock.wall_ns()
        unique_id = acquisition.published + 1 + ahead
        more = self.attributes
        attributes = image.attributes if more is None else {**image.attributes, **more(unique_id, ahead)}
        return PooledFrame(acquisition.series, unique_id, stamp, image.data, attributes, image.slot)

    def _count_series(self, frames: list[PooledFrame]) -> None:
        acquisition = self.acquisition
        self._account.touch()
        self._account.came.add_range(acquisition.series, frames[0].unique_id, frames[-1].unique_id)
        if not self._series or self._series[-1].id != acquisition.series:
            self._series.append(SeriesStatus(id=acquisition.series, published=0, ended=False))
            del self._series[:-MOST_SERIES]
        self._series[-1].published += len(frames)

    def _end(self, marker: EndOfSeries | None) -> None:
        if marker is None:
            return
        self._drop_held()
        self._waiting_for = ""  # else the loop would go on looking for what nobody waits for any more
        early = self.acquisition.state is not DetectorState.IDLE
        # an end marker in the account: the series, and in place of an id one more than it has frames
        self._account.touch()
        self._account.left.add(marker.series, marker.published + 1, ABORTED if early else ENDED)
        self.distributor.commit()
        self.distributor.end_series(marker)
        if self._series and self._series[-1].id == marker.series:
            self._series[-1].ended = True
        self._snap()
        self._tell(False)
        self._held_back, self._finished = self._held_back + self._finished, []
        self._let_go()

    def _let_go(self) -> None:
        """Complete the acquisitions that have ended; WaitForPlugins: once every member has finished."""
        if self._held_back and (not self.wait_for_plugins or self.distributor.idle()):
            while self._held_back:
                self._held_back.pop(0).set_result(None)

    def _abort(self) -> None:
        self._end(self.acquisition.stop())

    def _drop_held(self) -> None:
        if self._held is not None:
            assert self._held.slot is not None
            self._held.slot.drop()
            self._held = None
            self._image -= 1

    def _say_goodbye(self) -> None:
        self._stopping = True  # first, so that nobody joins again
        for seat in self.distributor.seats():
            seat.vacate(politely=True)
            seat.abandon()

    def _tell(self, on: bool) -> None:
        if self.listener is not None:
            self.listener.acquiring(on)

    def _tidy(self) -> None:
        self.distributor.hand_on()
        self.distributor.bound_windows(self._store.capacity)
        self._retired += self._store.retired()
        for segment in [segment for segment in self._retired if segment.held == 0]:
            self._retired.remove(segment)
            for seat in self.distributor.seats():
                if isinstance(seat.link, LocalLink):
                    seat.link.retire(segment)
            segment.close()

    def _snap(self) -> None:
        now = self._clock.wall_ns()
        self.snapshot = Snapshot(
            self._clock.monotonic_ns(),
            [*self._series[:-1], *(series.model_copy() for series in self._series[-1:])],  # only the last one changes
            self.distributor.statuses(now),
            self.published,
            self._waiting_for,
        )

    def _sleep(self) -> None:
        seats = [seat for seat in self.distributor.seated() if seat.link is not None]
        busy = [seat for seat in seats if not seat.idle]
        if any(seat.ring() for seat in busy if seat.crowded or self._store.short_of_memory):
            return
        due = self.acquisition.next_due_ns()
        wait = BLOCKED_SLEEP if busy or self._waiting_for or self._held_back else LONGEST_SLEEP
        if due is not None and not self._waiting_for:
            wait = min(wait, max(0.0, (due - self._clock.monotonic_ns()) / 1e9))
        by_descriptor: dict[int, Link] = {seat.link.fileno(): seat.link for seat in seats if seat.link is not None}
        ready, _, _ = select.select([self._wake, *self.server.filenos(), *by_descriptor], [], [], wait)
        for descriptor in ready:
            if descriptor == self._wake:
                os.eventfd_read(self._wake)
            elif descriptor in by_descriptor:
                by_descriptor[descriptor].refresh()
            else:
                self._at_the_door = True


def _pass_failure(made: "Future[None]", ended: "Future[None]") -> None:
    error = made.exception()
    if error is not None and not ended.done():
        ended.set_exception(error)


def _told(error: BaseException) -> BaseException:
    """Return what is told to the one who asked: one command must not end the flow."""
    if not isinstance(error, UserError):
        log.exception("a command failed")
    return error
