"""Pictures of the newest frames for all browsers: fetched when one asks, no faster than allowed, kept for the others.

Rules: one fetch at a time from a channel; after each the channel rests, at least one period of the picture rate and
`RESTS` times as long as the fetch took, so that large frames are fetched less often. Whoever asks meanwhile gets the
frame that is there. A browser asks for its next picture when it has drawn the last one; nothing is ever pushed.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from ioc.channels.pva_snapshots import Identity
from ioc.core.errors import PeerError, mismatch
from ioc.core.frame import Frame
from ioc.web.picture import Picture, Wish, draw
from ioc.web.pixels import with_pixels

THREADS = 2
RESTS = 3
MOST_WAITING = 32
"""Requests for pictures that may wait."""
KEPT_SECONDS = 20.0
"""s that a frame is kept for which nobody asks."""
T = TypeVar("T")


class Source(Protocol):
    """Where frames come from, by the name of their channel."""

    def identity(self, name: str) -> Identity:
        """Return which frame is the newest; PeerError if that cannot be told."""
        ...

    def fetch(self, name: str) -> Frame | None:
        """Return the newest frame, None before the first; PeerError if there is none to be had."""
        ...


@dataclass(slots=True)
class _Shown:
    """The frame that is there of one channel; times in s of the clock."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    frame: Frame | None = None
    identity: Identity | None = None
    rest_until: float = 0.0
    asked: float = 0.0


class Viewer:
    """Draws pictures; to be used in one event loop, the work is done in threads of its own."""

    def __init__(self, source: Source, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; `rate` in Hz is the most pictures of one channel."""
        self.drawn = 0
        self._source = source
        self._period = 1.0 / rate
        self._clock = clock
        self._shown: dict[str, _Shown] = {}
        self._waiting = 0
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pictures")

    async def picture(self, name: str, wish: Wish, after: Identity | None) -> Picture | None:
        """Return the picture of a channel's newest frame; None if that is the frame `after`, or there is none yet.

        Raises:
            PeerError: the channel does not answer, shows nothing that can be drawn, or too many ask.
        """
        if self._waiting >= MOST_WAITING:
            raise PeerError(mismatch("pictures", f"at most {MOST_WAITING} requests at a time", "one more"))
        self._waiting += 1
        try:
            shown = self._shown.setdefault(name, _Shown())
            shown.asked = self._clock()
            async with shown.lock:
                if self._clock() >= shown.rest_until:
                    await self._refresh(name, shown)
                frame, identity = shown.frame, shown.identity
            if frame is None or identity == after:
                return None
            self.drawn += 1
            return await self._run(lambda: draw(frame, wish))
        finally:
            self._waiting -= 1

    def tidy(self) -> None:
        """Forget frames for which nobody has asked for long."""
        now = self._clock()
        for name, shown in list(self._shown.items()):
            if now - shown.asked > KEPT_SECONDS and not shown.lock.locked():
                del self._shown[name]

    def close(self) -> None:
        """End the threads; what they draw is finished first."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _refresh(self, name: str, shown: _Shown) -> None:
        begun = self._clock()
        try:
            identity = await self._run(lambda: self._source.identity(name))
            if identity != shown.identity:
                frame = await self._run(lambda: self._fetch(name))
                shown.frame = frame
                shown.identity = Identity(frame.unique_id, frame.timestamp_ns) if frame is not None else identity
        finally:
            now = self._clock()
            shown.rest_until = now + max(self._period, RESTS * (now - begun)) if shown.frame is not None else now

    def _fetch(self, name: str) -> Frame | None:
        frame = self._source.fetch(name)
        return None if frame is None else with_pixels(frame)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
