"""Time to overflow, on a virtual clock."""

import itertools
import random
from collections.abc import Callable

import pytest

from ioc.core.clock import VirtualClock
from ioc.core.forecast import NEVER, SMOOTHING, Forecast, Forecasts
from ioc.core.status import GroupStatus, MemberStatus

STEP = 0.1
MINOR = 30.0


class Stream:
    """A queue of `capacity` frames that is filled and emptied at rates (Hz) and drops what does not fit."""

    def __init__(self, capacity: int, level: float = 0.0) -> None:
        self.clock = VirtualClock()
        self.forecast = Forecast()
        self.capacity = capacity
        self.level = level
        self.assigned = self.completed = 0.0

    def run(self, seconds: float, rate_in: Callable[[], float], rate_out: float) -> list[float]:
        """Return what is forecast, every 0.1 s."""
        told = []
        for _ in range(round(seconds / STEP)):
            self.clock.advance(STEP)
            new = rate_in() * STEP
            gone = min(rate_out * STEP, self.level + new)
            self.assigned += new
            self.completed += gone
            self.level = min(self.capacity, self.level + new - gone)
            told.append(self.forecast.update(self.member(), self.clock.monotonic_ns()))
        return told

    def member(self) -> MemberStatus:
        return MemberStatus(
            name="Cons1",
            present=True,
            assigned=round(self.assigned),
            completed=round(self.completed),
            queued=round(self.level),
            capacity=self.capacity,
        )


def test_a_steady_queue_is_never_full() -> None:
    assert set(Stream(100, 10).run(20.0, lambda: 1000.0, 1000.0)) == {NEVER}


def test_the_time_that_is_left_is_told_and_comes_true() -> None:
    stream = Stream(10_000)
    told = stream.run(5 * SMOOTHING, lambda: 1100.0, 1000.0)[-1]
    left = (stream.capacity - stream.level) / 100.0
    assert told == pytest.approx(left, rel=0.05)
    later = stream.run(left - 4.0, lambda: 1100.0, 1000.0)[-1]
    assert 0.0 < later == pytest.approx(4.0, abs=3.5)
    assert stream.run(10.0, lambda: 1100.0, 1000.0)[-1] == 0.0


def test_a_queue_that_drops_all_the_time_stays_at_nothing_left() -> None:
    stream = Stream(100, 100)
    stream.run(10.0, lambda: 2000.0, 1000.0)
    assert set(stream.run(30.0, lambda: 2000.0, 1000.0)) == {0.0}
    assert stream.run(30.0, lambda: 500.0, 1000.0)[-1] == NEVER, "and recovers"


def test_noise_does_not_make_it_flap() -> None:
    dice = random.Random(4)
    stream = Stream(1000, 100)
    stream.run(10.0, lambda: 1000.0, 1000.0)
    told = stream.run(120.0, lambda: 1000.0 * dice.uniform(0.9, 1.1), 1000.0)
    crossings = sum((one <= MINOR) != (other <= MINOR) for one, other in itertools.pairwise(told))
    assert crossings == 0, "no alarm comes and goes with noise of 10 %"


def test_a_group_tells_of_its_fullest_queue_and_latest_of_none() -> None:
    forecasts, clock, told = Forecasts(), VirtualClock(), dict[int, float]()
    for step in range(100):
        clock.advance(STEP)
        full = MemberStatus(name="a", present=True, assigned=100 * step, completed=step, queued=50, capacity=50)
        idle = MemberStatus(name="b", present=True, assigned=step, completed=step, queued=0, capacity=50)
        shape = {"name": "g", "count": 2, "sets": 2, "updates": 1, "queue_size": 50, "queue_bytes": 0}
        groups = [
            GroupStatus.model_validate({"slot": slot, "policy": policy, "members": [idle, full], **shape})
            for slot, policy in ((1, "bounded"), (2, "latest"))
        ]
        told = forecasts.update(groups, clock.monotonic_ns())
    assert told == {1: 0.0, 2: NEVER}
    assert forecasts.update([], clock.monotonic_ns()) == {}
