"""Time as a collaborator: the real clock, a virtual one for tests, and pacing by absolute deadlines."""

import time
from typing import Protocol


class Clock(Protocol):
    """What may ask for the time is handed one of these."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back; for durations and deadlines. Comparable between processes of one host."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 UTC; for time stamps only."""
        ...


class SystemClock:
    """The clocks of the operating system."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()


class VirtualClock:
    """A clock that moves only when told to; monotonic and wall time advance together."""

    def __init__(self, wall_ns: int = 1_700_000_000_000_000_000) -> None:
        self._offset_ns = wall_ns
        self._now_ns = 0

    def advance(self, seconds: float) -> None:
        """Move time forward by `seconds`."""
        self._now_ns += round(seconds * 1e9)

    def monotonic_ns(self) -> int:
        return self._now_ns

    def wall_ns(self) -> int:
        return self._offset_ns + self._now_ns


class Pacer:
    """Keeps absolute deadlines, one a period; a late start of one frame does not delay those after it.

    After a stall of more than 100 periods and more than 0.1 s the schedule starts anew: back-pressure is not caught up
    with an endless burst, but a thread that had to wait a few milliseconds for its turn keeps the rate of 100 kHz. A
    period of 0 means as fast as possible.
    """

    MOST_PERIODS_BEHIND = 100
    LEAST_STALL_NS = 100_000_000

    def __init__(self, period_ns: int, start_ns: int) -> None:
        self.period_ns = period_ns
        self.next_ns = start_ns

    def due(self, now_ns: int) -> bool:
        """Return whether the next deadline has come."""
        return now_ns >= self.next_ns

    def due_count(self, now_ns: int, most: int) -> int:
        """Return how many deadlines have come, `most` at most."""
        if now_ns < self.next_ns:
            return 0
        return most if self.period_ns <= 0 else min(most, (now_ns - self.next_ns) // self.period_ns + 1)

    def advance(self, now_ns: int, periods: int = 1) -> None:
        """Move on by so many periods."""
        self.next_ns += periods * self.period_ns
        most = max(self.LEAST_STALL_NS, self.MOST_PERIODS_BEHIND * self.period_ns) if self.period_ns else 0
        if now_ns - self.next_ns > most:
            self.next_ns = now_ns

    def change(self, period_ns: int, now_ns: int) -> None:
        """Use another period from now on."""
        self.next_ns = min(self.next_ns, now_ns + period_ns)
        self.period_ns = period_ns
