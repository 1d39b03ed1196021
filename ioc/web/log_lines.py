"""The newest lines of all logs of an appliance, in order of time, as far as a filter lets them through."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

TAIL = 1 << 18
"""Bytes of a log that are looked at, its end."""
MOST_LINES = 500
LONGEST_LINE = 2000
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
PUTS = "puts"
"""The log of puts beside those of the processes."""
_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) (DEBUG|INFO|WARNING|ERROR|CRITICAL) (\S+?): (.*)", re.ASCII)
_PUT = re.compile(r"(\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d\.\d{3}Z) (.*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which lines are wanted: of one process (empty: of all), from a level on, that hold a text, whatever its case."""

    process: str = ""
    level: str = "INFO"
    text: str = ""

    def lets(self, line: dict[str, Any]) -> bool:
        """Return whether a line is wanted."""
        if self.process and line["process"] != self.process:
            return False
        if LEVELS.index(line["level"]) < LEVELS.index(self.level):
            return False
        return self.text.lower() in f"{line['process']} {line['text']}".lower()


def newest(folder: Path, wanted: Filter, puts: Path) -> list[dict[str, Any]]:
    """Return the newest lines, oldest first; each has `time`, `process`, `level` and `text`.

    Those of the processes are in the local time of this host, as their logs are.
    """
    found = [line for path in sorted(folder.glob("*.log")) for line in parse(path.stem, tail(path))]
    found += parse_puts(tail(puts))
    return sorted((line for line in found if wanted.lets(line)), key=lambda line: line["time"])[-MOST_LINES:]


def parse(process: str, text: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of a log; lines that do not begin one, such as tracebacks, belong to the one before."""
    entry: dict[str, Any] | None = None
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is not None:
            if entry is not None:
                yield entry
            time, level, _, said = match.groups()
            entry = {"time": time, "process": process, "level": level, "text": said[:LONGEST_LINE]}
        elif entry is not None and len(entry["text"]) < LONGEST_LINE:
            entry["text"] = f"{entry['text']}\n{line}"[:LONGEST_LINE]
    if entry is not None:
        yield entry


def parse_puts(text: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of the log of puts."""
    for line in text.splitlines():
        match = _PUT.fullmatch(line)
        if match is not None:
            stamp, said = match.groups()
            level = "WARNING" if " refused: " in said else "INFO"
            yield {"time": _local(stamp), "process": PUTS, "level": level, "text": said[:LONGEST_LINE]}


def _local(stamp: str) -> str:
    """Return a time of the log of puts, which is UTC, as the other logs write theirs."""
    try:
        moment = datetime.fromisoformat(stamp).astimezone()
    except ValueError:  # a 31st of February
        return stamp
    return f"{moment:%Y-%m-%d %H:%M:%S},{moment.microsecond // 1000:03d}"


def tail(path: Path) -> str:
    """Return the end of a file; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            return file.read(TAIL).decode(errors="replace")
    except OSError:
        return ""
