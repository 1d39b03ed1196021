"""The readers of the books and journals that processes keep: opened once they are there, used from then on."""

from pathlib import Path

from ioc.channels.book import BookReader, Counts
from ioc.channels.journal import JournalReader
from ioc.channels.trail import TrailReader
from ioc.core.errors import PeerError


class Readers:
    """Books and journals by their path; used by the supervisor's thread."""

    def __init__(self) -> None:
        self._books: dict[Path, BookReader] = {}
        self._journals: dict[Path, JournalReader] = {}
        self._accounts: dict[tuple[Path, str], int] = {}

    def book(self, path: Path, last: Counts) -> Counts:
        """Return what a book says; `last`, what it said before, while there is none to read."""
        try:
            if path not in self._books:
                self._books[path] = BookReader(path)
            return self._books[path].read()
        except PeerError:  # not made yet: nothing was counted
            return last

    def journal(self, path: Path) -> JournalReader | None:
        """Return a journal, None if there is none yet."""
        try:
            if path not in self._journals:
                reader = JournalReader(path)
                reader.read()
                self._journals[path] = reader
            return self._journals[path]
        except PeerError:  # not made yet: there is nothing in it
            return None

    def trails(self, path: Path, account: str) -> list[TrailReader] | None:
        """Return the trails of a member's account in a journal, None if it is not there yet."""
        journal = self.journal(path)
        if journal is None:
            return None
        if (path, account) not in self._accounts:
            names = [one.name for one in journal.read()]
            if account not in names:
                return None
            self._accounts[path, account] = names.index(account)
        return journal.trails(self._accounts[path, account])

    def close(self) -> None:
        """Let go of books and journals."""
        for reader in (*self._books.values(), *self._journals.values()):
            reader.close()
        self._books.clear()
        self._journals.clear()
        self._accounts.clear()
