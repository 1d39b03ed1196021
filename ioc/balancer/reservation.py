"""One reserved load balancer: its senders, its workers' sessions and the epoch that is due; no sockets.

Rules, those of ESnet's control plane:
- A worker has slots while it is ready and its newest state is at most `READY_NS` old, by its own stamp and by when it
  came; a session of which nothing was heard for `FORGET_NS` is removed.
- Every `period` an epoch begins that holds from the tick on which is predicted for `lead` seconds later. Weights begin
  at 1000 times the registered weight; each epoch adds the control signal and scales to 1000 on average.
- Strategy dynamic: as above. static: dealt by registered weight when workers come or go. explicit: demanded slots only.
- A worker that leaves or goes stale keeps the events whose ticks lie in earlier epochs.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from ioc.balancer.calendar import AVERAGE_WEIGHT, SLOTS, Share, SlotRange, adjusted, deal, ranges
from ioc.balancer.epochs import Epochs, TickForecast
from ioc.channels.ejfat_control_model import Registration, WorkerState
from ioc.channels.ejfat_wire import SyncMessage
from ioc.core.clock import Clock
from ioc.core.errors import RefusedError, mismatch

READY_NS = 2_000_000_000
FORGET_NS = 60_000_000_000
MOST_WORKERS = SLOTS
MOST_SENDERS = 4096


class Strategy(Enum):
    """How slots are dealt out."""

    DYNAMIC = "dynamic"
    STATIC = "static"
    EXPLICIT = "explicit"


@dataclass(frozen=True, slots=True)
class Pace:
    """s between epochs, and how far ahead of the predicted tick an epoch begins."""

    period: float = 1.0
    lead: float = 0.8


@dataclass(frozen=True, slots=True)
class Target:
    """Where the packets of a worker go: its port is `port` plus the low `port_range` bits of the entropy."""

    address: str
    port: int
    port_range: int
    keep_lb_header: bool


@dataclass(slots=True)
class Worker:
    """A session: what was registered, and what was heard last; `stamp_ns` is the worker's own time."""

    number: int
    registration: Registration
    weight: float
    heard_ns: int
    stamp_ns: int
    demands: tuple[SlotRange, ...] = ()
    state: WorkerState = field(default_factory=lambda: WorkerState(0.0, 0.0, True))

    def target(self) -> Target:
        """Return where its packets go."""
        own = self.registration
        return Target(own.address, own.port, own.port_range, own.keep_lb_header)


