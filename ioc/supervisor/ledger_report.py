"""What the stored ledger says: runs, series, accounts and missed ids, as plain data for reports, tables and exports."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ioc.channels.trail import Run
from ioc.core.errors import UserError, mismatch
from ioc.core.ledger import Ledger
from ioc.supervisor.ledger_store import BUSY_SECONDS, VERSION, LedgerStore, RunRow, load_series
from ioc.supervisor.missed_ids import Listed, MissedIds
from ioc.supervisor.report import NOBODY, as_json
from ioc.supervisor.series import NOT_DROPPED, UNKNOWN, Place, Row, Series

MOST_REPORTED = 10_000
"""Series in one report, the newest."""
FOUND = "found"
"""Reason of ids that were missed and came late."""
NOTHING = Listed([], 0)


class LedgerReader:
    """The reader's side of a ledger store; may be used while the supervisor writes."""

    def __init__(self, path: Path) -> None:
        """Open the store at `path`.

        Raises:
            UserError: there is none, or the file is something else.
        """
        self.path = path
        if not path.exists():
            raise UserError(f"{path}: no ledger there; was an appliance run with this prefix, or this run folder?")
        try:
            self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.DatabaseError as error:
            raise UserError(f"{path}: no ledger: {error}") from None
        if version != VERSION:
            raise UserError(mismatch(str(path), f"a ledger of version {VERSION:#x}", f"{version:#x}"))

    def runs(self) -> list[RunRow]:
        """Return all runs, oldest first."""
        return [
            RunRow(*row)
            for row in self._connection.execute(
                "SELECT run, prefix, started, ended, exit, published, residue FROM runs ORDER BY run"
            )
        ]

    def run(self, number: int | None) -> RunRow:
        """Return one run; None is the last.

        Raises:
            UserError: there is no such run.
        """
        runs = self.runs()
        if not runs:
            raise UserError(f"{self.path}: no run in this ledger yet; it begins with the first `rayfan up`")
        found = runs[-1] if number is None else next((run for run in runs if run.run == number), None)
        if found is None:
            raise UserError(mismatch("--run", f"a run from {runs[0].run} to {runs[-1].run}, or last", number))
        return found

    def series(self, run: int, only: int | None = None, most: int = MOST_REPORTED) -> list[tuple[int, Series]]:
        """Return the newest series of a run, oldest first, or only one of them."""
        return list(series_of(self._connection, run, only, most))

    def missed(self, run: int, only: int | None = None) -> list[tuple[Place, Run, str]]:
        """Return the missed ids of a run, as runs with their reason."""
        return list(missed_of(self._connection, run, only))

    def newest_missed(self, run: int, only: int | None, most: int) -> list[tuple[Place, Run, str]]:
        """Return the missed ids of a run that were found last, the newest first, `most` runs of them at most."""
        rows = self._connection.execute(
            "SELECT grp, stage, series, first, step, count, reason FROM missed "
            "WHERE run = ? AND (? IS NULL OR series = ?) ORDER BY id DESC LIMIT ?",
            (run, only, only, most),
        )
        return [(Place(row[0], row[1]), Run(*row[2:6]), row[6]) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def series_of(
    connection: sqlite3.Connection, run: int, only: int | None = None, most: int = MOST_REPORTED
) -> Iterator[tuple[int, Series]]:
    """Yield the newest series of a run, oldest first."""
    found = connection.execute(
        "SELECT series FROM series WHERE run = ? AND (? IS NULL OR series = ?) ORDER BY series DESC LIMIT ?",
        (run, only, only, most),
    ).fetchall()
    for (number,) in reversed(found):
        one = load_series(connection, run, number)
        if one is not None:
            yield number, one


def missed_of(connection: sqlite3.Connection, run: int, only: int | None = None) -> Iterator[tuple[Place, Run, str]]:
    """Yield the missed ids of a run."""
    rows = connection.execute(
        "SELECT grp, stage, series, first, step, count, reason FROM missed WHERE run = ? AND (? IS NULL OR series = ?) "
        "ORDER BY id",
        (run, only, only),
    )
    for group, stage, series, first, step, count, reason in rows:
        yield Place(group, stage), Run(series, first, step, count), reason


def whole_report(
    prefix: str, ledger: Ledger, extras: Mapping[str, Mapping[str, Any]], store: LedgerStore
) -> dict[str, Any]:
    """Return the report of a run that is over: totals, every series, and the missed ids of each stage."""
    report = as_json(prefix, ledger, extras)
    series = list(series_of(store.connection, store.run))
    report["series"] = [
        {"id": number, "published": one.published, "ended": one.ended.value if one.ended else None}
        for number, one in series
        if number != UNKNOWN
    ]
    report["accounts"] = [account for number, one in series for account in accounts_json(number, one)]
    missed = ranges_by_stage(missed_of(store.connection, store.run))
    for stage in report["stages"]:
        dropped, failed = missed.get((stage["group"] or "", stage["name"]), (NOTHING, NOTHING))
        stage["missed"], stage["missed_left_out"] = dropped
        stage["missed_ranges"] = [[first, last] for _, first, last in dropped.ranges]
        stage["failed_ids"], stage["failed_left_out"] = failed
    return report


def run_json(run: RunRow) -> dict[str, Any]:
    """Return a run as plain data."""
    return {name: getattr(run, name) for name in ("run", "prefix", "started", "ended", "exit", "published", "residue")}


def accounts_json(number: int, one: Series) -> list[dict[str, Any]]:
    """Return the accounts of one series, a dictionary for each stage."""
    ordered = sorted(one.rows.items(), key=lambda item: (item[0].stage.startswith(("EjfatIn", "Ejfat")), item[0]))
    return [account_json(number, place, row) for place, row in ordered]


def account_json(number: int, place: Place, row: Row) -> dict[str, Any]:
    """Return the account of one series at one stage."""
    return {
        "series": number,
        "group": place.group,
        "stage": stage_name(place),
        "given": row.given,
        "received": row.given - sum(row.dropped.values()) - row.waiting,
        "processed": row.processed,
        "failed": row.failed,
        "waiting": row.waiting,
        "dropped": {reason: count for reason, count in row.dropped.items() if count},
        "exact": row.exact,
    }


def stage_name(place: Place) -> str:
    """Return the name that a stage has in reports."""
    return f"{place.group}.{NOBODY}" if place.stage == NOBODY else place.stage


def ranges_by_stage(missed: Iterable[tuple[Place, Run, str]]) -> dict[tuple[str, str], tuple[Listed, Listed]]:
    """Return by group and stage the ids that were dropped, and those that failed."""
    kinds: dict[tuple[str, str], tuple[MissedIds, MissedIds]] = {}
    for place, run, reason in missed:
        dropped, failed = kinds.setdefault((place.group, stage_name(place)), (MissedIds(), MissedIds()))
        (failed if reason == NOT_DROPPED else dropped).note(run, reason == FOUND)
    return {key: (dropped.listed(), failed.listed()) for key, (dropped, failed) in kinds.items()}
