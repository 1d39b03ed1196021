"""Simulated metadata: channels `$(P)Meta:NAME` that are updated with the frames, as well or as badly as is wanted.

How it works: the flow hands over ids and time stamps of frames; a thread of its own makes the updates and sends them
when they are due. Should it fall behind, the oldest frames make no updates, and are counted.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple, Protocol

from ioc.channels.pva_stamped_server import StampedServer
from ioc.core.config_metadata import SimulatedChannel
from ioc.core.frame import Frame
from ioc.core.metadata import Update

MOST_BEHIND = 65_536
"""Frames of which the updates may wait to be made."""
MOST_TOGETHER = 64
"""Frames of which the updates are made before they are sent."""
SEED = 20_260_101
LONGEST_SLEEP = 0.1
JOIN_SECONDS = 5.0


class Planned(NamedTuple):
    """An update, and when it is sent (monotonic ns)."""

    due_ns: int
    update: Update


class Sink(Protocol):
    """Where updates of one channel go."""

    def send(self, update: Update) -> None:
        """Send one update now, or with the next flush of its server."""
        ...


class PvaSink:
    """A channel of pvAccess."""

    def __init__(self, server: StampedServer, name: str) -> None:
        self._server = server
        self._name = name

    def send(self, update: Update) -> None:
        self._server.post(self._name, update)


class RecordSink:
    """A record, which takes its time stamp from the moment of the put."""

    def __init__(self, name: str, put: Callable[[str, float], None]) -> None:
        self._name = name
        self._put = put

    def send(self, update: Update) -> None:
        self._put(self._name, float(update.value))


class Script:
    """What one channel does with frames: a pure function of their ids and stamps, and of chance with a fixed seed."""

    def __init__(self, config: SimulatedChannel, seed: int = SEED) -> None:
        self._config = config
        self._chance = random.Random(seed)
        self._seen = 0
        self._first_ns: int | None = None
        self._held: Planned | None = None
        self._delay_ns = round(config.delay * 1e9)

    def plan(self, unique_id: int, stamp_ns: int, now_ns: int) -> list[Planned]:
        """Return the updates that a frame makes, in the order in which they are sent."""
        config, chance = self._config, self._chance
        self._seen += 1
        if (self._seen - 1) % config.every or (config.gaps and chance.random() < config.gaps):
            return []
        if self._first_ns is None:
            self._first_ns = stamp_ns
        stamp = stamp_ns
        if config.offset or config.drift:
            stamp += round(config.offset * 1e9 + (stamp_ns - self._first_ns) * config.drift * 1e-6)
        if config.jitter:
            stamp += round(chance.uniform(-config.jitter, config.jitter) * 1e9)
        update = Planned(now_ns + self._delay_ns, Update(unique_id + config.shift, stamp, unique_id))
        found = [update]
        if config.doubles and chance.random() < config.doubles:
            found.append(update)
        if self._held is not None:
            found.append(self._held)
            self._held = None
        elif config.swaps and chance.random() < config.swaps:
            self._held = update
            return found[1:]
        return found


class MetadataSimulator:
    """All simulated channels of a detector. `frames` is called by the flow, everything else by the owner."""

    def __init__(
        self, prefix: str, channels: Mapping[str, SimulatedChannel], put: Callable[[str, float], None]
    ) -> None:
        """Prepare; PVA channels begin with `prefix`, `put` writes the record of a CA channel, by its name."""
        self.behind = 0
        pva = {name: f"{prefix}Meta:{name}" for name, one in channels.items() if one.protocol == "pva"}
        self.server = StampedServer("metadata", pva.values())
        sinks: dict[str, Sink] = {name: PvaSink(self.server, full) for name, full in pva.items()}
        sinks |= {name: RecordSink(f"Meta:{name}", put) for name in channels if name not in pva}
        self._ways = [(Script(one, SEED + at), sinks[name]) for at, (name, one) in enumerate(channels.items())]
        self._frames: deque[tuple[int, int]] = deque(maxlen=MOST_BEHIND)
        self._there = threading.Event()
        self._stopping = False
        self._later: list[tuple[int, int, Sink, Update]] = []
        self._numbers = count()
        self._thread = threading.Thread(target=self._run, name="metadata simulator", daemon=True)

    def start(self) -> None:
        """Serve the channels of pvAccess, and begin to send."""
        if self.server.channels:
            self.server.start()
        self._thread.start()

    def frames(self, frames: Sequence[Frame]) -> None:
        """Take notice of frames that are published; never waits."""
        self.behind += max(0, len(self._frames) + len(frames) - MOST_BEHIND)
        self._frames.extend((frame.unique_id, frame.timestamp_ns) for frame in frames)
        self._there.set()

    def stop(self) -> None:
        """Send no more."""
        self._stopping = True
        self._there.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_SECONDS)
        self.server.stop()

    def _run(self) -> None:
        while not self._stopping:
            self._there.wait(self._patience())
            self._there.clear()
            while self._frames and not self._stopping:
                for _ in range(min(len(self._frames), MOST_TOGETHER)):
                    self._make(*self._frames.popleft())
                self._send_due()
            self._send_due()

    def _patience(self) -> float:
        if not self._later:
            return LONGEST_SLEEP
        return min(LONGEST_SLEEP, max(0.0, (self._later[0][0] - time.monotonic_ns()) / 1e9))

    def _make(self, unique_id: int, stamp_ns: int) -> None:
        now = time.monotonic_ns()
        for script, sink in self._ways:
            for update in script.plan(unique_id, stamp_ns, now):
                if update.due_ns <= now:
                    sink.send(update.update)
                else:
                    heappush(self._later, (update.due_ns, next(self._numbers), sink, update.update))

    def _send_due(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic_ns():
            _, _, sink, update = heappop(self._later)
            sink.send(update)
        self.server.flush()
