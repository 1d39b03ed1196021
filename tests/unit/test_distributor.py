"""The distributor without sockets: who gets what in a burst, and who is not even looked at."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ioc.channels.base import Accepted, Counters
from ioc.channels.journal import REASONS, Journal
from ioc.channels.local_pool import PooledFrame, Segment
from ioc.channels.trail import Run
from ioc.core.config_table import Policy
from ioc.core.frame import EndOfSeries, Item
from ioc.core.ledger import Reason
from ioc.core.overflow import Limits
from ioc.distributor.distributor import Distributor
from ioc.distributor.group import Group, GroupShape
from ioc.distributor.seat import Seat
from tests.support.flows import left_runs

SIZE = 6


class Link:
    """A member that notes what it gets and finishes with it when told to."""

    leaving = False
    ready = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.missed = 0
        self.got: list[Item] = []
        self.finished = 0
        self.living = True

    def publish(self, items: Sequence[Item]) -> Accepted:
        self.got += items
        return Accepted(len(items))

    def done(self) -> int:
        return self.finished

    def alive(self) -> bool:
        return self.living

    def expect_acknowledgement(self, within: float | None) -> None: ...

    def ids(self) -> list[int]:
        return [item.unique_id for item in self.got if not isinstance(item, EndOfSeries)]

    def fileno(self) -> int:
        return 0

    def refresh(self) -> None: ...

    def ring_at(self, done: int) -> None: ...

    def counters(self) -> Counters:
        return Counters()

    def close(self, drain: bool) -> None:
        self.living = False


def shape(name: str, count: int, policy: Policy = Policy.LOSSLESS, **more: int) -> GroupShape:
    limits = Limits(policy, more.pop("queue", 64), more.pop("size_bytes", None))
    return GroupShape(name, count, more.pop("sets", None), more.pop("updates", 1), limits)


@pytest.fixture
def segment():
    """Yield shared memory with one slot of SIZE bytes."""
    segment = Segment((2, 3), np.dtype(np.uint8), 1)
    yield segment
    segment.close()


def burst(segment: Segment, first: int, last: int, series: int = 1) -> list[PooledFrame]:
    slot = segment.free[0]
    return [PooledFrame(series, number, 0, slot.array, {}, slot) for number in range(first, last + 1)]


def offer(distributor: Distributor, frames: list[PooledFrame]) -> int:
    """Offer what there is room for, as the flow does; return how many that were."""
    distributor.muster()
    room = distributor.room(len(frames), SIZE)
    if room:
        distributor.offer(frames[:room])
    distributor.pump()
    return room


def joined(distributor: Distributor, name: str, members: int) -> list[Link]:
    links = [Link(f"{name}{index}") for index in range(members)]
    for index, link in enumerate(links):
        distributor.join(name, index, link)
    return links


def test_a_burst_is_dealt_out_in_turns(segment: Segment) -> None:
    distributor = Distributor()
    distributor.add_group(1, shape("turns", 2, updates=3), [])
    distributor.add_group(2, shape("all", 2, sets=1), [])
    first, second, *both = [*joined(distributor, "turns", 2), *joined(distributor, "all", 2)]
    assert offer(distributor, burst(segment, 1, 5)) == 5
    assert offer(distributor, burst(segment, 6, 8)) == 3
    assert (first.ids(), second.ids()) == ([1, 2, 3, 7, 8], [4, 5, 6])
    assert all(link.ids() == list(range(1, 9)) for link in both)


def test_room_is_what_every_lossless_member_has_for_its_share(segment: Segment) -> None:
    distributor = Distributor()
    distributor.add_group(1, shape("g", 2, queue=4), [])
    first, second = joined(distributor, "g", 2)
    room = [offer(distributor, burst(segment, 1, 8)), offer(distributor, burst(segment, 9, 20))]
    assert room == [8, 4], "of 4 that wait 2 go at a time, so 2 more of each fit in"
    first.finished = 2
    distributor.pump()
    assert offer(distributor, burst(segment, 13, 20)) == 1, "then it would be the turn of one that is full"
    second.finished = 2
    distributor.pump()
    assert offer(distributor, burst(segment, 14, 20)) == 3


def test_a_queue_in_bytes_takes_as_many_as_fit_and_one_at_least(segment: Segment) -> None:
    for limit, room in ((3 * SIZE, 3), (3 * SIZE - 1, 2), (1, 1)):
        distributor = Distributor()
        distributor.add_group(1, shape("g", 1, size_bytes=limit), [])
        joined(distributor, "g", 1)
        assert offer(distributor, burst(segment, 1, 8)) == room


def test_a_member_that_may_drop_gets_frames_one_by_one_when_it_is_full_and_loses_the_oldest(
    segment: Segment, tmp_path: Path
) -> None:
    distributor = Distributor(Journal(tmp_path / "a.journal"))
    distributor.add_group(1, shape("g", 1, Policy.BOUNDED, queue=2), [])
    joined(distributor, "g", 1)
    offered = [offer(distributor, burst(segment, first, 9)) for first in (1, 3, 4, 5)]
    assert offered == [2, 1, 1, 1]
    (account,) = distributor.statuses(0)[0].members
    assert (account.assigned, account.queued, account.in_flight, account.dropped) == (5, 2, 1, {"queue_full": 2})
    distributor.commit()
    assert left_runs(tmp_path / "a.journal", account.name) == [Run(1, 2, 1, 2, REASONS.index(Reason.QUEUE_FULL))]


def test_frames_that_nobody_is_there_for_are_booked_by_id_when_somebody_looks(segment: Segment, tmp_path: Path) -> None:
    distributor = Distributor(Journal(tmp_path / "a.journal"))
    distributor.add_group(1, shape("empty", 1), [])
    distributor.add_group(2, shape("g", 1), [])
    joined(distributor, "g", 1)
    offer(distributor, burst(segment, 1, 4))
    offer(distributor, burst(segment, 5, 6))
    (link,) = joined(distributor, "empty", 1)
    offer(distributor, burst(segment, 7, 9))
    account = distributor.statuses(0)[0]
    assert (account.turns, account.nobody) == (9, 6)
    distributor.commit()
    assert left_runs(tmp_path / "a.journal", "nobody") == [Run(1, 1, 1, 6, REASONS.index(Reason.NO_MEMBER))]
    assert link.ids() == [7, 8, 9]


def test_a_member_that_died_is_noticed_before_the_next_burst(segment: Segment) -> None:
    distributor = Distributor()
    distributor.add_group(1, shape("g", 2), [])
    first, second = joined(distributor, "g", 2)
    offer(distributor, burst(segment, 1, 2))
    first.living = False
    offer(distributor, burst(segment, 3, 6))
    assert second.ids() == [2, 3, 4, 5, 6]


class Visits:
    """Counts how often the groups and seats of a distributor are asked for anything."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for kind, names in (
            (Group, ("muster", "room", "assign", "miss", "status")),
            (Seat, ("room", "assign", "pump")),
        ):
            for name in names:
                monkeypatch.setattr(kind, name, self._counting(getattr(kind, name)))

    def _counting(self, method):
        def call(*arguments):
            self.count += 1
            return method(*arguments)

        return call


@pytest.mark.parametrize("idle", [0, 7, 40])
def test_a_burst_visits_only_who_has_something_to_do(
    idle: int, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributor = Distributor()
    distributor.add_group(0, shape("busy", 1), [])
    for slot in range(1, idle + 1):
        distributor.add_group(slot, shape(f"idle{slot}", 0), [])
    (link,) = joined(distributor, "busy", 1)
    offer(distributor, burst(segment, 1, 4))
    visits = Visits(monkeypatch)
    for first in range(5, 405, 4):
        offer(distributor, burst(segment, first, first + 3, series=first // 100))
        link.finished = len(link.got)
    assert visits.count == 100 * 5, "room and assign of the one group and of its seat, and pump"
    visits.count = 0
    distributor.settle()
    assert visits.count == idle * 6, "a range a series, not a frame"
    assert sum(group.nobody for group in distributor.groups.values()) == 404 * idle
