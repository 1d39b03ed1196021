"""Values that are matched to frames by their id.

Rules: ids begin anew with each series, so at its end what is not younger than its last frame is forgotten; a value of
the next series may already be there. Two different values of one id make it ambiguous: the first one is given out.
"""

from collections.abc import Sequence
from itertools import islice

from ioc.core.clock_offset import ClockOffset
from ioc.core.frame import Frame
from ioc.core.metadata import MetadataValue, Quality, Update, same
from ioc.core.metadata_stream import MOST_VALUES, OVERTAKEN, RECENTLY, Found, Late, Rule, StreamCounts

SWEEP = 256
"""Values kept from which on it is looked, with so many more each, whether some are of no use any more."""


class IdStream:
    """Implements Stream; the offset between the clocks is measured from the pairs, and used at the end of a series."""

    def __init__(self, rule: Rule, offset: ClockOffset) -> None:
        self.rule = rule
        self.offset = offset
        self.counts = StreamCounts()
        self._values: dict[int, Update] = {}
        self._clashes: set[int] = set()
        self._given: dict[int, Update] = {}
        self._missed: dict[int, int] = {}
        self._highest = 0
        self._newest: Update | None = None
        self._left_ns: int | None = None
        self._sweep_at = SWEEP

    def take(self, updates: Sequence[Update], now_ns: int) -> None:
        counts, values = self.counts, self._values
        for update in updates:
            counts.received += 1
            unique_id = update.unique_id
            if unique_id is None or unique_id < 1:
                counts.unused += 1  # what a channel has before its first update, mostly; there is no id to name it by
            elif unique_id in values:
                self._again(values[unique_id], update, unique_id)
            elif unique_id in self._given and self._given[unique_id].stamp_ns == update.stamp_ns:
                counts.duplicates += 1
            elif unique_id in self._missed and self._is_of(update, self._missed[unique_id]):
                counts.late += 1
                counts.never_used(unique_id)
            else:
                values[unique_id] = update
                self._highest = max(self._highest, unique_id)
                self._newest = update
        if len(values) > self._sweep_at:
            self._sweep()

    def expect(self, frame: Frame, now_ns: int) -> None:
        """Do nothing: an id says it all."""

    def certain(self, frames: Sequence[Frame]) -> list[MetadataValue]:
        found: list[MetadataValue] = []
        before, values, clashes = 0, self._values, self._clashes
        for frame in frames:
            unique_id = frame.unique_id
            update = values.get(unique_id)
            if update is None or unique_id <= before or unique_id in clashes:
                break
            if not self._is_of(update, frame.timestamp_ns):
                break
            found.append(update.value)
            before = unique_id
        return found

    def give(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            self._give(frame, self._values[frame.unique_id])
        self.counts.frames[Quality.MATCHED] += len(frames)
        self._left_ns = frames[-1].timestamp_ns

    def find(self, frame: Frame, final: bool) -> Found | None:
        unique_id = frame.unique_id
        update = self._values.get(unique_id)
        if update is not None and self._is_of(update, frame.timestamp_ns):
            self._give(frame, update)
            if unique_id in self._clashes:
                self._clashes.discard(unique_id)
                return Found(update.value, Quality.AMBIGUOUS)
            return Found(update.value, Quality.MATCHED)
        if not final and not self._overtaken(unique_id):
            return None
        if self.rule.late is Late.HOLD and self._newest is not None:
            return Found(self._newest.value, Quality.LATE)
        return Found(None, Quality.MISSING)

    def left(self, frame: Frame, quality: Quality) -> None:
        counts = self.counts
        counts.frames[quality] += 1
        self._left_ns = frame.timestamp_ns
        if not quality.found:
            counts.unmatched_frames.add(frame.unique_id, frame.unique_id)
            if quality is not Quality.AMBIGUOUS:
                self._missed[frame.unique_id] = frame.timestamp_ns
                if len(self._missed) > RECENTLY:
                    del self._missed[next(iter(self._missed))]

    def waiting(self) -> int:
        return len(self._values)

    def series_over(self) -> None:
        values, limit = self._values, self._left_ns
        stale = [one for one, update in values.items() if limit is None or self._before(update, limit)]
        self._forget(stale)
        self._given.clear()
        self._missed.clear()
        self._clashes.clear()
        self._highest = max(values, default=0)

    def _again(self, known: Update, update: Update, unique_id: int) -> None:
        """Take a second value of an id: the same again, one that contradicts, or one of the next series."""
        if update.stamp_ns == known.stamp_ns and same(update.value, known.value):
            self.counts.duplicates += 1
        elif self._left_ns is not None and self._before(known, self._left_ns):
            self._forget([unique_id])
            self._values[unique_id] = update
        else:
            self.counts.duplicates += 1
            self._clashes.add(unique_id)

    def _give(self, frame: Frame, update: Update) -> None:
        given = self._given
        del self._values[frame.unique_id]
        self.offset.pair(frame.timestamp_ns, update.stamp_ns)
        given[frame.unique_id] = update
        if len(given) > RECENTLY:
            del given[next(iter(given))]

    def _is_of(self, update: Update, frame_ns: int) -> bool:
        window = self.rule.window_ns
        if window is None or not self.offset.locked:
            return True
        return abs(update.stamp_ns - self.offset.ns - frame_ns) <= window

    def _before(self, update: Update, frame_ns: int) -> bool:
        """Return whether a value is not younger than a frame, as far as the clocks are known."""
        return update.stamp_ns - self.offset.estimate_ns <= frame_ns + 3 * self.offset.jitter_ns

    def _overtaken(self, unique_id: int) -> bool:
        if self._highest < unique_id + OVERTAKEN:
            return False
        later = (one for one in self._values if one > unique_id)
        return sum(1 for _ in islice(later, OVERTAKEN)) == OVERTAKEN

    def _sweep(self) -> None:
        """Forget values of frames that have passed, and the oldest beyond what is kept."""
        values, limit = self._values, self._left_ns
        if limit is not None:
            self._forget([one for one, update in values.items() if self._before(update, limit)])
        if len(values) > MOST_VALUES:
            surplus = list(islice(values, len(values) - MOST_VALUES))
            self.counts.discarded += len(surplus)
            self._forget(surplus)
        self._sweep_at = len(values) + SWEEP

    def _forget(self, ids: Sequence[int]) -> None:
        for one in ids:
            del self._values[one]
            self._clashes.discard(one)
            self.counts.never_used(one)
