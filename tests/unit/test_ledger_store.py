"""The ledger on disk and the command that shows it: what is stored is what is read, also by another process."""

import csv
import io
import json
from collections import Counter
from pathlib import Path

import pytest

from ioc.channels.trail import Run
from ioc.cli import main
from ioc.ledger_command import table
from ioc.supervisor import ledger_store
from ioc.supervisor.ledger_report import LedgerReader, ranges_by_stage
from ioc.supervisor.ledger_store import FILE, LedgerStore
from ioc.supervisor.missed_ids import Listed
from ioc.supervisor.series import Ended, Place, Row, Series

CONS = Place("a", "Cons1")


def series(published: int = 10, dropped: int = 3, ended: Ended | None = Ended.NORMAL) -> Series:
    """Return a series with one stage that closes."""
    row = Row(published, published - dropped, 1, Counter({"queue_full": dropped}))
    return Series(published, ended, {CONS: row})


def filled(folder: Path) -> LedgerStore:
    """Return a store with a run of one series."""
    store = LedgerStore(folder / FILE)
    store.begin("T:")
    missed = [
        (CONS, Run(7, 2, 1, 1), "queue_full"),
        (CONS, Run(7, 4, 2, 2), "queue_full"),
        (CONS, Run(7, 9, 1, 1), "failed"),
    ]
    store.save({7: series()}, missed, {"life": 1})
    store.totals(10, 0)
    return store


def test_what_was_stored_is_loaded(tmp_path: Path) -> None:
    store = filled(tmp_path)
    assert store.load(7) == series()
    assert store.load(8) is None
    assert store.unsettled() == []
    store.save({8: series(ended=None), 9: series(12, 3, Ended.CRASHED)}, [], {"life": 2})
    one = series(12)
    one.rows[CONS].given = 13
    store.save({10: one}, [], {"life": 3})
    assert sorted(store.unsettled()) == [8, 10]
    store.close()
    again = LedgerStore(tmp_path / FILE)
    assert again.resume() == {"life": 3}
    again.end(0)
    assert again.resume() is None
    again.close()


def test_ids_that_go_on_are_one_row(tmp_path: Path) -> None:
    store = filled(tmp_path)
    reader = LedgerReader(tmp_path / FILE)
    assert reader.missed(1) == [(CONS, Run(7, 2, 2, 3), "queue_full"), (CONS, Run(7, 9, 1, 1), "failed")]
    listed = Listed([[7, 2, 2], [7, 4, 4], [7, 6, 6]], 0), Listed([[7, 9, 9]], 0)
    assert ranges_by_stage(reader.missed(1)) == {("a", "Cons1"): listed}
    reader.close()
    store.close()


def test_old_runs_and_series_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_store, "MOST_RUNS", 2)
    monkeypatch.setattr(ledger_store, "MOST_SERIES", 5)
    store = filled(tmp_path)
    for number in range(3):
        store.end(0)
        store.begin("T:")
        store.save({10 * number + at: series() for at in range(1, 5)}, [], {})
    store.end(0)
    reader = LedgerReader(tmp_path / FILE)
    assert [run.run for run in reader.runs()] == [3, 4]
    assert [len(reader.series(run)) for run in (1, 2, 3, 4)] == [0, 0, 0, 4]
    store.begin("T:")
    store.save({number: series() for number in range(1, 9)}, [], {})
    store.end(0)
    assert [number for number, _ in reader.series(5)] == [4, 5, 6, 7, 8]
    reader.close()
    store.close()


def test_too_many_missed_ids_are_counted_and_said_to_be_inexact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_store, "MOST_MISSED", 2)
    store = filled(tmp_path)
    one = series()
    store.save({7: one}, [(CONS, Run(7, 3, 1, 1), "queue_full")], {})
    found = store.load(7)
    assert found is not None and not found.rows[CONS].exact
    store.close()


@pytest.mark.parametrize("content", [b"no data base at all, but long enough to be one" * 100, b""])
def test_a_file_that_is_no_ledger_is_set_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    store = filled(tmp_path)
    assert store.load(7) == series()
    store.close()
    aside = list(tmp_path.glob("*.bad"))
    assert [path.read_bytes() for path in aside] == ([content] if content else [])


def test_that_nothing_was_missed_is_said() -> None:
    whole = {"run": 1, "prefix": "RF:", "started": 0, "ended": None, "exit": None, "published": 3, "residue": 0}
    one = {"id": 7, "published": 3, "ended": None, "complete": False}
    lines = list(table({**whole, "series": [one], "accounts": [], "missed": []}, missed=True))
    assert lines[-1] == "  none was missed"


def test_the_command_shows_and_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path).close()
    where = ["ledger", "--run-dir", str(tmp_path)]
    assert main([*where, "--missed"]) == 0
    shown = capsys.readouterr().out
    assert "Series 7: 10 frames, ended normal, complete" in shown
    assert "3 queue_full" in shown
    assert "2-6 every 2" in shown and "none was missed" not in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert main([*where, "--format", "json", "--series", "7"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["series"] == [{"id": 7, "published": 10, "ended": "normal", "complete": True}]
    assert told["accounts"][0]["dropped"] == {"queue_full": 3}
    assert main([*where, "--format", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["stage"], row["given"], row["processed"], row["failed"], row["queue_full"]) == (
        "Cons1",
        "10",
        "6",
        "1",
        "3",
    )
    assert main([*where, "--runs"]) == 0
    assert "10 frames, residue 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--run", "5"], "a run from 1 to 1"),
        (["--series", "5"], "no series 5"),
        (["--run-dir", "/nowhere"], "no ledger there"),
    ],
)
def test_what_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    filled(tmp_path).close()
    where = [] if "--run-dir" in arguments else ["--run-dir", str(tmp_path)]
    assert main(["ledger", *where, *arguments]) == 2
    assert said in capsys.readouterr().err
