"""Values that are matched to frames by their time stamps, brought to the frames' clock by an offset.

Rules: a value within the window that no frame has had yet is a match; the nearest counts. Where values interpolate,
the two around a frame are, if both are numbers within reach. Another value within reach, also one that an earlier frame
has had, is only the nearest, and is taken when a later one is there or the wait is over. Two unused values in the
window that the jitter does not tell apart are ambiguous if they differ.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import ge

from ioc.core.clock_offset import ENOUGH, ClockOffset
from ioc.core.frame import Frame
from ioc.core.metadata import MetadataValue, Quality, Update, same
from ioc.core.metadata_stream import MOST_VALUES, OVERTAKEN, RECENTLY, Found, Late, Rule, StreamCounts

LOST = 32
"""Frames in a row without a value after which an estimated offset is estimated anew."""
TRIM = 64
"""Values that have passed and are forgotten together."""


class TimeStream:
    """Implements Stream. Values lie in the order of their stamps; what is of one has the same place in each list."""

    def __init__(self, rule: Rule, offset: ClockOffset) -> None:
        self.rule = rule
        self.offset = offset
        self.counts = StreamCounts()
        self._stamps: list[int] = []
        self._values: list[MetadataValue] = []
        self._numbers: list[int] = []
        self._used = bytearray()
        self._missed: list[int] = []
        self._missed_in_a_row = 0
        self._passed = 0

    def take(self, updates: Sequence[Update], now_ns: int) -> None:
        counts = self.counts
        if self._follow(updates):
            counts.received += len(updates)
        else:
            for update in updates:
                counts.received += 1
                self._take_one(update, now_ns)
        if len(self._stamps) > MOST_VALUES:
            counts.discarded += len(self._stamps) - MOST_VALUES
            self._forget(len(self._stamps) - MOST_VALUES)

    def expect(self, frame: Frame, now_ns: int) -> None:
        if not self.offset.locked:
            self.offset.frame_came(frame.timestamp_ns, now_ns)

    def certain(self, frames: Sequence[Frame]) -> list[MetadataValue]:
        if self.rule.interpolate or not self.offset.fixed or not self._stamps:
            return []
        ahead, jitter, stamps, used = self.offset.ns, self.offset.jitter_ns, self._stamps, self._used
        first = at = bisect_left(stamps, frames[0].timestamp_ns + ahead)
        before = stamps[at - 1] if at else None
        for frame in frames:
            target = frame.timestamp_ns + ahead
            if at == len(stamps) or stamps[at] != target or used[at]:
                break
            if before is not None and target - before <= jitter:
                break
            before = target
            at += 1
        if at > first and at < len(stamps) and stamps[at] - stamps[at - 1] <= jitter:
            at -= 1  # the last one has another as near as the jitter
        return self._values[first:at]

    def give(self, frames: Sequence[Frame]) -> None:
        count, last = len(frames), frames[-1].timestamp_ns
        at = bisect_left(self._stamps, frames[0].timestamp_ns + self.offset.ns)
        self._used[at : at + count] = b"\x01" * count
        self.offset.pairs(self.offset.ns, count)
        self.counts.frames[Quality.MATCHED] += count
        self._missed_in_a_row = 0
        self._pass(count, last)

    def find(self, frame: Frame, final: bool) -> Found | None:
        if not self.offset.locked and not self.offset.lock(1 if final else ENOUGH):
            return self._without(len(self._stamps)) if final else None
        target = frame.timestamp_ns + self.offset.ns
        at = bisect_left(self._stamps, target)
        found = self._interpolated(at, target) if self.rule.interpolate else self._match(at, target, frame)
        if found is not None:
            return found
        later = len(self._stamps) - at
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
        self._pass(1, frame.timestamp_ns)

    def waiting(self) -> int:
        return len(self._stamps)

    def series_over(self) -> None:
        """Do nothing: time goes on."""

    @property
    def _span(self) -> int:
        return max(self.rule.window_ns or 0, self.rule.reach_ns)

    def _follow(self, updates: Sequence[Update]) -> bool:
        """Take values that are each younger than the one before and than what frames went without; else take none."""
        fresh = [update.stamp_ns for update in updates]
        if not fresh or not self.offset.locked or (self._stamps and fresh[0] <= self._stamps[-1]):
            return False
        if self._missed and self._missed[-1] >= fresh[0] - self.offset.ns - (self.rule.window_ns or 0):
            return False
        if any(map(ge, fresh, islice(fresh, 1, None))):
            return False
        self._stamps += fresh
        self._values += [update.value for update in updates]
        self._numbers += range(self.counts.received + 1, self.counts.received + len(fresh) + 1)
        self._used += bytes(len(fresh))
        return True

    def _take_one(self, update: Update, now_ns: int) -> None:
        counts, stamp = self.counts, update.stamp_ns
        if not self.offset.locked:
            self.offset.value_came(stamp, now_ns)
        if self._missed and self._is_late(stamp):
            counts.late += 1
            counts.never_used(counts.received)
        elif self._is_known(update):
            counts.duplicates += 1
        else:
            at = bisect_right(self._stamps, stamp)
            self._stamps.insert(at, stamp)
            self._values.insert(at, update.value)
            self._numbers.insert(at, counts.received)
            self._used.insert(at, 0)

    def _match(self, at: int, target: int, frame: Frame) -> Found | None:
        stamps, window = self._stamps, self.rule.window_ns or 0
        if at < len(stamps) and self._is_alone(at, target):
            self.offset.pair(frame.timestamp_ns, target)
            return self._given(at, Quality.MATCHED)
        best = second = None
        nearest = next_to_it = window + 1
        for one in (*self._unused(range(at - 1, -1, -1), target), *self._unused(range(at, len(stamps)), target)):
            distance = abs(stamps[one] - target)
            if distance < nearest:
                best, nearest, second, next_to_it = one, distance, best, nearest
            elif distance < next_to_it:
                second, next_to_it = one, distance
        if best is None:
            return None
        self.offset.pair(frame.timestamp_ns, stamps[best])
        unclear = second is not None and next_to_it - nearest <= self.offset.jitter_ns
        if unclear and second is not None and not same(self._values[best], self._values[second]):
            return self._given(best, Quality.AMBIGUOUS)
        return self._given(best, Quality.MATCHED)

    def _given(self, at: int, quality: Quality) -> Found:
        self._used[at] = 1
        return Found(self._values[at], quality)

    def _is_alone(self, at: int, target: int) -> bool:
        """Return whether a value is unused, has the very stamp, and has no other as near as the jitter."""
        stamps, jitter = self._stamps, self.offset.jitter_ns
        if stamps[at] != target or self._used[at]:
            return False
        if at and target - stamps[at - 1] <= jitter:
            return False
        return at + 1 == len(stamps) or stamps[at + 1] - target > jitter

    def _unused(self, places: Iterable[int], target: int) -> Iterator[int]:
        """Yield the places of the two unused values in the window that come first."""
        found, window = 0, self.rule.window_ns or 0
        for place in places:
            if found == 2 or abs(self._stamps[place] - target) > window:
                return
            if not self._used[place]:
                found += 1
                yield place

    def _interpolated(self, at: int, target: int) -> Found | None:
        """Return the value on the line between the two around a moment; None: they are not there, or no numbers."""
        stamps, values = self._stamps, self._values
        if at >= len(stamps):
            return None
        if stamps[at] == target:
            return self._given(at, Quality.MATCHED)
        if not at:
            return None
        before, after = stamps[at - 1], stamps[at]
        if max(target - before, after - target) > self._span:
            return None
        low, high = values[at - 1], values[at]
        if not (_is_number(low) and _is_number(high)):
            return None
        self._used[at - 1 : at + 1] = b"\x01\x01"
        part = (target - before) / (after - before)
        return Found(float(low + (high - low) * part), Quality.INTERPOLATED)  # pyright: ignore[reportOperatorIssue]

    def _nearest(self, at: int, target: int) -> Found | None:
        """Return the nearest value within reach; None: there is none."""
        around = range(max(0, at - 1), min(at + 1, len(self._stamps)))
        near = min(around, key=lambda one: abs(self._stamps[one] - target), default=None)
        if near is None:
            return None
        distance = abs(self._stamps[near] - target)
        if self.rule.interpolate and not self._used[near] and distance <= (self.rule.window_ns or 0):
            return self._given(near, Quality.MATCHED)
        return self._given(near, Quality.NEAREST) if distance <= self.rule.reach_ns else None

    def _without(self, at: int) -> Found:
        if self.rule.late is Late.HOLD and self._stamps:
            return self._given(max(0, at - 1), Quality.LATE)
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
            if same(self._values[at], update.value):
                return True
            at += 1
        return False

    def _is_late(self, stamp_ns: int) -> bool:
        if self.rule.interpolate:
            return False
        moment, window = stamp_ns - self.offset.ns, self.rule.window_ns or 0
        at = bisect_left(self._missed, moment - window)
        return at < len(self._missed) and self._missed[at] <= moment + window

    def _pass(self, count: int, frame_ns: int) -> None:
        """Take notice that frames up to this one went on."""
        self._passed += count
        if self._passed >= TRIM:
            self._passed = 0
            self._trim(frame_ns + self.offset.ns)

    def _trim(self, target: int) -> None:
        """Forget values that are too old for this moment and those after it, but for the newest of them."""
        oldest = target - self._span - self.rule.wait_ns
        self._forget(bisect_left(self._stamps, oldest, 0, max(0, bisect_left(self._stamps, target) - 1)))

    def _forget(self, count: int) -> None:
        if self._used.count(1, 0, count) < count:
            for number, used in zip(self._numbers[:count], self._used, strict=False):
                if not used:
                    self.counts.never_used(number)
        for one in (self._stamps, self._values, self._numbers, self._used):
            del one[:count]


def _is_number(value: MetadataValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
