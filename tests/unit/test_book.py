"""The book of counters: what is committed is seen, whole, also after the writer is gone."""

import subprocess
import sys
from pathlib import Path

import pytest

from ioc.channels.book import Book, BookReader
from ioc.core.errors import PeerError

WRITER = """
import sys
from pathlib import Path
from ioc.channels.book import Book
book = Book(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    book.counts.received += 1
    book.counts.processed += 1
    book.commit()
"""


def test_only_commits_are_seen(tmp_path: Path) -> None:
    book = Book(tmp_path / "a.book")
    reader = BookReader(tmp_path / "a.book")
    book.counts.received = 7
    assert reader.read().received == 0
    book.commit()
    assert reader.read().received == 7


def test_another_life_goes_on_where_the_last_ended(tmp_path: Path) -> None:
    book = Book(tmp_path / "a.book")
    book.counts.received, book.counts.processed = 5, 3
    book.commit()
    book.close()
    again = Book(tmp_path / "a.book")
    assert (again.counts.received, again.counts.in_hand) == (5, 2)
    again.counts.received += 1
    again.commit()
    assert BookReader(tmp_path / "a.book").read().received == 6


def test_a_kill_in_mid_write_leaves_a_whole_commit(tmp_path: Path) -> None:
    path = tmp_path / "a.book"
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-P", "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        reader = BookReader(path)
        for _ in range(20_000):
            counts = reader.read()
            assert counts.received == counts.processed, "half of a commit was seen"
        writer.kill()
        writer.wait(40)
        writer.stdout.close()
        counts = reader.read()
        assert counts.received == counts.processed > 0
        reader.close()


@pytest.mark.parametrize("content", [b"", b"x" * 4096, b"\0" * 4096, b"x" * 100])
def test_something_else_is_no_book(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.book"
    path.write_bytes(content)
    with pytest.raises(PeerError, match=r"a\.book"):
        BookReader(path).read()
    with pytest.raises(PeerError, match=r"none\.book"):
        BookReader(tmp_path / "none.book")
