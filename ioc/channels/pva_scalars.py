"""The newest values of scalar PVs of any pvAccess server: small, sampled when asked for, never waited for."""

import threading
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
from p4p import Value
from p4p.client.thread import Context, Disconnected

from ioc.core.frame import Attribute


class ScalarMonitors:
    """Monitors of some PVs; a PV that is not there, or no scalar, has no value."""

    def __init__(self, names: Iterable[str]) -> None:
        """Begin to monitor; the values come when their servers answer."""
        self._guard = threading.Lock()
        self._values: dict[str, Attribute] = {}
        self._context = Context("pva", nt=False)
        self._monitors = [
            self._context.monitor(name, partial(self._take, name), notify_disconnect=True) for name in set(names)
        ]

    def values(self) -> Mapping[str, Attribute]:
        """Return the newest value of each PV that has one."""
        with self._guard:
            return dict(self._values)

    def close(self) -> None:
        """Stop monitoring."""
        for monitor in self._monitors:
            monitor.close()
        self._context.close()

    def _take(self, name: str, value: Any) -> None:
        plain = None if isinstance(value, Disconnected) else scalar(value)
        with self._guard:
            if plain is None:
                self._values.pop(name, None)
            else:
                self._values[name] = plain


def scalar(structure: Value) -> Attribute | None:
    """Return the value of a PV's structure: an enum's text, a long string as a text; None if it is no scalar.

    p4p's own conversion keeps the choices of enums by context and forgets them whenever another PV of the context has
    another type; the structure of an update has them all the time.
    """
    if structure.has("value.index"):
        index, choices = int(structure["value.index"]), structure["value.choices"]
        return str(choices[index]) if 0 <= index < len(choices) else None
    return _plain(structure["value"]) if structure.has("value") else None


def _plain(value: Any) -> Attribute | None:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value)
    if isinstance(value, np.ndarray) and value.dtype in (np.int8, np.uint8):  # a long string of EPICS
        return value.tobytes().split(b"\0", 1)[0].decode(errors="replace")
    return str(value) if isinstance(value, str) else None
