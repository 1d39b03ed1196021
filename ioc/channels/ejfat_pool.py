"""Buffers for events that are used again, because fresh memory costs a page fault every 4 KiB."""

import threading

import numpy as np
from numpy.typing import NDArray

GRAIN = 4096
"""Bytes; capacities are multiples of it, so that events with headers of different lengths share buffers."""

LEAST_KEPT = 1 << 16
"""Bytes; smaller ones come from the allocator's own pool."""


class BufferPool:
    """Hands out byte buffers and keeps up to `most_bytes` of those given back; safe between threads."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept_bytes = 0
        self._kept: dict[int, list[NDArray[np.uint8]]] = {}
        self._lock = threading.Lock()

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return `size` bytes with any content."""
        capacity = -(-size // GRAIN) * GRAIN if size >= LEAST_KEPT else max(size, 1)
        with self._lock:
            same = self._kept.get(capacity)
            buffer = same.pop() if same else None
            if buffer is not None:
                self._kept_bytes -= capacity
        return (np.empty(capacity, np.uint8) if buffer is None else buffer)[:size]

    def give(self, buffer: NDArray[np.uint8]) -> None:
        """Take back what `take` returned; nobody reads it any more."""
        whole = buffer.base
        if not isinstance(whole, np.ndarray) or whole.nbytes < LEAST_KEPT:
            return
        with self._lock:
            if self._kept_bytes + whole.nbytes > self._most_bytes:
                if self._kept_bytes == whole.nbytes * len(self._kept.get(whole.nbytes, ())):
                    return  # full of such
                self._kept.clear()  # sizes of an earlier stream may fill it
                self._kept_bytes = 0
            if whole.nbytes <= self._most_bytes:
                self._kept.setdefault(whole.nbytes, []).append(whole)
                self._kept_bytes += whole.nbytes
