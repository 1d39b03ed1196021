"""A bound on bytes a second: areaDetector's MaxByteRate (ADCore, throttler.cpp). Pure, time passed in."""


class Throttle:
    """A store of bytes that fills up at `rate` bytes a second, to at most one second's worth."""

    def __init__(self, rate: float, now_ns: int) -> None:
        self.rate = rate
        self._left = rate
        self._then_ns = now_ns

    def take(self, size: int, now_ns: int) -> bool:
        """Take `size` bytes out; return False, with nothing taken, if there are not as many."""
        self._left = min(self.rate, self._left + self.rate * (now_ns - self._then_ns) / 1e9)
        self._then_ns = now_ns
        if size > self._left:
            return False
        self._left -= size
        return True
