"""Streams of frames over pvAccess with p4p: channels of others that are monitored, channels and services of ours.

What arrives is parsed on p4p's thread where it is put or called, so that a bad frame is refused at once, and on the
taker's thread where it is monitored. A put or call is answered when somebody has settled the frame: whoever sends is
held back until there is room. Sources: pvAccess Protocol Specification; pvapy/hpc (pvaDataPublisher, rpcDataPublisher).
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from p4p import Type, Value
from p4p.client.raw import Disconnected
from p4p.server import ServerOperation, StaticProvider
from p4p.server.raw import SharedPV

from ioc.channels.ntndarray import PVAPY_TYPE, TYPE, empty_value, from_fields, is_empty
from ioc.channels.pva_source import PvaSource, Wish
from ioc.channels.stream import Arrival, Event, Numbering, Reconnected, StreamFigures, StreamSettings
from ioc.core.errors import PeerError, ProtocolError, mismatch
from ioc.core.frame import Frame

log = logging.getLogger(__name__)

REPLAY = 64
"""Frames that a Rayfan is asked to keep for the case that the connection breaks."""
UNIQUE_ID = "uniqueId"
MOST_SENDERS = 256
ATTRIBUTE = "attribute."
NEEDED = ("value", "dimension")
REPLY = Type([("status", "i"), ("errorMessage", "s")])
"""What a call returns, as PvaPy's RPC receiver does: status 0, or -1 and why."""
Ring = Callable[[], None]


def image_of(value: Value, settings: StreamSettings, numbering: Numbering) -> Frame:
    """Return the frame of a structure, with its id counted from 1; the data is a view on what was received.

    Raises:
        ProtocolError: it is no image, or has no usable id.
    """
    frame = from_fields(value, compressed=True)
    frame.unique_id = numbering.number(_found(value, frame, settings.id_field))
    return frame


def _found(value: Value | Frame, frame: Frame, field: str) -> object:
    if not field:
        return None
    if isinstance(value, Frame):
        return frame.unique_id  # came in shared memory, where no other field is asked for
    if field.startswith(ATTRIBUTE):
        return frame.attributes.get(field.removeprefix(ATTRIBUTE))
    try:
        return value[field]
    except KeyError:
        raise ProtocolError(mismatch("id_field", "a field of the structure", field)) from None


class _Errors:
    """Counts what could not be used; tells of the 1st, 2nd, 4th, 8th ..."""

    def __init__(self, name: str) -> None:
        self.count = 0
        self.last = ""
        self._name = name

    def note(self, error: Exception) -> None:
        self.count += 1
        self.last = str(error)
        if self.count & (self.count - 1) == 0:
            log.warning("%s: an image is not used (error %d): %s", self._name, self.count, error)


class MonitoredStream:
    """A channel of somebody else; implements stream.Stream.

    The queue is that of the subscription, in p4p's client: when it overflows, pvAccess replaces the newest update in
    it, as servers do in theirs; whoever follows the ids sees the gap. Rayfan's channels come by the fastest way
    (pva_source), and what came while the connection was broken comes again.
    """

    def __init__(self, channel: str, settings: StreamSettings, ring: Ring) -> None:
        """Subscribe; EPICS_PVA_* of the environment say where to search."""
        self.name = channel
        self._settings = settings
        self._numbering = Numbering(settings)
        self._errors = _Errors(f"channel {channel}")
        self._connected = False
        self._disconnects = 0
        self._skip = settings.skip_initial
        self._source = PvaSource(channel, _wish(settings), ring)

    def take(self, most: int) -> Sequence[Event]:
        events: list[Event] = []
        while len(events) < most and (found := self._source.pop()) is not None:
            if isinstance(found, Value | Frame):
                self._connected = True
                events += self._arrived(found)
            elif isinstance(found, Disconnected):
                self._connected = False
                self._disconnects += 1
                self._skip = self._settings.skip_initial
                events.append(Reconnected(self.name))
                log.warning("channel %s: disconnected (%d times so far)", self.name, self._disconnects)
            else:
                if not events:
                    raise PeerError(f"channel {self.name}: the server ended the subscription: {found!r}")
                self._source.put_back(found)  # these first, the error at the next call
                break
        return events

    def figures(self) -> StreamFigures:
        errors = self._errors
        way = str(self._source.choice)
        return StreamFigures(int(self._connected), self._disconnects, errors.count, 0, errors.last, way)

    @property
    def ended(self) -> bool:
        return False

    def stop(self) -> None:
        self._source.stop()

    def close(self) -> None:
        self._source.close()

    def _arrived(self, found: Value | Frame) -> list[Event]:
        if isinstance(found, Value) and is_empty(found):
            return []
        if self._skip:
            self._skip -= 1
            return []
        try:
            source, frame = self._numbered(found)
        except ProtocolError as error:
            self._errors.note(error)
            return []
        self._source.came_on(*source)
        again = self._source.fit(frame.data.nbytes)
        return [Arrival(self.name, frame), *([Reconnected(self.name)] if again else [])]

    def _numbered(self, found: Value | Frame) -> tuple[tuple[int, int], Frame]:
        """Return how the source calls a frame, by series and uniqueId, and the frame with its id counted from 1.

        Raises:
            ProtocolError: it is no image, or has no usable id.
        """
        frame = found if isinstance(found, Frame) else from_fields(found, compressed=True)
        source = frame.series, frame.unique_id
        frame.unique_id = self._numbering.number(_found(found, frame, self._settings.id_field))
        return source, frame


