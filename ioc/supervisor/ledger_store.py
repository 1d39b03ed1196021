"""The ledger on disk: runs, series, the account of each stage, and missed ids, in SQLite (WAL) in the run folder.

One process writes, the supervisor; any may read while it does. Kept over later starts, the oldest runs and series go
when there are too many. A file that is no ledger is set aside under another name.
"""

import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ioc.channels.trail import Run
from ioc.core.errors import PeerError
from ioc.supervisor.series import Ended, Place, Row, Series

log = logging.getLogger(__name__)

FILE = "ledger.sqlite"
VERSION = 0x5246_0001
"""PRAGMA user_version of our files."""
MOST_RUNS = 100
MOST_SERIES = 100_000
MOST_MISSED = 200_000
"""Rows of missed ids in one run; beyond, they are only counted."""
SAVES_A_PRUNING = 1000
BUSY_SECONDS = 2.0

SCHEMA = """
CREATE TABLE runs (run INTEGER PRIMARY KEY, prefix TEXT NOT NULL, started REAL NOT NULL, ended REAL, exit INTEGER,
  published INTEGER NOT NULL DEFAULT 0, residue INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT '{}');
CREATE TABLE series (run INTEGER NOT NULL, series INTEGER NOT NULL, published INTEGER NOT NULL, ended TEXT,
  PRIMARY KEY (run, series)) WITHOUT ROWID;
CREATE TABLE accounts (run INTEGER NOT NULL, series INTEGER NOT NULL, grp TEXT NOT NULL, stage TEXT NOT NULL,
  given INTEGER NOT NULL, finished INTEGER NOT NULL, failed INTEGER NOT NULL, dropped TEXT NOT NULL,
  exact INTEGER NOT NULL, PRIMARY KEY (run, series, grp, stage)) WITHOUT ROWID;
CREATE TABLE missed (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, series INTEGER NOT NULL, grp TEXT NOT NULL,
  stage TEXT NOT NULL, first INTEGER NOT NULL, step INTEGER NOT NULL, count INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE INDEX missed_of ON missed (run, series);
"""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run: times in s since 1970; `exit` None while it goes on, or when its supervisor was killed."""

    run: int
    prefix: str
    started: float
    ended: float | None
    exit: int | None
    published: int
    residue: int


class LedgerStore:
    """The writer's side. Implements series.Shelf."""

    def __init__(self, path: Path) -> None:
        """Open the store at `path`, or make it."""
        self.path = path
        self.connection = _open_or_replace(path)
        self.run = 0
        self._missed = 0
        self._saves = 0
        self._newest: dict[Place, tuple[int, Run, str]] = {}

    def begin(self, prefix: str) -> None:
        """Begin a run; the oldest runs go if there are too many."""
        with self.connection as connection:
            cursor = connection.execute("INSERT INTO runs (prefix, started) VALUES (?, ?)", (prefix, time.time()))
            self.run = cursor.lastrowid or 0
            self._prune(connection)
        self._missed = 0
        self._newest.clear()

    def resume(self) -> dict[str, Any] | None:
        """Go on with the last run if it has not ended; return its state."""
        found = self.connection.execute("SELECT run, state, ended FROM runs ORDER BY run DESC LIMIT 1").fetchone()
        if found is None or found[2] is not None:
            return None
        self.run = found[0]
        rows = self.connection.execute("SELECT count(*) FROM missed WHERE run = ?", (self.run,))
        self._missed = rows.fetchone()[0]
        return json.loads(found[1])

    def unsettled(self) -> list[int]:
        """Return the series of this run that had not ended, or of which something waited."""
        numbers = self.connection.execute(
            "SELECT DISTINCT s.series FROM series s LEFT JOIN accounts a ON a.run = s.run AND a.series = s.series "
            "WHERE s.run = ? AND (s.ended IS NULL OR a.given != a.finished + "
            "(SELECT coalesce(sum(value), 0) FROM json_each(a.dropped)))",
            (self.run,),
        )
        return [number for (number,) in numbers]

    def load(self, number: int) -> Series | None:
        """Return a series of this run as it was stored."""
        return load_series(self.connection, self.run, number)

    def save(
        self, series: Mapping[int, Series], missed: Iterable[tuple[Place, Run, str]], state: Mapping[str, Any]
    ) -> None:
        """Write what changed, in one transaction: all or nothing.

        Raises:
            sqlite3.OperationalError: there is no room for it.
        """
        before = self._missed, dict(self._newest)
        try:
            self._write(series, missed, state)
        except sqlite3.OperationalError:
            self._missed, self._newest = before
            raise

    def _write(
        self, series: Mapping[int, Series], missed: Iterable[tuple[Place, Run, str]], state: Mapping[str, Any]
    ) -> None:
        with self.connection as connection:
            for place, run, reason in missed:
                if not self._add_missed(connection, place, run, reason) and (run.series or 0) in series:
                    series[run.series or 0].rows[place].exact = False
            for number, one in series.items():
                how = one.ended.value if one.ended else None
                connection.execute(
                    "INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?)", (self.run, number, one.published, how)
                )
                connection.executemany(
                    "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [(self.run, number, *place, *_columns(row)) for place, row in one.rows.items()],
                )
            self._saves += 1
            if self._saves % SAVES_A_PRUNING == 0:
                self._prune(connection)
            connection.execute("UPDATE runs SET state = ? WHERE run = ?", (json.dumps(state), self.run))

    def totals(self, published: int, residue: int) -> None:
        """Write the totals of the run."""
        with self.connection as connection:
            connection.execute(
                "UPDATE runs SET published = ?, residue = ? WHERE run = ?", (published, residue, self.run)
            )

    def end(self, exit_code: int | None) -> None:
        """End the run; `exit_code` None if nobody was there to see it."""
        with self.connection as connection:
            connection.execute(
                "UPDATE runs SET ended = ?, exit = ?, state = '{}' WHERE run = ?", (time.time(), exit_code, self.run)
            )
            self._prune(connection)

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def _add_missed(self, connection: sqlite3.Connection, place: Place, run: Run, reason: str) -> bool:
        number, last, why = self._newest.get(place, (0, run, ""))
        if why == reason and continues(last, run):
            longer = Run(run.series, last.first, last.step if last.count > 1 else run.first - last.first,
                         last.count + run.count, run.mark)  # fmt: skip
            connection.execute(
                "UPDATE missed SET step = ?, count = ? WHERE id = ?", (longer.step, longer.count, number)
            )
        elif self._missed < MOST_MISSED and run.series is not None:
            longer = run
            cursor = connection.execute(
                "INSERT INTO missed (run, series, grp, stage, first, step, count, reason) VALUES (?,?,?,?,?,?,?,?)",
                (self.run, run.series, *place, run.first, run.step, run.count, reason),
            )
            number = cursor.lastrowid or 0
            self._missed += 1
        else:
            return False
        self._newest[place] = number, longer, reason
        return True

    def _prune(self, connection: sqlite3.Connection) -> None:
        oldest = connection.execute(
            "SELECT run FROM runs ORDER BY run DESC LIMIT 1 OFFSET ?", (MOST_RUNS,)
        ).fetchone()  # fmt: skip
        if oldest is not None:
            _forget(connection, "run <= ?", oldest[0])
            connection.execute("DELETE FROM runs WHERE run <= ?", oldest)
        (many,) = connection.execute("SELECT count(*) FROM series").fetchone()
        while many > MOST_SERIES:
            oldest = connection.execute("SELECT min(run) FROM series WHERE run < ?", (self.run,)).fetchone()
            if oldest[0] is None:
                self._forget_series(connection, many - MOST_SERIES)
                break
            _forget(connection, "run = ?", oldest[0])
            (many,) = connection.execute("SELECT count(*) FROM series").fetchone()

    def _forget_series(self, connection: sqlite3.Connection, count: int) -> None:
        """Let the oldest series of this run go."""
        last = connection.execute(
            "SELECT series FROM series WHERE run = ? ORDER BY series LIMIT 1 OFFSET ?", (self.run, count - 1)
        ).fetchone()
        for table in ("series", "accounts", "missed"):
            connection.execute(f"DELETE FROM {table} WHERE run = ? AND series <= ?", (self.run, last[0]))


