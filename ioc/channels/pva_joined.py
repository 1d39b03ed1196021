"""A joined worker's end: takes the frames of its member channel, says what became of them, and that it lives.

How it works: `receive` and `release` are the worker loop's; one thread, `joined`, does all the talking, a call at a
time: while one is under way the next ids gather. A report goes every half second; its answer says how many frames were
dropped for this member, which series is over, and whether the membership is. When the appliance is not heard of any
more it joins again, and gives up after `patience` seconds. The end of a series is told once it is known, or before the
first frame of the next one.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from p4p.client.thread import Context

from ioc.channels.base import Counters
from ioc.channels.book import Book
from ioc.channels.pva_receiver import PvaReceiver
from ioc.channels.pva_session import RefusalError, Session, Wish
from ioc.core.errors import PeerError, ProtocolError
from ioc.core.frame import EndOfSeries, Frame, Item
from ioc.core.overflow import WIDEST_WINDOW
from ioc.core.sequence import Ranges

log = logging.getLogger(__name__)

_Done = tuple[int, Ranges, Ranges]
"""A series, and of it the ids that are done, those that the processor failed on apart."""

REPORT_SECONDS = 0.5
RETRY_SECONDS = 1.0
LOOK_SECONDS = 0.05
FAREWELL_SECONDS = 5.0
MOST_RANGES = 100
"""Ranges of ids in one call."""


class JoinedReceiver:
    """Takes and acknowledges the frames of one membership; what consumers/worker.py takes frames from."""

    def __init__(self, wish: Wish, patience: float = 60.0, window: int = 16) -> None:
        """Prepare to join; at most `window` frames are in hand at a time."""
        self.finished = False
        self.missed = 0
        self.suspects: set[tuple[int, int]] = set()
        """Frames that somebody died with; the giver of a remote worker tells none."""
        self.terms: dict[str, Any] = {}
        self.gone = False
        """Whether the appliance has not been heard of for too long."""
        self.status: Callable[[], dict[str, Any] | None] = lambda: None
        self.dismissed: Callable[[], None] = lambda: None
        self._book: Book | None = None
        self._wish = wish
        self._patience = patience
        self._window = window
        self._context = Context("pva", nt=False, useenv=True)
        self._changed = threading.Condition()
        self._session: Session | None = None
        self._images: PvaReceiver | None = None
        self._served: Session | None = None
        """The session whose channel was opened; a channel that is lost is not opened again without another session."""
        self._greeted = False
        self._leaving = self._left = self._over = self._closed = False
        self._out: deque[Item] = deque()
        self._failed: set[tuple[int, int]] = set()
        self._done: deque[_Done] = deque()
        self._markers: deque[EndOfSeries] = deque()
        self._ahead: deque[Item] = deque()
        self._series, self._highest, self._ended = -1, 0, -1
        self._heard = time.monotonic()
        self._due = 0.0
        self._dismissed = False
        self._thread = threading.Thread(target=self._talk, name="joined", daemon=True)

    def join(self, timeout: float) -> None:
        """Join and begin to report; the terms are in `terms`, frames come once `receive` is called.

        Raises:
            PeerError: no appliance answers within `timeout` seconds, or it refuses.
        """
        limit = time.monotonic() + timeout
        while self._session is None:
            try:
                self._session = Session.join(self._context, self._wish)
            except (RefusalError, ProtocolError):
                raise
            except PeerError:
                if time.monotonic() >= limit:
                    raise
        self._take_terms(self._session)
        self._thread.start()

    def keep(self, book: Book) -> None:
        """Count in `book` from now on."""
        self._book = book

    def receive(self, max_items: int, timeout: float) -> Sequence[Item]:
        deadline = time.monotonic() + timeout
        while True:
            self._begin()
            items = self._gather(max_items, min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
            if items or self.finished or self._closed or time.monotonic() >= deadline:
                return self._handed_out(items)

    def release(self, count: int) -> None:
        """Say that the next `count` items are finished with."""
        with self._changed:
            for _ in range(count):
                item = self._out.popleft()
                if isinstance(item, Frame):
                    self._note_done(item)
            self._changed.notify_all()
        if self._book is not None:
            self._book.counts.done += count
            self._book.commit()

    def fail(self, frames: Sequence[Frame]) -> None:
        """Note that the processor failed on frames that are released next."""
        self._failed |= {(frame.series, frame.unique_id) for frame in frames}

    def leave(self) -> None:
        """Ask for no more frames; those on their way still come, then `finished` is true."""
        with self._changed:
            self._leaving = True
            self._changed.notify_all()

    def rejoin(self) -> None:
        """Take part again after `leave`, unless the appliance has said goodbye."""
        if self._dismissed:
            return
        with self._changed:
            if self._over:
                self._session = None  # that membership is over: there has to be another one
            self._leaving = self._left = self._over = self._greeted = self.finished = False
            self._changed.notify_all()

    def counters(self) -> Counters:
        counts = self._book.counts if self._book is not None else None
        return Counters(counts.received, counts.bytes) if counts is not None else Counters()

    def close(self, drain: bool = False) -> None:
        """Say goodbye, with the last status, and let go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(2 * FAREWELL_SECONDS)
        if self._images is not None:
            self._images.close(drain=False)
        self._context.close()

    def _begin(self) -> None:
        """Open the member's channel, once there is one and frames are wanted."""
        with self._changed:
            session = self._session
            opens = session is not None and session is not self._served and not self._leaving
        if opens and session is not None:
            self._served = session
            self._images = PvaReceiver(session.channel, queue_size=2 * WIDEST_WINDOW)

    def _gather(self, most: int, wait: float) -> list[Item]:
        images = self._images
        with self._changed:
            if images is None and not self._markers and not self.finished:
                self._changed.wait(wait)
        if images is not None and not self._ahead:
            try:
                self._ahead.extend(images.receive(most, wait))
            except PeerError as error:  # the talk will find out whether the membership is over, too
                log.info("%s", error)
                images.close(drain=False)
                self._images = None
            if self._can_greet:
                with self._changed:
                    self._changed.notify_all()
        items: list[Item] = []
        while self._ahead and len(items) < most:
            items.append(self._next())
        if not self._ahead and len(items) < most:
            items += self._ends()
        return items

    def _next(self) -> Item:
        item = self._ahead[0]
        if item.series > self._series > self._ended:
            self._ended = self._series  # its end is not known yet: told by the next one
            return EndOfSeries(self._series, self._highest)
        self._ahead.popleft()
        if isinstance(item, Frame):
            self._highest = max(self._highest, item.unique_id) if item.series == self._series else item.unique_id
            self._series = max(self._series, item.series)
        return item

    def _ends(self) -> list[Item]:
        """Return the end marker that was told, if nothing of its series is on its way here."""
        with self._changed:
            markers = [one for one in self._markers if one.series > self._ended]
            self._markers.clear()
        if not markers:
            return []
        self._ended = markers[-1].series
        return [markers[-1]]

    def _handed_out(self, items: Sequence[Item]) -> Sequence[Item]:
        if items:
            with self._changed:
                self._out.extend(items)
            if self._book is not None:
                counts = self._book.counts
                counts.taken += len(items)
                counts.received += sum(isinstance(item, Frame) for item in items)
                self._book.commit()
        return items

    def _note_done(self, frame: Frame) -> None:
        key = frame.series, frame.unique_id
        if not self._done or self._done[-1][0] != frame.series or _pieces(self._done[-1]) >= MOST_RANGES:
            self._done.append((frame.series, Ranges(), Ranges()))
        _, good, bad = self._done[-1]
        (bad if key in self._failed else good).add(frame.unique_id, frame.unique_id)
        self._failed.discard(key)

    def _talk(self) -> None:
        while not self._closed or (self._done and self._session is not None):
            with self._changed:
                self._changed.wait_for(self._urgent, REPORT_SECONDS if self._session is not None else RETRY_SECONDS)
            try:
                self._say_next()
            except RefusalError as error:
                self._lose(str(error))
            except PeerError as error:
                log.warning("%s", error)
                self._look_for_life()
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, RETRY_SECONDS)
        self._say_farewell()

    def _urgent(self) -> bool:
        """Return whether there is something to say at once."""
        waits = bool(self._done) or self._wants_to_leave or self._can_greet
        return self._closed or (self._session is not None and waits)

    def _say_next(self) -> None:
        session = self._session
        if session is None:
            self._join_again()
        elif time.monotonic() >= self._due:
            self._due = time.monotonic() + REPORT_SECONDS
            self._report(session)
        elif self._wants_to_leave:
            session.say("leave")
            self._left = True
            self._due = 0.0
        elif self._can_greet:
            session.say("done", window=self._window)
            self._greeted = True
        elif self._done:
            with self._changed:
                done = self._done.popleft()
            self._acknowledge(session, done)

    @property
    def _can_greet(self) -> bool:
        """Whether the monitor is set up and the appliance does not know it yet."""
        images = self._images
        return not self._greeted and images is not None and images.connected

    @property
    def _wants_to_leave(self) -> bool:
        return self._leaving and not self._left and self._session is not None

    def _acknowledge(self, session: Session, done: _Done) -> None:
        series, good, bad = done
        words: dict[str, Any] = {name: _listed(ranges) for name, ranges in (("ids", good), ("failed", bad)) if ranges}
        session.say("done", series=series, **words)
        self._heard = time.monotonic()

    def _report(self, session: Session) -> None:
        answer = session.say("report", status=self.status())
        self._heard = time.monotonic()
        self.missed = int(answer.get("missed", 0))
        ended = answer.get("ended")
        if isinstance(ended, list) and len(ended) == 2 and all(isinstance(one, int) for one in ended):
            with self._changed:
                self._markers.append(EndOfSeries(*ended))
                self._changed.notify_all()
        if answer.get("over") and not self._over:
            log.info("the membership is over")
            self._end(dismissed=not self._leaving)
        elif answer.get("leave") and not self._dismissed:
            log.info("the appliance asks this worker to leave")
            self._dismissed = True
            self.dismissed()

    def _end(self, dismissed: bool) -> None:
        """Take notice that the membership is over: we asked for it, or the appliance stops."""
        with self._changed:
            self._over = self._leaving = self.finished = True
            if dismissed:
                self._session = None  # nobody will answer any more
            self._changed.notify_all()
        if dismissed:
            self._dismissed = True
            self.dismissed()

    def _lose(self, why: str) -> None:
        """Take notice that the appliance does not know this session any more."""
        log.warning("%s", why)
        with self._changed:
            self._session = None
            self._greeted = False
            self._done.clear()  # its frames went to others
            self.finished = self._leaving
            self._changed.notify_all()

    def _join_again(self) -> None:
        self._look_for_life()
        if self._leaving or self._closed:
            self.finished = self.finished or self._leaving
            return
        session = Session.join(self._context, self._wish)
        self._take_terms(session)
        log.info("joined again as %s", session.terms.get("name"))
        images, self._images = self._images, None
        if images is not None:
            images.close(drain=False)
        with self._changed:
            self._session = session
            self._changed.notify_all()

    def _take_terms(self, session: Session) -> None:
        self.terms = session.terms
        self._heard = time.monotonic()

    def _look_for_life(self) -> None:
        """End the membership if the appliance has not answered for too long."""
        silent = time.monotonic() - self._heard
        if silent > self._patience and not self.gone:
            log.error("the appliance of %s has not answered for %.0f s: this worker ends", self._wish.prefix, silent)
            self.gone = True
            self._end(dismissed=True)

    def _say_farewell(self) -> None:
        if self._session is None:
            return
        try:
            self._session.say("report", FAREWELL_SECONDS, status=self.status())
            self._session.say("leave", FAREWELL_SECONDS, now=True)
        except PeerError as error:
            log.warning("could not say goodbye: %s", error)


def _listed(ranges: Ranges) -> str:
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _pieces(done: _Done) -> int:
    return len(done[1]) + len(done[2])
