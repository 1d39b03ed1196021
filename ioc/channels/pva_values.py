"""The newest values of PVs for many watchers: one monitor a PV, however many watch it, and none when nobody does.

How it works: updates stay where p4p queues them, where the newest one replaces what nobody has taken; they are taken
when a watcher asks, at the watcher's pace. A PV that has gone is searched for anew, because p4p itself takes longer and
longer pauses.
"""

import threading
import time
from dataclasses import dataclass, field

from p4p import Value
from p4p.client import raw
from p4p.client.thread import Context, Disconnected, RemoteError

from ioc.channels.pva_controls import Control, fill
from ioc.channels.pva_readings import reading_of
from ioc.core.errors import RefusedError, mismatch
from ioc.core.reading import Reading

PROCESSING = "field()record[process=true]"
"""A put that processes its record, and is answered when the record took it: that way a refusal is an error."""
FIRST_SEARCH, LONGEST_SEARCH = 3.0, 48.0
"""s after which a PV that is not there is searched for anew, at first and at last; each time it is twice as long."""


@dataclass(slots=True)
class _Watched:
    """One PV: `version` counts its updates; `value` None: it is gone; `read` is the reading of the last version."""

    monitor: raw.Subscription
    watchers: int = 1
    version: int = 0
    value: Value | None = None
    stamp_ns: int = 0
    read: tuple[int, Reading] | None = None
    pause: float = FIRST_SEARCH
    search_at: float = field(default_factory=lambda: time.monotonic() + FIRST_SEARCH)


class SharedMonitors:
    """Monitors of PVs by name; any thread may use it."""

    def __init__(self, most: int) -> None:
        """Prepare; nothing is searched for before somebody watches. At most `most` PVs are watched."""
        self._most = most
        self._guard = threading.Lock()
        self._watched: dict[str, _Watched] = {}
        self._context = Context("pva", nt=False)

    def watch(self, name: str) -> None:
        """Watch a PV from now on, until as many calls of `release`.

        Raises:
            RefusedError: too many are watched.
        """
        with self._guard:
            one = self._watched.get(name)
            if one is not None:
                one.watchers += 1
                return
            if len(self._watched) >= self._most:
                raise RefusedError(mismatch(name, f"at most {self._most} PVs watched", "one more", "close a page"))
            self._watched[name] = _Watched(self._monitor(name))

    def release(self, name: str) -> None:
        """Stop watching once."""
        with self._guard:
            one = self._watched[name]
            one.watchers -= 1
            if one.watchers == 0:
                del self._watched[name]
                one.monitor.close()

    def newest(self, name: str) -> tuple[int, Reading] | None:
        """Return the newest reading of a watched PV and its number; None before anything is known of it."""
        with self._guard:
            one = self._watched.get(name)
            if one is None:
                return None
            self._take(one)
            if one.value is None:
                self._search(name, one)
            version, value, stamp_ns = one.version, one.value, one.stamp_ns
            if version == 0 or (one.read is not None and one.read[0] == version):
                return one.read
        read = Reading.gone(stamp_ns) if value is None else reading_of(value)
        with self._guard:
            one.read = version, read
        return version, read

    def watchers(self) -> dict[str, int]:
        """Return how many watch each PV."""
        with self._guard:
            return {name: one.watchers for name, one in self._watched.items()}

    def put(self, name: str, value: Control, timeout: float) -> None:
        """Put a value and wait until its record took it, at most `timeout` s.

        Raises:
            RefusedError: the record is not there, does not answer in time, or refuses the value.
        """
        try:
            self._context.put(
                name, lambda target: fill(target, name, value), timeout=timeout, request=PROCESSING, get=True
            )
        except TimeoutError:
            raise RefusedError(mismatch(name, f"an answer within {timeout:g} s", "none")) from None
        except (RemoteError, Disconnected, ValueError, TypeError) as error:
            raise RefusedError(f"{name}: {value!r} was refused: {error}") from None

    def close(self) -> None:
        """Let go of all monitors and connections."""
        with self._guard:
            for one in self._watched.values():
                one.monitor.close()
            self._watched.clear()
        self._context.close()

    def _monitor(self, name: str) -> raw.Subscription:
        """Begin a monitor without p4p's thread of callbacks."""
        return super(Context, self._context).monitor(name, _nothing)

    def _take(self, one: _Watched) -> None:
        """Take what has arrived; the lock is held."""
        while (popped := one.monitor.pop()) is not None:
            if not isinstance(popped, Value) and one.value is None and one.version:
                continue  # gone as before
            one.version += 1
            one.value = popped if isinstance(popped, Value) else None
            one.stamp_ns = time.time_ns()
            if one.value is not None:
                one.pause = FIRST_SEARCH
            one.search_at = time.monotonic() + one.pause

    def _search(self, name: str, one: _Watched) -> None:
        """Search for a PV anew if that is due; the lock is held."""
        now = time.monotonic()
        if now >= one.search_at:
            one.monitor.close()
            self._context.disconnect(name)
            one.monitor = self._monitor(name)
            one.pause = min(2 * one.pause, LONGEST_SEARCH)
            one.search_at = now + one.pause


def _nothing() -> None:
    """Do nothing when an update arrives: it is taken when somebody asks."""
