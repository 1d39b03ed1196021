"""Shared memory for frames: segments that the distributor writes and members read, without a name in any file system.

A segment is a `memfd`: it is handed to members through their socket and is gone when the last process that maps it
is, so nothing is ever left behind by a kill. It is sealed against shrinking and against new writable maps. It holds
slots of one size; a slot is free again when every holder has let go of it.
"""

import errno
import fcntl
import mmap
import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from ioc.channels.local_wire import frame_place
from ioc.core.errors import UserError
from ioc.core.frame import Frame

ALIGNMENT = 64
"""Slots begin on a cache line."""

_F_ADD_SEALS = getattr(fcntl, "F_ADD_SEALS", 1033)
_SEALS = 0x0002 | 0x0004 | 0x0010  # F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE (linux/fcntl.h)
_numbers = count(1)


class Slot:
    """Room for one image; `refs` counts who still needs what is in it.

    `place` is what a message to a local member says of `array` as a whole, made once (local_wire).
    """

    __slots__ = ("array", "offset", "pinned", "place", "refs", "segment")

    def __init__(self, segment: "Segment", offset: int, array: NDArray) -> None:
        self.segment = segment
        self.offset = offset
        self.array = array
        self.refs = 0
        self.pinned = False
        self.place = frame_place(segment.number, offset, array.shape, array.dtype)

    def hold(self) -> None:
        """Keep the contents until `drop`."""
        self.refs += 1

    def drop(self) -> None:
        """Let go; the last one makes the slot free, unless it is pinned."""
        self.refs -= 1
        if self.refs == 0 and not self.pinned:
            self.segment.free.append(self)


@dataclass(slots=True)
class PooledFrame(Frame):
    """A frame whose data lie in a slot."""

    slot: Slot | None = None
    deaths: int = 0
    """How many members died while this frame was the first in their hands."""
    suspect: bool = False
    """Whether it was among the frames that a member died with; such frames are worked on one by one."""


def hold_all(frames: Iterable[PooledFrame]) -> None:
    """Keep the contents of frames, once more, until `drop_all`."""
    for frame in frames:
        assert frame.slot is not None
        frame.slot.refs += 1


def drop_all(frames: Iterable[PooledFrame]) -> None:
    """Let go of frames, as `Slot.drop` does, without a call for each."""
    for frame in frames:
        slot = frame.slot
        assert slot is not None
        slot.refs -= 1
        if slot.refs == 0 and not slot.pinned:
            slot.segment.free.append(slot)


class Segment:
    """One piece of shared memory with `slots` slots for images of one shape and type."""

    def __init__(self, shape: Sequence[int], dtype: np.dtype, slots: int) -> None:
        """Reserve the memory now, so that there is no surprise later.

        Raises:
            UserError: the machine has not that much memory left.
        """
        self.number = next(_numbers)
        image_bytes = int(np.prod(shape)) * dtype.itemsize
        stride = -(-image_bytes // ALIGNMENT) * ALIGNMENT
        self.size = max(stride * slots, mmap.PAGESIZE)
        self.descriptor = _reserve(f"rayfan-{self.number}", self.size)
        self._map = mmap.mmap(self.descriptor, self.size)
        fcntl.fcntl(self.descriptor, _F_ADD_SEALS, _SEALS)
        self._slots = tuple(
            Slot(self, at * stride, np.ndarray(tuple(shape), dtype, buffer=self._map, offset=at * stride))
            for at in range(slots)
        )
        self.free = deque(self._slots)

    @property
    def held(self) -> int:
        """How often its slots are held."""
        return sum(slot.refs for slot in self._slots)

    def take(self) -> Slot | None:
        """Return the slot that became free last, held once, or None: the caches may still hold it."""
        if not self.free:
            return None
        slot = self.free.pop()
        slot.hold()
        return slot

    def close(self) -> None:
        """Close the descriptor; the memory goes when the last map of it does."""
        os.close(self.descriptor)
        self.free.clear()
        self._slots = ()  # each knows its segment: the ring would wait for the collector


def _reserve(name: str, size: int) -> int:
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.ENOSPC, errno.ENOMEM):
            raise UserError(
                f"shared memory for frames: {size} bytes are not to be had ({error.strerror}); "
                "make the images or the queues smaller, or lower memory_budget"
            ) from None
        raise
    return descriptor
