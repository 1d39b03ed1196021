"""Deals the slots of a load balancer out to its workers, in proportion to their weights and within their bounds.

Rules, those of ESnet's control plane:
- The even share is slots / workers. A worker gets slots in proportion to its weight, at least `min_factor` and at most
  `max_factor` times the even share (0: no upper bound). What bounds take or give is shared by the others.
- Fractions are rounded so that all slots are given. Demanded slots go to who demands them, the last one to do so wins.
- Slots are shuffled, so that ticks that go up in equal steps do not fall on one worker.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SLOTS = 512
"""Slots of a calendar; the low 9 bits of the tick choose one."""

AVERAGE_WEIGHT = 1000.0
"""What weights are scaled to on average, so that control signals mean the same whatever was registered."""

LEAST_WEIGHT = 1.0
"""A control signal takes a weight no lower than this, so that it can rise again."""

LEAST_PART = 1e-9
"""A weight counts as at least this part of the greatest one."""

SlotRange = tuple[int, int]
"""First slot (-1: the first free ones) and number of slots."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker may have of the slots."""

    weight: float
    min_factor: float = 0.0
    max_factor: float = 0.0
    demands: tuple[SlotRange, ...] = ()


def counts(shares: Mapping[int, Share], slots: int) -> dict[int, int]:
    """Return how many of `slots` slots each worker gets; they add up to `slots` unless there is nobody."""
    if not shares:
        return {}
    even = slots / len(shares)
    parts = _parts(shares, slots, even)
    whole = {worker: int(part) for worker, part in parts.items()}
    by_fraction = sorted(parts, key=lambda worker: (whole[worker] - parts[worker], worker))
    for worker in by_fraction[: slots - sum(whole.values())]:
        whole[worker] += 1
    return whole


def deal(shares: Mapping[int, Share], chance: random.Random, explicit: bool = False) -> tuple[int | None, ...]:
    """Return the worker of each slot; None: nobody's. `explicit`: only demanded slots are given."""
    calendar = _demanded(shares)
    free = [slot for slot, worker in enumerate(calendar) if worker is None]
    if shares and not explicit:
        given = counts(shares, len(free))
        hand = [worker for worker, count in given.items() for _ in range(count)]
        if len(free) == SLOTS:  # demands mean that the slot says something; then the rest stays in order
            chance.shuffle(hand)
        for slot, worker in zip(free, hand, strict=True):
            calendar[slot] = worker
    return tuple(calendar)


def adjusted(weights: Mapping[int, float], signals: Mapping[int, float]) -> dict[int, float]:
    """Return the weights after one epoch's control signals, scaled to `AVERAGE_WEIGHT` on average."""
    raised = {worker: max(LEAST_WEIGHT, weight + signals.get(worker, 0.0)) for worker, weight in weights.items()}
    total = sum(raised.values())
    return {worker: weight * AVERAGE_WEIGHT * len(raised) / total for worker, weight in raised.items()}


def ranges(calendar: Sequence[int | None], worker: int) -> list[SlotRange]:
    """Return the slots of a worker as ranges."""
    found: list[SlotRange] = []
    for slot, owner in enumerate(calendar):
        if owner != worker:
            continue
        if found and sum(found[-1]) == slot:
            found[-1] = found[-1][0], found[-1][1] + 1
        else:
            found.append((slot, 1))
    return found


def _parts(shares: Mapping[int, Share], slots: int, even: float) -> dict[int, float]:
    """Return the fractional parts: bounded ones at their bounds, the rest by weight; they add up to `slots`."""
    low = {worker: min(share.min_factor, 1.0) * even for worker, share in shares.items()}
    high = {
        worker: max(share.max_factor, 1.0) * even if share.max_factor > 0 else float(slots)
        for worker, share in shares.items()
    }
    greatest = max(share.weight for share in shares.values()) or 1.0
    weights = {worker: max(share.weight / greatest, LEAST_PART) for worker, share in shares.items()}
    # the parts min(max(level * weight, low), high) grow with the level; it is found by halving
    bottom, top = 0.0, (slots + 1) / LEAST_PART
    for _ in range(100):
        level = (bottom + top) / 2
        parts = {worker: min(max(level * weight, low[worker]), high[worker]) for worker, weight in weights.items()}
        if sum(parts.values()) < slots:
            bottom = level
        else:
            top = level
    return _filled({w: min(max(top * weight, low[w]), high[w]) for w, weight in weights.items()}, slots)


def _filled(parts: dict[int, float], slots: int) -> dict[int, float]:
    """Take the last rounding error off, so that whole parts never exceed the slots."""
    total = sum(parts.values())
    return {worker: part * slots / total for worker, part in parts.items()} if total else parts


def _demanded(shares: Mapping[int, Share]) -> list[int | None]:
    calendar: list[int | None] = [None] * SLOTS
    for worker, share in shares.items():
        for first, length in share.demands:
            start = first if first >= 0 else next((slot for slot, owner in enumerate(calendar) if owner is None), SLOTS)
            for slot in range(start, min(start + length, SLOTS)):
                calendar[slot] = worker
    return calendar
