"""Keeps packets to a rate: a token bucket with absolute deadlines, so that waking up late is made up for."""

import threading

LEAST_WAIT_NS = 100_000
"""A shorter sleep takes as long, and costs more than it is worth: what is due a little later goes out at once."""


class RatePacer:
    """Says how long to wait before each batch; `rate` is in bytes per second.

    After a pause or a late wake-up at most `burst` bytes go out faster than the rate.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._ns_per_byte = 1e9 / rate
        self._burst_ns = round(burst * self._ns_per_byte)
        self._free_ns: int | None = None

    def reserve(self, size: int, now_ns: int) -> int:
        """Book `size` bytes; return after how many nanoseconds from `now_ns` on they may be sent."""
        earliest = now_ns - self._burst_ns
        start = earliest if self._free_ns is None else max(self._free_ns, earliest)
        self._free_ns = start + round(size * self._ns_per_byte)
        return max(0, start - now_ns)


class Pause:
    """Waits that `end` cuts short, from any thread: a lock that is held until then, a tenth as dear as an Event."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self.ended = False

    def wait(self, seconds: float) -> None:
        """Wait for `seconds`, or until the end."""
        if self._lock.acquire(timeout=seconds):
            self._lock.release()

    def end(self) -> None:
        """Let nobody wait any more."""
        if not self.ended:
            self.ended = True
            self._lock.release()
