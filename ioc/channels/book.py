"""A process's counters in a small mapped file, so that the last commit survives a kill.

Layout, native int64: magic, number of commits, then two halves of one word a field of `Counts`. Commit n fills half
n & 1 and then writes n: whoever reads, also after `kill -9` in mid-write, sees the whole of one commit. One process
writes, any may read.
"""

import mmap
import os
import struct
from dataclasses import dataclass, fields
from pathlib import Path

from ioc.core.errors import PeerError, mismatch

MAGIC = 0x5246_424B_0001
SIZE = 4096


@dataclass(slots=True)
class Counts:
    """What one member did, as it commits it.

    `link`, `taken` and `done` count items (frames and end markers) of the present connection to the distributor:
    taken into its hands, finished with. The others count frames over all lives of the process: `received =
    processed + failed + returned + in hand`; `returned` frames were in hand when an earlier life was killed, and went
    back to the distributor's account.
    """

    link: int = 0
    taken: int = 0
    done: int = 0
    received: int = 0
    processed: int = 0
    failed: int = 0
    returned: int = 0
    published: int = 0
    bytes: int = 0

    @property
    def in_hand(self) -> int:
        """Frames received and not finished with."""
        return self.received - self.processed - self.failed - self.returned


_WORDS = len(fields(Counts))
_HALF = struct.Struct(f"@{_WORDS}q")
_HEAD = struct.Struct("@qq")
_OFFSETS = (_HEAD.size, _HEAD.size + _HALF.size)


class Book:
    """The writer's side: change `counts`, then `commit`."""

    def __init__(self, path: Path) -> None:
        """Open the book at `path`, continuing with the counts of an earlier life, or make it."""
        self.path = path
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fresh = os.fstat(descriptor).st_size < SIZE
            if fresh:
                os.ftruncate(descriptor, SIZE)
            self._map = mmap.mmap(descriptor, SIZE)
        finally:
            os.close(descriptor)
        self._commits = 0
        self.counts = Counts()
        if fresh:
            _HEAD.pack_into(self._map, 0, MAGIC, 0)
        else:
            self.counts = _read(self._map, path)
            self._commits = _HEAD.unpack_from(self._map, 0)[1]

    def commit(self) -> None:
        """Make the present counts the ones that others see."""
        commits = self._commits + 1
        _HALF.pack_into(self._map, _OFFSETS[commits & 1], *_words(self.counts))
        _HEAD.pack_into(self._map, 0, MAGIC, commits)
        self._commits = commits

    def close(self) -> None:
        """Let go of the file; it stays for readers."""
        self._map.close()


class BookReader:
    """The reader's side, of a book that another process writes."""

    def __init__(self, path: Path) -> None:
        """Open the book at `path`.

        Raises:
            PeerError: there is no book, or it is something else.
        """
        self.path = path
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise PeerError(f"{path}: no counters of a process: {error.strerror}") from None
        try:
            size = os.fstat(descriptor).st_size
            if size != SIZE:
                raise PeerError(mismatch(str(path), f"a book of {SIZE} bytes", size))
            self._map = mmap.mmap(descriptor, SIZE, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)

    def read(self) -> Counts:
        """Return the last commit.

        Raises:
            PeerError: the file is no book.
        """
        return _read(self._map, self.path)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()


def _words(counts: Counts) -> tuple[int, ...]:
    """Return the counts in field order; `dataclasses.astuple` deep-copies and is ten times slower."""
    return (
        counts.link,
        counts.taken,
        counts.done,
        counts.received,
        counts.processed,
        counts.failed,
        counts.returned,
        counts.published,
        counts.bytes,
    )


def _read(mapped: mmap.mmap, path: Path) -> Counts:
    while True:
        magic, commits = _HEAD.unpack_from(mapped, 0)
        if magic != MAGIC or commits < 0:
            raise PeerError(mismatch(str(path), f"a book (magic {MAGIC:#x})", hex(magic)))
        counts = Counts(*_HALF.unpack_from(mapped, _OFFSETS[commits & 1]))
        if _HEAD.unpack_from(mapped, 0)[1] == commits:  # else the half may have been written to meanwhile
            return counts
