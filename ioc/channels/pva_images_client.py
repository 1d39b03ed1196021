"""One client of the image server: what its messages ask for is done here, on the server's thread.

The other way goes the writer, on a thread of its own.
"""

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from ioc.channels.pva_images_channel import ServedChannel, Subscription
from ioc.channels.pva_images_pulse import Pulse
from ioc.channels.pva_images_queue import UpdateQueue
from ioc.channels.pva_images_visitor import Rules, Visit, Visitor
from ioc.channels.pva_images_writer import Fetch, SocketWriter
from ioc.channels.pva_wire_connection import (
    Acknowledged,
    Answer,
    ChannelWanted,
    Connection,
    Event,
    OperationWanted,
    Refused,
    Searched,
    Step,
    Stepped,
    TypeWanted,
    Validated,
)
from ioc.channels.pva_wire_framing import Command
from ioc.channels.pva_wire_image import saying
from ioc.channels.pva_wire_ntndarray import Selection, select, type_of
from ioc.channels.pva_wire_replies import channel_refused, described, finished, greeting, not_described, opened
from ioc.channels.pva_wire_request import PvRequest
from ioc.channels.pva_wire_search import Search
from ioc.core.errors import PeerError, RefusedError

log = logging.getLogger(__name__)


class Source(Protocol):
    """A channel as a client sees it, by name."""

    def check(self, request: PvRequest) -> None:
        """Look whether a monitor of this request can be served.

        Raises:
            RefusedError: it can't; the message is shown to the client.
        """
        ...

    def limit(self, request: PvRequest) -> int | None:
        """Return how many updates may wait for a monitor of this request, None: the link's window limits it."""
        ...

    def join(self, subscription: Subscription, request: PvRequest) -> None:
        """Let a subscription begin.

        Raises:
            RefusedError: it is not admitted any more.
        """
        ...

    def leave(self, subscription: Subscription, request: PvRequest) -> None:
        """Let a subscription end."""
        ...

    def image(self) -> ServedChannel:
        """Return what a get is answered from."""
        ...


class Directory(Protocol):
    """The channels of a server, by name, and who may read them; `denied` counts those who might not."""

    rules: Rules
    denied: int

    def find(self, name: str) -> Source | None:
        """Return a channel, None if there is none."""
        ...

    def answer(self, search: Search) -> bytes | None:
        """Return the answer to a search, None if there is none to give."""
        ...

    def standing(self, name: str) -> str:
        """Return what the server says of itself to who asks a channel (pva_standing)."""
        ...


@dataclass(slots=True)
class _Operation:
    name: str
    source: Source
    selection: Selection
    request: PvRequest
    window: int | None
    subscription: Subscription | None = None


