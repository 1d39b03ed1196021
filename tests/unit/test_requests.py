"""Groups by request: who may join, whose turn it is when somebody is slow, and what becomes of those who leave."""

from collections.abc import Sequence

import numpy as np
import pytest

from ioc.channels.base import Accepted, Counters
from ioc.channels.local_pool import PooledFrame, Segment
from ioc.core.config import DISTRIBUTOR_SLOTS
from ioc.core.config_table import Policy
from ioc.core.errors import RefusedError
from ioc.core.frame import Frame, Item
from ioc.core.overflow import Limits
from ioc.distributor.distributor import QUEUE_ON_DEMAND, Distributor
from ioc.distributor.group import GroupShape
from ioc.distributor.requests import RequestBook, Wish


class Hand:
    """A link whose member finishes with what it is told to; implements base.Link."""

    leaving = False
    ready = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.missed = 0
        self.got: list[int] = []
        self.finished: int | None = None
        self.here = True

    def publish(self, items: Sequence[Item]) -> Accepted:
        self.got += [item.unique_id for item in items if isinstance(item, Frame)]
        return Accepted(len(items))

    def done(self) -> int:
        return len(self.got) if self.finished is None else self.finished

    def alive(self) -> bool:
        return self.here

    def fileno(self) -> int:
        return -1

    def expect_acknowledgement(self, within: float | None) -> None: ...

    def refresh(self) -> None: ...

    def ring_at(self, done: int) -> None: ...

    def counters(self) -> Counters:
        return Counters()

    def close(self, drain: bool) -> None: ...


class Dealer:
    """A distributor and frames to deal out; what it does is counted."""

    def __init__(self) -> None:
        self.distributor = Distributor()
        self._segment = Segment((2, 2), np.dtype(np.uint8), 1024)
        self.offered = 0

    def join(self, wish: Wish, name: str = "client") -> Hand:
        hand = Hand(name)
        self.distributor.join_by_request(wish, hand)
        return hand

    def offer(self, frames: int) -> int:
        """Offer frames one by one; return how many were taken."""
        for count in range(frames):
            self.distributor.muster()
            if not self.distributor.room(1, 4):
                return count
            self.offered += 1
            slot = self._segment.take()
            assert slot is not None
            self.distributor.offer([PooledFrame(1, self.offered, 0, slot.array, {}, slot)])
            slot.drop()
            self.distributor.pump()
        return frames

    def assert_closed(self, slot: int = 1) -> None:
        """Check that every turn is accounted for."""
        group = self.distributor.groups[slot]
        self.distributor.settle()
        books = [(s.assigned, s.completed, s.dropped.total(), s.queue.frames, s.frames_on_way) for s in group.seats]
        assert all(assigned == sum(rest) for assigned, *rest in books), books
        assert group.turns == sum(assigned for assigned, *_ in books) + group.nobody


def test_clients_without_a_set_take_turns() -> None:
    dealer = Dealer()
    one, other = (dealer.join(Wish("g", updates=2)) for _ in range(2))
    dealer.offer(8)
    assert (one.got, other.got) == ([1, 2, 5, 6], [3, 4, 7, 8])
    dealer.assert_closed()


def test_clients_of_a_set_share_its_turns_and_sets_come_in_order_of_their_first_client() -> None:
    dealer = Dealer()
    late, early = dealer.join(Wish("g", "z")), dealer.join(Wish("g", "a"))
    twin = dealer.join(Wish("g", "z"))
    dealer.offer(4)
    assert (late.got, twin.got, early.got) == ([1, 3], [1, 3], [2, 4])
    dealer.assert_closed()


def test_mode_all_without_a_set_shows_every_frame_to_each() -> None:
    dealer = Dealer()
    one, other = (dealer.join(Wish("g", mode="all")) for _ in range(2))
    dealer.offer(3)
    assert one.got == other.got == [1, 2, 3]


def test_a_slow_client_loses_nothing_to_the_group_while_another_has_room() -> None:
    dealer = Dealer()
    slow, fast = dealer.join(Wish("g")), dealer.join(Wish("g"))
    slow.finished = 0
    dealer.offer(1000)
    group = dealer.distributor.groups[1]
    assert sum(seat.dropped.total() for seat in group.seats) == 0
    assert len(fast.got) + group.seats[0].assigned == 1000
    assert QUEUE_ON_DEMAND <= group.seats[0].assigned < 2 * QUEUE_ON_DEMAND
    dealer.assert_closed()
    fast.finished = len(fast.got)
    dealer.offer(1000)
    assert sum(seat.dropped.total() for seat in group.seats) > 800  # nobody has room: the policy decides
    dealer.assert_closed()


