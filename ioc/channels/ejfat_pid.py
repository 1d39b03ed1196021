"""The control signal of a worker: a PID controller from the fill of its queue, as EJFAT's control plane understands it.

The signal is an increment of the worker's weight per epoch, where 1000 is the average of all workers, and fill goes
from 0 to 1; so gains are in hundreds. Positive: more events please. The integral is held within what the output limit
makes of it, so that a queue that stays full for long does not keep the worker out for as long again.
"""

from collections import deque
from dataclasses import dataclass

WINDOW = 10
"""Samples that the derivative looks back, as E2SAR does: one epoch of states."""


@dataclass(frozen=True, slots=True)
class Gains:
    """Set point of the fill (0 to 1), gains: proportional, integral (per s), derivative (s); `limit` of |signal|."""

    set_point: float = 0.0
    proportional: float = 0.0
    integral: float = 0.0
    derivative: float = 0.0
    limit: float = 1000.0


class Pid:
    """One controller; give it the fill at each state that is sent."""

    def __init__(self, gains: Gains) -> None:
        self._gains = gains
        self._integral = 0.0
        self._samples: deque[tuple[float, float]] = deque(maxlen=WINDOW)

    def signal(self, fill: float, now: float) -> float:
        """Return the control signal for a fill at `now` s of a monotonic clock."""
        gains = self._gains
        error = gains.set_point - fill
        if self._samples:
            self._integral += error * max(0.0, now - self._samples[-1][0])
            if gains.integral:
                bound = gains.limit / abs(gains.integral)
                self._integral = min(max(self._integral, -bound), bound)
        self._samples.append((now, error))
        since, before = self._samples[0]
        slope = (error - before) / (now - since) if now > since else 0.0
        signal = gains.proportional * error + gains.integral * self._integral + gains.derivative * slope
        return min(max(signal, -gains.limit), gains.limit)
