"""The events that were sent last, kept for a while so that what is lost of them can be sent again.

Rules
- At most `memory` bytes, none older than `seconds`, and no more than the budget has left; the oldest go first.
- Of one event at most `MOST_TIMES` times its bytes are given out, however often they are asked for.
- The sender's thread keeps, others read: a copy of up to `SEGMENT_BYTES` at a time under the lock.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ioc.channels.ejfat_payload import Piece
from ioc.channels.ejfat_pool import BufferPool
from ioc.channels.ejfat_resend_wire import SEGMENT_BYTES, Ask
from ioc.channels.ejfat_wire import ReHeader
from ioc.core.clock import Clock

MOST_TIMES = 8


class Budget(Protocol):
    """Where memory is booked."""

    def take(self, size: int) -> bool: ...

    def give(self, size: int) -> None: ...


@dataclass(frozen=True, slots=True)
class KeepLimits:
    """Bytes that are kept at most, and for how many s."""

    memory: int
    seconds: float


@dataclass(slots=True)
class _Kept:
    content: NDArray[np.uint8]
    at_ns: int
    given: int = 0


class SentEvents:
    """The newest events of one source."""

    def __init__(self, data_id: int, limits: KeepLimits, clock: Clock, budget: Budget | None = None) -> None:
        self._data_id = data_id
        self._limits = limits
        self._clock = clock
        self._budget = budget
        self._pool = BufferPool(limits.memory // 4)
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0
        """Bytes that are kept."""
        self.unkept = 0
        """Events that there was no room for."""

    def keep(self, number: int, pieces: Sequence[Piece]) -> None:
        """Keep an event that is about to be sent."""
        size, now = sum(map(len, pieces)), self._clock.monotonic_ns()
        with self._lock:
            self._make_room(size, now)
            if size > self._limits.memory or (self._budget is not None and not self._budget.take(size)):
                self.unkept += 1
                return
            content = self._pool.take(size)
            at = 0
            for piece in pieces:
                content[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
                at += len(piece)
            self._kept[number] = _Kept(content, now)
            self.bytes += size

    def answer(self, wanted: Ask) -> Iterator[bytes]:
        """Yield RE headers with the bytes behind them; nothing if the event is not kept, or was asked for too often."""
        for first, end in wanted.ranges:
            while first < end:
                part = self._part(wanted.event, first, end)
                if part is None:
                    return
                header, content = part
                yield header.to_bytes() + content
                first += len(content)
                end = min(end, header.length)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            while self._kept:
                self._drop_oldest()

    def _part(self, number: int, first: int, end: int) -> tuple[ReHeader, bytes] | None:
        with self._lock:
            kept = self._kept.get(number)
            if kept is None or first >= len(kept.content) or kept.given >= MOST_TIMES * len(kept.content):
                return None
            content = kept.content[first : min(end, first + SEGMENT_BYTES)].tobytes()
            kept.given += len(content)
            return ReHeader(self._data_id, first, len(kept.content), number), content

    def _make_room(self, size: int, now: int) -> None:
        oldest_ns = now - round(self._limits.seconds * 1e9)
        while self._kept:
            if self.bytes + size <= self._limits.memory and next(iter(self._kept.values())).at_ns >= oldest_ns:
                return
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, kept = self._kept.popitem(last=False)
        self.bytes -= len(kept.content)
        if self._budget is not None:
            self._budget.give(len(kept.content))
        self._pool.give(kept.content)
