"""A process's counters in a small mapped file, so that the last commit survives a kill.

Layout, native int64: magic, number of commits, then two halves of one word a field of `Counts`. Commit n fills half
n & 1 and then writes n: whoever reads, also after `kill -9` in mid-write, sees the whole of one commit. One process
writes, any may read.
"""

import mmap
import os
from array import array
from dataclasses import dataclass, fields
from pathlib import Path

from ioc.core.errors import PeerError, mismatch
from ioc.core.status import StageStatus

MAGIC = 0x5246_424B_0002
SIZE = 4096


@dataclass(slots=True)
class Counts:
    """What one member did, as it commits it.

    `link`, `taken` and `done` count items (frames and end markers) of the present connection to the distributor:
    taken into its hands, finished with. The others count frames over all lives of the process: `received =
    processed + failed + returned + in hand`; `returned` frames were in hand when an earlier life was killed, and went
    back to the distributor's account. What came out: `processed + made = published + withheld`; `made` frames were
    put out beyond one for each processed, `withheld` ones were processed and left nothing, on purpose.
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
    made: int = 0
    withheld: int = 0
    missed: int = 0

    @property
    def in_hand(self) -> int:
        """Frames received and not finished with."""
        return self.received - self.processed - self.failed - self.returned

    def stage(self) -> StageStatus:
        """Return the account as a status tells it, without what came out."""
        return StageStatus(
            received=self.received - self.returned,
            processed=self.processed,
            failed=self.failed,
            queued=self.in_hand,
        )


_WORDS = len(fields(Counts))
_COMMITS = 1
_HALVES = (slice(2, 2 + _WORDS), slice(2 + _WORDS, 2 + 2 * _WORDS))


class Book:
    """The writer's side: change `counts`, then `commit`."""

    def __init__(self, path: Path) -> None:
        """Open the book at `path`, continuing with the counts of an earlier life, or make it."""
        self.path = path
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fresh = os.fstat(descriptor).st_size < SIZE
            if fresh:
                os.posix_fallocate(descriptor, 0, SIZE)  # a hole that cannot be filled later would kill us
            # word by word through a memoryview: struct.pack_into clears the memory first, which readers would see
            self._words = memoryview(mmap.mmap(descriptor, SIZE)).cast("q")
        finally:
            os.close(descriptor)
        self._commits = 0
        self.counts = Counts()
        if fresh:
            self._words[0] = MAGIC
        else:
            self.counts = _read(self._words, path)
            self._commits = self._words[_COMMITS]

    def commit(self) -> None:
        """Make the present counts the ones that others see."""
        commits = self._commits + 1
        self._words[_HALVES[commits & 1]] = array("q", _words(self.counts))
        self._words[_COMMITS] = commits
        self._commits = commits

    def close(self) -> None:
        """Let go of the file; it stays for readers."""
        self._words.release()


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
            self._words = memoryview(mmap.mmap(descriptor, SIZE, prot=mmap.PROT_READ)).cast("q")
        finally:
            os.close(descriptor)

    def read(self) -> Counts:
        """Return the last commit.

        Raises:
            PeerError: the file is no book.
        """
        return _read(self._words, self.path)

    def close(self) -> None:
        """Let go of the file."""
        self._words.release()


def book_name(member: str, giver: str | None) -> str:
    """Return the file name of a member's book; one that may have several givers keeps one for each."""
    return f"{member}.book" if giver is None else f"{member}.{giver}.book"


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
        counts.made,
        counts.withheld,
        counts.missed,
    )


def _read(words: memoryview, path: Path) -> Counts:
    while True:
        magic, commits = words[0], words[_COMMITS]
        if magic != MAGIC or commits < 0:
            raise PeerError(mismatch(str(path), f"a book (magic {MAGIC:#x})", hex(magic)))
        counts = Counts(*words[_HALVES[commits & 1]])
        if words[_COMMITS] == commits:  # else the half may have been written to meanwhile
            return counts
