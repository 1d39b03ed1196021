"""What one image channel of somebody else brings, by the fastest way that is safe: shared memory, or pvAccess with p4p.

Rules. It begins with a plain monitor and, to find the fastest way, asks the server at the same time who it is
(pva_standing). A Rayfan on this host is then viewed in shared memory: the monitor goes on until the view has the next
frame by id, so that none is lost or doubled when the way changes. A Rayfan elsewhere is asked for flow control, and for
what came meanwhile. Whenever a connection breaks, all begins anew: who answers then may be somebody else. What was
missed is asked for again by series and id of the last frame that came on; Rayfan's servers keep some for that
(pva_images_replay).
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from p4p import Value
from p4p.client.raw import Context, Disconnected, Finished, RemoteError, Subscription

from ioc.channels import local_view_wire as words
from ioc.channels.local_view import LocalView
from ioc.channels.pva_standing import REQUEST, Choice, Standing, Way, choose, heard, here
from ioc.core.errors import PeerError
from ioc.core.frame import Frame

log = logging.getLogger(__name__)

FEWEST_QUEUED = 2
HANDOVER_SECONDS = 1.0
"""How long the monitor may take to bring what lies before the first frame of a view."""
Event = Value | Frame | Disconnected | RemoteError | Finished


class Packing(Enum):
    """What becomes of images that come compressed: they are refused, unpacked, or kept as they came."""

    REFUSE = "refuse"
    UNPACK = "unpack"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a channel.

    `queue_size` frames may wait here, and `queue_bytes` of them, None: no limit but the frames. `replay`: as many are
    to be kept for the case that the connection breaks. `pipeline`: with flow control, whoever the server is. `fields`
    empty: all. `fastest`: find the fastest way, else frames come by pvAccess.
    """

    queue_size: int = 64
    queue_bytes: int | None = None
    replay: int = 0
    pipeline: bool = False
    fields: tuple[str, ...] = ()
    fastest: bool = False
    packing: Packing = Packing.REFUSE


