"""Monitors of scalars with time stamps at any pvAccess servers: no thread, no callback, whoever wants values polls.

How it works: channels are searched for by UDP and at name servers, at first at once, then in ever longer pauses; what
answers first is connected with, one connection a server. The updates that the kernel has are read and laid out in one
pass when somebody polls and a monitor has none left. What this client does not understand makes a monitor `foreign`,
with the reason: its owner then has another client for it.

      searched --> connecting --> opening --> there --> searched again
                                     └--> foreign
"""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from ioc.channels import pva_wire_asking as asking
from ioc.channels.pva_images_addresses import Target, searching
from ioc.channels.pva_monitors_connection import ServerConnection
from ioc.channels.pva_monitors_search import Searcher, server_of
from ioc.channels.pva_wire_hearing import (
    Accepted,
    ChannelMade,
    ChannelOver,
    Event,
    Greeted,
    MonitorMade,
    MonitorOver,
    Told,
)
from ioc.channels.pva_wire_stamped import Wanted
from ioc.core.errors import PeerError, ProtocolError
from ioc.core.metadata import Update

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0
"""s between two searches for a channel."""
RETRY_SECONDS = 1.0
"""s after which a channel that was refused, or a name server that was lost, is tried again."""


class State(Enum):
    """How far a monitor is."""

    SEARCHED = auto()
    CONNECTING = auto()
    OPENING = auto()
    THERE = auto()
    FOREIGN = auto()


@dataclass(slots=True, eq=False)
class Monitor:
    """One channel: the updates that have come, in order, and how it is; `foreign` says why this client can't.

    `due` (monotonic s) is when it is searched for next, or until when its server has to answer. `number` is that of the
    channel and of the monitor on it, a new one for each attempt. `looked`: its owner has taken what there was since the
    connections were last heard.
    """

    name: str
    wanted: Wanted
    fields: tuple[str, ...]
    queue_size: int
    number: int = 0
    state: State = State.SEARCHED
    foreign: str = ""
    refusal: str = ""
    updates: list[Update] = field(default_factory=list)
    connection: ServerConnection | None = None
    sid: int | None = None
    pause: float = FIRST_PAUSE
    due: float = 0.0
    looked: bool = True

    @property
    def connected(self) -> bool:
        """Whether updates can come."""
        return self.state is State.THERE

    def taken(self) -> list[Update]:
        """Return the updates and forget them."""
        found = self.updates[:]
        self.updates.clear()  # it is being filled, so it cannot be replaced
        self.looked = True
        return found


