"""Which packets are asked for, and when: what is missing of events, without sockets or threads.

Rules
- An event that got nothing new for `delay` is asked for where it has gaps; one of which nothing came, but later ones
  did, is asked for as a whole. A packet that is only late thus costs nothing.
- What does not come is asked for again each `retry`, until the event is given up: the reassembler does so with events
  it knows, `deadline` after their last new bytes; of others none is waited for longer than `deadline`.
- Only sources that have offered it are asked (`look` is told which).
- At most `MOST_WANTED` events are wanted at a time, the newest.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ioc.channels.ejfat_reassembly import Incomplete, Reassembler
from ioc.channels.ejfat_resend_wire import MOST_RANGES, WHOLE, Ask

MOST_WANTED = 4096
MOST_ASKS_A_LOOK = 256

Key = tuple[int, int]


@dataclass(slots=True)
class RecoveryFigures:
    """Asks made, events that became whole after they were asked for, and events that did not."""

    asked: int = 0
    recovered: int = 0
    given_up: int = 0


@dataclass(slots=True)
class _Wanted:
    since_ns: int
    next_ns: int
    asked: bool = False


class Recovery:
    """Follows what is missing in a reassembler; times in s, `now_ns` of a monotonic clock."""

    def __init__(self, reassembler: Reassembler, delay: float, deadline: float) -> None:
        self.figures = RecoveryFigures()
        self._reassembler = reassembler
        self._delay_ns = round(delay * 1e9)
        self._deadline_ns = round(deadline * 1e9)
        self._retry_ns = max(self._delay_ns, self._deadline_ns // 4)
        self._wanted: dict[Key, _Wanted] = {}
        self._noticed: dict[int, tuple[int, int]] = {}

    @property
    def busy(self) -> bool:
        """Whether anything is wanted."""
        return bool(self._wanted)

    def look(self, sources: Iterable[int], now_ns: int) -> list[tuple[int, Ask]]:
        """Return what is to be asked now, with the data ids to ask."""
        known = set(sources)
        self._notice(known, now_ns)
        asks: list[tuple[int, Ask]] = []
        for key in self._reassembler.stalled(now_ns - self._delay_ns):
            if len(asks) >= MOST_ASKS_A_LOOK:
                break
            if key[0] in known and self._is_due(key, now_ns):
                asks.append((key[0], Ask(key[1], tuple(self._reassembler.gaps(key, MOST_RANGES)))))
        for key in [key for key, wanted in self._wanted.items() if now_ns >= wanted.next_ns]:
            if len(asks) >= MOST_ASKS_A_LOOK:
                break
            self._look_at(key, now_ns, asks)
        self.figures.asked += len(asks)
        return asks

    def completed(self, data_id: int, number: int) -> None:
        """Take note of an event that became whole."""
        wanted = self._wanted.pop((data_id, number), None) if self._wanted else None
        if wanted is not None and wanted.asked:
            self.figures.recovered += 1

    def lost(self, events: Iterable[Incomplete]) -> None:
        """Take note of events that were given up."""
        for event in events:
            self._give_up((event.data_id, event.number))

    def gone(self, data_id: int, number: int) -> None:
        """Take note of an event that its sender does not have any more."""
        self._give_up((data_id, number))

    def waits(self, data_id: int, number: int, now_ns: int) -> bool:
        """Return whether an event of a source before this one may still come because it is asked for."""
        if data_id in self._noticed:
            self._notice({data_id}, now_ns)
        return any(key[0] == data_id and key[1] < number for key in self._wanted)

    def _notice(self, sources: set[int], now_ns: int) -> None:
        """Want events that were skipped since the last time."""
        for data_id in sources:
            life, after = self._noticed.get(data_id, (0, -1))
            room = MOST_WANTED - len(self._wanted)
            now_at, numbers = self._reassembler.skipped(data_id, (life, after), max(0, room))
            self._noticed[data_id] = now_at
            for number in numbers:
                self._wanted.setdefault((data_id, number), _Wanted(now_ns, now_ns + self._delay_ns))

    def _look_at(self, key: Key, now_ns: int, asks: list[tuple[int, Ask]]) -> None:
        """Ask for an event of which nothing came, or give it up; the others are looked at as they stall."""
        if self._reassembler.is_begun(key):
            return
        if now_ns - self._wanted[key].since_ns >= self._deadline_ns or not self._reassembler.is_missed(key):
            self._give_up(key)
        else:
            self._is_due(key, now_ns)
            asks.append((key[0], Ask(key[1], (WHOLE,))))

    def _is_due(self, key: Key, now_ns: int) -> bool:
        """Return whether an event is to be asked for now, and take note that it is."""
        wanted = self._wanted.get(key)
        if wanted is None:
            if len(self._wanted) >= MOST_WANTED:
                return False
            wanted = self._wanted[key] = _Wanted(now_ns, now_ns)
        if wanted.asked and now_ns < wanted.next_ns:
            return False
        wanted.asked, wanted.next_ns = True, now_ns + self._retry_ns
        return True

    def _give_up(self, key: Key) -> None:
        if self._wanted.pop(key, None) is not None:
            self.figures.given_up += 1
