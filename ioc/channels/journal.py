"""The accounts of a process in a mapped file that outlives it: what came, what left it and why, by series and id.

Layout, native int64: a head (magic, commits, accounts), names, two halves of counters, then for each account its three
trails (channels/trail.py): `came` (assigned to a seat, received by a member, published), `left` (dropped, failed,
moved, with the reason as mark; of a detector itself: end markers) and `done` (finished, where nobody else tells).
Commit n fills half n & 1 for all accounts at once and then writes n, so that a frame that moves from one seat to
another is never at both, nor at neither. A trail's ids count only as far as a commit says. Members that have a book
commit there, and use their journal for the trails alone. One process writes, any may read, also after `kill -9`.
"""

import mmap
import os
import time
from array import array
from dataclasses import dataclass
from pathlib import Path

from ioc.channels.book import Book
from ioc.channels.trail import Trail, TrailReader, words_for
from ioc.core.errors import PeerError, RefusedError, UserError, mismatch
from ioc.core.ledger import Reason

MAGIC = 0x5246_4A4E_0002
MOST_ACCOUNTS = 256
NAME_BYTES = 128
CAME_ENTRIES, LEFT_ENTRIES, DONE_ENTRIES = 4096, 16384, 2048
REASONS = tuple(Reason)
ELSEWHERE = "elsewhere"
"""The account, in a group of its own, of a far end that keeps no books for us; the group's name says which."""
MOVED, FAILED, ENDED, ABORTED, FOUND = 100, 101, 102, 103, 104
"""Marks besides the reasons' numbers: given to another seat; a processor failed; end markers, normal and early; what
was missed and came late."""

