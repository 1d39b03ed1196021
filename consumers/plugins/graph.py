"""Which plug-in takes whose frames: ports by name, rewired while frames flow.

A port is the detector (`SIM1`) or a plug-in, named as in areaDetector. Each plug-in takes the frames of one port, its
`NDArrayPort`; frames go on by reference. There are no circles: what would close one is refused.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from ioc.core.errors import RefusedError, mismatch
from ioc.core.frame import Frame
from ioc.core.ledger import Reason
from ioc.records.areadetector import CAMERA_PORT


class Taker(Protocol):
    """A plug-in, as the graph sees it."""

    @property
    def port(self) -> str:
        """Its own name in the graph."""
        ...

    @property
    def source(self) -> str:
        """The port whose frames it takes."""
        ...

    @property
    def enabled(self) -> bool:
        """Whether it takes any."""
        ...

    @property
    def waiting(self) -> int:
        """Frames that wait for it."""
        ...

    def admits(self, frame: Frame) -> bool:
        """Return whether it is to be given a frame; a frame that is lost is counted."""
        ...

    def take(self, frame: Frame) -> None:
        """Take a frame that was admitted; its pixels stay as they are as long as anybody holds them."""
        ...

    def lose(self, frames: int) -> None:
        """Count frames that it should have been given, and that are named elsewhere."""
        ...

    def refuse(self, frame: Frame, reason: Reason) -> None:
        """Count, and name, a frame that it was to be given, and cannot be."""
        ...

    def settle(self, seconds: float) -> bool:
        """Wait until it has nothing to do, for `seconds` at most; return whether it has not."""
        ...


class Graph:
    """All ports. Frames are given by the threads of those who put them out, without a lock."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._plugins: dict[str, Taker] = {}
        self._outlets: list[Taker] = []
        self._takers: Mapping[str, Sequence[Taker]] = {}

    def add(self, plugin: Taker) -> None:
        """Add a plug-in."""
        with self._guard:
            self._plugins[plugin.port] = plugin
            self._wire()

    def let_out(self, outlet: Taker) -> None:
        """Add somebody who takes frames and gives none on."""
        with self._guard:
            self._outlets.append(outlet)
            self._wire()

    @property
    def ports(self) -> list[str]:
        """All names, the detector's first."""
        return [CAMERA_PORT, *self._plugins]

    def check(self, taker: str, source: str) -> None:
        """Look whether port `taker` can take the frames of `source`.

        Raises:
            RefusedError: there is no such port, or that would close a circle.
        """
        if source not in self.ports:
            others = ", ".join(port for port in self.ports if port != taker)
            raise RefusedError(mismatch("NDArrayPort", f"one of {others}", source))
        if taker in self._way(source):
            raise RefusedError(mismatch("NDArrayPort", f"a port that does not take its frames from {taker}", source))

    def rewire(self) -> None:
        """Look again who takes whose frames."""
        with self._guard:
            self._wire()

    def takers(self, port: str) -> Sequence[Taker]:
        """Return the enabled plug-ins that take the frames of a port."""
        return self._takers.get(port, ())

    def give(self, port: str, frame: Frame) -> None:
        """Give a frame of a plug-in to those who take it."""
        for taker in self.takers(port):
            if taker.admits(frame):
                taker.take(frame)

    def waiting(self, port: str) -> int:
        """Return how many frames of a port wait in queues."""
        return sum(taker.waiting for taker in self.takers(port))

    def settle(self, seconds: float) -> bool:
        """Wait until nobody has anything to do, for `seconds` at most; return whether that came."""
        limit = time.monotonic() + seconds
        settled = [plugin.settle(max(0.0, limit - time.monotonic())) for plugin in self._downstream()]
        return all(settled)

    def _wire(self) -> None:
        takers: dict[str, list[Taker]] = {}
        for plugin in (*self._plugins.values(), *self._outlets):
            if plugin.enabled:
                takers.setdefault(plugin.source, []).append(plugin)
        self._takers = takers

    def _way(self, port: str) -> Iterator[str]:
        """Yield a port and all those upstream of it."""
        while port != CAMERA_PORT:
            yield port
            port = self._plugins[port].source

    def _downstream(self) -> Iterable[Taker]:
        """Return all plug-ins, each behind the one whose frames it takes, and the ways out behind all of them."""
        ordered = sorted(self._plugins.values(), key=lambda plugin: len(list(self._way(plugin.port))))
        return [*ordered, *self._outlets]
