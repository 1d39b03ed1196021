"""A channel whose values have time stamps and ids that the owner gives: every one is sent to every client that watches.

Rules. What is posted waits in a queue of each monitor until the client's connection takes it. A queue that is full is
sent first; if the connection takes nothing, the newest that waits is replaced, and the client is told (overrun).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ioc.channels.pva_wire_ntscalar import Encoder
from ioc.core.metadata import Update


@dataclass(slots=True, eq=False)
class StampedMonitor:
    """One client's monitor. `window`: updates that it has room for, None: it does not say; `limit`: how many may wait.

    `send` has the connection take what waits.
    """

    encoder: Encoder
    window: int | None
    limit: int
    send: Callable[[], object]
    channel: "StampedChannel | None" = None
    waiting: deque[Update] = field(default_factory=deque)
    first: bool = True
    merged: bool = False
    overruns: int = 0

    def put(self, update: Update) -> None:
        """Take an update."""
        if len(self.waiting) >= self.limit:
            self.send()
        if len(self.waiting) >= self.limit:
            self.waiting.pop()
            self.merged = True
            self.overruns += 1
        self.waiting.append(update)

    @property
    def sendable(self) -> bool:
        """Whether an update waits that the client has room for."""
        return bool(self.waiting) and self.window != 0

    def take(self, most: int) -> bytes:
        """Return the next updates in bytes, `most` at most and as many as there is room for."""
        waiting, window = self.waiting, self.window
        count = min(len(waiting), most) if window is None else min(len(waiting), most, window)
        if self.window is not None:
            self.window -= count
        taken = [waiting.popleft() for _ in range(count)]
        told = b""
        if self.first and taken:
            self.first = False
            told = self.encoder.first(taken.pop(0))
        if not self.merged or waiting:
            return told + self.encoder.updates(taken)
        self.merged = False
        return told + self.encoder.updates(taken[:-1]) + b"".join(map(self.encoder.merged, taken[-1:]))


class StampedChannel:
    """One channel; the lock of its server is held whenever it is used."""

    def __init__(self, name: str) -> None:
        """Make the channel, with the value 0 and no time stamp."""
        self.name = name
        self.newest = Update(0.0, 0, 0)
        self._monitors: list[StampedMonitor] = []

    @property
    def overruns(self) -> int:
        """How many updates were replaced in the queues of the clients that are there."""
        return sum(one.overruns for one in self._monitors)

    def post(self, update: Update) -> None:
        """Have every client sent an update; its value is a float."""
        self.newest = update
        for monitor in self._monitors:
            monitor.put(update)

    def join(self, monitor: StampedMonitor) -> None:
        """Send a monitor the newest update, and every one from now on."""
        monitor.channel = self
        monitor.first = True
        monitor.put(self.newest)
        if not monitor.encoder.empty:
            self._monitors.append(monitor)

    def leave(self, monitor: StampedMonitor) -> None:
        """Send a monitor no more."""
        monitor.channel = None
        monitor.waiting.clear()
        if monitor in self._monitors:
            self._monitors.remove(monitor)
