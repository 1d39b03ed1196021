"""The memory that frames take up in the process of the plug-ins: each array is booked until nobody holds it."""

import threading
import weakref
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ioc.core.frame import Frame


class Held:
    """Books arrays; all together they never exceed `limit` bytes. Any thread may call."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.frames = 0
        self._booked: set[int] = set()
        self._guard = threading.RLock()  # an array may go, and give its bytes back, while this thread books another

    def copy(self, frame: Frame) -> Frame | None:
        """Return the frame with pixels of its own, read only; None if there is no memory for them.

        Its own memory is that of the detector's pool, which must not wait for a plug-in.
        """
        if not self._take(frame.data.nbytes):
            return None
        data = np.array(frame.data, order="C")
        data.flags.writeable = False
        self._watch(data)
        return replace(frame, data=data)

    def keep(self, frame: Frame) -> bool:
        """Book the pixels of a frame that a plug-in made; return whether there is memory for them.

        Pixels that are a view of others are booked with those, and none are booked twice.
        """
        if frame.data.base is not None or id(frame.data) in self._booked:
            return True
        if not self._take(frame.data.nbytes):
            return False
        self._watch(frame.data)
        return True

    def _take(self, size: int) -> bool:
        with self._guard:
            if self.used + size > self.limit:
                return False
            self.used += size
            self.frames += 1
            return True

    def _watch(self, data: NDArray) -> None:
        self._booked.add(id(data))
        weakref.finalize(data, self._give, id(data), data.nbytes).atexit = False

    def _give(self, which: int, size: int) -> None:
        with self._guard:
            self._booked.discard(which)
            self.used -= size
            self.frames -= 1
