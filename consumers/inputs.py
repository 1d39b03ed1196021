"""Where the frames of a consumer or collector come from: the connection to the detector, or to all of a giver."""

from collections.abc import Mapping
from pathlib import Path

from consumers.local_output import LocalOutput
from ioc.channels.book import Book, book_name
from ioc.channels.books import Books
from ioc.channels.local_givers import Member
from ioc.channels.local_inputs import LocalInputs
from ioc.channels.local_receiver import LocalReceiver
from ioc.channels.local_wire import Hello
from ioc.core.status import ProcessSpec
from ioc.core.topology import DETECTOR


def open_inputs(
    spec: ProcessSpec, giver: str, who: Hello, output: LocalOutput | None
) -> tuple[LocalReceiver | LocalInputs, Book | Books]:
    """Return the receiver of a process that takes the frames of `giver`, and its book.

    An `output` is looked after while frames are waited for.
    """
    if giver == DETECTOR and output is None:
        book = Book(spec.book_file)
        book.counts.returned += book.counts.in_hand  # an earlier life was killed with these in its hands
        book.commit()
        return LocalReceiver(spec.socket, who, book), book
    books = open_books(spec)
    return LocalInputs(Member(Givers(spec, giver), who, books), output), books


def open_books(spec: ProcessSpec) -> Books:
    """Return the books of a process, those that an earlier life left opened again."""
    books = Books(lambda name: spec.run_dir / book_name(spec.name, None if name == DETECTOR else name))
    if spec.book_file.exists():
        books.open(DETECTOR)
    for path in sorted(spec.run_dir.glob(f"{spec.name}.*.book")):
        books.open(path.name.removeprefix(f"{spec.name}.").removesuffix(".book"))
    return books


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
