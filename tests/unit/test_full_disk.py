"""No room on the disk: what could not be written is kept and written later, nothing of the ledger is lost."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ioc.channels.trail import Run
from ioc.core.config import load
from ioc.core.errors import RefusedError
from ioc.records.autosave import Autosave
from ioc.supervisor.accounts import Accounts
from ioc.supervisor.counts import Counts
from ioc.supervisor.kept_file import KeptFiles
from ioc.supervisor.ledger_report import missed_of
from ioc.supervisor.ledger_store import FILE, LedgerStore
from ioc.supervisor.series import Place
from tests.support.chains import TEXT

DEADLINE = 30.0
FULL = Path("/dev/full")
PLACE = Place("a", "Cons1")


def block(path: Path) -> None:
    """Let the next attempt to replace a file find no room."""
    path.with_name(path.name + ".new").symlink_to(FULL)


def wait(true: Callable[[], bool], what: str) -> None:
    """Wait until something is true."""
    limit = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < limit, what
        time.sleep(0.01)  # polled: another thread writes a file


def test_a_file_that_cannot_be_written_is_later_with_its_newest_text(tmp_path: Path) -> None:
    files, path = KeptFiles(), tmp_path / "a"
    files.write(path, "first")
    for text in ("second", "third"):
        block(path)
        files.write(path, text)
        assert path.read_text() == "first", "the old one is whole"
        assert "No space left" in files.fault
    files.write(tmp_path / "b", "other")
    assert files.fault, "not all is written yet"
    files.retry()
    assert (path.read_text(), files.fault) == ("third", "")
    block(path)
    files.write(path, "fourth")
    files.forget(path)
    files.retry()
    assert path.read_text() == "third"


def test_the_ledger_is_stored_when_there_is_room_again(tmp_path: Path) -> None:
    store = LedgerStore(tmp_path / FILE)
    store.begin("T:")
    accounts = Accounts(store, 0.0)
    (pages,) = store.connection.execute("PRAGMA page_count").fetchone()
    store.connection.execute(f"PRAGMA max_page_count = {pages}")
    count = 0
    while not accounts.fault:
        count += 1
        accounts.book.give(PLACE, [Run(count, 1, 1, 3)])
        accounts.book.drop(PLACE, Run(count, 2, 5, 2), "lost")
        accounts.save(count)
        assert count < 10_000, "the disk is never full"
    assert "full" in accounts.fault
    assert accounts.book.missed, "what was not stored is kept"
    accounts.save(count + 1)
    assert accounts.fault
    store.connection.execute("PRAGMA max_page_count = 1000000")
    accounts.save(count + 2)
    assert not accounts.fault
    stored = [(run.series, run.first, run.step, run.count) for _, run, _ in missed_of(store.connection, store.run)]
    assert sorted(stored) == [(series, 2, 5, 2) for series in range(1, count + 1)], "each once"
    assert all(store.load(series) is not None for series in range(1, count + 1))
    accounts.close()
    store.close()


def test_what_was_put_is_kept_when_there_is_room_again(tmp_path: Path) -> None:
    path = tmp_path / "x.autosave"
    autosave = Autosave(path)
    assert autosave.restorable({"a": 1}) == {}
    block(path)
    autosave.start()
    autosave.keep("a", 5)
    wait(path.exists, "what was put was never written")
    autosave.close()
    assert Autosave(path).restorable({"a": 1}) == {"a": 5}


def test_a_count_that_cannot_be_written_down_is_refused(tmp_path: Path) -> None:
    counts = Counts(load(TEXT, "test"), tmp_path)
    block(tmp_path / "counts.json")
    with pytest.raises(RefusedError, match="No space left"):
        counts.set("second", 3)
    assert counts.of("second") == 1
    counts.set("second", 3)
    assert counts.of("second") == 3
