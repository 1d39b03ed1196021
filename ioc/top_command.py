"""`rayfan top`: the live table of a running appliance on any host, from its PVs alone."""

import argparse
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p4p.client.thread import Context

ABOUT = """\
Shows a running appliance, on this host or another: its processes, groups and ledger,
as its PVs tell them over pvAccess. Ctrl-C ends it. The appliance is found as EPICS
clients find PVs: by EPICS_PVA_ADDR_LIST and the other variables.
"""
FIRST_SECONDS = 5.0
"""s within which the appliance must answer."""
ONCE_SECONDS = 20.0
"""The same for --once, whose one drawing is to be whole."""
WIDTH = 80
"""Columns of what --once prints into a file."""


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    top = commands.add_parser("top", help="watch a running appliance, on any host", description=ABOUT)
    top.add_argument("prefix", metavar="PREFIX", nargs="?", default="RF:", help="default RF:")
    top.add_argument("--interval", metavar="S", type=float, default=1.0, help="between two drawings; default 1")
    top.add_argument("--once", action="store_true", help="print one drawing and leave; 1 if nobody answers")
    top.set_defaults(run=_top)


class Watcher:
    """Monitors the PVs of one appliance and keeps their newest values."""

    def __init__(self, context: "Context", prefix: str) -> None:
        """Begin to monitor."""
        from ioc.channels.pva_scalars import scalar
        from ioc.top_view import summary_records

        self._scalar = scalar
        self.records: dict[str, Any] = {}
        self.statuses: dict[str, Any] = {}
        self._context = context
        self._prefix = prefix
        self._guard = threading.Condition()
        self._wanted = set(summary_records())
        self._subscriptions: dict[str, Any] = {}
        for name in sorted(self._wanted):
            self._subscriptions[name] = context.monitor(
                prefix + name, lambda value, name=name: self._record(name, value), notify_disconnect=True
            )

    def wait_first(self, seconds: float) -> bool:
        """Wait until every record has told its value; return whether it has."""
        with self._guard:
            return self._guard.wait_for(lambda: self._wanted <= self.records.keys(), seconds)

    def wait_statuses(self, seconds: float) -> bool:
        """Wait until every process that is there has told its status; return whether it has."""
        self.follow_processes()
        with self._guard:
            return self._guard.wait_for(lambda: not self._without_status(), seconds)

    def follow_processes(self) -> None:
        """Monitor the status structures of the processes that the supervisor names."""
        from ioc.top_view import status_name

        for process, role in self.processes().items():
            if process not in self._subscriptions:
                self._subscriptions[process] = self._context.monitor(
                    self._prefix + status_name(process, role),
                    lambda value, process=process: self._status(process, value),
                    notify_disconnect=True,
                )

    def processes(self) -> dict[str, str]:
        """Return the roles of the processes that are there, by name."""
        from ioc.records.ledger_records import ABSENT, PROCESS_SLOTS

        found = {}
        with self._guard:
            for slot in range(1, PROCESS_SLOTS + 1):
                if self.records.get(f"Process{slot}:State_RBV", ABSENT) != ABSENT:
                    name = self.records.get(f"Process{slot}:Name_RBV")
                    role = self.records.get(f"Process{slot}:Role_RBV")
                    if name and role:
                        found[name] = role
        return found

    def silent(self) -> list[str]:
        """Return the PVs that have no value now."""
        with self._guard:
            return [self._prefix + name for name in sorted(self._wanted - self.records.keys())] + self._without_status()

    def copy(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the values as they are now."""
        with self._guard:
            return dict(self.records), dict(self.statuses)

    def close(self) -> None:
        """End all monitors."""
        for subscription in self._subscriptions.values():
            subscription.close()

    def _without_status(self) -> list[str]:
        return [f"{self._prefix}{name}" for name in self._subscriptions.keys() - self._wanted - self.statuses.keys()]

    def _record(self, name: str, value: Any) -> None:
        with self._guard:
            if isinstance(value, Exception):
                self.records.pop(name, None)
            else:
                self.records[name] = self._scalar(value)
            self._guard.notify_all()

    def _status(self, process: str, value: Any) -> None:
        with self._guard:
            if isinstance(value, Exception):
                self.statuses.pop(process, None)
            else:
                self.statuses[process] = _structure(value.todict())
            self._guard.notify_all()


def _structure(status: dict[str, Any]) -> dict[str, Any]:
    """Return a status structure with lists where it has none: p4p leaves empty arrays out of what it converts."""
    status["groups"] = [
        {**group, "members": [{**one, "dropped": one.get("dropped") or []} for one in group.get("members") or []]}
        for group in status.get("groups") or []
    ]
    status["dropped"] = status.get("dropped") or []
    return status


def _top(options: argparse.Namespace) -> int:
    from p4p.client.thread import Context
    from rich.console import Console

    from ioc.core.errors import PeerError, UserError, mismatch

    if options.interval <= 0:
        raise UserError(mismatch("--interval", "more than 0 s", options.interval))
    context = Context("pva", nt=False)
    watcher = Watcher(context, options.prefix)
    console = Console(width=None if Console().is_terminal else WIDTH)
    try:
        patience = ONCE_SECONDS if options.once else FIRST_SECONDS
        if not watcher.wait_first(patience) and not watcher.records:
            raise PeerError(
                f"no appliance answers at {options.prefix}; is it running, and does EPICS_PVA_ADDR_LIST lead to it?"
            )
        watcher.wait_statuses(patience)
        if options.once:
            console.print(drawing(watcher, options.prefix))
            return 0
        _draw_on(watcher, options, console)
    finally:
        watcher.close()
        context.close()
    return 0


def _draw_on(watcher: Watcher, options: argparse.Namespace, console: Any) -> None:
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        try:
            while True:
                watcher.follow_processes()
                live.update(drawing(watcher, options.prefix, console.size.height), refresh=True)
                time.sleep(options.interval)
        except KeyboardInterrupt:
            pass


def drawing(watcher: Watcher, prefix: str, height: int | None = None) -> Any:
    """Return what is drawn of the newest values, in `height` lines; None: as many as it needs."""
    from ioc.top_view import picture, view_of, without_records

    records, statuses = watcher.copy()
    view = view_of(prefix, records, statuses)
    return picture(view, statuses, watcher.silent(), height, without_records(view, records))
