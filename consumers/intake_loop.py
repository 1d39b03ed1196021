"""The thread of an intake: takes what comes from outside, names it by series and id of ours, and deals it out.

Rules: a frame keeps the id of its source, counted from 1. A series of ours begins with the first frame, and whenever a
source begins again (see core/stream_ids.py); then the one before has ended. What is missing between two ids of a stream
was merged on the way here and is booked so, by id. A sender that waits for an answer gets it when its frame has been
dealt out to those behind: under Lossless their queues hold it back.
"""

import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from consumers.local_output import LocalOutput
from ioc.channels.base import Publisher
from ioc.channels.journal import ENDED, Journal
from ioc.channels.stream import Arrival, Event, Stream
from ioc.core.clock import Clock
from ioc.core.frame import EndOfSeries, Frame
from ioc.core.ledger import MissedRange, Reason
from ioc.core.sequence import Ranges
from ioc.core.stream_ids import Place, Source, StreamIds

log = logging.getLogger(__name__)

BATCH = 32
BUSY_SECONDS = 0.005
EPOCHS_KEPT = 16
STREAMS_KEPT = 1024
RANGES_KEPT = 256


@dataclass(slots=True)
class Series:
    """One series of ours: the first and the highest id that came, and how many frames."""

    number: int
    first: int = 0
    highest: int = 0
    frames: int = 0


@dataclass(frozen=True, slots=True)
class IntakeSnapshot:
    """What was taken in so far; `missed` ids were merged before they came here."""

    frames: int = 0
    bytes: int = 0
    missed: int = 0
    repeated: int = 0
    series: int = 0
    unique_id: int = 0


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where frames go and where it is booked; `local` None: nobody takes them in this appliance."""

    local: LocalOutput | None
    shown: Publisher
    journal: Journal
    name: str


class IntakeLoop:
    """Make it, `start` it, `drain` it; `arrived` is set by the streams."""

    def __init__(self, streams: Mapping[Stream, int], arrived: threading.Event, outlets: Outlets, clock: Clock) -> None:
        """Take `streams`, each with what its ids grow by."""
        self.snapshot = IntakeSnapshot()
        self.failure: BaseException | None = None
        self.ranges: deque[MissedRange] = deque(maxlen=RANGES_KEPT)
        self._streams = dict(streams)
        self._arrived = arrived
        self._outlets = outlets
        self._account = outlets.journal.account("", outlets.name)
        self._clock = clock
        self._ids: dict[str, StreamIds] = {}
        self._series: dict[int, Series] = {}
        self._epoch = -1
        self._last = 0
        self._first_stream = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> None:
        """Begin to take frames."""
        self._thread.start()

    def drain(self, deadline: float) -> bool:
        """Take what has come, end the series, and stop; return whether that worked within `deadline` seconds."""
        for stream in self._streams:
            stream.stop()
        self._stopping.set()
        self._arrived.set()
        self._thread.join(deadline)
        for stream in self._streams:
            stream.close()
        return not self._thread.is_alive() and self.failure is None

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._step()
            while self._take():
                pass
            self._end(self._epoch)
            self._outlets.journal.commit()
        except BaseException as error:  # the thread's owner is told, and tells the supervisor
            self.failure = error
            log.exception("the intake ended with an error")
            raise

    def _step(self) -> None:
        local = self._outlets.local
        self._arrived.clear()
        moved = local.tend() if local is not None else False
        if (local is None or local.open) and self._take():
            return
        if all(stream.ended for stream in self._streams) and self._epoch in self._series:
            self._end(self._epoch)
            self._outlets.journal.commit()
        if not moved:
            self._arrived.wait(BUSY_SECONDS)

    def _take(self) -> bool:
        """Take a batch from each stream in turn; return whether there was any."""
        streams = list(self._streams)
        self._first_stream += 1
        found = False
        for at in range(len(streams)):
            stream = streams[(self._first_stream + at) % len(streams)]
            events = stream.take(BATCH)
            if events:
                self._pass_on(events, self._streams[stream])
                found = True
        return found

    def _pass_on(self, events: Sequence[Event], step: int) -> None:
        arrivals: list[Arrival] = []
        for event in events:
            ids = self._ids_of(event.stream, step)
            if not isinstance(event, Arrival):
                ids.reconnected()
                continue
            place = ids.place(Source(event.frame.series, event.frame.unique_id))
            if place is None:
                event.settle(None)
                self.snapshot = replace(self.snapshot, repeated=self.snapshot.repeated + 1)
                continue
            if place.epoch > self._epoch:
                self._publish(arrivals)
                arrivals = []
                self._begin(place.epoch)
            arrivals.append(self._named(event, place))
        self._publish(arrivals)

    def _ids_of(self, stream: str, step: int) -> StreamIds:
        ids = self._ids.pop(stream, None) or StreamIds(step, max(self._epoch, 0))
        if len(self._ids) >= STREAMS_KEPT:
            del self._ids[next(iter(self._ids))]
        self._ids[stream] = ids
        return ids

    def _begin(self, epoch: int) -> None:
        self._end(self._epoch)
        self._epoch = epoch
        self._last = max(self._last + 1, self._clock.wall_ns() // 1000)
        self._series[epoch] = Series(self._last)
        while len(self._series) > EPOCHS_KEPT:
            del self._series[next(iter(self._series))]

    def _named(self, arrival: Arrival, place: Place) -> Arrival:
        series = self._series.get(place.epoch) or next(iter(self._series.values()))
        frame = arrival.frame
        if place.missing is not None:
            self._miss(series.number, place.missing, place.missed)
        series.first = min(series.first or frame.unique_id, frame.unique_id)
        series.highest = max(series.highest, frame.unique_id)
        series.frames += 1
        named = Frame(series.number, frame.unique_id, frame.timestamp_ns, frame.data, frame.attributes)
        return Arrival(arrival.stream, named, arrival.settle)

    def _miss(self, series: int, missing: tuple[int, int, int], count: int) -> None:
        first, last, step = missing
        if step == 1:
            self._account.drop_range(series, first, last, Reason.MERGED)
        else:
            for unique_id in range(first, last + 1, step):
                self._account.drop(series, unique_id, Reason.MERGED)
        self.ranges.append(MissedRange(series, first, last))
        self.snapshot = replace(self.snapshot, missed=self.snapshot.missed + count)

    def _publish(self, arrivals: Sequence[Arrival]) -> None:
        if not arrivals:
            return
        frames = [arrival.frame for arrival in arrivals]
        if self._outlets.local is not None:
            self._outlets.local.publish(frames)
        self._outlets.shown.publish(frames)
        self._account.touch()
        self._account.came.extend(frames)
        self._outlets.journal.commit()
        for arrival in arrivals:
            arrival.settle(None)
        now = self.snapshot
        self.snapshot = replace(
            now,
            frames=now.frames + len(frames),
            bytes=now.bytes + sum(frame.data.nbytes for frame in frames),
            series=frames[-1].series,
            unique_id=frames[-1].unique_id,
        )

    def _end(self, epoch: int) -> None:
        """Put out the end marker of a series, if it is under way."""
        series = self._series.get(epoch)
        if series is None or not series.frames:
            return
        before = Ranges([(1, series.first - 1)] if series.first > 1 else ())
        if self._outlets.local is not None:
            self._outlets.local.publish([EndOfSeries(series.number, series.highest, tuple(before))])
        self._account.touch()
        self._account.left.add(series.number, series.highest + 1, ENDED)
        series.frames = 0
