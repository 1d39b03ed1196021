"""Processor `accumulate`: makes one frame of several, as areaDetector's NDPluginProcess does."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from consumers.processor import Metadata, Output, Processor, Setting, Statistic
from ioc.core.frame import Frame


class Accumulate(Processor):
    """Returns, for every `Frames` frames of a series, their sum or mean, under the id and stamp of the last of them.

    A sum of integers is of 64 bits, everything else float64. What is begun at the end of a series comes out then; the
    attribute `Accumulated` says of how many frames. A frame of another size or type begins anew, too.
    """

    declared_settings = (
        Setting("Frames", 10, low=1, high=1 << 20, unit="frame", description="Frames that become one"),
        Setting("Method", "sum", choices=("sum", "mean"), description="What becomes of them"),
    )
    declared_statistics = (Statistic("Waiting", int, unit="frame", description="Frames added up so far"),)

    def __init__(self) -> None:
        self._total: NDArray | None = None
        self._last: Frame | None = None
        self._count = 0

    def process(self, frame: Frame, metadata: Metadata) -> Output:
        done = [] if self._continues(frame) else self.flush()
        self._add(frame)
        if self._count >= int(self.settings["Frames"]):
            done += self.flush()
        self.report(Waiting=self._count)
        return done

    def flush(self) -> list[Frame]:
        if self._total is None or self._last is None:
            return []
        data = self._total / self._count if self.settings["Method"] == "mean" else self._total
        found = replace(self._last, data=data, attributes={**self._last.attributes, "Accumulated": self._count})
        self._total, self._last, self._count = None, None, 0
        self.report(Waiting=0)
        return [found]

    def _continues(self, frame: Frame) -> bool:
        return self._last is None or _kind(self._last) == _kind(frame)

    def _add(self, frame: Frame) -> None:
        if self._total is None:
            kind = frame.data.dtype.kind
            self._total = frame.data.astype({"u": np.uint64, "i": np.int64}.get(kind, np.float64))
        else:
            self._total += frame.data
        self._count += 1
        # a stand-in of the same shape and type: the pixels lie in memory that is used again
        self._last = replace(frame, data=np.broadcast_to(np.zeros((), frame.data.dtype), frame.data.shape))


def _kind(frame: Frame) -> tuple[object, ...]:
    return frame.series, frame.data.shape, frame.data.dtype
