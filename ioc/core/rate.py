"""Rates from counters that are looked at now and then."""

from dataclasses import dataclass


@dataclass(slots=True)
class RateMeter:
    """Hz from a counter that is looked at now and then, smoothed over about a second."""

    before: int = 0
    before_ns: int = 0
    rate: float = 0.0

    def update(self, count: int, now_ns: int) -> float:
        """Take the counter's present value and return the rate."""
        seconds = (now_ns - self.before_ns) / 1e9
        if self.before_ns and seconds > 0:
            fresh = max(0, count - self.before) / seconds
            share = min(1.0, seconds)
            self.rate = fresh if self.rate == 0.0 or fresh == 0.0 else (1 - share) * self.rate + share * fresh
        self.before, self.before_ns = count, now_ns
        return self.rate
