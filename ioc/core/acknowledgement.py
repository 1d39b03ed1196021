"""What a member that acknowledges was given and has not acknowledged yet, and the words that it does so with.

Rules: items are done in the order in which they were given. A frame is done once it was acknowledged, an end marker
once everything before it is. An acknowledgement names a frame and with it every one that was given before it
(`up_to`), or ids one by one (`ranges`); ids that are not out are counted and change nothing. `failed` names ids that
are done because the member failed on them. The first one of a member says that it acknowledges at all, and may name no
frame. `window` is how many frames it wants to have at a time.

The words come from the network: fields are checked, and text and counts are bounded, before they are believed.
"""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from ioc.core.errors import ProtocolError, mismatch
from ioc.core.frame import EndOfSeries, Frame, Item
from ioc.core.overflow import WIDEST_WINDOW

LONGEST_TEXT = 4096
"""Characters of a list of ids."""
MOST_RANGES = 256
LARGEST_ID = (1 << 63) - 1
MODEST_WINDOW = 2
"""Frames that a member is given at a time if it does not say: less than the shortest queue of a monitor, 4 in pvxs."""
_RANGE = re.compile(r"\s*(\d{1,19})\s*(?:-\s*(\d{1,19})\s*)?", re.ASCII)
_FIELDS = ("failed", "ids", "series", "uniqueId", "window")


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """One call of a member; without `up_to`, `ranges` and `failed` it only says that the member is there."""

    series: int = 0
    up_to: int | None = None
    ranges: tuple[tuple[int, int], ...] = ()
    window: int | None = None
    failed: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call: frames acknowledged by it, ids that were not out, frames that are still out."""

    acknowledged: int
    unknown: int
    waiting: int


def parse(fields: Mapping[str, object]) -> Acknowledgement:
    """Return the acknowledgement that the fields of a query make.

    Numbers may come as decimal text, which is what `pvcall` sends.

    Raises:
        ProtocolError: a field is unknown, of the wrong kind or out of bounds, or two exclude each other.
    """
    for name in fields:
        if name not in _FIELDS:
            raise ProtocolError(mismatch("acknowledgement", f"fields {', '.join(_FIELDS)}", name[:40]))
    if "ids" in fields and "uniqueId" in fields:
        raise ProtocolError(mismatch("acknowledgement", "ids or uniqueId", "both"))
    window = _integer(fields, "window", 1, WIDEST_WINDOW) if "window" in fields else None
    if not any(name in fields for name in ("ids", "uniqueId", "failed")):
        return Acknowledgement(window=window)
    series = _integer(fields, "series", 0, LARGEST_ID)
    failed = _ranges(fields["failed"], "failed") if "failed" in fields else ()
    ranges = _ranges(fields["ids"], "ids") if "ids" in fields else ()
    up_to = _integer(fields, "uniqueId", 1, LARGEST_ID) if "uniqueId" in fields else None
    return Acknowledgement(series, up_to, ranges, window, failed)


class Outstanding:
    """The items given to one member and not done, oldest first; `done` counts those that are.

    `ended` is the last end marker that is done.
    """

    def __init__(self) -> None:
        self.done = 0
        self.frames = 0
        self.ended: EndOfSeries | None = None
        self._items: deque[Item] = deque()
        self._acknowledged: set[tuple[int, int]] = set()
        self._failed: set[tuple[int, int]] = set()
        self._done_and_failed: set[tuple[int, int]] = set()

    def __len__(self) -> int:
        return len(self._items)

    def give(self, item: Item) -> None:
        """Note that an item was given."""
        self._items.append(item)
        self.frames += isinstance(item, Frame)

    def take_back(self, count: int) -> None:
        """Forget the last `count` items given: they were not taken."""
        for _ in range(count):
            self.frames -= isinstance(self._items.pop(), Frame)

    def acknowledge(self, said: Acknowledgement) -> Answer:
        """Book what a member said."""
        out = [(item.series, item.unique_id) for item in self._items if isinstance(item, Frame)]
        named, unknown = self._named(said, out)
        failed, strange = _there(said.series, said.failed, out)
        named, unknown = named | failed, unknown + strange
        fresh = named - self._acknowledged
        self._failed |= failed & fresh
        self._acknowledged |= fresh
        return Answer(len(fresh), unknown, len(out) - len(self._acknowledged))

    def settle(self, posted: int, acknowledged_only: bool) -> int:
        """Count what is done of the first `posted` items given, and return how many that is in all.

        Without `acknowledged_only` a frame is done as soon as it was posted.
        """
        while self._items and self.done < posted:
            item = self._items[0]
            if isinstance(item, Frame):
                key = (item.series, item.unique_id)
                if acknowledged_only and key not in self._acknowledged:
                    break
                self._acknowledged.discard(key)
                if key in self._failed:
                    self._failed.discard(key)
                    self._done_and_failed.add(key)
                self.frames -= 1
            else:
                self.ended = item
            self._items.popleft()
            self.done += 1
        return self.done

    def take_failed(self) -> set[tuple[int, int]]:
        """Return series and id of the frames that are done and that the member failed on, since the last call."""
        failed, self._done_and_failed = self._done_and_failed, set()
        return failed

    def _named(self, said: Acknowledgement, out: list[tuple[int, int]]) -> tuple[set[tuple[int, int]], int]:
        if said.up_to is not None:
            last = (said.series, said.up_to)
            return (set(out[: out.index(last) + 1]), 0) if last in out else (set(), 1)
        return _there(said.series, said.ranges, out)


def _there(
    series: int, ranges: tuple[tuple[int, int], ...], out: list[tuple[int, int]]
) -> tuple[set[tuple[int, int]], int]:
    """Return which of the ids in ranges are out, and how many are not."""
    there = {key for key in out if key[0] == series and _within(key[1], ranges)} if ranges else set()
    return there, sum(last - first + 1 for first, last in ranges) - len(there)


def _within(value: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= value <= last for first, last in ranges)


def _integer(fields: Mapping[str, object], name: str, low: int, high: int) -> int:
    value = fields.get(name)
    if isinstance(value, str) and re.fullmatch(r"\d{1,19}", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        found = value if not isinstance(value, str) else value[:40]
        raise ProtocolError(mismatch(f"acknowledgement, {name}", f"an integer of {low} to {high}", found))
    return value


def _ranges(text: object, name: str) -> tuple[tuple[int, int], ...]:
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST_TEXT:
        found = text[:40] if isinstance(text, str) else text
        raise ProtocolError(mismatch(f"acknowledgement, {name}", f"a text of 1 to {LONGEST_TEXT} characters", found))
    ranges: list[tuple[int, int]] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= LARGEST_ID or (ranges and first <= ranges[-1][1]):
            raise ProtocolError(mismatch(f"acknowledgement, {name}", "ascending ids from 1, as in 1-5,9", text[:40]))
        ranges.append((first, last))
    if len(ranges) > MOST_RANGES:
        raise ProtocolError(mismatch(f"acknowledgement, {name}", f"at most {MOST_RANGES} ranges", len(ranges)))
    return tuple(ranges)
