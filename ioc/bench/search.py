"""Finds the knee: the highest rate at which a run still loses nothing.

Something else on the machine may make any run lose, so no rate is given up for one run that did: it gets another one.
Nothing can make a run lose less than it would, so one good run of full length is enough. A side through which nothing
comes at all, in several runs in a row, has no knee: the search ends with an error instead of trying every rate.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from ioc.core.errors import PeerError

log = logging.getLogger(__name__)

HEADROOM = 1.1
"""The search begins this much above what came through when nothing held the sender back."""
LEAST_PART = 0.2
"""A knee is looked for down to this part of it."""
AROUND = (0.7, 1.3)
"""Where the knee of the next repeat is looked for, by the one before."""
STEP_DOWN = 0.96
RAISE = 1.5
MOST_RAISES = 6
"""Steps up from what came through when it was too much."""
REACHED_PART = 0.75
"""Of what was asked for: who reaches less was not running at that rate."""
MOST_CONFIRMATIONS = 12
PROBES = 6
SHORTEST = 1.0
"""s of a run that is worth a search."""
TRIES = 2
"""Runs that must have lost before a rate is given up."""
SILENT_RUNS = 3
"""Runs in a row in which nothing came through before the search is given up."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run at a set rate: what was asked for and what came through (both in the searcher's unit), and what was lost.

    `asked` None: as fast as it goes. `cpu_seconds` are those of all processes, for each frame, `server_cpu_seconds`
    those of the ones that send; None if not measured.
    """

    asked: float | None
    reached: float
    lost: int
    cpu_seconds: float | None = None
    server_cpu_seconds: float | None = None

    @property
    def good(self) -> bool:
        """Whether something came through and nothing was lost."""
        return self.lost == 0 and self.reached > 0

    @property
    def holds(self) -> bool:
        """Whether that is so at the rate that was asked for: one that nobody reaches tells nothing of those below."""
        return self.good and (self.asked is None or self.reached >= REACHED_PART * self.asked)


Run = Callable[[float | None, float], Trial]
"""Makes one run: at a rate (None: as fast as it goes), for so many seconds."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a search may take: s of a confirming run and of a probing one, and how many probes."""

    seconds: float
    probe_seconds: float
    probes: int = PROBES

    @classmethod
    def of(cls, seconds: float, part: float) -> "Effort":
        """Return the effort of runs of so many seconds, whose probes take a part of that, but a second at least.

        Where the runs are shorter than a second they tell little, and one probe must do.
        """
        probes = PROBES if seconds >= SHORTEST else 1
        return cls(seconds, min(seconds, max(SHORTEST, part * seconds)), probes)


def knee(run: Run, effort: Effort, earlier: Trial | None = None) -> Trial | None:
    """Return the first run of full length that lost nothing at the highest rate found; None if there is none.

    Begins without a limit, unless `earlier`, the knee of an earlier repeat, had one. If that loses, it goes up from
    what came through until something is lost, and bisects with short probes; or it bisects around `earlier`. The rate
    found is confirmed by a run of full length, and lowered until one is good.

    Raises:
        PeerError: nothing came through in `SILENT_RUNS` runs in a row.
    """
    run = _heard(run)
    if earlier is not None and earlier.asked is not None:
        low, high = (part * earlier.reached for part in AROUND)
    else:
        free = [run(None, effort.probe_seconds)]
        while not free[0].reached:
            free[0] = run(None, effort.probe_seconds)
        if free[0].good:
            if effort.probe_seconds >= effort.seconds:
                return free[0]
            free.append(run(None, effort.seconds))
            if free[1].good:
                return free[1]
        most = max(one.reached for one in free)
        low, high = _raised(run, effort, LEAST_PART * most, HEADROOM * most)
    return _confirm(run, _bisect(run, effort, low, high), effort.seconds)


def _raised(run: Run, effort: Effort, low: float, high: float) -> tuple[float, float]:
    """Return a lower and an upper bound: who is overrun takes less than it could, so `high` may hold, too."""
    for _ in range(min(MOST_RAISES, effort.probes)):
        if not _tried(run, high, effort.probe_seconds).holds:
            break
        low, high = high, RAISE * high
    return low, high


def _heard(run: Run) -> Run:
    """Return a run that fails when nothing has come through in several in a row."""
    silent = 0

    def heard(rate: float | None, seconds: float) -> Trial:
        nonlocal silent
        trial = run(rate, seconds)
        silent = 0 if trial.reached else silent + 1
        if silent == SILENT_RUNS:
            asked = "as fast as it goes" if rate is None else f"{rate:.0f} Hz"
            raise PeerError(
                f"search for the knee: expected frames to come through, found none in {SILENT_RUNS} runs in a row, "
                f"the last {asked} for {seconds:g} s; no rate is looked for"
            )
        return trial

    return heard


def _bisect(run: Run, effort: Effort, low: float, high: float) -> float:
    """Return the highest rate found to hold; `low` is believed to be, and is confirmed or lowered later."""
    for _ in range(effort.probes):
        middle = (low + high) / 2
        if _tried(run, middle, effort.probe_seconds).holds:
            low = middle
        else:
            high = middle
    return low


def _confirm(run: Run, rate: float, seconds: float) -> Trial | None:
    for _ in range(MOST_CONFIRMATIONS):
        trial = _tried(run, rate, seconds)
        if trial.good:
            return trial
        log.info("%g did not hold for %g s: %d lost", rate, seconds, trial.lost)
        rate *= STEP_DOWN
    return None


def _tried(run: Run, rate: float, seconds: float) -> Trial:
    """Return a run that lost nothing, or the last of a few that did."""
    trial = run(rate, seconds)
    for _ in range(TRIES - 1):
        if trial.good:
            break
        trial = run(rate, seconds)
    return trial
