"""The account of an intake: what came from outside, and what was merged on the way there, by series and id."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ioc.channels.journal import ENDED, REASONS, JournalReader
from ioc.core.ledger import Stage
from ioc.core.status import Role
from ioc.supervisor.readers import Readers
from ioc.supervisor.series import Ended, Place, SeriesBook
from ioc.supervisor.tracks import Track
from ioc.supervisor.worker import Worker


class IntakeTrack:
    """One intake as the supervisor follows it, over all lives of its process."""

    def __init__(self, name: str) -> None:
        self._place = Place("", name)
        self._came = Track()
        self._left = Track()
        self._taken = 0
        self._dropped: Counter[str] = Counter()
        self._open: set[int] = set()

    def follow(self, journal: JournalReader | None, book: SeriesBook, alive: bool) -> None:
        """Book what came and what was missed since the last time; series of a life that is over have ended."""
        figures = journal.read() if journal is not None else []
        if journal is None or not figures:
            return
        came, left, _ = journal.trails(0)
        for run in self._came.follow(came, figures[0].came):
            self._taken += run.count
            book.give(self._place, [run])
            book.finish(self._place, [run])
            self._open |= {run.series} if run.series is not None else set()
        for run in self._left.follow(left, figures[0].left):
            if run.mark == ENDED:
                self._end(run.series, book, Ended.NORMAL)
                continue
            reason = REASONS[run.mark].value
            self._dropped[reason] += run.count
            book.give(self._place, [run])
            book.drop(self._place, run, reason)
        if not alive:
            for number in list(self._open):
                self._end(number, book, Ended.CRASHED)

    def stage(self) -> Stage:
        """Return its account."""
        return Stage(self._place.stage, None, self._taken, self._taken, dropped=Counter(self._dropped))

    def state(self) -> dict[str, Any]:
        """Return what `of` needs to go on from here."""
        return {
            "came": self._came.state(),
            "left": self._left.state(),
            "taken": self._taken,
            "dropped": dict(self._dropped),
            "open": sorted(self._open),
        }

    @classmethod
    def of(cls, name: str, state: dict[str, Any]) -> "IntakeTrack":
        """Return the track of an intake that goes on from a state."""
        track = cls(name)
        track._came, track._left = Track.of(state["came"]), Track.of(state["left"])
        track._taken, track._dropped, track._open = state["taken"], Counter(state["dropped"]), set(state["open"])
        return track

    def _end(self, number: int | None, book: SeriesBook, how: Ended) -> None:
        if number in self._open:
            self._open.discard(number)
            book.end(number, how)


class Intakes:
    """All intakes of an appliance, by the name of their process; used by the supervisor's thread."""

    def __init__(self) -> None:
        self._tracks: dict[str, IntakeTrack] = {}

    def follow(self, workers: Iterable[Worker], readers: Readers, book: SeriesBook) -> None:
        """Book what is new in their journals."""
        for worker in workers:
            if worker.spec.role is Role.INTAKE:
                track = self._tracks.setdefault(worker.name, IntakeTrack(worker.name))
                track.follow(readers.journal(worker.spec.journal_file), book, worker.alive)

    def stages(self) -> list[Stage]:
        """Return their accounts."""
        return [track.stage() for track in self._tracks.values()]

    def state(self) -> dict[str, Any]:
        """Return what `recall` needs."""
        return {name: track.state() for name, track in self._tracks.items()}

    def recall(self, state: Mapping[str, Any]) -> None:
        """Go on with what an earlier supervisor stored."""
        self._tracks = {name: IntakeTrack.of(name, track) for name, track in state.items()}
