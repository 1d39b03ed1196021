"""What the data plane needs of a load balancer at one moment, as values that never change: senders, epochs, targets."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

from ioc.balancer.calendar import SLOTS
from ioc.balancer.reservation import LoadBalancer, Target
from ioc.channels.ejfat_wire import LbHeader


@dataclass(frozen=True, slots=True)
class Routes:
    """Epochs as their first ticks and calendars, oldest first."""

    senders: frozenset[str] = frozenset()
    first_ticks: tuple[int, ...] = ()
    calendars: tuple[tuple[int | None, ...], ...] = ()
    targets: Mapping[int, Target] = field(default_factory=dict)

    @classmethod
    def of(cls, balancer: LoadBalancer) -> "Routes":
        """Return the routes of a load balancer now."""
        live = balancer.epochs.live
        return cls(
            senders=frozenset(balancer.senders),
            first_ticks=tuple(epoch.first_tick for epoch in live),
            calendars=tuple(epoch.calendar for epoch in live),
            targets=dict(balancer.targets),
        )

    def worker(self, header: LbHeader) -> int | None:
        """Return the worker of an event: the epoch by its tick, the slot by its tick or (version 3) slot select."""
        if not self.calendars:
            return None
        calendar = self.calendars[max(0, bisect_right(self.first_ticks, header.tick) - 1)]
        return calendar[(header.selector if header.version == 3 else header.tick) % SLOTS]


def port(target: Target, entropy: int) -> int:
    """Return the port of a worker that packets with this entropy go to."""
    return target.port + (entropy & ((1 << target.port_range) - 1))
