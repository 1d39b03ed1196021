"""The accounts of load balancers: what went in and came out at none of the ingresses behind, by id once all is over.

While frames flow only their number is known, because what is missing at one worker may be on its way to another.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ioc.channels.book import Counts
from ioc.channels.trail import Run, TrailReader
from ioc.core.ledger import Reason, Stage
from ioc.core.status import Role
from ioc.supervisor.plan import balancer_of
from ioc.supervisor.series import Place, SeriesBook
from ioc.supervisor.tracks import kept, remaining, runs_of, without_last
from ioc.supervisor.worker import Worker


@dataclass(frozen=True, slots=True)
class BalancerAccount:
    """A lab's load balancer: the names of the egresses before it and of the ingresses behind it.

    It knows packets, not frames: what was sent and came to none of its ingresses is on its way, or lost once all is
    over.
    """

    name: str
    table: str
    feeders: tuple[str, ...] = ()
    ingresses: tuple[str, ...] = ()


def account_of(worker: Worker, workers: Iterable[Worker]) -> BalancerAccount:
    """Return who is before and behind a load balancer."""
    through = [one for one in workers if balancer_of(one.spec) == worker.spec.table]
    feeders = tuple(one.name for one in through if one.spec.role is Role.EGRESS)
    ingresses = tuple(one.name for one in through if one.spec.role is Role.INGRESS)
    return BalancerAccount(worker.name, worker.spec.table or "", feeders, ingresses)


def balancer_stage(balancer: BalancerAccount, given: int, behind: Sequence[Stage], over: bool) -> Stage:
    """Return the stage of a load balancer: what was sent and came to none of its ingresses."""
    stage = Stage(balancer.name, balancer.table)
    seen = sum(one.meant() for one in behind)
    if over and seen < given:
        stage.dropped[Reason.LOST.value] = given - seen
    elif not over:
        stage.in_flight = given - seen  # the books are of one moment, give or take what is on the wire
    return stage


@dataclass(slots=True)
class Passage:
    """What went into a load balancer and what came out of it, over all that the trails still hold."""

    sent: list[Run] = field(default_factory=list)
    failed: list[Run] = field(default_factory=list)
    arrived: list[Run] = field(default_factory=list)
    count: int = 0
    """Frames sent, less those that arrived."""

    def went_in(self, trails: Sequence[TrailReader], counts: Counts) -> None:
        """Take in what an egress sent."""
        came, left = trails[0], trails[1]
        self.sent += without_last(_all(came, counts), counts.in_hand)
        self.failed += left.read(left.start(counts.failed), counts.failed)[0]
        self.count += counts.processed

    def came_out(self, trails: Sequence[TrailReader], counts: Counts) -> None:
        """Take in what an ingress received."""
        self.arrived += _all(trails[0], counts)
        self.count -= counts.received - counts.returned

    def lost(self) -> dict[int, NDArray[np.int64]]:
        """Return by series the ids that went in and did not come out; empty if they are not those that were counted.

        They may not be where trails were overwritten, or a frame that an egress sent twice went to two workers.
        """
        found = remaining(self.sent, self.failed, self.arrived)
        return found if sum(map(len, found.values())) == self.count else {}


def book_lost(balancer: BalancerAccount, passage: Passage, book: SeriesBook) -> None:
    """Book as lost, by id, what went into a load balancer and came out at none of its ingresses."""
    place = Place(balancer.table, balancer.name)
    for series, ids in sorted(passage.lost().items()):
        for run in runs_of(series, ids.tolist()):
            book.give(place, [run])
            book.drop(place, run, Reason.LOST.value)


def _all(came: TrailReader, counts: Counts) -> list[Run]:
    return kept(came.read(came.start(counts.received), counts.received, counts.returned)[0])