class PvaSource:
    """The events of one channel, in order; used by one thread, `ring` is called on others when there are some."""

    def __init__(self, channel: str, wish: Wish, ring: Callable[[], None]) -> None:
        """Subscribe; EPICS_PVA_* of the environment say where to search."""
        self.channel = channel
        self.choice = Choice(Way.SEARCHING)
        self.room = wish.queue_size if wish.queue_bytes is None else FEWEST_QUEUED
        self._wish = wish
        self._ring = ring
        self._last: tuple[int, int] | None = None
        self._listening = False
        self._left: deque[Event] = deque()
        self._answers: deque[object] = deque()
        self._view: LocalView | None = None
        self._handover_ends = 0.0
        self._lock = threading.Lock()
        self._closed = False
        self._context = Context("pva", nt=False, useenv=True)
        self._subscription: Subscription | None = None
        self._question: Any = None
        self._begin()

    @property
    def outlook(self) -> Choice:
        """The choice, or while nobody takes frames the one that there will be; any thread may ask."""
        answers = tuple(self._answers)  # in one step: the other thread may take them meanwhile
        return choose(_server_of(answers[0]), here()).when_taken() if answers else self.choice

    def pop(self) -> Event | None:
        """Return the next event, None if there is none."""
        with self._lock:
            if self._left:
                return self._left.popleft()
            if self._closed:
                return None
            if self._answers:
                self._decide()
            return self._next()

    def came_on(self, series: int, unique_id: int) -> None:
        """Take note that a frame came on: the next ones are those behind it."""
        self._last = (series, unique_id)

    def put_back(self, event: Event) -> None:
        """Have an event returned again first."""
        self._left.appendleft(event)

    def fit(self, frame_bytes: int) -> bool:
        """Have room for as many frames of that size as the bytes allow; return whether the monitor was made anew."""
        wish = self._wish
        if wish.queue_bytes is None or self._subscription is None:
            return False
        room = max(FEWEST_QUEUED, min(wish.queue_size, wish.queue_bytes // max(frame_bytes, 1)))
        if room == self.room:
            return False
        self.room = room
        with self._lock:
            if not self._closed:
                self._subscribe()
        return True

    def stop(self) -> None:
        """Let nothing more in; what has come can still be popped."""
        with self._lock:
            while not self._closed and (event := self._next()) is not None:
                self._left.append(event)
        self.close()

    def close(self) -> None:
        """Let go of the channel."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._end_monitor()
            self._end_view()
            self._end_question()
            self._context.close()
        self._ring()

    def _begin(self) -> None:
        """Subscribe as configured, and ask who the server is if that matters."""
        self.choice = Choice(Way.SEARCHING) if self._wish.fastest else self._configured()
        self._subscribe()
        if not self._wish.fastest:
            return
        self._end_question()
        answers: deque[object] = deque()
        self._answers = answers  # an answer to the question before goes nowhere

        def answered(answer: object) -> None:
            answers.append(answer)
            self._ring()

        self._question = self._context.get(self.channel, answered, request=REQUEST)

    def _decide(self) -> None:
        server = _server_of(self._answers[0])
        choice = choose(server, here())
        if choice.way is Way.PIPELINED and not self._listening:
            return  # else what comes before the monitor that is made anew would be missed
        self._answers.popleft()
        if choice.way is Way.SHARED and server is not None and server.door is not None:
            choice = self._enter(server.door)
        if choice.way is Way.PLAIN and self._wish.pipeline:
            choice = self._configured()
        self.choice = choice
        log.info("channel %s: frames come by %s", self.channel, choice)
        if choice.way is Way.PIPELINED and not self._wish.pipeline:  # else it was asked for from the start
            self._subscribe()

    def _configured(self) -> Choice:
        return Choice(Way.PIPELINED if self._wish.pipeline else Way.PLAIN, "as configured")

    def _enter(self, door: str) -> Choice:
        """View the channel in shared memory, if that can be."""
        wish = words.Wish(self.channel, min(self._wish.queue_size, words.MOST_FRAMES))
        try:
            self._view = LocalView(door, wish, self._ring)
        except PeerError as error:
            return Choice(Way.PIPELINED, f"no shared memory: {error}")
        self._handover_ends = 0.0
        return Choice(Way.SHARED)

    def _next(self) -> Event | None:
        if self._view is None:
            return self._monitored()
        frame = self._view.peek()
        while frame is not None and self._is_behind(frame):
            self._view.pop()
            frame = self._view.peek()
        if frame is None:
            return self._monitored() if self._view.over is None else self._broken()
        if self._subscription is not None and not self._follows(frame):
            event = self._monitored()
            if event is not None or not self._waited():
                return event
        self._end_monitor()
        return self._view.pop()

    def _monitored(self) -> Event | None:
        event = None if self._subscription is None else self._subscription.pop()
        if isinstance(event, Disconnected):
            self._end_view()
            self._begin()
        self._listening = self._listening or isinstance(event, Value)
        return event

    def _broken(self) -> Event | None:
        """Begin anew: the view is over, and all that it had was popped."""
        assert self._view is not None
        log.info("channel %s: shared memory is over: %s", self.channel, self._view.over)
        self._end_view()
        self._begin()
        return Disconnected()

    def _is_behind(self, frame: Frame) -> bool:
        return self._last is not None and (frame.series, frame.unique_id) <= self._last

    def _follows(self, frame: Frame) -> bool:
        """Return whether a frame is the next one: nothing lies between that the monitor would still bring."""
        if self._last is None:
            return frame.unique_id == 1
        return (frame.series, frame.unique_id - 1) == self._last  # of the series before, there may be some more

    def _waited(self) -> bool:
        now = time.monotonic()
        self._handover_ends = self._handover_ends or now + HANDOVER_SECONDS
        return now >= self._handover_ends

    def _subscribe(self) -> None:
        self._end_monitor()
        fields = ",".join(self._wish.fields)
        pipelined = self._wish.pipeline or self.choice.way is Way.PIPELINED
        options = f"queueSize={self.room}" + (",pipeline=true" if pipelined else "") + self._replaying()
        request = f"field({fields})record[{options}]"
        self._subscription = self._context.monitor(self.channel, self._ring, request=request)

    def _replaying(self) -> str:
        """Return the wish that what was missed be sent again, from the last frame that came on."""
        replay = min(self._wish.replay, self.room)
        if not replay:
            return ""
        series, unique_id = self._last or (0, 0)
        known = self._last is not None or self._listening  # who listened, and had nothing, misses all that came since
        return f",replay={replay}" + (f",replaySeries={series},replayAfter={unique_id}" if known else "")

    def _end_monitor(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    def _end_question(self) -> None:
        if self._question is not None:
            self._question.close()
            self._question = None

    def _end_view(self) -> None:
        if self._view is not None:
            self._view.close()
            self._view = None


def _server_of(answer: object) -> Standing | None:
    return heard(answer.get("descriptor")) if isinstance(answer, Value) else None