def test_a_lossless_group_waits_only_if_nobody_has_room() -> None:
    dealer = Dealer()
    shape = GroupShape("g", 0, None, 1, Limits(Policy.LOSSLESS, 8))
    dealer.distributor.add_group(1, shape, [])
    slow, fast = dealer.join(Wish("g")), dealer.join(Wish("g"))
    slow.finished = 0
    assert dealer.offer(500) == 500
    fast.finished = len(fast.got)
    taken = dealer.offer(500)
    assert 0 < taken < 500
    fast.finished = None
    slow.finished = None
    dealer.distributor.pump()
    assert dealer.offer(500) == 500
    assert sum(seat.dropped.total() for seat in dealer.distributor.groups[1].seats) == 0
    dealer.assert_closed()


def test_what_waited_for_one_that_leaves_goes_to_the_others_once() -> None:
    dealer = Dealer()
    leaves, stays = dealer.join(Wish("g")), dealer.join(Wish("g"))
    leaves.finished = stays.finished = 0
    dealer.offer(100)
    given = len(leaves.got)
    leaves.here = False
    stays.finished = None
    for _ in range(10):
        dealer.distributor.pump()
    assert sorted(leaves.got + stays.got) == list(range(1, 101))
    group = dealer.distributor.groups[1]
    assert sum(seat.dropped.total() for seat in group.seats) == given  # on its way to the one that left: named
    dealer.assert_closed()


def test_a_group_on_demand_without_clients_misses_nothing_and_seats_are_used_again() -> None:
    dealer = Dealer()
    for _ in range(5):
        hand = dealer.join(Wish("g"))
        dealer.offer(3)
        hand.here = False
        dealer.distributor.pump()
        dealer.offer(3)
    group = dealer.distributor.groups[1]
    assert (len(group.seats), group.nobody, group.turns) == (1, 0, 15)
    dealer.assert_closed()


def test_groups_of_two_channels_are_their_own() -> None:
    first, second = Dealer(), Dealer()
    one, other = first.join(Wish("g")), second.join(Wish("g"))
    first.offer(4)
    second.offer(2)
    assert (one.got, other.got) == ([1, 2, 3, 4], [1, 2])


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish("g", trigger="value"), "one of uniqueId, timeStamp, dataTimeStamp, found 'value'"),
        (Wish("g", "a", mode="one"), "leave the set out"),
        (Wish("g", updates=3), "expected 2 as its first client, found 3"),
        (Wish("g", "a"), "no set, as its first client"),
        (Wish("known", updates=2), "expected 4, found 2"),
        (Wish("said"), "monitor a member channel and acknowledge there"),
    ],
)
def test_contradictions_are_told(wish: Wish, words: str) -> None:
    dealer = Dealer()
    dealer.distributor.add_group(1, GroupShape("known", 0, None, 4, Limits(Policy.BOUNDED, 8)), [])
    dealer.distributor.add_group(2, GroupShape("said", 0, None, 1, Limits(Policy.ACKNOWLEDGED, 8)), [])
    groups = dealer.distributor.statuses(0)
    book = RequestBook()
    first = Wish("g", updates=2)
    book.check(first, groups)
    book.enter(first)
    with pytest.raises(RefusedError, match=words):
        book.check(wish, groups)
    book.check(Wish("g"), groups)
    book.check(Wish("known", "a", 4, "uniqueId", "all"), groups)
    book.leave(first)
    book.check(Wish("g", "a", 3), groups)  # the first client settles it anew


def test_there_is_a_slot_for_every_group_or_a_word() -> None:
    dealer = Dealer()
    for slot in range(1, DISTRIBUTOR_SLOTS + 1):
        dealer.join(Wish(f"g{slot}"))
    with pytest.raises(RefusedError, match="no slot is free"):
        RequestBook().check(Wish("other"), dealer.distributor.statuses(0))
    with pytest.raises(RefusedError, match="no slot is free"):
        dealer.join(Wish("other"))
