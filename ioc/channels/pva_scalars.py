"""The newest values of scalar PVs of any pvAccess server: small, sampled when asked for, never waited for."""

import threading
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
from p4p.client.thread import Context, Disconnected

from ioc.core.frame import Attribute


class ScalarMonitors:
    """Monitors of some PVs; a PV that is not there, or no scalar, has no value."""

    def __init__(self, names: Iterable[str]) -> None:
        """Begin to monitor; the values come when their servers answer."""
        self._guard = threading.Lock()
        self._values: dict[str, Attribute] = {}
        self._context = Context("pva")
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
        plain = None if isinstance(value, Disconnected) else _plain(value)
        with self._guard:
            if plain is None:
                self._values.pop(name, None)
            else:
                self._values[name] = plain


def _plain(value: Any) -> Attribute | None:
    """Return what p4p made of a PV as an attribute: enums become their text, arrays of characters a text."""
    if getattr(value, "choice", None) is not None:
        return str(value.choice)
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value)
    return str(value) if isinstance(value, str) else None
