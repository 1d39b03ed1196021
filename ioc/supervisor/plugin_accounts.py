"""The accounts of areaDetector's plug-ins: what each was given, did and dropped, by series and id.

Each plug-in is a stage of its own behind the process of the plug-ins, `Plug1.Stats1`, in a group named after that.
What a plug-in was given is what it says itself; a frame that goes through several of them is in the account of each.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ioc.channels.journal import FAILED, REASONS, Figures, JournalReader
from ioc.channels.trail import Run
from ioc.core.errors import PeerError
from ioc.core.ledger import Reason, Stage
from ioc.core.status import ProcessSpec, Role
from ioc.supervisor.series import Place, SeriesBook
from ioc.supervisor.tracks import Track, remaining
from ioc.supervisor.worker import Worker


class PluginTrack:
    """One plug-in as the supervisor follows it, over all lives of its process."""

    def __init__(self) -> None:
        self._tracks = (Track(), Track(), Track())
        self._lost = 0
        self.figures: Figures | None = None

    def follow(self, journal: JournalReader, number: int, figures: Figures, book: SeriesBook) -> None:
        """Book what is new."""
        self.figures = figures
        place = Place(figures.group, figures.name)
        came, left, done = journal.trails(number)
        book.give(place, self._tracks[0].follow(came, figures.came))
        book.finish(place, self._tracks[2].follow(done, figures.done))
        for run in self._tracks[1].follow(left, figures.left):
            if run.mark == FAILED:
                book.fail(place, run)
            else:
                book.drop(place, run, REASONS[run.mark].value)

    def close(self, journal: JournalReader, number: int, book: SeriesBook) -> None:
        """Book as lost what was given and never finished: the process is gone for good."""
        figures = self.figures
        if figures is None or self._lost:
            return
        for series, unique_id in unfinished(journal, number, figures):
            book.drop(Place(figures.group, figures.name), Run(series, unique_id, 1, 1), Reason.LOST.value)
            self._lost += 1

    def stage(self) -> Stage | None:
        """Return its account, None if it has none yet."""
        one = self.figures
        if one is None:
            return None
        stage = Stage(one.name, one.group, one.done, one.done - one.failed, one.failed, dropped=Counter(one.dropped))
        stage.dropped[Reason.LOST.value] += self._lost
        stage.in_flight = waiting(one) - self._lost
        return stage

    def state(self) -> list[list[int]]:
        """Return what `of` needs to go on from here."""
        return [*(track.state() for track in self._tracks), [self._lost]]

    @classmethod
    def of(cls, state: Iterable[Iterable[int]]) -> "PluginTrack":
        """Return the track of a plug-in that goes on from a state."""
        track = cls()
        came, left, done, (track._lost,) = state
        track._tracks = (Track.of(came), Track.of(left), Track.of(done))
        return track


class PluginAccounts:
    """All plug-ins of an appliance, by name; used by the supervisor's thread."""

    def __init__(self) -> None:
        self._tracks: dict[str, PluginTrack] = {}
        self._journals: dict[str, JournalReader] = {}

    def follow(self, workers: Iterable[Worker], book: SeriesBook) -> None:
        """Book what is new in their journal."""
        for worker in workers:
            journal = self._journal(worker.spec) if worker.spec.role is Role.PLUGINS else None
            for number, figures in enumerate(journal.read() if journal is not None else ()):
                assert journal is not None
                self._tracks.setdefault(figures.name, PluginTrack()).follow(journal, number, figures, book)

    def finish(self, book: SeriesBook) -> None:
        """Close the accounts of a process that nobody will start again."""
        for journal in self._journals.values():
            for number, figures in enumerate(journal.read()):
                if figures.name in self._tracks:
                    self._tracks[figures.name].close(journal, number, book)

    def stages(self) -> list[Stage]:
        """Return their accounts."""
        found = (track.stage() for track in self._tracks.values())
        return [stage for stage in found if stage is not None]

    def state(self) -> dict[str, Any]:
        """Return what `recall` needs."""
        return {name: track.state() for name, track in self._tracks.items()}

    def recall(self, state: Mapping[str, Any]) -> None:
        """Go on with what an earlier supervisor stored."""
        self._tracks = {name: PluginTrack.of(track) for name, track in state.items()}

    def close(self) -> None:
        """Let go of the journal."""
        for journal in self._journals.values():
            journal.close()

    def _journal(self, spec: ProcessSpec) -> JournalReader | None:
        try:
            if spec.name not in self._journals:
                reader = JournalReader(spec.plugins_file)
                reader.read()
                self._journals[spec.name] = reader
            return self._journals[spec.name]
        except PeerError:  # not made yet: no plug-in was given anything
            return None


def waiting(figures: Figures) -> int:
    """Return how many frames a plug-in was given that it has neither finished nor dropped."""
    return figures.came - figures.done - sum(figures.dropped.values())


def unfinished(journal: JournalReader, number: int, figures: Figures) -> list[tuple[int, int]]:
    """Return series and id of the frames that a plug-in was given and has neither finished nor dropped.

    Those are the newest that it was given: what its queue and its hands hold.
    """
    totals = (figures.came, figures.left, figures.done)
    came, left, done = (
        reader.read(reader.start(total), total)[0] for reader, total in zip(journal.trails(number), totals, strict=True)
    )
    gone = [run for run in left if run.mark != FAILED]  # what failed is done, too
    found = [(series, int(one)) for series, ids in remaining(came, gone, done).items() for one in ids]
    many = waiting(figures)
    return found[-many:] if many > 0 else []
