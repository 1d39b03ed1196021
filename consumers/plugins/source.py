"""The detector's frames as the plug-ins get them: the way from the local channel into the graph."""

from collections.abc import Callable

from consumers.plugins.graph import Graph
from consumers.plugins.held import Held
from consumers.processor import Metadata, Processor
from ioc.core.frame import Frame
from ioc.core.ledger import Reason
from ioc.records.areadetector import CAMERA_PORT

SETTLE_SECONDS = 10.0
"""s that the end of a series waits for plug-ins that are still at work."""


class Source(Processor):
    """Gives each frame to the plug-ins that take the detector's; while none does, frames pass by."""

    def __init__(self, graph: Graph, held: Held, missed: Callable[[], int]) -> None:
        """`missed` returns how many frames the detector has dropped for this process so far."""
        self._graph = graph
        self._held = held
        self._missed = missed
        self._missed_before = 0

    def process(self, frame: Frame, metadata: Metadata) -> None:
        takers = self._graph.takers(CAMERA_PORT)
        missed = self._missed()
        if missed != self._missed_before:
            for taker in takers:
                taker.lose(missed - self._missed_before)
            self._missed_before = missed
        admitting = [taker for taker in takers if taker.admits(frame)]
        if not admitting:
            return
        held = self._held.copy(frame)
        for taker in admitting:
            if held is None:
                taker.refuse(frame, Reason.SHED)
            else:
                taker.take(held)

    def flush(self) -> None:
        """Wait for the plug-ins: an end marker that is finished with says that all is done (WaitForPlugins)."""
        self._graph.settle(SETTLE_SECONDS)
