"""The offset between two clocks, from pairs of stamps of the same moments: robust, and following a drift.

How it works: of the last pairs, the median of the differences counts, so that outliers do not; the medians of the older
and of the newer half give the drift, which is carried on to the newest pair. Before there are pairs, the offset is
guessed from when stamps arrived: what of either side took least time on its way is taken to have taken the same. A
small guess is none: clocks of one host, or kept by NTP, are nearly the same.
"""

from collections import deque
from itertools import repeat
from statistics import median

PAIRS = 64
REFRESH = 32
"""Pairs after which the estimate is made anew."""
ENOUGH = 8
"""Stamps of either side that are needed for a guess."""
RECENT = 32
"""Stamps of either side that the guess is brought to fit."""
SAME_CLOCK_NS = 2_000_000
"""A guess of less than this is none: arrivals do not tell it from the time that they take."""
MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


class ClockOffset:
    """How far a channel's clock is ahead of the frames', in ns; fixed if so told, measured in any case."""

    __slots__ = (
        "_fastest_frame",
        "_fastest_value",
        "_fixed_ns",
        "_frames",
        "_new",
        "_pairs",
        "_values",
        "estimate_ns",
        "jitter_ns",
        "locked",
        "ns",
    )

    def __init__(self, fixed_ns: int | None) -> None:
        """Begin with a fixed offset, or with None, which is to be estimated."""
        self._fixed_ns = fixed_ns
        self._pairs: deque[int] = deque(maxlen=PAIRS)
        self._frames: deque[int] = deque(maxlen=RECENT)
        self._values: deque[int] = deque(maxlen=RECENT)
        self._fastest_frame: int | None = None
        self._fastest_value: int | None = None
        self._new = 0
        self.ns = fixed_ns or 0
        self.estimate_ns = self.ns
        self.jitter_ns = 0
        self.locked = fixed_ns is not None

    @property
    def fixed(self) -> bool:
        """Whether the offset was given."""
        return self._fixed_ns is not None

    def fix(self, fixed_ns: int) -> None:
        """Use this offset from now on."""
        self._fixed_ns = self.ns = fixed_ns
        self.locked = True

    def frame_came(self, stamp_ns: int, now_ns: int) -> None:
        """Note when a frame came, for the guess; only while there is no lock."""
        self._frames.append(stamp_ns)
        self._fastest_frame = _least(self._fastest_frame, now_ns - stamp_ns)

    def value_came(self, stamp_ns: int, now_ns: int) -> None:
        """Note when a value came, for the guess; only while there is no lock."""
        self._values.append(stamp_ns)
        self._fastest_value = _least(self._fastest_value, now_ns - stamp_ns)

    def pair(self, frame_ns: int, stamp_ns: int) -> None:
        """Take the stamps of a frame and of the value that belongs to it."""
        self._pairs.append(stamp_ns - frame_ns)
        self._new += 1
        if self._new >= REFRESH:
            self._refresh()

    def pairs(self, difference_ns: int, count: int) -> None:
        """Take so many pairs at once whose stamps all differ by the same."""
        self._pairs.extend(repeat(difference_ns, min(count, PAIRS)))
        self._new += count
        if self._new >= REFRESH:
            self._refresh()

    def lock(self, least: int = ENOUGH) -> bool:
        """Guess the offset if there are `least` stamps of either side; return whether there is one now."""
        if self.locked or min(len(self._frames), len(self._values)) < max(least, 1):
            return self.locked
        assert self._fastest_frame is not None and self._fastest_value is not None
        guess = self._fastest_frame - self._fastest_value
        if abs(guess) <= SAME_CLOCK_NS:
            guess = 0
        nearest = [min((one - guess - frame for one in self._values), key=abs) for frame in self._frames]
        self.ns = self.estimate_ns = guess + round(median(nearest))
        self.locked = True
        self._frames.clear()
        self._values.clear()
        self._fastest_frame = self._fastest_value = None
        return True

    def unlock(self) -> None:
        """Forget an estimate that fits nothing any more; a fixed offset stays."""
        if not self.fixed:
            self.locked = False
            self._pairs.clear()
            self._new = 0

    def _refresh(self) -> None:
        self._new = 0
        pairs = list(self._pairs)
        if pairs.count(pairs[0]) == len(pairs):  # mostly so where a detector stamps both: nothing to calculate
            self._estimated(pairs[0], 0)
            return
        middle = median(pairs)
        jitter = round(MAD_TO_SIGMA * median(abs(one - middle) for one in pairs))
        half = len(pairs) // 2
        older, newer = (median(part) for part in (pairs[:half], pairs[half:]))
        self._estimated(round(newer + (newer - older) / 2) if len(pairs) == PAIRS else round(middle), jitter)

    def _estimated(self, estimate_ns: int, jitter_ns: int) -> None:
        self.estimate_ns = estimate_ns
        self.jitter_ns = jitter_ns
        if not self.fixed:
            self.ns = self.estimate_ns
            self.locked = True


def _least(known: int | None, fresh: int) -> int:
    return fresh if known is None else min(known, fresh)
