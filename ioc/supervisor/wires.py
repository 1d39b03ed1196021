"""The account of an ingress: what its egresses sent, what arrived, and what was sent while it was away.

Rules: an id is missed when the ingress notes it: a later one came, or the end marker, and it was sent, before or after
that: the ingress cannot know of what was dropped or withheld in front of the egress. Only what was sent while the
ingress was away, and in the moments before and after, is found by comparing what was sent with what arrived, by id;
that window is closed once the next life has run for `settling` seconds. Any other shortfall stays unexplained.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ioc.channels.book import Counts
from ioc.channels.journal import FOUND
from ioc.channels.trail import Run, TrailReader
from ioc.core.ledger import Reason
from ioc.core.sequence import Ranges
from ioc.supervisor.ledger_store import continues
from ioc.supervisor.series import Place, SeriesBook
from ioc.supervisor.tracks import MemberTrack, kept, remaining, runs_of

LOST = Reason.LOST.value
RANGES_STORED = 64
SERIES_BOOKED = 16
"""Series of which is remembered what was booked here, should the ingress come to miss it, too."""


@dataclass(slots=True)
class SentIds:
    """Which ids of one series were sent, and which the ingress misses that were not."""

    sent: Ranges = field(default_factory=Ranges)
    unsent: Ranges = field(default_factory=Ranges)

    def send(self, run: Run) -> list[Run]:
        """Take note of what is sent; return what of it the ingress had missed before."""
        ids = ranges_of(run)
        for first, last in ids:
            self.sent.add(first, last)
        missed = ids.common(self.unsent) if self.unsent else Ranges()
        self._forget(missed)
        return pieces_of(run, missed)

    def miss(self, run: Run) -> list[Run]:
        """Take note of what the ingress misses; return what of it was sent."""
        if run.series is None:  # which they are is not known
            return [run]
        ids = ranges_of(run)
        for first, last in ids.without(self.sent):
            self.unsent.add(first, last)
        return pieces_of(run, ids.common(self.sent))

    def find(self, run: Run) -> list[Run]:
        """Take note of what the ingress does not miss any more; return what of it was sent."""
        if run.series is None:
            return [run]
        ids = ranges_of(run)
        never = ids.common(self.unsent)
        self._forget(never)
        return pieces_of(run, ids.without(never))

    def state(self) -> list[list[list[int]]]:
        """Return what `of` needs: the newest ids; what is older counts as sent."""
        newest = [list(one) for one in self.sent][-RANGES_STORED:]
        if newest:
            newest[0][0] = 1
        return [newest, [list(one) for one in self.unsent][-RANGES_STORED:]]

    @classmethod
    def of(cls, sent: Iterable[tuple[int, int]], unsent: Iterable[tuple[int, int]]) -> "SentIds":
        """Return what goes on from a state."""
        return cls(Ranges(sent), Ranges(unsent))

    def _forget(self, ids: Ranges) -> None:
        for first, last in ids:
            for unique_id in range(first, last + 1):
                self.unsent.discard(unique_id)


@dataclass(slots=True)
class Wire:
    """One ingress as the supervisor follows it. `missed`: frames that it noted itself, `away`: found here.

    `total` counts what was sent; not `fed`: by others, so that what arrives or is missed is what it was given. `told`:
    why frames did not arrive, as lives before the present one say.
    """

    place: Place
    settling_ns: int
    track: MemberTrack = field(default_factory=MemberTrack)
    missed: int = 0
    away: int = 0
    total: int = 0
    fed: bool = True
    told: Counter[str] = field(default_factory=Counter)
    told_last: Counter[str] = field(default_factory=Counter)
    pid: int | None = None
    _recent: deque[tuple[int, list[Run]]] = field(default_factory=deque)
    _exposed: list[Run] | None = None
    _closes_ns: int | None = None
    _booked: dict[int, set[int]] = field(default_factory=dict)
    _ids: dict[int, "SentIds"] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether there may be frames that were sent while the ingress was away and are not booked yet."""
        return self._exposed is not None

    @property
    def overdue(self) -> int:
        """Frames that were sent so long ago that they have arrived, or never will."""
        return self.total - sum(run.count for _, runs in self._recent for run in runs)

    def told_by(self, pid: int, dropped: Mapping[str, int]) -> None:
        """Take note of what a life of the ingress says about why frames did not arrive."""
        if pid != self.pid:
            self.told += self.told_last
            self.pid = pid
        self.told_last = Counter(dropped)

    def sent(self, runs: list[Run], now_ns: int, book: SeriesBook) -> None:
        """Take note of what its egresses sent."""
        self._recent.append((now_ns, runs))
        self.total += sum(run.count for run in runs)
        for run in runs:
            for piece in self._ids_of(run.series).send(run):
                self._miss(piece, book)
        while self._recent[0][0] < now_ns - self.settling_ns:
            self._recent.popleft()
        if self._exposed is not None and self._closes_ns is None:
            _join(self._exposed, runs)  # what is sent once the next life runs arrives, or is missed by it

    def follow(self, trails: list[TrailReader], counts: Counts, book: SeriesBook) -> None:
        """Book what arrived and what the ingress missed since the last time."""
        came, left, _ = trails
        done = [one.run for one in self.track.follow(came, counts)]
        if not self.fed:
            book.give(self.place, done)
        book.finish(self.place, done)
        for run in done if self._booked else ():
            self._came_after_all(run, book)
        for run in self.track.left.follow(left, counts.missed):
            ids = self._ids_of(run.series)
            if run.mark == FOUND:
                for piece in ids.find(run) if self.fed else [run]:
                    self._find(piece, book)
            else:
                for piece in ids.miss(run) if self.fed else [run]:
                    self._miss(piece, book)

    def watch(self, alive: bool, running: bool, now_ns: int) -> bool:
        """Open the window when the ingress is gone; return whether it is time to close it."""
        if not alive:
            self._closes_ns = None
            if self._exposed is None:
                self._exposed = []
                for _, runs in self._recent:
                    _join(self._exposed, runs)
        elif self._exposed is not None and running and self._closes_ns is None:
            self._closes_ns = now_ns + self.settling_ns
        return self._closes_ns is not None and now_ns >= self._closes_ns

    def close(self, trails: list[TrailReader], counts: Counts, book: SeriesBook) -> None:
        """Book as lost, by id, what was sent in the window and neither arrived nor was missed."""
        exposed, self._exposed, self._closes_ns = self._exposed or [], None, None
        came, missed, _ = trails
        arrived = kept(came.read(came.start(counts.received), counts.received, counts.returned)[0])
        noted = [run for run in missed.read(missed.start(counts.missed), counts.missed)[0] if run.mark != FOUND]
        for series, left in remaining(exposed, arrived, noted).items():
            ids = left.tolist()
            for run in runs_of(series, ids):
                book.drop(self.place, run, LOST)
            if ids:
                self._booked[series] = self._booked.get(series, set()) | set(ids)
                self.away += len(ids)
        for series in list(self._booked)[:-SERIES_BOOKED]:
            del self._booked[series]

    def state(self) -> dict[str, Any]:
        """Return what `resume` needs to go on from here."""
        return {
            "track": self.track.state(),
            "missed": self.missed,
            "away": self.away,
            "total": self.total,
            "told": [dict(self.told), dict(self.told_last)],
            "pid": self.pid,
            "exposed": None if self._exposed is None else [_words(run) for run in self._exposed],
            "ids": [[series, *ids.state()] for series, ids in self._ids.items()],
            "booked": [_words(run) for series, ids in self._booked.items() for run in runs_of(series, sorted(ids))],
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.track = MemberTrack.of(state["track"])
        self.missed, self.away, self.total, self.pid = (state[key] for key in ("missed", "away", "total", "pid"))
        self.told, self.told_last = (Counter(told) for told in state["told"])
        self._exposed = None if state["exposed"] is None else [Run(*words) for words in state["exposed"]]
        self._ids = {series: SentIds.of(sent, unsent) for series, sent, unsent in state["ids"]}
        for series, first, step, count in state["booked"]:
            self._booked.setdefault(series, set()).update(range(first, first + step * count, step))

    def _miss(self, run: Run, book: SeriesBook) -> None:
        if not self.fed:
            book.give(self.place, [run])
        for piece in self._not_booked(run):
            self.missed += piece.count
            book.drop(self.place, piece, LOST)

    def _find(self, run: Run, book: SeriesBook) -> None:
        self.missed -= run.count
        if not self.fed:
            book.give(self.place, [run], -1)
        book.row(run.series, self.place).dropped[LOST] -= run.count
        book.missed.append((self.place, run, "found"))

    def _ids_of(self, series: int | None) -> "SentIds":
        ids = self._ids.setdefault(series or 0, SentIds())
        while len(self._ids) > SERIES_BOOKED:
            del self._ids[next(iter(self._ids))]
        return ids

    def _came_after_all(self, run: Run, book: SeriesBook) -> None:
        """Take back what was booked here and arrived later than anybody expected."""
        booked = self._booked.get(run.series or 0)
        late = sorted(booked.intersection(range(run.first, run.last + 1, run.step))) if booked else []
        if booked and late:
            booked.difference_update(late)
            self.away -= len(late)
            book.row(run.series, self.place).dropped[LOST] -= len(late)
            book.missed += [(self.place, piece, "found") for piece in runs_of(run.series or 0, late)]

    def _not_booked(self, run: Run) -> list[Run]:
        booked = self._booked.get(run.series or 0)
        if not booked:
            return [run]
        ids = range(run.first, run.last + 1, run.step)
        return runs_of(run.series or 0, [unique_id for unique_id in ids if unique_id not in booked], run.mark)


def ranges_of(run: Run) -> Ranges:
    """Return the ids of a run; none of one whose ids are not known."""
    if run.series is None or not run.count:
        return Ranges()
    if run.step == 1:
        return Ranges([(run.first, run.last)])
    ids = (run.first + run.step * at for at in range(run.count))
    return Ranges((unique_id, unique_id) for unique_id in ids)


def pieces_of(run: Run, ids: Ranges) -> list[Run]:
    """Return those of a run's ids that are in `ids`, as runs."""
    return [Run(run.series, first, 1, last - first + 1, run.mark) for first, last in ids]


def split(total: int, reasons: Counter[str]) -> dict[str, int]:
    """Return frames that did not arrive by what the ingress knows of why; what it does not know of is lost."""
    parts: dict[str, int] = {}
    for reason in (Reason.INCOMPLETE.value, Reason.CORRUPT.value, Reason.QUEUE_FULL.value):
        count = min(reasons[reason], total)
        if count:
            parts[reason] = count
            total -= count
    return parts | ({LOST: total} if total else {})


def _words(run: Run) -> list[int | None]:
    return [run.series, run.first, run.step, run.count]


def _join(runs: list[Run], more: Iterable[Run]) -> None:
    """Append runs, and lengthen the last one where it goes on."""
    for run in more:
        last = runs[-1] if runs else None
        if last is not None and continues(last, run):
            step = last.step if last.count > 1 else run.first - last.first  # that of one id says nothing
            runs[-1] = Run(last.series, last.first, step, last.count + run.count)
        else:
            runs.append(run)
