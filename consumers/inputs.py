"""Where the frames of a consumer or collector come from: the connection to the detector, or to all of a giver."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from consumers.local_output import LocalOutput
from ioc.channels.book import Book, book_name
from ioc.channels.books import Books
from ioc.channels.journal import Journal, open_member
from ioc.channels.local_givers import Member
from ioc.channels.local_inputs import LocalInputs
from ioc.channels.local_receiver import LocalReceiver
from ioc.channels.local_wire import Hello
from ioc.channels.pva_joined import JoinedReceiver
from ioc.core.status import ProcessSpec
from ioc.core.topology import DETECTOR
from ioc.supervisor.plan import gives


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where frames come from, and the accounts of them; `journal` None: of a worker elsewhere the detector's tells."""

    receiver: LocalReceiver | LocalInputs | JoinedReceiver
    book: Book | Books
    journal: Journal | None

    def close(self) -> None:
        """Let go of the journal; it stays for readers."""
        if self.journal is not None:
            self.journal.close()


def open_inputs(spec: ProcessSpec, giver: str, who: Hello, output: LocalOutput | None) -> Inputs:
    """Return the inputs of a process that takes the frames of `giver`.

    An `output` is looked after while frames are waited for.
    """
    if giver != DETECTOR:
        books, journal = open_books(spec)
        return Inputs(LocalInputs(Member(Givers(spec, giver), who, books), output), books, journal)
    journal = Journal(spec.journal_file, booked=True)
    if output is None:
        book = Book(spec.book_file)
        account = open_member(journal, book, spec.name)
        return Inputs(LocalReceiver(spec.socket, who, book, account), book, journal)
    books = Books(lambda _: spec.book_file, lambda _, book: open_member(journal, book, spec.name))
    books.open(DETECTOR)
    return Inputs(LocalInputs(Member(Givers(spec, giver), who, books), output), books, journal)


def open_books(spec: ProcessSpec) -> tuple[Books, Journal]:
    """Return the books of a process behind a chain, those that an earlier life left opened again, and its journal.

    The journal has an account for each giver, under the giver's name.
    """
    journal = Journal(spec.journal_file, booked=True)
    books = Books(
        lambda name: spec.run_dir / book_name(spec.name, name), lambda name, book: open_member(journal, book, name)
    )
    for path in sorted(spec.run_dir.glob(f"{spec.name}.*.book")):
        books.open(path.name.removeprefix(f"{spec.name}.").removesuffix(".book"))
    return books, journal


def open_given(spec: ProcessSpec) -> Journal | None:
    """Return the journal of what a process gives; None if nobody takes it."""
    return Journal(spec.given_file) if gives(spec) else None


class Givers:
    """Who gives now: looked up in the run folder, where each giver has its socket while it is there."""

    def __init__(self, spec: ProcessSpec, giver: str) -> None:
        self._spec = spec
        self._giver = giver
        self._prefix = spec.output_socket(giver, "").name if giver != DETECTOR else ""

    def __call__(self) -> Mapping[str, Path]:
        """Return the sockets, by name of the process that gives."""
        if self._giver == DETECTOR:
            return {DETECTOR: self._spec.socket}
        found = self._spec.run_dir.glob(f"{self._prefix}*")
        named = {path.name.removeprefix(self._prefix): path for path in found}
        return {name: path for name, path in named.items() if not self._spec.gone_file(name).exists()}
