"""The table `$(P)cam1:ImageClients`, `$(P)Cons1:ImageClients`, ...: who looks at the images of a process, one row each.

An NTTable, served with p4p beside the status structures. Nothing is built while nobody looks.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from p4p.nt import NTTable
from p4p.server import ServerOperation
from p4p.server.thread import SharedPV

from ioc.channels.pva_images_visitor import Visit

COLUMNS = (
    ("peer", "s"),
    ("account", "s"),
    ("host", "s"),
    ("channels", "s"),
    ("sent", "l"),
    ("overruns", "l"),
    ("waiting", "l"),
    ("unacknowledged", "l"),
)
"""`sent`, `overruns`, `waiting`: updates; `unacknowledged`: bytes on their way. Account and host are claims."""
SUFFIX = "ImageClients"


class ClientTable:
    """The table of one process; `pv` goes to p4p's server under its name."""

    def __init__(self, visits: Callable[[], Sequence[Visit]]) -> None:
        """Ask `visits` for the rows."""
        self._visits = visits
        self._guard = threading.Lock()
        self._watched = self._open = False
        self._shown: list[dict[str, Any]] = []
        self.pv = SharedPV(handler=self, nt=NTTable(COLUMNS))  # closed while nobody looks: a get waits for fresh rows

    def post(self) -> None:
        """Send the table if somebody looks and it has changed; any thread may call."""
        with self._guard:
            if self._watched:
                self._send()

    def onFirstConnect(self, _pv: SharedPV) -> None:  # noqa: N802 - p4p's name
        """Begin to send: a client is there."""
        with self._guard:
            self._watched = True
            self._send()

    def onLastDisconnect(self, pv: SharedPV) -> None:  # noqa: N802 - p4p's name
        """Stop sending: the last client has left."""
        with self._guard:
            self._watched = self._open = False
            pv.close()

    def put(self, _pv: SharedPV, operation: ServerOperation) -> None:
        """Refuse: the table is read only."""
        operation.done(error="the table of clients is read only")

    def _send(self) -> None:
        rows = [row_of(one) for one in self._visits()]
        if not self._open:
            self.pv.open(rows)
        elif rows != self._shown:
            self.pv.post(rows)
        self._open, self._shown = True, rows


def row_of(visit: Visit) -> dict[str, Any]:
    """Return the row of a client."""
    visitor = visit.visitor
    return {
        "peer": visitor.peer,
        "account": visitor.account,
        "host": visitor.host,
        "channels": " ".join(visit.channels),
        "sent": visit.sent,
        "overruns": visit.overruns,
        "waiting": visit.waiting,
        "unacknowledged": visit.unacknowledged,
    }


def slowest(visits: Sequence[Visit]) -> str:
    """Return account and peer of the client for which most waits, "" if nothing waits for anybody."""
    behind = max(visits, key=lambda one: (one.waiting, one.unacknowledged), default=None)
    if behind is None or not (behind.waiting or behind.unacknowledged):
        return ""
    return f"{behind.visitor.account or 'anonymous'} {behind.visitor.peer}"
