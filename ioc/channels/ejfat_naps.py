"""How a reader waits that has taken all there is: it naps while packets flow, and blocks when they do not.

To be woken for each batch of packets costs more than to take it, on both sides. A nap is the longer the more came
during the last one, so that few of them are needed at high rates; what comes meanwhile is far less than sockets hold.
"""

NAP_SECONDS = 0.0002
"""What a frame may be late by it ..."""

LONGEST_NAP = 0.0006
"""... and at most, while packets come fast."""

FAST_BYTES = 1 << 18
"""Bytes in a nap and the reading after it, from which on packets come fast."""

NAPS = 2
"""Naps in a row for nothing, after which the reader blocks."""


class Naps:
    """The naps of one reader."""

    def __init__(self) -> None:
        self._in_vain = NAPS
        self._seconds = NAP_SECONDS
        self._before = 0

    @property
    def over(self) -> bool:
        """Whether to block instead of napping."""
        return self._in_vain >= NAPS

    def took(self, any_: bool) -> None:
        """Take note whether anything was there."""
        self._in_vain = 0 if any_ else self._in_vain + 1

    def next(self, taken_bytes: int) -> float:
        """Return for how many seconds to nap; `taken_bytes` is all that was ever taken."""
        fast = taken_bytes - self._before >= FAST_BYTES
        self._before = taken_bytes
        self._seconds = min(1.5 * self._seconds, LONGEST_NAP) if fast else NAP_SECONDS
        return self._seconds
