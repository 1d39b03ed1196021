"""Events that no worker of a load balancer has told of: lost as a whole on the way there, so that nobody can ask.

Rules
- Every event that is sent is open until a worker tells that it has it.
- Who asks for a part of an event has the rest: it is open again from then on.
- What is open for `wait` s is given to one of the workers, and to another if it is open for so long once more; after
  `MOST_TIMES` it is left alone.
- But only while all workers that events are dealt to tell of theirs, and did so just now: what one keeps to itself, or
  has not got round to telling, would come twice.
- At most `MOST_OPEN` events are followed, the newest.

The sender's thread adds; those of the back channel tell, and take what is due.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ioc.core.clock import Clock

MOST_OPEN = 65_536
MOST_TIMES = 3
MOST_AT_ONCE = 64
"""Events that one worker is given at a time."""

LOOK_SECONDS = 0.2
"""s for which what is known of the workers is believed."""


@dataclass(slots=True)
class _Open:
    since_ns: int
    times: int = 0


class Unclaimed:
    """Follows the events of one sender; `workers` says how many workers events are dealt to, None if unknown."""

    def __init__(self, wait: float, workers: Callable[[], int | None], clock: Clock) -> None:
        self._wait_ns = round(wait * 1e9)
        self._workers = workers
        self._clock = clock
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._lock = threading.Lock()
        self._known: tuple[int | None, int] | None = None
        self.left = 0
        """Events that nobody took, however often they were given."""

    @property
    def settled(self) -> bool:
        """Whether workers have told of everything, or the rest is left alone."""
        return not self._open

    def hopeless(self, telling: int) -> bool:
        """Return whether it is known that not all workers tell of their events, so that none is given anything."""
        return self._known is not None and not (self._known[0] and telling >= self._known[0])

    def sent(self, number: int) -> None:
        """Take note of an event that is about to be sent."""
        with self._lock:
            self._open[number] = _Open(self._clock.monotonic_ns())
            if len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)

    def had(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Take note of whole events, by closed ranges of their numbers."""
        with self._lock:
            for first, last in ranges:
                if last - first < len(self._open):
                    numbers = list(range(first, last + 1))
                else:
                    numbers = [number for number in self._open if first <= number <= last]
                for number in numbers:
                    self._open.pop(number, None)

    def asked(self, number: int) -> None:
        """Take note that a worker asks for a part of an event: it is there, if not yet whole."""
        with self._lock:
            found = self._open.get(number)
            if found is not None:
                found.since_ns = self._clock.monotonic_ns()
                self._open.move_to_end(number)

    def due(self, telling: int) -> list[int]:
        """Return the events that a worker is to be given now; `telling` is how many workers just told of theirs."""
        now = self._clock.monotonic_ns()
        with self._lock:
            if not self._is_due(now):
                return []
        workers = self._count(now)
        if not workers or telling < workers:
            return []
        due: list[int] = []
        with self._lock:
            while self._is_due(now) and len(due) < MOST_AT_ONCE:
                number, found = self._open.popitem(last=False)
                if found.times >= MOST_TIMES:
                    self.left += 1
                    continue
                self._open[number] = _Open(now, found.times + 1)
                due.append(number)
        return due

    def forget(self, number: int) -> None:
        """Leave an event alone that is not kept any more."""
        with self._lock:
            if self._open.pop(number, None) is not None:
                self.left += 1

    def _is_due(self, now: int) -> bool:
        return bool(self._open) and now - next(iter(self._open.values())).since_ns >= self._wait_ns

    def _count(self, now: int) -> int | None:
        """Return how many workers there are, which may be asked of a load balancer: without the lock."""
        if self._known is None or now - self._known[1] >= LOOK_SECONDS * 1e9:
            self._known = self._workers(), now
        return self._known[0]
