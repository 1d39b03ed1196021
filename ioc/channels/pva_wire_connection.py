"""The server's side of one pvAccess connection, without a socket: what a client's messages mean, in order.

Rules. A client first says who it is, then opens channels, then operations on them: get and monitor. `feed` yields an
*event* for each thing that the server has to answer or to do; what needs no decision is an `Answer`, ready to be sent.
Operations that are not served are refused here. Messages about operations and channels that are over are passed over:
they crossed with their end. Everything a client can pile up is bounded. A ProtocolError ends the connection.

        greeting --> [validation] --> validated --> channels, operations, searches
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from ioc.channels import pva_wire_replies as replies
from ioc.channels import pva_wire_values
from ioc.channels.pva_wire_buffer import Reader
from ioc.channels.pva_wire_framing import Command, Control, Message, Splitter, control, message
from ioc.channels.pva_wire_request import PvRequest, parse
from ioc.channels.pva_wire_search import Search, read_search
from ioc.channels.pva_wire_types import Registry
from ioc.core.errors import ProtocolError, RefusedError, mismatch

MOST_CHANNELS = 1024
MOST_OPERATIONS = 1024
LONGEST_ACCOUNT = 256

INIT, START_STOP, DESTROY, START, PIPELINE = 0x08, 0x04, 0x10, 0x40, 0x80
_SERVED = (Command.GET, Command.MONITOR)
_REFUSED = {
    Command.PUT: "Put not supported",
    Command.PUT_GET: "Put-get not supported",
    Command.ARRAY: "Array operations not supported",
    Command.PROCESS: "Process not supported",
    Command.RPC: "RPC not supported",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes to send as they are."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Refused(Answer):
    """Bytes that refuse what nobody may do with an image channel, such as a put: `why`."""

    channel: str
    why: str


@dataclass(frozen=True, slots=True)
class Validated:
    """The client has said who it is; nothing proves it. The answer is sent already."""

    method: str
    account: str
    host: str


@dataclass(frozen=True, slots=True)
class ChannelWanted:
    """The client wants a channel; answer by `Connection.open_channel` or `refuse_channel`."""

    cid: int
    name: str


@dataclass(frozen=True, slots=True)
class TypeWanted:
    """The client wants to know the type of a channel, or of a field of it (empty: all of it)."""

    channel: str
    ioid: int
    field: str


@dataclass(frozen=True, slots=True)
class OperationWanted:
    """The client opens an operation; answer by `Connection.refuse`, or the `opened` reply."""

    command: Command
    channel: str
    ioid: int
    request: PvRequest
    window: int | None


class Step(Enum):
    """What a client wants of an open operation."""

    FETCH = auto()
    FETCH_LAST = auto()
    START = auto()
    STOP = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Stepped:
    """The client wants something of an operation; after `FETCH_LAST` and `END` there is no such operation any more."""

    ioid: int
    step: Step


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The client has room for `count` updates more."""

    ioid: int
    count: int


@dataclass(frozen=True, slots=True)
class Searched:
    """The client asks by TCP which of the names are here."""

    search: Search


Event = Answer | Validated | ChannelWanted | TypeWanted | OperationWanted | Stepped | Acknowledged | Searched


@dataclass(slots=True)
class _Channel:
    name: str
    cid: int
    operations: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Operation:
    command: Command
    sid: int
    pipeline: bool