class Client:
    """One connection."""

    def __init__(
        self, connection: socket.socket, visitor: Visitor, directory: Directory, lost: Callable[["Client"], None]
    ) -> None:
        """Begin to serve a connected socket; `lost` is called on the writer's thread when it cannot be written to."""
        self.visitor = visitor
        self.peer = visitor.peer
        self.fileno = connection.fileno()
        self.writer = SocketWriter(connection, f"images to {self.peer}", lambda: lost(self))
        self._directory = directory
        self._wire = Connection()
        self._operations: dict[int, _Operation] = {}
        self._pulse = Pulse(connection, visitor.peer)
        self.writer.send(greeting())
        self.writer.start()

    def readable(self) -> None:
        """Take what has arrived.

        Raises:
            PeerError: the client is gone, or broke the protocol.
        """
        for event in self._wire.feed(self._pulse.receive() or b""):
            self._act(event)
        if self.writer.overdue:
            raise PeerError(f"{self.peer}: asks without end and does not read the answers")

    def visit(self) -> Visit:
        """Return who the client is and its account; any thread may call it."""
        operations = list(self._operations.values())
        queues = [one.subscription.queue for one in operations if one.subscription is not None]
        return Visit(
            self.visitor,
            tuple(sorted({one.name for one in operations if one.subscription is not None})),
            sum(queue.sent for queue in queues),
            sum(queue.overruns for queue in queues),
            sum(map(len, queues)),
            max(0, self.writer.sent_bytes - self.writer.acknowledged),
        )

    def look_at_rules(self) -> None:
        """Close the channels of a client that may not see them any more; it may ask again, and is told why not then."""
        if self._operations and not self._directory.rules.may_read(self.visitor):
            log.warning("%s: may not read images any more", self.peer)
            for name in {one.name for one in self._operations.values()}:
                self._close_channels(name)

    def silent(self, longest: float) -> bool:
        """Return whether no byte came from the client, or was acknowledged by its host, for `longest` seconds."""
        return self._pulse.silent(self.writer.acknowledged, longest)

    def close_channel(self, channel: ServedChannel) -> None:
        """Tell the client that a channel that it monitors is over; it may search for it again."""
        monitors = [one for one in self._operations.values() if one.subscription is not None]
        for name in {one.name for one in monitors if one.subscription and one.subscription.channel is channel}:
            self._close_channels(name)

    def close(self) -> None:
        """End all subscriptions and cut the connection."""
        for ioid in list(self._operations):
            self._end(ioid)
        self.writer.stop()

    def _close_channels(self, name: str) -> None:
        told, ended = self._wire.close_channels(name)
        for ioid in ended:
            self._end(ioid)
        self.writer.send(told)

    def _act(self, event: Event) -> None:
        match event:
            case Refused(data, channel, why):
                self.writer.send(data)
                self._directory.rules.refused(self.visitor, channel, why)
            case Answer(data):
                self.writer.send(data)
            case Validated(method, account, host):
                self.visitor = replace(self.visitor, method=method, account=account, host=host)
                log.debug("%s: is %s at %s, by its own account", self.peer, account or "anonymous", host or "?")
            case ChannelWanted():
                self._open_channel(event)
            case TypeWanted(_, ioid, field):
                kind = type_of(field)
                answer = not_described(ioid, f"no field {field}") if kind is None else described(ioid, kind)
                self.writer.send(answer)
            case OperationWanted():
                self._open(event)
            case Stepped(ioid, step):
                self._step(ioid, step)
            case Acknowledged(ioid, count):
                self._grant(ioid, count)
            case Searched(search):
                answer = self._directory.answer(search)
                if answer is not None:
                    self.writer.send(answer)

    def _open_channel(self, wanted: ChannelWanted) -> None:
        if self._directory.find(wanted.name) is None:
            self.writer.send(channel_refused(wanted.cid, f"no image channel {wanted.name}"))
        else:
            self.writer.send(self._wire.open_channel(wanted))

    def _open(self, wanted: OperationWanted) -> None:
        source = self._directory.find(wanted.channel)
        try:
            if source is None:
                raise RefusedError("the channel is gone")
            if not self._directory.rules.may_read(self.visitor):
                self._directory.denied += 1
                raise RefusedError(f"{self.visitor.account or 'anonymous'} may not read it: access security")
            selection = select(wanted.request.fields)
            if wanted.command is Command.MONITOR:
                source.check(wanted.request)
        except RefusedError as error:
            log.info("%s: %s refused: %s", self.peer, wanted.channel, error)
            self.writer.send(self._wire.refuse(wanted, str(error)))
            return
        self._operations[wanted.ioid] = _Operation(wanted.channel, source, selection, wanted.request, wanted.window)
        self.writer.send(opened(wanted.command, wanted.ioid, selection.type))

    def _step(self, ioid: int, step: Step) -> None:
        operation = self._operations.get(ioid)
        if operation is None:
            return
        if step in (Step.FETCH, Step.FETCH_LAST):
            last = step is Step.FETCH_LAST
            if operation.request.standing:
                described = saying(self._directory.standing(operation.name))
                self.writer.send(b"".join(described.answer(operation.selection, ioid, last)))
            else:
                self.writer.fetch(Fetch(operation.source.image(), operation.selection, ioid, last))
            if last:
                del self._operations[ioid]
        elif step is Step.START:
            self._start(ioid, operation)
        elif step is Step.STOP:
            self._stop(operation)
        else:
            self._end(ioid)

    def _start(self, ioid: int, operation: _Operation) -> None:
        if operation.subscription is not None:
            return
        limit = operation.source.limit(operation.request)
        queue = UpdateQueue(ioid, operation.selection, limit, operation.window)
        subscription = Subscription(queue, self.writer)
        try:
            operation.source.join(subscription, operation.request)
            operation.subscription = subscription
        except RefusedError as error:
            log.info("%s: a monitor ends: %s", self.peer, error)
            self.writer.send(finished(ioid))

    def _grant(self, ioid: int, count: int) -> None:
        operation = self._operations.get(ioid)
        if operation is None or operation.window is None:
            return
        subscription = operation.subscription
        if subscription is not None and subscription.channel is not None:
            subscription.channel.grant(subscription, count)
        else:
            operation.window += count

    def _end(self, ioid: int) -> None:
        operation = self._operations.pop(ioid, None)
        if operation is not None:
            self._stop(operation)

    def _stop(self, operation: _Operation) -> None:
        subscription = operation.subscription
        if subscription is not None:
            self.writer.confirm()  # what was received until now is; the rest is not
            operation.subscription = None
            operation.source.leave(subscription, operation.request)
            operation.window = subscription.queue.window
