"""When the queue of a member will be full at the present rates in and out.

Rules: rates and level are smoothed over `SMOOTHING` seconds. What was dropped did not go out: a queue that drops stays
at 0 s. A queue grows from `LEAST_GROWTH` of the rate in on, and no longer below half of that; it is full from `FULL` of
its capacity on, and no longer below `NOT_FULL`: so the answer does not flap around a limit. A queue that does not grow,
or of policy Latest, which has nothing to overflow, is `NEVER` full.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ioc.core.config_table import Policy
from ioc.core.status import GroupStatus, MemberStatus

NEVER = 86400.0
"""s; the answer for a queue that does not grow, and for anything later than a day."""
SMOOTHING = 3.0
LEAST_GROWTH = 0.02
SLOWEST_GROWTH = 0.5
"""Hz; growth below this is no growth, whatever the rate in."""
FULL, NOT_FULL = 0.95, 0.85


@dataclass(slots=True)
class Forecast:
    """The queue of one member, looked at now and then."""

    growth: float = 0.0
    inflow: float = 0.0
    level: float = 0.0
    growing: bool = False
    full: bool = False
    _before: tuple[int, int, int] | None = None

    def update(self, member: MemberStatus, now_ns: int) -> float:
        """Take the present account of the member; return in how many s its queue will be full."""
        before = self._before
        self._before = (member.assigned, member.completed, now_ns)
        if before is None or now_ns <= before[2]:
            self.level = float(member.queued)
            return NEVER
        seconds = (now_ns - before[2]) / 1e9
        share = 1.0 - math.exp(-seconds / SMOOTHING)
        inflow = (member.assigned - before[0]) / seconds
        growth = inflow - (member.completed - before[1]) / seconds
        self.inflow += share * (inflow - self.inflow)
        self.growth += share * (growth - self.growth)
        self.level += share * (member.queued - self.level)
        return self._judge(member.capacity)

    def _judge(self, capacity: int) -> float:
        least = max(SLOWEST_GROWTH, LEAST_GROWTH * self.inflow)
        self.growing = self.growth > (least / 2 if self.growing else least)
        self.full = self.level >= (NOT_FULL if self.full else FULL) * capacity
        if self.full:
            return 0.0
        return min(NEVER, max(0.0, capacity - self.level) / self.growth) if self.growing else NEVER


class Forecasts:
    """The forecasts of all members of all groups."""

    def __init__(self) -> None:
        self._members: dict[tuple[int, str], Forecast] = {}

    def update(self, groups: Iterable[GroupStatus], now_ns: int) -> dict[int, float]:
        """Return by slot in how many s the first queue of the group will be full; `now_ns` is monotonic."""
        groups = list(groups)
        known = {(group.slot, member.name): Forecast() for group in groups for member in group.members}
        self._members = {key: self._members.get(key, fresh) for key, fresh in known.items()}
        return {group.slot: self._first(group, now_ns) for group in groups}

    def _first(self, group: GroupStatus, now_ns: int) -> float:
        times = [self._members[group.slot, member.name].update(member, now_ns) for member in group.members]
        return NEVER if group.policy == Policy.LATEST.value else min(times, default=NEVER)
