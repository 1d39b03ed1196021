"""A PvaPy processor class, as its users write them: gives each frame the values of its metadata channels by time stamp.

It is loaded by `pvapy-hpc-consumer`, which queues the channels' updates. A frame that has all its values is noted, with
the time, in a file that lies in memory, so that what was noted is there however the process ends.
"""

import importlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from pvapy.hpc.userDataProcessor import UserDataProcessor

pvaccess: Any = importlib.import_module("pvaccess")  # a compiled module, of which type checkers see nothing
WAIT_SECONDS = 0.1
"""What a frame waits for a value; PvaPy's own example does not wait at all."""
TOLERANCE_NS = 10_000
MOST_FRAMES = 4_000_000


class Matching(UserDataProcessor):
    """Notes the ids of frames that found a value in every channel; `configDict` has the `file` to note them in."""

    def __init__(self, configDict: Mapping[str, Any]) -> None:  # noqa: N803 - PvaPy's name
        UserDataProcessor.__init__(self, configDict)
        self._notes = np.memmap(configDict["file"], np.int64, "w+", shape=(2, MOST_FRAMES))
        self._count = 0
        self._held: dict[str, Any] = {}
        self.values: dict[str, float] = {}
        self.unmatched = 0

    def process(self, pvObject: Any) -> Any:  # noqa: N803 - PvaPy's name
        """Take one frame."""
        stamp = _nanoseconds(pvObject)
        found = [self._find(name, queue, stamp) for name, queue in self.metadataQueueMap.items()]
        if all(found):
            self._notes[:, self._count] = pvObject["uniqueId"], time.monotonic_ns()
            self._count += 1
        else:
            self.unmatched += 1
        return pvObject

    def getStats(self) -> dict[str, int]:  # noqa: N802 - PvaPy's name
        """Return what was counted."""
        return {"nMatched": self._count, "nUnmatched": self.unmatched}

    def getStatsPvaTypes(self) -> dict[str, Any]:  # noqa: N802 - PvaPy's name
        """Return the types of that."""
        return {"nMatched": pvaccess.UINT, "nUnmatched": pvaccess.UINT}

    def _find(self, name: str, queue: Any, stamp: int) -> bool:
        while True:
            try:
                update = self._held.pop(name, None) or queue.get(WAIT_SECONDS)
            except pvaccess.QueueEmpty:
                return False
            ahead = _nanoseconds(update) - stamp
            if abs(ahead) <= TOLERANCE_NS:
                self.values[name] = update["value"]
                return True
            if ahead > 0:
                self._held[name] = update
                return False


def _nanoseconds(update: Any) -> int:
    stamp = update["timeStamp"]
    return stamp["secondsPastEpoch"] * 1_000_000_000 + stamp["nanoseconds"]
