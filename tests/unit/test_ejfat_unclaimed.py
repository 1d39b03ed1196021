"""Events that no worker behind a load balancer has told of: when one is given them, and when nobody is."""

import pytest

from ioc.channels import ejfat_resend_wire as wire
from ioc.channels.ejfat_resend_wire import Had, Records
from ioc.channels.ejfat_unclaimed import LOOK_SECONDS, MOST_AT_ONCE, MOST_OPEN, MOST_TIMES, Unclaimed
from ioc.core.clock import VirtualClock
from ioc.core.errors import ProtocolError

WAIT = 0.25


class Rig:
    """Events of a sender with two workers, until that is changed."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.workers: int | None = 2
        self.asked = 0
        self.unclaimed = Unclaimed(WAIT, self._count, self.clock)

    def _count(self) -> int | None:
        self.asked += 1
        return self.workers

    def send(self, *numbers: int) -> None:
        for number in numbers:
            self.unclaimed.sent(number)


def test_what_no_worker_tells_of_is_given_to_one_after_a_while() -> None:
    rig = Rig()
    rig.send(*range(1, 7))
    rig.unclaimed.had([(1, 2), (4, 4)])
    rig.unclaimed.had([(6, 1 << 63)])
    assert rig.unclaimed.due(2) == [] and rig.asked == 0  # nobody is asked before something is due
    rig.clock.advance(WAIT)
    assert rig.unclaimed.due(2) == [3, 5]
    assert rig.unclaimed.due(2) == []
    rig.unclaimed.had([(3, 3)])
    rig.clock.advance(WAIT)
    assert rig.unclaimed.due(2) == [5]
    assert not rig.unclaimed.settled


def test_nobody_is_given_anything_unless_all_workers_tell() -> None:
    rig = Rig()
    rig.send(1)
    assert not rig.unclaimed.hopeless(0)  # that is not known yet
    for workers, telling in ((2, 1), (None, 2), (0, 0)):
        rig.workers = workers
        rig.clock.advance(max(WAIT, LOOK_SECONDS))
        assert rig.unclaimed.due(telling) == [] and rig.unclaimed.hopeless(telling)
    rig.workers = 2
    assert rig.unclaimed.due(3) == []  # what was said of the workers is believed for a while
    rig.clock.advance(LOOK_SECONDS)
    assert rig.unclaimed.due(3) == [1] and not rig.unclaimed.hopeless(3)


def test_an_event_that_a_worker_has_a_part_of_is_left_to_it() -> None:
    rig = Rig()
    rig.send(1, 2)
    rig.clock.advance(WAIT / 2)
    rig.unclaimed.asked(1)
    rig.unclaimed.asked(99)
    rig.clock.advance(WAIT / 2)
    assert rig.unclaimed.due(2) == [2]


def test_what_nobody_takes_is_left_alone_and_counted() -> None:
    rig = Rig()
    rig.send(1, 2)
    rig.unclaimed.forget(2)
    rig.unclaimed.forget(2)
    for _ in range(MOST_TIMES):
        rig.clock.advance(WAIT)
        assert rig.unclaimed.due(2) == [1]
    rig.clock.advance(WAIT)
    assert rig.unclaimed.due(2) == []
    assert (rig.unclaimed.settled, rig.unclaimed.left) == (True, 2)


def test_what_is_followed_and_given_at_a_time_is_bounded() -> None:
    rig = Rig()
    rig.send(*range(MOST_OPEN + 10))
    rig.clock.advance(WAIT)
    assert rig.unclaimed.due(2) == list(range(10, 10 + MOST_AT_ONCE))


@pytest.mark.parametrize("count", [0, 1, wire.MOST_RANGES, 2 * wire.MOST_RANGES + 1])
def test_numbers_of_whole_events_travel(count: int) -> None:
    ranges = [(10 * number, 10 * number + (1 << 33)) for number in range(count)]
    found = list(Records(asks=True).feed(wire.had(ranges)))
    assert all(isinstance(record, Had) for record in found)
    assert [one for record in found for one in record.ranges] == ranges  # type: ignore[union-attr]


@pytest.mark.parametrize("body", [bytes(15), bytes(16 * (wire.MOST_RANGES + 1)), bytes(7) + b"\x01" + bytes(8)])
def test_broken_numbers_are_refused(body: bytes) -> None:
    data = b"\x05" + len(body).to_bytes(4, "big") + body
    with pytest.raises(ProtocolError, match="ranges of numbers"):
        list(Records(asks=True).feed(data))
    with pytest.raises(ProtocolError, match="a record of kind"):
        list(Records(asks=False).feed(data))