def continues(last: Run, run: Run) -> bool:
    """Return whether a run of ids goes on where another one ended."""
    if last.series is None or last.series != run.series or run.first <= last.last:
        return False
    step = last.step if last.count > 1 else run.first - last.first
    return run.first == last.last + step and (run.count == 1 or run.step == step)


def load_series(connection: sqlite3.Connection, run: int, number: int) -> Series | None:
    """Return one series of a run; None if there is none."""
    found = connection.execute(
        "SELECT published, ended FROM series WHERE run = ? AND series = ?", (run, number)
    ).fetchone()  # fmt: skip
    if found is None:
        return None
    one = Series(found[0], Ended(found[1]) if found[1] else None)
    rows = connection.execute(
        "SELECT grp, stage, given, finished, failed, dropped, exact FROM accounts WHERE run = ? AND series = ?",
        (run, number),
    )
    for group, stage, given, finished, failed, dropped, exact in rows:
        row = Row(given, finished, failed, exact=bool(exact))
        row.dropped.update(json.loads(dropped))
        one.rows[Place(group, stage)] = row
    return one


def _columns(row: Row) -> tuple[int, int, int, str, int]:
    dropped = json.dumps({reason: count for reason, count in row.dropped.items() if count})
    return row.given, row.finished, row.failed, dropped, int(row.exact)


def _forget(connection: sqlite3.Connection, condition: str, value: int) -> None:
    for table in ("series", "accounts", "missed"):
        connection.execute(f"DELETE FROM {table} WHERE {condition}", (value,))


def _open_or_replace(path: Path) -> sqlite3.Connection:
    try:
        return _open(path)
    except (sqlite3.DatabaseError, PeerError) as error:
        aside = path.with_name(f"{path.name}.{time.time_ns()}.bad")
        log.error("%s is no ledger (%s): it is set aside as %s, and a new one is begun", path, error, aside.name)
        for ending in ("", "-wal", "-shm"):
            piece = path.with_name(path.name + ending)
            if piece.exists():
                piece.rename(aside.with_name(aside.name + ending))
        return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and version != VERSION:
            raise PeerError(f"{path}: expected version {VERSION:#x}, found {version:#x}")
        if not tables:
            connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        connection.execute("SELECT count(*) FROM runs").fetchone()
    except BaseException:
        connection.close()
        raise
    path.chmod(0o600)
    return connection
