"""The books of a member that has several givers: one each, so that each hop closes by itself, and their sum.

The work is counted in `counts`, the sum; what has changed there since the last `settle` is booked with the giver whose
items are finished with, together with its count of finished items, in one commit.
"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from ioc.channels.book import Book, Counts
from ioc.channels.journal import Account

SUMMED = tuple(one.name for one in fields(Counts) if one.name not in ("link", "taken", "done"))
WORK = ("published", "bytes", "made", "withheld")
"""Counts that are booked with the first giver of a batch; how they are spread says nothing."""


class Books:
    """One book a giver. `counts` is their sum; of its fields only the worker's are to be changed from outside."""

    def __init__(
        self, path_of: Callable[[str], Path], open_account: Callable[[str, Book], Account] | None = None
    ) -> None:
        """Keep the book for a giver at `path_of(giver)`; `open_account(giver, book)` gives it an account of ids."""
        self.counts = Counts()
        self._path_of = path_of
        self._open_account = open_account
        self._accounts: dict[str, Account] = {}
        self._books: dict[str, Book] = {}
        self._settled = Counts()

    def open(self, giver: str) -> Book:
        """Return the book for a giver; what an earlier life of this process had in hand went back."""
        book = self._books.get(giver)
        if book is None:
            book = self._books[giver] = Book(self._path_of(giver))
            if self._open_account is not None:
                self._accounts[giver] = self._open_account(giver, book)
            else:
                book.counts.returned += book.counts.in_hand
                book.commit()
            for counts in (self.counts, self._settled):
                for name in SUMMED:
                    setattr(counts, name, getattr(counts, name) + getattr(book.counts, name))
        return book

    def account(self, giver: str) -> Account | None:
        """Return the account of ids that came from a giver; None if only their number is kept."""
        return self._accounts.get(giver)

    def received(self, frames: int) -> None:
        """Add frames that a receiver has booked as received."""
        self.counts.received += frames

    def settle(self, giver: str, frames: int) -> None:
        """Book the work done since the last call with a giver, of whose frames `frames` are finished with.

        The caller commits it, by releasing the items.
        """
        counts, settled, own = self.counts, self._settled, self._books[giver].counts
        failed = min(frames, counts.failed - settled.failed)
        own.failed += failed
        own.processed += frames - failed
        settled.failed += failed
        settled.processed += frames - failed
        for name in WORK:
            setattr(own, name, getattr(own, name) + getattr(counts, name) - getattr(settled, name))
            setattr(settled, name, getattr(counts, name))

    def commit(self) -> None:
        """Do nothing: what has changed is committed with the giver that it belongs to."""

    def close(self) -> None:
        """Let go of the files."""
        for book in self._books.values():
            book.close()
