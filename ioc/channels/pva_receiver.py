"""Receiving a foreign NTNDArray channel over pvAccess with p4p, with every missed frame on the books.

The subscription's own queue, in p4p's client, is the bounded queue: `receive` takes from it on the caller's thread, and
p4p's thread does nothing but ring. When it overflows, pvAccess replaces the newest update in it, as servers do in
theirs; either way the ids between are counted and listed as missed. The same of a channel that is seen in shared memory
(pva_source).
"""

import logging
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Self

from p4p import Value
from p4p.client.raw import Disconnected

from ioc.channels.base import Counters
from ioc.channels.ntndarray import from_value, is_empty
from ioc.channels.pva_source import FEWEST_QUEUED, Packing, PvaSource, Wish
from ioc.channels.pva_standing import Choice
from ioc.core.compressed import NAME as CODEC
from ioc.core.compressed import codec_of, unpacked
from ioc.core.errors import PeerError, ProtocolError, RayfanBug, mismatch
from ioc.core.frame import Frame, Item
from ioc.core.ledger import MissedRange
from ioc.core.sequence import Ranges

log = logging.getLogger(__name__)

SERIES_REMEMBERED = 16
"""Series of which the missed ranges are kept; of older ones only the number of missed frames stays."""


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


def check_pixels(frame: Frame) -> None:
    """Look whether a frame has pixels, as `from_value` does of one that came by pvAccess.

    Raises:
        ProtocolError: it is compressed.
    """
    if CODEC in frame.attributes:
        name, todo = f"frame {frame.unique_id}, codec", "turn compression off at the source"
        raise ProtocolError(mismatch(name, "no compression", frame.attributes[CODEC], todo))


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
        wish = Wish(queue_size, queue_bytes, replay, pipeline)
        if queue_size < FEWEST_QUEUED:
            raise RayfanBug(mismatch(f"queue of {channel_name}", "2 or more frames", queue_size))
        self._subscribe(channel_name, wish)

    @classmethod
    def of(cls, channel_name: str, wish: Wish) -> Self:
        """Return a receiver that asks a channel for what is wished, by the fastest way if that is."""
        made = cls.__new__(cls)
        made._subscribe(channel_name, wish)
        return made

    def _subscribe(self, channel_name: str, wish: Wish) -> None:
        self.channel_name = channel_name
        self.connected = False
        self.disconnects = 0
        self._ids = IdWatch()
        self._frames = self._bytes = self._errors = 0
        self._closed = False
        self._packing = wish.packing
        self._arrived = threading.Event()
        self._source = PvaSource(channel_name, wish, self._arrived.set)

    @property
    def choice(self) -> Choice:
        """By which way frames come, and why by no faster one."""
        return self._source.choice

    @property
    def outlook(self) -> Choice:
        """The same to show: while nobody takes frames, the way by which they will come."""
        return self._source.outlook

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
        if self._closed:
            return
        self._closed = True
        if drain:
            self._source.stop()
        else:
            self._source.close()
        self._arrived.set()

    def _take(self, most: int) -> list[Frame]:
        frames: list[Frame] = []
        while len(frames) < most and (event := self._source.pop()) is not None:
            if isinstance(event, Frame | Value):
                self.connected = True
                self._parse(event, frames)
            elif isinstance(event, Disconnected):
                self._lost()
            else:
                if frames:  # these first, the error at the next call
                    self._source.put_back(event)
                    break
                raise PeerError(f"channel {self.channel_name}: the server ended the subscription: {event!r}")
        return frames

    def _parse(self, event: Value | Frame, frames: list[Frame]) -> None:
        if isinstance(event, Value) and is_empty(event):
            self._ids.listening()
            return
        try:
            kept = self._packing is not Packing.REFUSE
            frame = from_value(event, kept) if isinstance(event, Value) else event
            if self._packing is Packing.REFUSE:
                check_pixels(frame)
            elif self._packing is Packing.UNPACK:
                frame = with_pixels(frame)
        except ProtocolError as error:
            self._errors += 1
            if self._errors & (self._errors - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
                log.warning("channel %s: an update is not used (error %d): %s", self.channel_name, self._errors, error)
            return
        self._take_on(frame, frames)

    def _take_on(self, frame: Frame, frames: list[Frame]) -> None:
        if not self._ids.is_new(frame.series, frame.unique_id):
            return
        self._source.came_on(frame.series, frame.unique_id)
        if self._source.fit(frame.data.nbytes):
            self.connected = False
            self._ids.reconnected()
        self._frames += 1
        self._bytes += frame.data.nbytes
        frames.append(frame)

    def _lost(self) -> None:
        self.connected = False
        self.disconnects += 1
        self._ids.reconnected()
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