_COMMITS, _ACCOUNTS, _LIFE, _OPENED = 1, 2, 3, 4
_CAME, _LEFT, _DONE, _COMPLETED, _TURNS, _CAME_BEFORE, _LEFT_BEFORE, _FAILED = range(8)
_FIRST_REASON = 8
_DONE_BEFORE = 31
WORDS = 32
"""Counters of one account: those above, then one for each reason; the last is what was done before this life."""
_HEAD = mmap.PAGESIZE
_NAMES = MOST_ACCOUNTS * NAME_BYTES
_HALF = MOST_ACCOUNTS * WORDS * 8
_FIXED = _HEAD + _NAMES + 2 * _HALF
_TRAILS = (CAME_ENTRIES, LEFT_ENTRIES, DONE_ENTRIES)
_AREA = (
    -(-sum(words_for(entries) for entries in _TRAILS) * 8 // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
)


class Account:
    """One account, as its writer keeps it; what changes is seen by others when the journal commits.

    `completed` counts in this life of the process, the others over all of them.
    """

    __slots__ = ("_counters", "_touched", "came", "completed", "done", "left", "number", "touched", "turns")

    def __init__(self, number: int, trails: list[Trail], counters: list[int], touched: "list[Account]") -> None:
        self.number = number
        self.touched = False
        self._touched = touched
        self.came, self.left, self.done = trails
        self.completed = 0
        self.turns = counters[_TURNS]
        self._counters = counters

    def resume(self) -> None:
        """Go on behind what an earlier life committed in the journal."""
        words = self._counters
        for trail, total in zip((self.came, self.left, self.done), words[_CAME : _DONE + 1], strict=True):
            trail.resume(total, 0)
        words[_CAME_BEFORE], words[_LEFT_BEFORE] = self.came.total, self.left.total
        words[_DONE_BEFORE] = self.done.total

    def touch(self) -> None:
        """Say that something has changed, or is about to: the next commit takes it up."""
        if not self.touched:
            self.touched = True
            self._touched.append(self)

    def drop(self, series: int, unique_id: int, reason: Reason) -> None:
        """Note that a frame was dropped."""
        number = REASONS.index(reason)
        self.touch()
        self.left.add(series, unique_id, number)
        self._counters[_FIRST_REASON + number] += 1

    def drop_range(self, series: int, first: int, last: int, reason: Reason) -> None:
        """Note that the frames `first` to `last`, both included, were dropped."""
        number = REASONS.index(reason)
        self.touch()
        self.left.add_range(series, first, last, number)
        self._counters[_FIRST_REASON + number] += last - first + 1

    def fail(self, series: int, unique_id: int) -> None:
        """Note that a member failed on a frame that it is done with."""
        self.touch()
        self.left.add(series, unique_id, FAILED)
        self._counters[_FAILED] += 1

    def counters(self) -> list[int]:
        """Return the words that a commit writes."""
        words = self._counters
        words[_CAME], words[_LEFT], words[_DONE] = self.came.total, self.left.total, self.done.total
        words[_COMPLETED], words[_TURNS] = self.completed, self.turns
        return words


class Journal:
    """The writer's side: change accounts, then `commit`."""

    def __init__(self, path: Path | None = None, booked: bool = False) -> None:
        """Open the journal at `path`, going on with the accounts of an earlier life, or make it; None: in memory.

        `booked`: its owner commits in a book, see `open_member`.

        Raises:
            UserError: there is no room for it.
            PeerError: the file is something else.
        """
        self.path = path
        self._descriptor = _open(path)
        try:
            fresh = os.fstat(self._descriptor).st_size < _FIXED
            if fresh:
                self._reserve(0, _FIXED)
            self._words = memoryview(mmap.mmap(self._descriptor, _FIXED)).cast("q")
            self._accounts: dict[tuple[str, str], Account] = {}
            self._touched: list[Account] = []
            self._now = array("q")
            if fresh:
                self._words[0] = MAGIC
            self._commits = self._words[_COMMITS]
            self._words[_OPENED] = time.monotonic_ns()  # first: whoever sees the new life knows when it began
            self._words[_LIFE] += 1
            counters = _committed(self._words, path)
            for number, name in enumerate(_names(self._words)):
                self._accounts[name] = account = self._open_account(number, counters[number])
                if not booked:
                    account.resume()
            self.commit()
        except BaseException:
            os.close(self._descriptor)
            raise

    def account(self, group: str, name: str) -> Account:
        """Return the account of a member of a group; "" and a name is a stage by itself.

        Raises:
            RefusedError: there are too many accounts.
            UserError: there is no room for one more.
        """
        found = self._accounts.get((group, name))
        if found is not None:
            return found
        number = len(self._accounts)
        text = f"{group}\0{name}".encode()
        if number >= MOST_ACCOUNTS or len(text) > NAME_BYTES - 1:
            raise RefusedError(mismatch(f"account of {name}", f"at most {MOST_ACCOUNTS} accounts", number))
        self._reserve(_FIXED + number * _AREA, _AREA)
        account = self._open_account(number, [0] * WORDS)
        start = (_HEAD + number * NAME_BYTES) // 8
        self._words[start : start + NAME_BYTES // 8] = array("q", text.ljust(NAME_BYTES, b"\0"))
        self._accounts[group, name] = account
        self.commit()
        self._words[_ACCOUNTS] = number + 1  # behind the commit: a reader finds counters for it
        return account

    def commit(self) -> None:
        """Make the present accounts the ones that others see, all at once."""
        commits = self._commits + 1
        now = self._now
        for account in self._touched:
            account.touched = False
            now[account.number * WORDS : account.number * WORDS + WORDS] = array("q", account.counters())
        self._touched.clear()
        start = (_HEAD + _NAMES + (commits & 1) * _HALF) // 8
        self._words[start : start + len(now)] = now
        self._words[_COMMITS] = commits
        self._commits = commits

    def close(self) -> None:
        """Let go of the file; it stays for readers."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open_account(self, number: int, counters: list[int]) -> Account:
        words = memoryview(mmap.mmap(self._descriptor, _AREA, offset=_FIXED + number * _AREA)).cast("q")
        account = Account(number, [Trail(piece, entries) for piece, entries in _pieces(words)], counters, self._touched)
        self._now.extend(counters)
        account.touch()
        return account

    def _reserve(self, offset: int, size: int) -> None:
        try:
            os.posix_fallocate(self._descriptor, offset, size)  # a hole that cannot be filled later would kill us
        except OSError as error:
            raise UserError(
                f"{self.path or 'journal'}: no room for {size} bytes more ({error.strerror}); set run_dir"
            ) from None


def open_member(journal: Journal, book: Book, name: str) -> Account:
    """Return the account of a process that commits in `book`; what an earlier life had in its hands went back."""
    account, counts = journal.account("", name), book.counts
    account.came.resume(counts.received, counts.returned)
    account.left.resume(counts.failed + counts.missed, 0)
    account.came.went_back(counts.in_hand, counts.returned)
    counts.returned += counts.in_hand
    book.commit()
    return account


@dataclass(frozen=True, slots=True)
class Figures:
    """The counters of one account at a commit. `dropped` by reason; `*_before`: when the present life began.

    `failed` of the frames that are done, as members without a book tell it.
    """

    group: str
    name: str
    came: int
    left: int
    done: int
    completed: int
    turns: int
    came_before: int
    left_before: int
    dropped: dict[str, int]
    failed: int = 0
    done_before: int = 0

    @property
    def assigned(self) -> int:
        """Frames that came and were not given to another seat."""
        return self.came - self.left + sum(self.dropped.values()) + self.failed


class JournalReader:
    """The reader's side, of a journal that another process writes, or wrote."""

    def __init__(self, path: Path) -> None:
        """Open the journal at `path`.

        Raises:
            PeerError: there is none, or it is something else.
        """
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise PeerError(f"{path}: no journal of a process: {error.strerror}") from None
        size = os.fstat(self._descriptor).st_size
        if size < _FIXED:
            os.close(self._descriptor)
            raise PeerError(mismatch(str(path), f"a journal of at least {_FIXED} bytes", size))
        self._words = memoryview(mmap.mmap(self._descriptor, _FIXED, prot=mmap.PROT_READ)).cast("q")
        self._trails: list[list[TrailReader]] = []

    @property
    def life(self) -> int:
        """How often the journal was opened to be written."""
        return self._words[_LIFE]

    @property
    def opened_ns(self) -> int:
        """When it was opened last, by CLOCK_MONOTONIC: links with lower numbers were those of earlier lives."""
        return self._words[_OPENED]

    def read(self) -> list[Figures]:
        """Return all accounts as they were at one commit.

        Raises:
            PeerError: the file is no journal.
        """
        counters = _committed(self._words, self.path)
        return [_figures(name, words) for name, words in zip(_names(self._words), counters, strict=False)]

    def trails(self, number: int) -> list[TrailReader]:
        """Return the trails `came`, `left` and `done` of an account.

        Raises:
            PeerError: the file ends before them.
        """
        while len(self._trails) <= number:
            offset = _FIXED + len(self._trails) * _AREA
            size = os.fstat(self._descriptor).st_size
            if size < offset + _AREA:
                raise PeerError(mismatch(f"{self.path}: account {number}", f"a file of {offset + _AREA} bytes", size))
            area = mmap.mmap(self._descriptor, _AREA, prot=mmap.PROT_READ, offset=offset)
            self._trails.append([TrailReader(*piece) for piece in _pieces(memoryview(area).cast("q"))])
        return self._trails[number]

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _open(path: Path | None) -> int:
    if path is None:
        return os.memfd_create("rayfan-journal", os.MFD_CLOEXEC)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _pieces(words: memoryview) -> list[tuple[memoryview, int]]:
    pieces, start = [], 0
    for entries in _TRAILS:
        pieces.append((words[start : start + words_for(entries)], entries))
        start += words_for(entries)
    return pieces


def _names(words: memoryview) -> list[tuple[str, str]]:
    names = []
    for number in range(min(max(words[_ACCOUNTS], 0), MOST_ACCOUNTS)):
        start = (_HEAD + number * NAME_BYTES) // 8
        text = words[start : start + NAME_BYTES // 8].tobytes().rstrip(b"\0").decode(errors="replace")
        group, _, name = text.partition("\0")
        names.append((group, name))
    return names


def _committed(words: memoryview, path: Path | None) -> list[list[int]]:
    while True:
        magic, commits, accounts = words[0], words[_COMMITS], words[_ACCOUNTS]
        if magic != MAGIC or commits < 0 or not 0 <= accounts <= MOST_ACCOUNTS:
            raise PeerError(mismatch(str(path), f"a journal (magic {MAGIC:#x})", hex(magic)))
        start = (_HEAD + _NAMES + (commits & 1) * _HALF) // 8
        block = words[start : start + accounts * WORDS].tolist()
        if words[_COMMITS] == commits:  # else the half may have been written to meanwhile
            return [block[at : at + WORDS] for at in range(0, len(block), WORDS)]


def _figures(name: tuple[str, str], words: list[int]) -> Figures:
    dropped = {reason.value: count for reason, count in zip(REASONS, words[_FIRST_REASON:], strict=False) if count}
    return Figures(
        *name,
        words[_CAME],
        words[_LEFT],
        words[_DONE],
        words[_COMPLETED],
        words[_TURNS],
        words[_CAME_BEFORE],
        words[_LEFT_BEFORE],
        dropped,
        words[_FAILED],
        words[_DONE_BEFORE],
    )
