"""Receiving a foreign NTNDArray channel over pvAccess with p4p, with every missed frame on the books.

The subscription's own queue, in p4p's client, is the bounded queue: `receive` takes from it on the caller's thread, and
p4p's thread does nothing but ring. When it overflows, pvAccess replaces the newest update in it, as servers do in
theirs; either way the ids between are counted and listed as missed.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from enum import Enum
from importlib import import_module

from p4p import Value
from p4p.client.raw import Context, Disconnected, Finished, RemoteError, Subscription

from ioc.channels.base import Counters
from ioc.channels.ntndarray import from_value, is_empty
from ioc.core.compressed import codec_of, unpacked
from ioc.core.errors import PeerError, ProtocolError, RayfanBug, mismatch
from ioc.core.frame import Frame, Item
from ioc.core.ledger import MissedRange
from ioc.core.sequence import Ranges

log = logging.getLogger(__name__)

FEWEST_QUEUED = 2
SERIES_REMEMBERED = 16
"""Series of which the missed ranges are kept; of older ones only the number of missed frames stays."""


class Packing(Enum):
    """What becomes of images that come compressed: they are refused, unpacked, or kept as they came."""

    REFUSE = "refuse"
    UNPACK = "unpack"
    KEEP = "keep"


class IdWatch:
    """Follows the ids of a foreign channel: from the first seen on they should count by 1.

    After a reconnection servers send the newest frame again: the same id is then a repetition. A smaller id is a
    restart of the source, from which it counts on. Sources that number nothing send the same id all the time: nothing
    can be missed of those. What came before the first id is not missed either, unless the source tells its series, and
    it began while somebody listened: then the first ids were merged.
    """

    def __init__(self) -> None:
        self.missed = 0
        self.repeated = 0
        self.last: tuple[int, int] | None = None
        self._reconnected = False
        self._listening = False
        self._ranges: dict[int, Ranges] = {}

    def listening(self) -> None:
        """Take note that the channel is there, and had no image yet."""
        self._listening = True

    def reconnected(self) -> None:
        """Expect that the next id may be a repetition."""
        self._reconnected = True

    def is_new(self, series: int, unique_id: int) -> bool:
        """Book an id; return False if it is a repetition."""
        last, again = self.last, self._reconnected
        self.last, self._reconnected = (series, unique_id), False
        if again and last == (series, unique_id):
            self.repeated += 1
            return False
        if last is not None and last[0] == series and unique_id > last[1] + 1:
            self._gap(series, last[1] + 1, unique_id - 1)
        begun = self._listening if last is None else series > last[0]
        if series and begun and unique_id > 1:
            self._gap(series, 1, unique_id - 1)
        return True

    def ranges(self) -> list[MissedRange]:
        """Return what was missed in the last series."""
        return [MissedRange(series, first, last) for series, ranges in self._ranges.items() for first, last in ranges]

    def _gap(self, series: int, first: int, last: int) -> None:
        self.missed += last - first + 1
        self._ranges.setdefault(series, Ranges()).add(first, last)
        if len(self._ranges) > SERIES_REMEMBERED:
            del self._ranges[next(iter(self._ranges))]


class PvaReceiver:
    """Takes frames from one channel; implements base.Receiver.

    It connects when the channel appears and again whenever it was lost. Frames are views on what was received, and
    stay valid for as long as somebody refers to them. NTNDArray has no end marker: there is none in the sequence.
    """

    def __init__(
        self,
        channel_name: str,
        queue_size: int = 64,
        pipeline: bool = False,
        queue_bytes: int | None = None,
        replay: int = 0,
    ) -> None:
        """Subscribe with room for `queue_size` frames; EPICS_PVA_* of the environment say where to search.

        `pipeline` asks for flow control. Not towards PvaPy's server: its process dies of it. pvxs's server (p4p, QSRV)
        holds back what a full window left over until the next update comes.

        `queue_bytes` bounds the queue in bytes, too: the first frame of a size says how many there is room for, and
        until one has come there is room for 2. The subscription is made anew then; what comes meanwhile is missed.

        `replay` asks the server to keep so many frames (pva_images_replay), 0: none. What comes while the connection
        is broken, or the subscription is made anew, is not missed then. Only Rayfan's server knows that.
        """
        if queue_size < FEWEST_QUEUED:
            raise RayfanBug(mismatch(f"queue of {channel_name}", "2 or more frames", queue_size))
        self.channel_name = channel_name
        self.packing = Packing.REFUSE
        self.connected = False
        self.disconnects = 0
        self._ids = IdWatch()
        self._frames = self._bytes = self._errors = 0
        self._left: deque[object] = deque()
        self._closed = False
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._most = queue_size
        self._most_bytes = queue_bytes
        self._pipeline = pipeline
        self._replay = replay
        self._room = queue_size if queue_bytes is None else FEWEST_QUEUED
        self._context = Context("pva", nt=False, useenv=True)
        self._subscription = self._subscribe()

    def receive(self, max_items: int, timeout: float) -> Sequence[Item]:
        deadline = time.monotonic() + timeout
        while True:
            self._arrived.clear()
            frames = self._take(max_items)
            remaining = deadline - time.monotonic()
            if frames or self._closed or remaining <= 0:
                return frames
            self._arrived.wait(remaining)

    def release(self, count: int) -> None:
        """Do nothing: what was received is freed with the last reference to it."""

    def counters(self) -> Counters:
        return Counters(self._frames, self._bytes, self._errors)

    def missed(self) -> list[MissedRange]:
        """Return the ids that were merged away on the way here, of the last series."""
        return self._ids.ranges()

    def figures(self) -> dict[str, float | int | str]:
        """Return what is worth showing besides the counters."""
        return {
            "Connected": int(self.connected),
            "Disconnects": self.disconnects,
            "Missed": self._ids.missed,
            "Repeated": self._ids.repeated,
        }

    def close(self, drain: bool) -> None:
        with self._lock:
            if self._closed:
                return
            while drain and (event := self._subscription.pop()) is not None:
                self._left.append(event)
            self._closed = True
            self._subscription.close()
            self._context.close()
        self._arrived.set()

    def _subscribe(self) -> Subscription:
        options = f"queueSize={self._room}" + (",pipeline=true" if self._pipeline else "") + self._wish()
        return self._context.monitor(self.channel_name, self._arrived.set, request=f"field()record[{options}]")

    def _wish(self) -> str:
        """Return the wish that what was missed be sent again (pva_images_replay), from the last frame that came on."""
        if not self._replay:
            return ""
        series, unique_id = self._ids.last or (None, None)
        after = "" if series is None else f",replaySeries={series},replayAfter={unique_id}"
        return f",replay={min(self._replay, self._room)}{after}"

    def _subscribe_anew(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._subscription.close()
            self._ids.reconnected()
            self._subscription = self._subscribe()

    def _fit_queue(self, frame_bytes: int) -> None:
        """Have room for as many frames of that size as the bytes allow."""
        if self._most_bytes is None:
            return
        room = max(FEWEST_QUEUED, min(self._most, self._most_bytes // max(frame_bytes, 1)))
        if room == self._room:
            return
        self._room, self.connected = room, False
        self._subscribe_anew()

    def _take(self, most: int) -> list[Frame]:
        frames: list[Frame] = []
        while len(frames) < most and (event := self._pop()) is not None:
            if isinstance(event, Value):
                self.connected = True
                frame = self._frame(event)
                if frame is not None:
                    frames.append(frame)
            elif isinstance(event, RemoteError | Finished):
                if frames:  # these first, the error at the next call
                    self._left.appendleft(event)
                    break
                raise PeerError(f"channel {self.channel_name}: the server ended the subscription: {event!r}")
            elif isinstance(event, Disconnected):
                self._lost()
        return frames

    def _pop(self) -> object:
        with self._lock:
            if self._left:
                return self._left.popleft()
            return None if self._closed else self._subscription.pop()

    def _frame(self, value: Value) -> Frame | None:
        if is_empty(value):
            self._ids.listening()
            return None
        try:
            frame = from_value(value, compressed=self.packing is not Packing.REFUSE)
            if self.packing is Packing.UNPACK:
                frame = with_pixels(frame)
        except ProtocolError as error:
            self._errors += 1
            if self._errors & (self._errors - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
                log.warning("channel %s: an update is not used (error %d): %s", self.channel_name, self._errors, error)
            return None
        if not self._ids.is_new(frame.series, frame.unique_id):
            return None
        self._fit_queue(frame.data.nbytes)
        self._frames += 1
        self._bytes += frame.data.nbytes
        return frame

    def _lost(self) -> None:
        self.connected = False
        self.disconnects += 1
        self._ids.reconnected()
        if self._replay:
            self._subscribe_anew()
        log.warning("channel %s: disconnected (%d times so far)", self.channel_name, self.disconnects)


def with_pixels(frame: Frame) -> Frame:
    """Return a frame with its pixels, unpacked if a codec had packed them.

    Raises:
        ProtocolError: the bytes are damaged, or what unpacks them is not installed.
    """
    codec = codec_of(frame)
    if codec is None:
        return frame
    try:  # late: the codecs are an extra, and few channels are compressed
        compression = import_module("ioc.channels.compression")
    except ImportError as error:
        expected = "the codecs of the extra 'compress', pip install 'rayfan[compress]'"
        raise ProtocolError(mismatch(f"compressed frame, {codec.name}", expected, f"no {error.name}")) from None
    return unpacked(frame, compression.decompress(codec, frame.data.reshape(-1)))