class LoadBalancer:
    """The state of one reservation; whoever calls it sees to it that one thread does so at a time."""

    def __init__(self, strategy: Strategy, pace: Pace, clock: Clock, chance: random.Random | None = None) -> None:
        self.strategy = strategy
        self.epochs = Epochs()
        self.forecast = TickForecast()
        self.senders: dict[str, None] = {}
        self.workers: dict[int, Worker] = {}
        self.targets: dict[int, Target] = {}
        """Of all workers that a live epoch names."""
        self._pace = pace
        self._clock = clock
        self._chance = chance or random.Random()
        self._sessions = 0
        self._due_ns = 0
        self._static: dict[int, Share] = {}

    def register(self, registration: Registration, demands: Sequence[SlotRange] = ()) -> int:
        """Begin a session and return its number.

        Raises:
            RefusedError: there are as many workers as slots already.
        """
        if len(self.workers) >= MOST_WORKERS:
            raise RefusedError(mismatch("load balancer", f"at most {MOST_WORKERS} workers", "one more"))
        self._sessions += 1
        weight = AVERAGE_WEIGHT * registration.weight
        now, wall = self._clock.monotonic_ns(), self._clock.wall_ns()
        self.workers[self._sessions] = Worker(self._sessions, registration, weight, now, wall, tuple(demands))
        if not self.epochs.live:
            self._due_ns = now
        return self._sessions

    def heard(self, number: int, state: WorkerState, stamp_ns: int) -> None:
        """Take the state of a worker in; `stamp_ns` is its own time."""
        worker = self.workers[number]
        worker.state, worker.stamp_ns, worker.heard_ns = state, stamp_ns, self._clock.monotonic_ns()

    def deregister(self, number: int) -> None:
        """End a session; its slots go to others with the next epoch."""
        del self.workers[number]

    def demand(self, number: int, demands: Sequence[SlotRange]) -> None:
        """Replace the slots that a worker demands."""
        self.workers[number].demands = tuple(demands)

    def add_senders(self, addresses: Sequence[str]) -> None:
        """Let packets of these addresses in.

        Raises:
            RefusedError: the list would be too long.
        """
        if len(self.senders) + len(addresses) > MOST_SENDERS:
            raise RefusedError(mismatch("load balancer", f"at most {MOST_SENDERS} senders", "more"))
        self.senders.update(dict.fromkeys(addresses))

    def remove_senders(self, addresses: Sequence[str]) -> None:
        """Shut packets of these addresses out."""
        for address in addresses:
            self.senders.pop(address, None)

    def synced(self, message: SyncMessage) -> None:
        """Take a sync message in."""
        self.forecast.heard(message, self._clock.monotonic_ns())

    def tick(self) -> int:
        """Return the tick that the senders are at, as far as can be said."""
        return self.forecast.tick(self._clock.monotonic_ns(), self._clock.wall_ns())

    def reset_epochs(self) -> None:
        """Forget all epochs; the next one begins at once."""
        self.epochs.clear()
        self._static.clear()
        self._due_ns = self._clock.monotonic_ns()

    def advance(self) -> bool:
        """Remove who was not heard of for long, begin an epoch if one is due; return whether one began."""
        now = self._clock.monotonic_ns()
        for worker in [one for one in self.workers.values() if now - one.heard_ns > FORGET_NS]:
            del self.workers[worker.number]
        if now < self._due_ns or not (self.workers or self.epochs.live):
            return False
        self._due_ns = max(self._due_ns + round(self._pace.period * 1e9), now)
        return self._begin_epoch(now)

    def ready(self, worker: Worker) -> bool:
        """Return whether a worker may have slots."""
        late = max(self._clock.monotonic_ns() - worker.heard_ns, self._clock.wall_ns() - worker.stamp_ns)
        return worker.state.ready and late <= READY_NS

    def slots(self, number: int) -> list[SlotRange]:
        """Return the slots of a worker in the newest epoch."""
        newest = self.epochs.newest
        return ranges(newest.calendar, number) if newest is not None else []

    def _begin_epoch(self, now: int) -> bool:
        ready = {number: worker for number, worker in self.workers.items() if self.ready(worker)}
        if self.strategy is Strategy.DYNAMIC:
            signals = {number: worker.state.control_signal for number, worker in ready.items()}
            for number, weight in adjusted({n: worker.weight for n, worker in ready.items()}, signals).items():
                ready[number].weight = weight
        shares = {number: self._share(worker) for number, worker in ready.items()}
        if self.strategy is not Strategy.DYNAMIC:
            if self.epochs.live and shares == self._static:
                return False
            self._static = shares
        first = self.forecast.tick(now, self._clock.wall_ns(), self._pace.lead)
        live = self.epochs.live
        if live and first <= live[0].first_tick:  # the senders' ticks went back: what was dealt is for no tick to come
            self.epochs.clear()
        self.epochs.begin(first, deal(shares, self._chance, self.strategy is Strategy.EXPLICIT))
        self._keep_targets()
        return True

    def _share(self, worker: Worker) -> Share:
        own = worker.registration
        weight = worker.weight if self.strategy is Strategy.DYNAMIC else own.weight
        return Share(weight, own.min_factor, own.max_factor, worker.demands)

    def _keep_targets(self) -> None:
        named = {number for epoch in self.epochs.live for number in set(epoch.calendar) if number is not None}
        known = {**self.targets, **{number: worker.target() for number, worker in self.workers.items()}}
        self.targets = {number: known[number] for number in named}
