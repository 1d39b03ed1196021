"""What a network does to packets, on purpose: loses, doubles, delays and overtakes; time and chance are passed in."""

import heapq
import random
from dataclasses import dataclass
from typing import Generic, TypeVar

Packet = TypeVar("Packet")


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities of a packet to be lost, doubled, or held back; `delay` and `jitter` in s.

    A packet that is held back waits `jitter` s longer than the others (1 ms if that is 0), so that later ones overtake.
    With a `seed` chance plays the same way every time; without one, another way each time.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    seed: int | None = None

    @property
    def any(self) -> bool:
        """Whether anything is done at all."""
        return bool(self.loss or self.duplicate or self.reorder or self.delay)


LEAST_HOLD = 0.001


class FaultyPath(Generic[Packet]):
    """Holds packets until they are due; holds at most `most` of them, and loses what comes on top."""

    def __init__(self, faults: Faults, most: int = 1 << 18) -> None:
        self._faults = faults
        self._chance = random.Random(faults.seed)
        self._most = most
        self._held: list[tuple[int, int, Packet]] = []
        self._count = 0
        self.lost = 0
        self.doubled = 0
        self.held_back = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def faults(self) -> Faults:
        """What is done to packets."""
        return self._faults

    def change(self, faults: Faults) -> None:
        """Do this from the next packet on; what is held keeps its time. Another seed begins chance anew."""
        if faults.seed != self._faults.seed:
            self._chance = random.Random(faults.seed)
        self._faults = faults

    def enter(self, packet: Packet, now_ns: int) -> None:
        """Take a packet."""
        faults, chance = self._faults, self._chance.random
        if len(self._held) >= self._most or (faults.loss and chance() < faults.loss):
            self.lost += 1
            return
        self._hold(packet, now_ns)
        if faults.duplicate and chance() < faults.duplicate:
            self.doubled += 1
            self._hold(packet, now_ns)

    def due(self, now_ns: int) -> list[Packet]:
        """Return the packets whose time has come, in order."""
        found = []
        while self._held and self._held[0][0] <= now_ns:
            found.append(heapq.heappop(self._held)[2])
        return found

    def rest(self) -> list[Packet]:
        """Return all that is held, in order, because the path ends."""
        return self.due(1 << 63)

    def next_ns(self) -> int | None:
        """Return when the next packet is due; None if none is held."""
        return self._held[0][0] if self._held else None

    def _hold(self, packet: Packet, now_ns: int) -> None:
        seconds = self._faults.delay
        if self._faults.reorder and self._chance.random() < self._faults.reorder:
            seconds += self._faults.jitter or LEAST_HOLD
            self.held_back += 1
        self._count += 1  # among packets due at the same time the earlier one goes first
        heapq.heappush(self._held, (now_ns + round(seconds * 1e9), self._count, packet))