def _wish(settings: StreamSettings) -> Wish:
    """Return what is asked of a channel; frames that are numbered by another field come by pvAccess, which has it."""
    fields: tuple[str, ...] = ()
    if settings.fields:
        wanted = [*NEEDED, settings.id_field.partition(".")[0], *settings.fields]
        fields = tuple(dict.fromkeys(one for one in wanted if one))
    known = settings.id_field in ("", UNIQUE_ID) or settings.id_field.startswith(ATTRIBUTE)
    replay = 0 if fields or settings.skip_initial else REPLAY  # what is skipped, or has no series, cannot be replayed
    bounds = settings.queue_size, settings.queue_bytes, replay
    return Wish(*bounds, settings.pipeline, fields, settings.fastest and known and not fields)


class ServedStream:
    """A channel and service of ours that others put frames into, or call with a frame; implements stream.Stream.

    At most `queue_size` frames and `queue_bytes` wait, of all senders together; what comes beyond is refused with an
    error: its sender still has it, so it is not lost here. Each sender numbers its frames by itself.
    """

    def __init__(self, name: str, calls: bool, settings: StreamSettings, ring: Ring) -> None:
        """Prepare; `calls`: frames come by RPC, else by put. `provider` is what the process's server has to serve."""
        self.name = name
        self._calls = calls
        self._settings = settings
        self._errors = _Errors(name)
        self._ring = ring
        self._lock = threading.Lock()
        self._waiting: deque[Arrival] = deque()
        self._frames = 0
        self._bytes = 0
        self._refused = 0
        self._senders: dict[str, tuple[Numbering, float]] = {}
        self._stopped = False
        self._pv = SharedPV(handler=self, initial=empty_value(PVAPY_TYPE if settings.pvapy else TYPE))
        self.provider = StaticProvider(name)
        self.provider.add(name, self._pv)

    def take(self, most: int) -> Sequence[Arrival]:
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def figures(self) -> StreamFigures:
        with self._lock:
            recent = time.monotonic() - 10.0
            senders = sum(last > recent for _, last in self._senders.values())
            return StreamFigures(senders, 0, self._errors.count, self._refused, self._errors.last)

    @property
    def ended(self) -> bool:
        return False

    def stop(self) -> None:
        with self._lock:
            self._stopped = True

    def close(self) -> None:
        self.stop()
        for event in self.take(len(self._waiting)):
            event.settle(f"{self.name}: the receiver ends")
        self._pv.close(destroy=True)

    def put(self, _pv: SharedPV, operation: ServerOperation) -> None:
        """Take a frame that is put; on p4p's thread, never waits."""
        if self._calls:
            operation.done(error=f"{self.name}: expected a call with a frame (RPC), found a put")
            return
        self._take_in(operation, lambda error: operation.done(error=error) if error else operation.done())

    def rpc(self, _pv: SharedPV, operation: ServerOperation) -> None:
        """Take a frame that we are called with; on p4p's thread, never waits."""
        if not self._calls:
            operation.done(error=f"{self.name}: expected a put, found a call (RPC)")
            return
        self._take_in(operation, lambda error: operation.done(_reply(error)))

    def _take_in(self, operation: ServerOperation, settle: Callable[[str | None], None]) -> None:
        sender = f"{self.name} {operation.peer()}"
        try:
            with self._lock:
                numbering = self._numbering(sender)
            frame = image_of(operation.value(), self._settings, numbering)
        except PeerError as error:
            self._errors.note(error)
            settle(str(error))
            return
        refusal = self._queue(Arrival(sender, frame, self._settling(frame.data.nbytes, settle)))
        if refusal:
            settle(refusal)
        self._ring()

    def _queue(self, arrival: Arrival) -> str | None:
        """Let a frame wait; return why it may not."""
        size, settings = arrival.frame.data.nbytes, self._settings
        with self._lock:
            if self._stopped:
                return f"{self.name}: the receiver ends"
            full = self._frames >= settings.queue_size
            if settings.queue_bytes is not None and self._frames:
                full = full or self._bytes + size > settings.queue_bytes
            if full:
                self._refused += 1
                return mismatch(self.name, "room for a frame", f"{self._frames} frames that wait", "send again later")
            self._frames += 1
            self._bytes += size
            self._waiting.append(arrival)
        return None

    def _settling(self, size: int, settle: Callable[[str | None], None]) -> Callable[[str | None], None]:
        def settled(error: str | None) -> None:
            with self._lock:
                self._frames -= 1
                self._bytes -= size
            settle(error)

        return settled

    def _numbering(self, sender: str) -> Numbering:
        numbering, _ = self._senders.pop(sender, (Numbering(self._settings), 0.0))
        if len(self._senders) >= MOST_SENDERS:
            del self._senders[next(iter(self._senders))]
        self._senders[sender] = (numbering, time.monotonic())
        return numbering


def _reply(error: str | None) -> Value:
    return Value(REPLY, {"status": -1 if error else 0, "errorMessage": error or ""})
