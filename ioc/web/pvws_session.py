"""One client of PVWS: which PVs it watches, what it knows of each, whether it may write; no sockets.

Rules: the newest value is told at the pace at which `updates` is called, so a client that is slow misses values and
makes nobody wait. What is watched is known by the name that the client uses; it may write only to what it watches.
"""

from collections.abc import Iterator
from typing import Any, Protocol

from ioc.core.errors import RefusedError, mismatch
from ioc.core.reading import Reading
from ioc.web.pvws_messages import MOST_NAMES, pv_of
from ioc.web.pvws_updates import Told, update

READ_BACK = "_RBV"


class Values(Protocol):
    """Where values come from."""

    def watch(self, name: str) -> None:
        """Watch a PV.

        Raises:
            RefusedError: too many are watched.
        """
        ...

    def release(self, name: str) -> None:
        """Stop watching it."""
        ...

    def newest(self, name: str) -> tuple[int, Reading] | None:
        """Return its newest reading and the reading's number."""
        ...


class Session:
    """What one client watches."""

    def __init__(self, values: Values, prefix: str) -> None:
        self.may_write = False
        self._values = values
        self._prefix = prefix
        self._pvs: dict[str, str] = {}
        self._told: dict[str, tuple[int, Told]] = {}

    @property
    def names(self) -> list[str]:
        """The names of what is watched."""
        return list(self._pvs)

    def subscribe(self, name: str) -> None:
        """Watch a PV; once more changes nothing.

        Raises:
            RefusedError: it cannot be watched.
        """
        if name in self._pvs:
            return
        if len(self._pvs) >= MOST_NAMES:
            raise RefusedError(mismatch(name, f"at most {MOST_NAMES} PVs on one connection", "one more"))
        pv = pv_of(name, self._prefix)
        self._values.watch(pv)
        self._pvs[name] = pv

    def clear(self, name: str) -> None:
        """Watch a PV no more."""
        pv = self._pvs.pop(name, None)
        self._told.pop(name, None)
        if pv is not None:
            self._values.release(pv)

    def close(self) -> None:
        """Watch nothing any more."""
        for name in self.names:
            self.clear(name)

    def updates(self) -> Iterator[dict[str, Any]]:
        """Yield what the client does not know yet."""
        for name, pv in list(self._pvs.items()):
            found = self._values.newest(pv)
            if found is None:
                continue
            number, reading = found
            known, told = self._told.get(name, (0, None))
            readonly = not self._writable(pv)
            if number == known and told is not None and told.readonly == readonly:
                continue
            message, told = update(name, reading, told, readonly)
            self._told[name] = number, told
            yield message

    def target(self, name: str) -> tuple[str, str]:
        """Return the PV that a client wants to write to, and the word for the value that it has.

        Raises:
            RefusedError: the client may not.
        """
        pv = self._pvs.get(name)
        if pv is None:
            raise RefusedError(mismatch(name, "a PV that is subscribed", "one that is not"))
        if not self.may_write:
            raise RefusedError(f"{pv}: not written: show the token first")
        if not self._writable(pv):
            raise RefusedError(f"{pv}: not written: a read-back or a field")
        found = self._values.newest(pv)
        return pv, found[1].plain if found is not None else "?"

    def _writable(self, pv: str) -> bool:
        return self.may_write and not pv.endswith(READ_BACK) and "." not in pv.removeprefix(self._prefix)
