"""Keeps what clients have put, so that a process which starts again goes on with it.

A value is kept beside the one that was configured for it. At the next start it is put again only if the same is
configured still: who edits the configuration means it. Values are put again in the order of their last puts, because
one may change what another may be.
"""

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ioc.records.table import Value

log = logging.getLogger(__name__)

WRITE_DELAY = 0.5
"""s during which values that are put are gathered for one writing of the file."""
CLOSE_TIMEOUT = 5.0
"""s that `close` waits for the thread."""
MOST_BYTES = 10_000_000
"""Of a file that is read."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What was put to a record, and what was configured for it then."""

    configured: Value
    value: Value


class Autosave:
    """The values put to the records of one process, in one JSON file."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier life has left at `path`; a file that is unfit is set aside, and said so in the log."""
        self._path = path
        self._saved = _read(path)
        self._configured: dict[str, Value] = {}
        self._guard = threading.Lock()
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="autosave", daemon=True)

    def restorable(self, configured: Mapping[str, Value]) -> dict[str, Value]:
        """Return what is to be put again, by record, in order; `configured` is what stands in the records now."""
        self._configured = dict(configured)
        fit = {
            name: saved.value
            for name, saved in self._saved.items()
            if name in configured and saved.configured == configured[name]
        }
        with self._guard:
            self._saved = {name: self._saved[name] for name in fit}
        return {name: value for name, value in fit.items() if value != configured[name]}

    def start(self) -> None:
        """Begin to write what is put."""
        self._thread.start()

    def keep(self, name: str, value: Value) -> None:
        """Keep a value that was put and accepted; any thread may call."""
        if name not in self._configured:
            return
        with self._guard:
            self._saved.pop(name, None)  # the newest is the last
            self._saved[name] = Saved(self._configured[name], value)
        self._changed.set()

    def drop(self, name: str) -> None:
        """Forget a value that could not be put again."""
        with self._guard:
            self._saved.pop(name, None)
        self._changed.set()

    def close(self) -> None:
        """Write what is not written yet."""
        self._closing.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        while True:
            self._changed.wait()
            self._closing.wait(WRITE_DELAY)
            self._changed.clear()
            closing = self._closing.is_set()  # read behind `clear`: whoever closes later sets `changed` again
            self._write()
            if closing:
                return
            if self._failed:
                self._changed.set()  # once more, after a while

    def _write(self) -> None:
        with self._guard:
            table = {name: {"configured": one.configured, "value": one.value} for name, one in self._saved.items()}
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            fresh.write_text(json.dumps(table, indent=1) + "\n")
            fresh.replace(self._path)
            self._failed = False
        except OSError as error:
            fresh.unlink(missing_ok=True)
            if not self._failed:
                log.error("%s: what was put is not kept: %s; it will be when it can", self._path, error)
            self._failed = True


def _read(path: Path) -> dict[str, Saved]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        table = json.loads(path.read_text())
        return {str(name): _saved(entry) for name, entry in table.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        aside = path.with_name(path.name + ".bad")
        log.error("%s: expected values kept by autosave, found: %s; it is set aside as %s", path, error, aside.name)
        try:
            path.replace(aside)
        except OSError:
            pass  # it is written anew, or the next attempt to write says why not
        return {}


def _saved(entry: dict[str, Any]) -> Saved:
    configured, value = entry["configured"], entry["value"]
    for one in (configured, value):
        if not isinstance(one, bool | int | float | str):
            raise TypeError(f"a {type(one).__name__} as a value")
    return Saved(configured, value)
