"""The pace of a worker: frames finished a second, their latencies, and what the processor takes for one."""

from collections import deque
from collections.abc import Sequence

import numpy as np

from ioc.core.clock import Clock
from ioc.core.frame import Frame

LATENCIES_KEPT = 4096


class Pace:
    """Latencies in s, from a frame's time stamp to its completion; used by the worker's thread."""

    def __init__(self, clock: Clock) -> None:
        self.rate = 0.0
        self.execution_ms = 0.0
        self._clock = clock
        self._latencies_ns: deque[int] = deque(maxlen=LATENCIES_KEPT)
        self._longest_ns = 0
        self._looked_ns = 0
        self._done = 0

    @property
    def longest(self) -> float:
        """The longest latency since the start, or since `clear`."""
        return self._longest_ns / 1e9

    def executed(self, begun_ns: int, frames: int) -> None:
        """Note that the processor has worked on so many frames since `begun_ns`."""
        self.execution_ms = (self._clock.monotonic_ns() - begun_ns) / 1e6 / frames

    def finished(self, frames: Sequence[Frame]) -> None:
        """Note that frames are finished with now."""
        now = self._clock.wall_ns()
        latencies = [now - frame.timestamp_ns for frame in frames]
        self._latencies_ns.extend(latencies)
        self._longest_ns = max(self._longest_ns, *latencies)

    def due(self, seconds: float) -> bool:
        """Return whether the last look is so long ago."""
        return self._clock.monotonic_ns() - self._looked_ns >= seconds * 1e9

    def look(self, done: int) -> None:
        """Take the count of finished frames, for the rate."""
        now = self._clock.monotonic_ns()
        if now > self._looked_ns:
            fresh = (done - self._done) * 1e9 / (now - self._looked_ns) if self._looked_ns else 0.0
            self.rate = 0.8 * self.rate + 0.2 * fresh if self.rate else fresh
        self._looked_ns, self._done = now, done

    def percentiles(self) -> tuple[float, float]:
        """Return the latencies that half of the newest frames, and 99 of 100, did not exceed."""
        if not self._latencies_ns:
            return 0.0, 0.0
        recent = np.maximum(self._latencies_ns, 0) / 1e9  # a foreign clock may be ahead of ours
        p50, p99 = np.percentile(recent, (50, 99))
        return float(p50), float(p99)

    def clear(self) -> None:
        """Forget the latencies."""
        self._latencies_ns.clear()
        self._longest_ns = 0
