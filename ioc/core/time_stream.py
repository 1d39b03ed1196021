"""Values that are matched to frames by their time stamps, brought to the frames' clock by an offset.

Rules: a value within the window that no frame has had yet is a match; the nearest counts. Where values interpolate,
the two around a frame are, if both are numbers within reach. Another value within reach, also one that an earlier frame
has had, is only the nearest, and is taken when a later one is there or the wait is over. Two unused values in the
window that the jitter does not tell apart are ambiguous if they differ.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ioc.core.clock_offset import ENOUGH, ClockOffset
from ioc.core.frame import Frame
from ioc.core.metadata import MetadataValue, Quality, Update, same
from ioc.core.metadata_stream import MOST_VALUES, OVERTAKEN, RECENTLY, Found, Late, Rule, StreamCounts

LOST = 32
"""Frames in a row without a value after which an estimated offset is estimated anew."""
TRIM = 64
"""Values that have passed and are forgotten together."""


@dataclass(slots=True, order=True)
class _Stamped:
    """A value in the order of its stamp; `number` counts from 1."""

    stamp_ns: int
    number: int
    value: MetadataValue = field(compare=False)
    used: bool = field(default=False, compare=False)


class TimeStream:
    """Implements Stream."""

    def __init__(self, rule: Rule, offset: ClockOffset) -> None:
        self.rule = rule
        self.offset = offset
        self.counts = StreamCounts()
        self._values: list[_Stamped] = []
        self._stamps: list[int] = []
        self._missed: list[int] = []
        self._missed_in_a_row = 0
        self._passed = 0

    def take(self, updates: Sequence[Update], now_ns: int) -> None:
        counts, stamps, values = self.counts, self._stamps, self._values
        for update in updates:
            counts.received += 1
            stamp = update.stamp_ns
            if not self.offset.locked:
                self.offset.value_came(stamp, now_ns)
            if self._missed and self._is_late(stamp):
                counts.late += 1
                counts.never_used(counts.received)
            elif not stamps or stamp > stamps[-1]:
                stamps.append(stamp)
                values.append(_Stamped(stamp, counts.received, update.value))
            elif self._is_known(update):
                counts.duplicates += 1
            else:
                insort(stamps, stamp)
                insort(values, _Stamped(stamp, counts.received, update.value))
        if len(values) > MOST_VALUES:
            counts.discarded += len(values) - MOST_VALUES
            self._forget(len(values) - MOST_VALUES)

    def expect(self, frame: Frame, now_ns: int) -> None:
        if not self.offset.locked:
            self.offset.frame_came(frame.timestamp_ns, now_ns)

    def find(self, frame: Frame, final: bool) -> Found | None:
        if not self.offset.locked and not self.offset.lock(1 if final else ENOUGH):
            return self._without(len(self._values)) if final else None
        target = frame.timestamp_ns + self.offset.ns
        at = bisect_left(self._stamps, target)
        found = self._interpolated(at, target) if self.rule.interpolate else self._match(at, target, frame)
        if found is not None:
            return found
        later = len(self._values) - at
        if final or later:
            near = self._nearest(at, target)
            if near is not None:
                return near
        return self._without(at) if final or later >= OVERTAKEN else None

    def left(self, frame: Frame, quality: Quality) -> None:
        counts = self.counts
        counts.frames[quality] += 1
        if quality.found or quality is Quality.AMBIGUOUS:
            self._missed_in_a_row = 0
        else:
            insort(self._missed, frame.timestamp_ns)
            del self._missed[:-RECENTLY]
            self._look_after_the_lock(quality)
        if not quality.found:
            counts.unmatched_frames.add(frame.unique_id, frame.unique_id)
        self._passed += 1
        if self._passed >= TRIM:
            self._passed = 0
            self._trim(frame.timestamp_ns + self.offset.ns)

    def waiting(self) -> int:
        return len(self._values)

    def series_over(self) -> None:
        """Do nothing: time goes on."""

    @property
    def _span(self) -> int:
        return max(self.rule.window_ns or 0, self.rule.reach_ns)

    def _match(self, at: int, target: int, frame: Frame) -> Found | None:
        values, window = self._values, self.rule.window_ns or 0
        if at < len(values) and self._is_alone(at, target):
            values[at].used = True
            self.offset.pair(frame.timestamp_ns, target)
            return Found(values[at].value, Quality.MATCHED)
        best = second = None
        nearest = next_to_it = window + 1
        for one in (*self._unused(range(at - 1, -1, -1), target), *self._unused(range(at, len(values)), target)):
            distance = abs(one.stamp_ns - target)
            if distance < nearest:
                best, nearest, second, next_to_it = one, distance, best, nearest
            elif distance < next_to_it:
                second, next_to_it = one, distance
        if best is None:
            return None
        best.used = True
        self.offset.pair(frame.timestamp_ns, best.stamp_ns)
        unclear = second is not None and next_to_it - nearest <= self.offset.jitter_ns
        if unclear and second is not None and not same(best.value, second.value):
            return Found(best.value, Quality.AMBIGUOUS)
        return Found(best.value, Quality.MATCHED)

    def _is_alone(self, at: int, target: int) -> bool:
        """Return whether a value is unused, has the very stamp, and has no other as near as the jitter."""
        stamps, jitter = self._stamps, self.offset.jitter_ns
        if stamps[at] != target or self._values[at].used:
            return False
        if at and target - stamps[at - 1] <= jitter:
            return False
        return at + 1 == len(stamps) or stamps[at + 1] - target > jitter

    def _unused(self, places: Iterable[int], target: int) -> Iterator[_Stamped]:
        """Yield the two unused values in the window that come first."""
        found, window = 0, self.rule.window_ns or 0
        for place in places:
            one = self._values[place]
            if found == 2 or abs(one.stamp_ns - target) > window:
                return
            if not one.used:
                found += 1
                yield one

    def _interpolated(self, at: int, target: int) -> Found | None:
        """Return the value on the line between the two around a moment; None: they are not there, or no numbers."""
        if at >= len(self._values):
            return None
        after = self._values[at]
        if after.stamp_ns == target:
            after.used = True
            return Found(after.value, Quality.MATCHED)
        if not at:
            return None
        before, span = self._values[at - 1], self._span
        if max(target - before.stamp_ns, after.stamp_ns - target) > span:
            return None
        if not (_is_number(before.value) and _is_number(after.value)):
            return None
        before.used = after.used = True
        part = (target - before.stamp_ns) / (after.stamp_ns - before.stamp_ns)
        low, high = before.value, after.value
        return Found(float(low + (high - low) * part), Quality.INTERPOLATED)  # pyright: ignore[reportOperatorIssue]

    def _nearest(self, at: int, target: int) -> Found | None:
        """Return the nearest value within reach; None: there is none."""
        around = self._values[max(0, at - 1) : at + 1]
        near = min(around, key=lambda one: abs(one.stamp_ns - target), default=None)
        if near is None:
            return None
        distance = abs(near.stamp_ns - target)
        if self.rule.interpolate and not near.used and distance <= (self.rule.window_ns or 0):
            near.used = True
            return Found(near.value, Quality.MATCHED)
        if distance > self.rule.reach_ns:
            return None
        near.used = True
        return Found(near.value, Quality.NEAREST)

    def _without(self, at: int) -> Found:
        if self.rule.late is Late.HOLD and self._values:
            held = self._values[max(0, at - 1)]
            held.used = True
            return Found(held.value, Quality.LATE)
        return Found(None, Quality.MISSING)

    def _look_after_the_lock(self, quality: Quality) -> None:
        if quality is Quality.DISCONNECTED:
            return
        self._missed_in_a_row += 1
        if self._missed_in_a_row >= LOST:
            self._missed_in_a_row = 0
            self.offset.unlock()

    def _is_known(self, update: Update) -> bool:
        at = bisect_left(self._stamps, update.stamp_ns)
        while at < len(self._stamps) and self._stamps[at] == update.stamp_ns:
            if same(self._values[at].value, update.value):
                return True
            at += 1
        return False

    def _is_late(self, stamp_ns: int) -> bool:
        if self.rule.interpolate:
            return False
        moment, window = stamp_ns - self.offset.ns, self.rule.window_ns or 0
        at = bisect_left(self._missed, moment - window)
        return at < len(self._missed) and self._missed[at] <= moment + window

    def _trim(self, target: int) -> None:
        """Forget values that are too old for this moment and those after it, but for the newest of them."""
        oldest = target - self._span - self.rule.wait_ns
        self._forget(bisect_left(self._stamps, oldest, 0, max(0, bisect_left(self._stamps, target) - 1)))

    def _forget(self, count: int) -> None:
        for one in self._values[:count]:
            if not one.used:
                self.counts.never_used(one.number)
        del self._values[:count]
        del self._stamps[:count]


def _is_number(value: MetadataValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
