"""The bytes that each process of an appliance holds in a shared budget, in one small mapped file.

Layout, native int64: one word a process, at a place that follows from its name. Who wants memory books it first, adds
up all words and takes the booking back if that is too much: two at the same time may both go without, but never exceed
the limit. The word of a process that was killed stands until its successor begins.
"""

import mmap
import os
import re
import threading
from pathlib import Path

import numpy as np

from ioc.core.errors import RayfanBug, mismatch

MOST_PROCESSES = 1024
"""Of one kind."""
_KINDS = ("Cons", "EjfatIn", "Coll", "Ejfat", "Plug", "In", "Det")
_WORD = 8
_SIZE = MOST_PROCESSES * len(_KINDS) * _WORD


class MemoryBook:
    """One process's bookings in the shared budget; any thread of it may book."""

    def __init__(self, path: Path, name: str, limit: int) -> None:
        """Book as process `name` in the file at `path`, all together at most `limit` bytes; begin with none."""
        self.limit = limit
        self._at = _place(name)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _SIZE)  # a hole that cannot be filled later would kill us
            self._words = np.frombuffer(mmap.mmap(descriptor, _SIZE), np.int64)
        finally:
            os.close(descriptor)
        self._words[self._at] = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes that this process holds."""
        return int(self._words[self._at])

    @property
    def total(self) -> int:
        """Bytes that all processes hold."""
        return int(self._words.sum())

    def take(self, size: int) -> bool:
        """Book `size` bytes; return False, with nothing booked, if the budget has not that much left."""
        with self._lock:
            self._words[self._at] += size
            if self.total > self.limit:
                self._words[self._at] -= size
                return False
            return True

    def give(self, size: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._words[self._at] -= size

    def close(self) -> None:
        """Give everything back."""
        self._words[self._at] = 0


def _place(name: str) -> int:
    match = re.fullmatch(rf"({'|'.join(_KINDS)})([1-9]\d*)", name)
    if match is None or int(match[2]) >= MOST_PROCESSES:
        raise RayfanBug(mismatch("process that books memory", f"{' or '.join(_KINDS)} below {MOST_PROCESSES}", name))
    return _KINDS.index(match[1]) * MOST_PROCESSES + int(match[2])
