"""Which worker an event belongs to: calendars that hold from a tick on, and the prediction of the tick to come.

Rules
- An epoch is a calendar and the first tick it holds for. It ends where the next begins, so all packets of one event,
  which share its tick, go to one worker whatever changes meanwhile.
- A new epoch begins at a tick that has not come yet: what is on its way is dealt by the epochs before.
- The last `LIVE` epochs are kept; a tick older than all of them is dealt by the oldest.
- The tick is predicted from the newest sync message, at the rate that it tells; a rate of 0 means: from the last ones,
  by a straight line. Before any, and when they are older than `STALE_NS`, ticks are microseconds since 1970.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass

from ioc.balancer.calendar import SLOTS
from ioc.channels.ejfat_wire import SyncMessage

LIVE = 4
STALE_NS = 60_000_000_000
SAMPLES = 10
US_RATE_HZ = 1_000_000


@dataclass(frozen=True, slots=True)
class Epoch:
    """A calendar and the first tick that it holds for."""

    number: int
    first_tick: int
    calendar: tuple[int | None, ...]


class Epochs:
    """The epochs that are live, oldest first."""

    def __init__(self) -> None:
        self._epochs: list[Epoch] = []
        self._ticks: list[int] = []
        self._count = 0

    @property
    def live(self) -> tuple[Epoch, ...]:
        """The epochs that are kept."""
        return tuple(self._epochs)

    @property
    def newest(self) -> Epoch | None:
        """The epoch begun last, perhaps at a tick to come."""
        return self._epochs[-1] if self._epochs else None

    def begin(self, first_tick: int, calendar: tuple[int | None, ...]) -> Epoch:
        """Let a calendar hold from a tick on; a tick before the newest epoch's replaces that one."""
        while self._ticks and first_tick <= self._ticks[-1]:
            first_tick = self._ticks.pop()
            self._epochs.pop()
        self._count += 1
        epoch = Epoch(self._count, first_tick, calendar)
        self._epochs.append(epoch)
        self._ticks.append(first_tick)
        del self._epochs[:-LIVE], self._ticks[:-LIVE]
        return epoch

    def clear(self) -> None:
        """Forget all epochs; their count goes on."""
        self._epochs.clear()
        self._ticks.clear()

    def at(self, tick: int) -> Epoch | None:
        """Return the epoch of a tick; None if there is none at all."""
        if not self._epochs:
            return None
        return self._epochs[max(0, bisect_right(self._ticks, tick) - 1)]

    def worker(self, tick: int, selector: int) -> int | None:
        """Return the worker of an event: the low bits of `selector` choose the slot; None if it is nobody's."""
        epoch = self.at(tick)
        return epoch.calendar[selector % SLOTS] if epoch is not None else None


class TickForecast:
    """Says which tick the senders are at; `now_ns` is monotonic, `wall_ns` since 1970."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, SyncMessage]] = deque(maxlen=SAMPLES)

    def heard(self, message: SyncMessage, now_ns: int) -> None:
        """Take a sync message in."""
        self._samples.append((now_ns, message))

    def clear(self) -> None:
        """Forget what was heard."""
        self._samples.clear()

    def tick(self, now_ns: int, wall_ns: int, ahead: float = 0.0) -> int:
        """Return the tick `ahead` seconds from now."""
        while self._samples and now_ns - self._samples[0][0] > STALE_NS:
            self._samples.popleft()
        if not self._samples:
            return max(0, wall_ns // 1000 + round(ahead * US_RATE_HZ))
        heard_ns, newest = self._samples[-1]
        seconds = (now_ns - heard_ns) / 1e9 + ahead
        return max(0, newest.tick + round(self._rate(newest) * seconds))

    def _rate(self, newest: SyncMessage) -> float:
        if newest.rate_hz:
            return float(newest.rate_hz)
        times = [(at - self._samples[0][0]) / 1e9 for at, _ in self._samples]
        ticks = [message.tick - self._samples[0][1].tick for _, message in self._samples]
        mean_time, mean_tick = sum(times) / len(times), sum(ticks) / len(ticks)
        spread = sum((time - mean_time) ** 2 for time in times)
        if not spread:
            return 0.0
        return sum((t - mean_time) * (k - mean_tick) for t, k in zip(times, ticks, strict=True)) / spread