class Monitors:
    """All monitors of a process; used by one thread at a time."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Prepare; `environment` says where to search (EPICS_PVA_*), None: this process's own."""
        self._where = searching(os.environ if environment is None else environment)
        self._searcher = Searcher(self._where)
        self._monitors: dict[int, Monitor] = {}
        self._connections: dict[Target, ServerConnection] = {}
        self._last = 0
        self._name_servers_due = 0.0

    def open(self, name: str, wanted: Wanted, fields: Sequence[str], queue_size: int) -> Monitor:
        """Return a monitor that is being searched for; `fields` are the top-level ones of what is wanted."""
        self._last += 1
        monitor = Monitor(name, wanted, tuple(fields), queue_size, self._last)
        self._monitors[monitor.number] = monitor
        return monitor

    def updates_of(self, monitor: Monitor) -> list[Update]:
        """Return what has come for a monitor; the connections are heard once while all monitors are asked in turn."""
        if monitor.looked:
            self.poll()
        return monitor.taken()

    def poll(self) -> None:
        """Take what has come, and do what is due; never waits."""
        for monitor in self._monitors.values():
            monitor.looked = False
        for connection in list(self._connections.values()):
            try:
                for event in connection.poll():
                    self._act(connection, event)
            except PeerError as error:
                self._lose(connection, error)
                continue
            if connection.server not in self._where.name_servers and not self._monitors_of(connection):
                del self._connections[connection.server]
                connection.close()
        if any(one.state is State.SEARCHED for one in self._monitors.values()):
            self._search(time.monotonic())

    def filenos(self) -> list[int]:
        """Return the descriptors by which updates come; any thread may call it."""
        return [number for one in list(self._connections.values()) if (number := one.fileno()) >= 0]

    def search_now(self, monitor: Monitor) -> None:
        """Search at once for a channel that is not there; one whose server does not answer is left first."""
        now = time.monotonic()
        if monitor.state in (State.CONNECTING, State.OPENING) and now > monitor.due:
            log.warning("pva://%s: %g s without an answer of its server", monitor.name, LONGEST_PAUSE)
            self._leave(monitor)
        if monitor.state is State.SEARCHED:
            monitor.due = now

    def close_one(self, monitor: Monitor) -> None:
        """Let go of a monitor."""
        self._leave(monitor)
        self._monitors.pop(monitor.number, None)

    def close(self) -> None:
        """Let go of everything."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self._monitors.clear()
        self._searcher.close()

    def _act(self, connection: ServerConnection, event: Event) -> None:
        if isinstance(event, Accepted):
            if connection.server in self._where.name_servers:
                for monitor in list(self._monitors.values()):
                    self.search_now(monitor)
            for monitor in self._monitors_of(connection):
                connection.say(asking.create(monitor.number, monitor.name))
        elif isinstance(event, Told):
            self._found(event.answer.numbers, server_of(event.answer, connection.server[0]))
        elif not isinstance(event, Greeted):  # which the connection has answered
            number = event.cid if isinstance(event, ChannelMade | ChannelOver) else event.ioid
            monitor = self._monitors.get(number)
            if monitor is not None and monitor.connection is connection:
                self._act_on(monitor, connection, event)

    def _act_on(self, monitor: Monitor, connection: ServerConnection, event: Event) -> None:
        number = monitor.number
        if isinstance(event, ChannelMade) and monitor.sid is None:
            monitor.sid = event.sid
            monitor.state = State.OPENING
            connection.hearing.expect(number, monitor.wanted, monitor.updates)
            connection.say(asking.monitor(event.sid, number, monitor.fields, monitor.queue_size))
        elif isinstance(event, MonitorMade) and monitor.sid is not None:
            if not event.plain:
                self._give_up(monitor, "its value, time stamp or id is no scalar")
                return
            monitor.state = State.THERE
            monitor.pause, monitor.refusal = FIRST_PAUSE, ""
            connection.say(asking.start(monitor.sid, number))
        elif isinstance(event, ChannelOver | MonitorOver):
            if event.text and event.text != monitor.refusal:
                log.warning("pva://%s: %s: refused: %s", monitor.name, connection.name, event.text)
            monitor.refusal = event.text
            self._leave(monitor)
            if event.text or isinstance(event, MonitorOver):
                monitor.due = time.monotonic() + RETRY_SECONDS

    def _search(self, now: float) -> None:
        if now >= self._name_servers_due:
            self._name_servers_due = now + RETRY_SECONDS
            for server in self._where.name_servers:
                self._connect(server)
        for answer, server in self._searcher.answers():
            self._found(answer.numbers, server)
        due = [one for one in self._monitors.values() if one.state is State.SEARCHED and one.due <= now]
        if not due:
            return
        for one in due:
            one.due = now + one.pause
            one.pause = min(2 * one.pause, LONGEST_PAUSE)
        told = self._searcher.ask([(one.number, one.name) for one in due])
        for server in self._where.name_servers:
            connection = self._connections.get(server)
            if connection is not None and connection.ready:
                connection.say(b"".join(told))

    def _found(self, numbers: Sequence[int], server: Target) -> None:
        for number in numbers:
            monitor = self._monitors.get(number)
            if monitor is None or monitor.state is not State.SEARCHED:
                continue
            connection = self._connect(server)
            if connection is None:
                return
            monitor.connection = connection
            monitor.state = State.CONNECTING
            monitor.due = time.monotonic() + LONGEST_PAUSE
            if connection.ready:
                connection.say(asking.create(number, monitor.name))

    def _connect(self, server: Target) -> ServerConnection | None:
        connection = self._connections.get(server)
        if connection is None:
            try:
                connection = self._connections[server] = ServerConnection(server, self._where.timeout)
            except OSError as error:
                log.warning("pvAccess server %s:%d: %s", *server, error)
        return connection

    def _lose(self, connection: ServerConnection, error: PeerError) -> None:
        """Take notice that a connection is over; a server that was not understood is left to another client."""
        monitors = self._monitors_of(connection)
        log.log(logging.INFO if monitors else logging.DEBUG, "%s", error)
        del self._connections[connection.server]
        connection.close()
        for monitor in monitors:
            monitor.connection = None
            if isinstance(error, ProtocolError):
                self._give_up(monitor, str(error))
            else:
                self._leave(monitor)

    def _give_up(self, monitor: Monitor, why: str) -> None:
        self._leave(monitor)
        monitor.state = State.FOREIGN
        monitor.foreign = why

    def _leave(self, monitor: Monitor) -> None:
        """Let go of a monitor's channel, and have it searched for."""
        connection, monitor.connection = monitor.connection, None
        if connection is not None:
            connection.hearing.forget(monitor.number)
            if monitor.sid is not None:
                connection.say(asking.destroy(monitor.sid, monitor.number))
        self._monitors.pop(monitor.number, None)
        self._last += 1
        monitor.number = self._last  # what is still said by the old number is of no interest
        self._monitors[monitor.number] = monitor
        monitor.sid = None
        monitor.state = State.SEARCHED
        monitor.due = time.monotonic() + monitor.pause

    def _monitors_of(self, connection: ServerConnection) -> list[Monitor]:
        return [one for one in self._monitors.values() if one.connection is connection]
