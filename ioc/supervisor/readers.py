"""The readers of the books and journals that processes keep: opened once they are there, used from then on."""

from ioc.channels.book import BookReader, Counts
from ioc.channels.journal import JournalReader
from ioc.channels.trail import TrailReader
from ioc.core.errors import PeerError
from ioc.core.status import ProcessSpec


class Readers:
    """Books and journals by the name of their process; used by the supervisor's thread."""

    def __init__(self) -> None:
        self._books: dict[str, BookReader] = {}
        self._journals: dict[str, JournalReader] = {}

    def book(self, spec: ProcessSpec, last: Counts) -> Counts:
        """Return what the book of a process says; `last`, what it said before, while there is none to read."""
        try:
            if spec.name not in self._books:
                self._books[spec.name] = BookReader(spec.book_file)
            return self._books[spec.name].read()
        except PeerError:  # not made yet: nothing was counted
            return last

    def journal(self, spec: ProcessSpec) -> JournalReader | None:
        """Return the journal of a process, None if it has none yet."""
        try:
            if spec.name not in self._journals:
                reader = JournalReader(spec.journal_file)
                reader.read()
                self._journals[spec.name] = reader
            return self._journals[spec.name]
        except PeerError:  # not made yet: there is nothing in it
            return None

    def opened(self, name: str) -> JournalReader:
        """Return a journal that was read before."""
        return self._journals[name]

    def trails(self, name: str) -> list[TrailReader] | None:
        """Return the trails of a process that has one account, None if its journal was not read before."""
        journal = self._journals.get(name)
        return journal.trails(0) if journal is not None and journal.read() else None

    def trails_of(self, spec: ProcessSpec) -> list[TrailReader] | None:
        """Return the trails of a process that has one account, None if it has no journal yet."""
        self.journal(spec)
        return self.trails(spec.name)

    def close(self) -> None:
        """Let go of books and journals."""
        for reader in (*self._books.values(), *self._journals.values()):
            reader.close()
        self._books.clear()
        self._journals.clear()
