"""One client of a server of stamped channels: what its messages ask for is done here, and what waits for it is sent.

How it works: nothing here waits. What the connection does not take at once is kept and sent when it is writable; while
something is kept no updates are taken from the queues of the monitors, which are bounded.
"""

import fcntl
import logging
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ioc.channels.pva_images_pulse import Pulse
from ioc.channels.pva_stamped import StampedChannel, StampedMonitor
from ioc.channels.pva_wire_connection import (
    Acknowledged,
    Answer,
    ChannelWanted,
    Connection,
    Event,
    OperationWanted,
    Searched,
    Step,
    Stepped,
    TypeWanted,
)
from ioc.channels.pva_wire_framing import Command
from ioc.channels.pva_wire_ntscalar import TYPE, Encoder, Selection, answer, select, type_of
from ioc.channels.pva_wire_replies import channel_refused, described, greeting, not_described, opened
from ioc.channels.pva_wire_search import Search
from ioc.core.errors import PeerError, RefusedError

log = logging.getLogger(__name__)

MOST_UNSENT = 1 << 20
"""Bytes of answers that may wait for a client that does not read them."""
PORTION = 1024
"""Updates of one monitor that are laid out together."""
LONGEST_SILENCE = 90.0
"""s without a byte from a client, or acknowledged by its host, until it is cut off."""
_SIOCOUTQ = 0x5411  # linux/sockios.h: bytes that were not acknowledged yet
_INT = struct.Struct("i")


class Directory(Protocol):
    """The channels of a server."""

    def find(self, name: str) -> StampedChannel | None:
        """Return a channel by name, None if there is none."""
        ...

    def answer(self, search: Search) -> bytes | None:
        """Return the answer to a search, None if there is none to give."""
        ...


@dataclass(slots=True)
class _Operation:
    channel: StampedChannel
    selection: Selection
    monitor: StampedMonitor | None = None


class StampedClient:
    """One connection; the lock of the server is held whenever it is used."""

    def __init__(self, connection: socket.socket, peer: str, directory: Directory, blocked: Callable[[], None]) -> None:
        """Begin to serve a connected socket; `blocked` is called when it takes no more, `flush` has to follow."""
        self.peer = peer
        self.fileno = connection.fileno()
        self._socket = connection
        self._directory = directory
        self._blocked = blocked
        self._wire = Connection()
        self._operations: dict[int, _Operation] = {}
        self._unsent = bytearray(greeting())
        self._sent_bytes = 0
        self._pulse = Pulse(connection, peer)
        self._gone = self._waits = False
        connection.setblocking(False)

    def readable(self) -> None:
        """Take what has arrived.

        Raises:
            PeerError: the client is gone, or broke the protocol.
        """
        for event in self._wire.feed(self._pulse.receive() or b""):
            self._act(event)
        if len(self._unsent) > MOST_UNSENT:
            raise PeerError(f"{self.peer}: asks without end and does not read the answers")

    def flush(self) -> bool:
        """Send what waits, as far as the connection takes it; return whether it took all."""
        while self._fill():
            try:
                count = 0 if self._gone else self._socket.send(self._unsent)
            except (BlockingIOError, InterruptedError):
                if not self._waits:
                    self._waits = True
                    self._blocked()
                return False
            except OSError as error:
                log.debug("%s: %s", self.peer, error)  # it is readable then, and the server finds out
                self._gone = True
                count = 0
            if self._gone:
                self._unsent.clear()
                return True
            self._sent_bytes += count
            del self._unsent[:count]
        self._waits = False
        return True

    def silent(self) -> bool:
        """Return whether nothing was heard of the client for too long."""
        return self._pulse.silent(self._acknowledged(), LONGEST_SILENCE)

    def close(self) -> None:
        """End all monitors and cut the connection."""
        for ioid in list(self._operations):
            self._end(ioid)
        self._socket.close()

    def _fill(self) -> bool:
        """Lay out updates if nothing is left to send; return whether there is something."""
        if self._unsent:
            return True
        for operation in self._operations.values():
            monitor = operation.monitor
            if monitor is not None and monitor.sendable:
                self._unsent += monitor.take(PORTION)
        return bool(self._unsent)

    def _acknowledged(self) -> int:
        try:
            waiting = _INT.unpack(fcntl.ioctl(self._socket.fileno(), _SIOCOUTQ, bytes(_INT.size)))[0]
        except (OSError, ValueError):
            return 0
        return self._sent_bytes - waiting

    def _act(self, event: Event) -> None:
        match event:
            case Answer(data):
                self._unsent += data
            case ChannelWanted(cid, name):
                there = self._directory.find(name) is not None
                told = self._wire.open_channel(event) if there else channel_refused(cid, f"no channel {name}")
                self._unsent += told
            case TypeWanted(_, ioid, name):
                kind = type_of(name)
                self._unsent += not_described(ioid, f"no field {name}") if kind is None else described(ioid, kind)
            case OperationWanted():
                self._open(event)
            case Stepped(ioid, step):
                self._step(ioid, step)
            case Acknowledged(ioid, count):
                operation = self._operations.get(ioid)
                if operation is not None and operation.monitor is not None and operation.monitor.window is not None:
                    operation.monitor.window += count
            case Searched(search):
                self._unsent += self._directory.answer(search) or b""
            case _:  # who the client says it is: everybody may read
                pass

    def _open(self, wanted: OperationWanted) -> None:
        channel = self._directory.find(wanted.channel)
        try:
            if channel is None:
                raise RefusedError("the channel is gone")
            selection = select(wanted.request.fields)
        except RefusedError as error:
            self._unsent += self._wire.refuse(wanted, str(error))
            return
        operation = self._operations[wanted.ioid] = _Operation(channel, selection)
        if wanted.command is Command.MONITOR:
            encoder = Encoder(wanted.ioid, selection)
            limit = wanted.request.queue_size
            operation.monitor = StampedMonitor(encoder, wanted.window, limit, self.flush)
        self._unsent += opened(wanted.command, wanted.ioid, TYPE)

    def _step(self, ioid: int, step: Step) -> None:
        operation = self._operations.get(ioid)
        if operation is None:
            return
        if step in (Step.FETCH, Step.FETCH_LAST):
            last = step is Step.FETCH_LAST
            self._unsent += answer(operation.selection, ioid, operation.channel.newest, last)
            if last:
                del self._operations[ioid]
        elif step is Step.END:
            self._end(ioid)
        elif operation.monitor is not None and step is Step.STOP:
            operation.channel.leave(operation.monitor)
        elif operation.monitor is not None and operation.monitor.channel is None:
            operation.channel.join(operation.monitor)

    def _end(self, ioid: int) -> None:
        operation = self._operations.pop(ioid)
        if operation.monitor is not None:
            operation.channel.leave(operation.monitor)
