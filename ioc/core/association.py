"""Frames that wait for their metadata: taken in order, given out in order, each with what was found for it.

    offer(frame) ... take(channel, values) ... settled(now) -> frames with metadata

Rules: a frame goes on when every channel has an answer: a value, or the word that there is none. A channel is waited
for as long as its rule says, counted from when the frame came; not at all while it is not connected. More than the
given number of frames or bytes do not wait: the oldest go on. The end of a series waits for the frames before it.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ioc.core.frame import EndOfSeries, Frame, Item
from ioc.core.metadata import Metadata, MetadataValue, Quality, Update
from ioc.core.metadata_stream import Late, Stream
from ioc.core.sequence import Ranges

MOST_TOGETHER = 256
"""Frames that go on together at most."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many frames, and bytes of pixels (None: any), may wait for metadata together."""

    frames: int
    bytes: int | None = None


@dataclass(slots=True)
class Settled:
    """An item that goes on. `wanted` False: the rule of a channel is that a frame without its value does not."""

    item: Item
    metadata: Metadata
    wanted: bool = True


@dataclass(slots=True)
class _Entry:
    item: Item
    since_ns: int
    metadata: Metadata | None = None
    open: list[str] | None = None
    """Channels that have not answered, None: none was asked by itself yet."""
    wanted: bool = True


@dataclass(slots=True)
class FrameCounts:
    """Frames that went on with all that was asked for, those that did not, and those that were not wanted then.

    `unmatched_ids` are those of the present series.
    """

    complete: int = 0
    unmatched: int = 0
    unwanted: int = 0
    unmatched_ids: Ranges = field(default_factory=Ranges)


class Association:
    """All channels of one stage. `now_ns` is on any steady clock; used by one thread."""

    def __init__(self, streams: Mapping[str, Stream], most: Waiting) -> None:
        self.streams = dict(streams)
        self.connected = dict.fromkeys(streams, False)
        self.counts = FrameCounts()
        self._most = most
        self._entries: deque[_Entry] = deque()
        self._bytes = 0
        self._frames = 0
        self._series: int | None = None

    @property
    def frames(self) -> int:
        """Frames that wait."""
        return self._frames

    @property
    def waiting(self) -> int:
        """Frames and ends of series that wait."""
        return len(self._entries)

    def offer(self, item: Item, now_ns: int) -> None:
        """Take the next item."""
        entry = _Entry(item, now_ns)
        if isinstance(item, Frame):
            self._frames += 1
            self._bytes += item.data.nbytes
            for stream in self.streams.values():
                if not stream.offset.locked:
                    stream.expect(item, now_ns)
        self._entries.append(entry)

    def take(self, name: str, updates: Sequence[Update], now_ns: int) -> None:
        """Take values of a channel."""
        self.streams[name].take(updates, now_ns)

    def settled(self, now_ns: int, patient: bool = True) -> Iterator[Settled]:
        """Yield what goes on now, in order; everything unless `patient`."""
        entries = self._entries
        while entries:
            together = self._settle_together()
            if together:
                yield from together
                continue
            entry = entries[0]
            if isinstance(entry.item, EndOfSeries):
                self._end_series()
            elif not self._settle(entry, entry.item, now_ns, patient and not self._too_many()):
                return
            entries.popleft()
            yield Settled(entry.item, Metadata() if entry.metadata is None else entry.metadata, entry.wanted)

    def unused(self) -> int:
        """Return how many values no frame was given, of all channels."""
        return sum(stream.counts.unused for stream in self.streams.values())

    def _too_many(self) -> bool:
        most = self._most
        return self._frames > most.frames or (most.bytes is not None and self._bytes > most.bytes)

    def _settle_together(self) -> list[Settled]:
        """Take out the first frames if every channel has their values for sure; most of the time that is all of them.

        No channel is asked about any of them by itself, and the counts are kept once for all.
        """
        frames = list(self._untouched())
        columns: list[list[MetadataValue]] = []
        for stream in self.streams.values():
            if not frames:
                return []
            columns.append(stream.certain(frames))
            del frames[len(columns[-1]) :]
        if not frames or not columns:
            return []
        for stream in self.streams.values():
            stream.give(frames)
        self._frames -= len(frames)
        self._bytes -= sum(frame.data.nbytes for frame in frames)
        self.counts.complete += len(frames)
        for _ in frames:
            self._entries.popleft()
        names = tuple(self.streams)
        matched = dict.fromkeys(names, Quality.MATCHED)
        rows = zip(*columns, strict=False)  # cut off where the shortest one ends, which is where the frames end
        return [
            Settled(frame, Metadata(zip(names, row, strict=True), matched))
            for frame, row in zip(frames, rows, strict=True)
        ]

    def _untouched(self) -> Iterator[Frame]:
        """Yield the first frames, of the present series, of which no channel was asked by itself."""
        for entry in islice(self._entries, MOST_TOGETHER):
            item = entry.item
            if entry.open is not None or not isinstance(item, Frame) or item.series != self._series:
                return
            yield item

    def _settle(self, entry: _Entry, frame: Frame, now_ns: int, patient: bool) -> bool:
        """Ask the channels that have not answered yet; return whether all have."""
        if frame.series != self._series:
            self._begin_series(frame.series)
        if entry.metadata is None:
            entry.metadata = Metadata()
        still, waited, metadata = [], now_ns - entry.since_ns, entry.metadata
        streams, connected = self.streams, self.connected
        for name in streams if entry.open is None else entry.open:
            stream, there = streams[name], connected[name]
            found = stream.find(frame, not (patient and there and waited < stream.rule.wait_ns))
            if found is None:
                still.append(name)
                continue
            value, quality = found
            if quality is Quality.MISSING and not there:
                quality = Quality.DISCONNECTED
            if value is not None:
                metadata[name] = value
            elif stream.rule.late is Late.DROP:
                entry.wanted = False
            metadata.quality[name] = quality
            stream.left(frame, quality)
        entry.open = still
        if still:
            return False
        self._count(entry, metadata, frame)
        return True

    def _count(self, entry: _Entry, metadata: Metadata, frame: Frame) -> None:
        self._frames -= 1
        self._bytes -= frame.data.nbytes
        counts = self.counts
        if all(quality.found for quality in metadata.quality.values()):
            counts.complete += 1
        else:
            counts.unmatched += 1
            counts.unmatched_ids.add(frame.unique_id, frame.unique_id)
        counts.unwanted += not entry.wanted

    def _begin_series(self, series: int) -> None:
        self._series = series
        self.counts.unmatched_ids = Ranges()
        for stream in self.streams.values():
            stream.counts.unmatched_frames = Ranges()

    def _end_series(self) -> None:
        for stream in self.streams.values():
            stream.series_over()