class Connection:
    """One client's connection."""

    def __init__(self) -> None:
        self._splitter = Splitter()
        self._registry = Registry()
        self._validated = False
        self._channels: dict[int, _Channel] = {}
        self._operations: dict[int, _Operation] = {}
        self._last_sid = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield what `data` asks for; act on each event before the next one is taken.

        Raises:
            ProtocolError: the connection is to be closed.
        """
        for one in self._splitter.feed(data):
            yield from self._control(one) if one.control else self._application(one)

    @property
    def held(self) -> int:
        """Return the bytes that wait for the rest of their message."""
        return self._splitter.held

    def open_channel(self, wanted: ChannelWanted) -> bytes:
        """Return the answer that a channel is there, and keep it."""
        self._last_sid += 1
        self._channels[self._last_sid] = _Channel(wanted.name, wanted.cid)
        return replies.channel_made(wanted.cid, self._last_sid)

    def close_channels(self, name: str) -> tuple[bytes, list[int]]:
        """Return what tells the client that the channels of a name are over, and the operations that end with them."""
        told, ended = b"", []
        for sid in [sid for sid, channel in self._channels.items() if channel.name == name]:
            ended += self._drop_channel(sid)
            told += replies.channel_gone(sid, self._channels.pop(sid).cid)
        return told, ended

    def refuse(self, wanted: OperationWanted, text: str) -> bytes:
        """Return the answer that an operation is not served, and forget it."""
        self._drop_operation(wanted.ioid)
        return replies.refused(wanted.command, wanted.ioid, text)

    def _control(self, one: Message) -> Iterator[Event]:
        if one.command == Control.ECHO_REQUEST:
            yield Answer(control(Control.ECHO_RESPONSE, one.value))

    def _application(self, one: Message) -> Iterator[Event]:
        reader = Reader(one.body, one.big)
        if one.command == Command.ECHO:
            yield Answer(message(Command.ECHO, one.body))
        elif not self._validated:
            yield from self._validate(one.command, reader)
        elif one.command == Command.SEARCH:
            yield Searched(read_search(reader))
        elif one.command == Command.CREATE_CHANNEL:
            yield from self._create(reader)
        elif one.command == Command.DESTROY_CHANNEL:
            yield from self._destroy_channel(reader)
        elif one.command == Command.GET_FIELD:
            yield from self._describe(reader)
        elif one.command in (Command.DESTROY_REQUEST, Command.CANCEL_REQUEST):
            yield from self._end(one.command, reader)
        elif one.command in _SERVED or one.command in _REFUSED:
            yield from self._operate(Command(one.command), reader)

    def _validate(self, command: int, reader: Reader) -> Iterator[Event]:
        if command != Command.VALIDATION:
            raise ProtocolError(mismatch("pvAccess connection", "a validation first", f"command {command}"))
        reader.take(struct.calcsize("=IHH"))  # its buffer, registry and quality of service: nothing depends on them
        method = reader.string() or "anonymous"
        if method not in replies.METHODS:
            raise ProtocolError(mismatch("pvAccess connection", f"one of {', '.join(replies.METHODS)}", method))
        claims = pva_wire_values.read(reader, self._registry.read(reader), self._registry) if reader.left else None
        account, host = (_claim(claims, name) for name in ("user", "host"))
        self._validated = True
        yield Validated(method, account if method == "ca" else "", host)
        yield Answer(replies.validated())

    def _create(self, reader: Reader) -> Iterator[Event]:
        for _ in range(reader.number("H")):
            cid, name = reader.number("I"), reader.string()
            if len(self._channels) >= MOST_CHANNELS:
                yield Answer(replies.channel_refused(cid, f"expected at most {MOST_CHANNELS} channels of one client"))
            else:
                yield ChannelWanted(cid, name)

    def _destroy_channel(self, reader: Reader) -> Iterator[Event]:
        sid, cid = reader.number("I"), reader.number("I")
        if sid in self._channels:
            for ioid in self._drop_channel(sid):
                yield Stepped(ioid, Step.END)
            del self._channels[sid]
            yield Answer(replies.channel_gone(sid, cid))

    def _describe(self, reader: Reader) -> Iterator[Event]:
        sid, ioid, name = reader.number("I"), reader.number("I"), reader.string()
        channel = self._channels.get(sid)
        if channel is None:
            yield Answer(replies.not_described(ioid, "the channel is gone"))
        else:
            yield TypeWanted(channel.name, ioid, name)

    def _end(self, command: int, reader: Reader) -> Iterator[Event]:
        reader.number("I")
        ioid = reader.number("I")
        if ioid in self._operations:
            if command == Command.DESTROY_REQUEST:
                self._drop_operation(ioid)
                yield Stepped(ioid, Step.END)
            else:
                yield Stepped(ioid, Step.STOP)

    def _operate(self, command: Command, reader: Reader) -> Iterator[Event]:
        sid, ioid, bits = reader.number("I"), reader.number("I"), reader.number("B")
        if bits & INIT:
            yield self._open(command, sid, ioid, (bits, reader))
        elif (operation := self._operations.get(ioid)) is not None and operation.command is command:
            yield from self._step(operation, ioid, bits, reader)

    def _open(self, command: Command, sid: int, ioid: int, rest: tuple[int, Reader]) -> Event:
        bits, reader = rest
        asked = pva_wire_values.read(reader, self._registry.read(reader), self._registry)
        if ioid in self._operations:
            raise ProtocolError(mismatch("pvAccess operation", "a new ioid", ioid))
        channel = self._channels.get(sid)
        try:
            if channel is None:
                raise RefusedError("the channel is gone")
            if command in _REFUSED:
                why = _REFUSED[command]
                return Refused(replies.refused(command, ioid, why), channel.name, why)
            if len(self._operations) >= MOST_OPERATIONS:
                raise RefusedError(f"expected at most {MOST_OPERATIONS} operations of one client")
            request = parse(asked)
        except RefusedError as error:
            return Answer(replies.refused(command, ioid, str(error)))
        pipeline = command is Command.MONITOR and request.pipeline
        window = reader.number("I") if pipeline and bits & PIPELINE else 0
        self._operations[ioid] = _Operation(command, sid, pipeline)
        channel.operations.add(ioid)
        return OperationWanted(command, channel.name, ioid, request, window if pipeline else None)

    def _step(self, operation: _Operation, ioid: int, bits: int, reader: Reader) -> Iterator[Event]:
        if operation.command is Command.GET:
            if bits & DESTROY:
                self._drop_operation(ioid)
            yield Stepped(ioid, Step.FETCH_LAST if bits & DESTROY else Step.FETCH)
            return
        if bits & PIPELINE:
            count = reader.number("I")
            if operation.pipeline:
                yield Acknowledged(ioid, count)
        if bits & START_STOP:
            yield Stepped(ioid, Step.START if bits & START else Step.STOP)
        if bits & DESTROY:
            self._drop_operation(ioid)
            yield Stepped(ioid, Step.END)

    def _drop_channel(self, sid: int) -> list[int]:
        ended = list(self._channels[sid].operations)
        for ioid in ended:
            self._drop_operation(ioid)
        return ended

    def _drop_operation(self, ioid: int) -> None:
        operation = self._operations.pop(ioid, None)
        if operation is not None and operation.sid in self._channels:
            self._channels[operation.sid].operations.discard(ioid)


def _claim(claims: object, name: str) -> str:
    text = claims.get(name, "") if isinstance(claims, dict) else ""
    return text[:LONGEST_ACCOUNT] if isinstance(text, str) else ""
