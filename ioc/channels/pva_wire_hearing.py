"""The client's side of one pvAccess connection, without a socket: what a server's messages mean, in order.

Rules. A server greets first; once it has accepted who this is, channels are made, then monitors on them. `feed` yields
an *event* for each thing that the client has to act on; updates of monitors are put into their lists at once, and no
event is made of them. What was said about channels and monitors that are over is passed over: it crossed with their
end. Bytes that break the format, and types too large to believe, are one ProtocolError, which ends the connection.

    greeting --> accepted --> channels --> monitors --> updates ... --> end
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ioc.channels.pva_wire_buffer import Reader
from ioc.channels.pva_wire_framing import HEADER_BYTES, LONGEST_MESSAGE, MAGIC, Command, Message, Splitter
from ioc.channels.pva_wire_search import Answer, read_answer
from ioc.channels.pva_wire_stamped import KEY_BYTES, Pattern, Stamped, Wanted, stamped
from ioc.channels.pva_wire_types import Registry
from ioc.core.errors import ProtocolError, mismatch
from ioc.core.metadata import Update

INIT, FINISH = 0x08, 0x10
_CONTROL, _BIG = 0x01, 0x80
_GOOD = (0x00, 0x01, 0xFF)
"""States of a status that are no failure; 1 is a warning."""
_NOTHING_SAID = 0xFF
MOST_METHODS = 32
MOST_PATTERNS = 4096


@dataclass(frozen=True, slots=True)
class Greeted:
    """The server offers these ways to say who this is; answer by `introduction`."""

    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    """Channels can be made now."""


@dataclass(frozen=True, slots=True)
class ChannelMade:
    """This client's channel `cid` is the server's `sid`."""

    cid: int
    sid: int


@dataclass(frozen=True, slots=True)
class ChannelOver:
    """A channel is not there, or not any more; `text` says why, empty: it went away."""

    cid: int
    text: str


@dataclass(frozen=True, slots=True)
class MonitorMade:
    """A monitor can be started; `plain` False: its type is none that this client reads."""

    ioid: int
    plain: bool


@dataclass(frozen=True, slots=True)
class MonitorOver:
    """A monitor was refused (`text` says why), or gets no more updates (empty)."""

    ioid: int
    text: str


@dataclass(frozen=True, slots=True)
class Told:
    """The server answers a search, as a name server does."""

    answer: Answer


Event = Greeted | Accepted | ChannelMade | ChannelOver | MonitorMade | MonitorOver | Told


@dataclass(slots=True)
class _Monitor:
    wanted: Wanted
    found: list[Update]
    stamped: Stamped | None = None
    keys: set[bytes] = field(default_factory=set)


class Hearing:
    """One server's connection."""

    def __init__(self) -> None:
        self._splitter = Splitter(from_server=True)
        self._registry = Registry()
        self._rest = b""
        self._monitors: dict[int, _Monitor] = {}
        self._patterns: dict[bytes, tuple[Pattern, _Monitor]] = {}

    def expect(self, ioid: int, wanted: Wanted, found: list[Update]) -> None:
        """Put the updates of a monitor that is asked for now into a list."""
        self._monitors[ioid] = _Monitor(wanted, found)

    def forget(self, ioid: int) -> None:
        """Pass over what is still said about a monitor."""
        monitor = self._monitors.pop(ioid, None)
        for key in monitor.keys if monitor is not None else ():
            del self._patterns[key]

    @property
    def held(self) -> int:
        """Return the bytes that wait for the rest of their message."""
        return len(self._rest) + self._splitter.held

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield what the bytes that came mean; act on each event before the next one is taken.

        Raises:
            ProtocolError: the connection is to be closed.
        """
        data = self._rest + data if self._rest else data
        view = memoryview(data)
        at, end = 0, len(data)
        while end - at >= HEADER_BYTES:
            known = self._patterns.get(data[at : at + KEY_BYTES])
            if known is not None:
                pattern, monitor = known
                assert monitor.stamped is not None
                count = pattern.take(view[at:], monitor.found, monitor.stamped.state)
                at += count * pattern.size
                if count:
                    continue
            length = _length(data, at)
            if at + length > end:
                break
            for one in self._splitter.feed(data[at : at + length]):
                yield from self._hear(one, data[at : at + length])
            at += length
        self._rest = data[at:]

    def _hear(self, one: Message, whole: bytes) -> Iterator[Event]:
        if one.control:
            return
        reader = Reader(one.body, one.big)
        if one.command == Command.MONITOR:
            yield from self._monitor(reader, one.big, whole)
        elif one.command == Command.VALIDATION:
            reader.take(6)  # sizes of its buffer and registry: nothing depends on them
            yield Greeted(tuple(reader.string() for _ in range(min(MOST_METHODS, reader.count(least_bytes=1)))))
        elif one.command == Command.VALIDATED:
            text = _failure(reader)
            if text is not None:
                raise ProtocolError(f"pvAccess server: does not let this client in: {text}")
            yield Accepted()
        elif one.command == Command.CREATE_CHANNEL:
            cid, sid = reader.number("I"), reader.number("I")
            text = _failure(reader)
            yield ChannelMade(cid, sid) if text is None else ChannelOver(cid, text or "refused")
        elif one.command == Command.DESTROY_CHANNEL:
            reader.number("I")
            yield ChannelOver(reader.number("I"), "")
        elif one.command == Command.SEARCH_RESPONSE:
            yield Told(read_answer(reader))

    def _monitor(self, reader: Reader, big: bool, whole: bytes) -> Iterator[Event]:
        ioid, bits = reader.number("I"), reader.number("B")
        monitor = self._monitors.get(ioid)
        if monitor is None:
            return
        if bits & INIT:
            if monitor.stamped is not None:
                raise ProtocolError(mismatch("pvAccess monitor", "one answer to its opening", "another one"))
            text = _failure(reader)
            if text is not None:
                yield MonitorOver(ioid, text or "refused")
                return
            monitor.stamped = stamped(self._registry.read(reader), monitor.wanted, self._registry)
            yield MonitorMade(ioid, monitor.stamped is not None)
        elif bits & FINISH:
            yield MonitorOver(ioid, _failure(reader) or "")
        elif monitor.stamped is not None:
            self._update(monitor, monitor.stamped, reader, (big, whole))

    def _update(self, monitor: _Monitor, layout: Stamped, reader: Reader, rest: tuple[bool, bytes]) -> None:
        update, brought = layout.read(reader)
        monitor.found.append(update)
        big, whole = rest
        key = whole[:KEY_BYTES]
        if len(self._patterns) < MOST_PATTERNS or key in self._patterns:
            pattern = layout.pattern(whole, brought, big)
            if pattern is not None:
                self._patterns[key] = (pattern, monitor)
                monitor.keys.add(key)


def _length(data: bytes, at: int) -> int:
    """Return how long the message is that begins at a place; of a header that cannot be right, its own length."""
    flags = data[at + 2]
    if data[at] != MAGIC or flags & _CONTROL:
        return HEADER_BYTES
    length = int.from_bytes(data[at + 4 : at + 8], "big" if flags & _BIG else "little")
    return HEADER_BYTES if length > LONGEST_MESSAGE else HEADER_BYTES + length


def _failure(reader: Reader) -> str | None:
    """Return the text of a status that says that something failed, None if it went well."""
    state = reader.number("B")
    if state == _NOTHING_SAID:
        return None
    text = reader.string()
    reader.string()  # where in the server it failed
    return None if state in _GOOD else text
