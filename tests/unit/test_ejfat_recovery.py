"""What is asked for and when, what is kept and how often it is given out, and the bytes between; a virtual clock."""

import numpy as np
import pytest

from ioc.channels import ejfat_resend_wire as wire
from ioc.channels.ejfat_coverage import Coverage
from ioc.channels.ejfat_reassembly import Limits, Reassembler
from ioc.channels.ejfat_recovery import MOST_WANTED, Recovery
from ioc.channels.ejfat_resend_store import MOST_TIMES, KeepLimits, SentEvents
from ioc.channels.ejfat_resend_wire import Ask, Ended, Gone, Offer, Records, Resent
from ioc.channels.ejfat_wire import RE_BYTES, ReHeader, parse_re
from ioc.core.clock import VirtualClock
from ioc.core.errors import ProtocolError

MS = 1_000_000


class Rig:
    """A reassembler with a recovery: delay 20 ms, deadline 400 ms."""

    def __init__(self) -> None:
        self.reassembler = Reassembler(Limits(1 << 16, 1 << 20), 0.4)
        self.recovery = Recovery(self.reassembler, 0.02, 0.4)

    def feed(self, event: int, offset: int, size: int, now_ms: int, length: int = 100) -> None:
        data = ReHeader(1, offset, length, event).to_bytes() + bytes(size)
        for whole in self.reassembler.feed(np.frombuffer(data, np.uint8), len(data), now_ms * MS):
            self.recovery.completed(whole.data_id, whole.number)

    def look(self, now_ms: int) -> list[Ask]:
        self.recovery.lost(self.reassembler.expire(now_ms * MS))
        return [ask for _, ask in self.recovery.look([1], now_ms * MS)]


def test_gaps_are_asked_for_after_the_delay_and_again_after_a_while() -> None:
    rig = Rig()
    rig.feed(1, 10, 20, 0)
    rig.feed(1, 60, 40, 0)
    assert rig.look(10) == []
    assert rig.look(20) == [Ask(1, ((0, 10), (30, 60)))]
    assert rig.look(60) == []
    assert rig.look(120) == [Ask(1, ((0, 10), (30, 60)))]
    rig.feed(1, 0, 10, 130)
    rig.feed(1, 30, 30, 130)
    assert (rig.recovery.figures.recovered, rig.recovery.figures.given_up, rig.recovery.busy) == (1, 0, False)


def test_skipped_events_are_asked_for_as_a_whole_and_given_up_at_the_deadline() -> None:
    rig = Rig()
    rig.feed(1, 0, 100, 0)
    rig.feed(4, 0, 100, 0)
    assert rig.look(0) == []
    assert rig.recovery.waits(1, 4, 0) and not rig.recovery.waits(1, 2, 0)
    assert sorted(rig.look(20)) == [Ask(2, (wire.WHOLE,)), Ask(3, (wire.WHOLE,))]
    rig.feed(3, 0, 100, 30)
    assert rig.look(150) == [Ask(2, (wire.WHOLE,))]
    assert rig.look(400) == [] and not rig.recovery.busy
    figures = rig.recovery.figures
    assert (figures.asked, figures.recovered, figures.given_up) == (3, 1, 1)


def test_what_comes_by_itself_is_not_asked_for() -> None:
    rig = Rig()
    rig.feed(1, 0, 100, 0)
    rig.feed(3, 0, 100, 0)
    rig.look(0)
    rig.feed(2, 0, 100, 5)
    assert rig.look(50) == [] and rig.recovery.figures.recovered == 0


def test_an_event_that_is_gone_or_given_up_is_not_waited_for() -> None:
    rig = Rig()
    rig.feed(1, 0, 100, 0)
    rig.feed(2, 0, 50, 0)
    rig.feed(4, 0, 100, 0)
    assert len(rig.look(20)) == 1
    assert len(rig.look(40)) == 1
    rig.recovery.gone(1, 3)
    assert rig.look(450) == [] and not rig.recovery.waits(1, 4, 450 * MS)
    assert rig.recovery.figures.given_up == 2


def test_the_last_event_is_missed_when_its_sender_says_that_it_was_the_last() -> None:
    rig = Rig()
    rig.feed(1, 0, 100, 0)
    rig.reassembler.ends_at(1, 3)
    rig.reassembler.ends_at(1, 1 << 40)
    rig.reassembler.ends_at(9, 3)
    assert sorted(rig.look(20) + rig.look(41)) == [Ask(2, (wire.WHOLE,)), Ask(3, (wire.WHOLE,))]
    assert rig.reassembler.lost_ranges() == {1: [(2, 3)]}


def test_sources_that_did_not_offer_it_are_not_asked_and_made_up_gaps_stay_within_bounds() -> None:
    rig = Rig()
    rig.feed(1, 0, 100, 0)
    rig.feed(1 << 31, 0, 100, 0)
    assert rig.recovery.look([2], 100 * MS) == [] and not rig.recovery.busy
    assert rig.look(100) == []
    asked = rig.look(130)
    assert 0 < len(asked) <= 256 and asked[0].event == (1 << 31) - 1
    assert len(rig.recovery._wanted) == MOST_WANTED


def test_gaps_of_a_coverage() -> None:
    coverage = Coverage()
    assert coverage.gaps(10, 5) == [(0, 10)]
    coverage.add(2, 4)
    coverage.add(6, 10)
    assert coverage.gaps(10, 5) == [(0, 2), (4, 6)]
    assert coverage.gaps(12, 5) == [(0, 2), (4, 6), (10, 12)]
    assert coverage.gaps(12, 1) == [(0, 2)]


class Purse:
    """A budget of so many bytes."""

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, size: int) -> bool:
        if size > self.left:
            return False
        self.left -= size
        return True

    def give(self, size: int) -> None:
        self.left += size


def test_the_newest_events_are_kept_within_bytes_seconds_and_budget() -> None:
    clock, purse = VirtualClock(), Purse(350)
    events = SentEvents(1, KeepLimits(300, 2.0), clock, purse)
    for number in range(1, 5):
        events.keep(number, [b"a" * 40, bytes([number]) * 60])
    assert [bool(list(events.answer(Ask(number, (wire.WHOLE,))))) for number in range(1, 5)] == [
        False,
        True,
        True,
        True,
    ]
    assert (events.bytes, purse.left) == (300, 50)
    clock.advance(3.0)
    events.keep(5, [b"x" * 10])
    assert events.bytes == 10 and purse.left == 340
    events.keep(6, [b"x" * 301])
    purse.left = 5
    events.keep(7, [b"x" * 50])
    assert events.unkept == 2
    events.clear()
    assert events.bytes == 0


def test_ranges_are_cut_and_no_event_is_given_out_without_end() -> None:
    events = SentEvents(7, KeepLimits(1 << 20, 60.0), VirtualClock())
    content = np.random.default_rng(1).bytes(100_000)
    events.keep(3, [content])
    found = list(events.answer(Ask(3, ((10, 20), (60_000, 0xFFFF_FFFF)))))
    heads = [parse_re(one) for one in found]
    assert [(head.data_id, head.event, head.length) for head in heads] == [(7, 3, 100_000)] * 3
    assert [content[head.offset :][: len(one) - RE_BYTES] for head, one in zip(heads, found, strict=True)] == [
        one[RE_BYTES:] for one in found
    ]
    assert [head.offset for head in heads] == [10, 60_000, 60_000 + wire.SEGMENT_BYTES]
    given = sum(len(one) - RE_BYTES for _ in range(100) for one in events.answer(Ask(3, (wire.WHOLE,))))
    assert given <= MOST_TIMES * 100_000 + wire.SEGMENT_BYTES
    assert list(events.answer(Ask(3, ((0, 1),)))) == []


@pytest.mark.parametrize("host", ["10.1.2.3", "fd00::1"])
def test_an_offer_is_read_as_it_was_written(host: str) -> None:
    offer = Offer(host, 4711, bytes(range(8)))
    assert wire.parse_offer(offer.to_text()) == offer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host.name:5000/0011223344556677",
        "10.0.0.1:80/0011223344556677",
        "10.0.0.1:70000/0011223344556677",
        "10.0.0.1:5000/00",
        "0.0.0.0:5000/0011223344556677",
        "224.0.0.1:5000/0011223344556677",
        "10.0.0.999:5000/0011223344556677",
        "[10:5000/0011223344556677",
    ],
)
def test_an_offer_that_cannot_be_connected_to_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="offer to send again"):
        wire.parse_offer(text)


def test_records_come_in_any_pieces() -> None:
    datagram = ReHeader(1, 0, 5, 9).to_bytes() + b"hello"
    stream = wire.segment(datagram) + wire.gone(5) + wire.ended(6) + wire.segment(datagram)
    for step in (1, 3, 1000):
        records = Records(asks=False)
        found = [one for at in range(0, len(stream), step) for one in records.feed(stream[at : at + step])]
        assert found == [Resent(datagram), Gone(5), Ended(6), Resent(datagram)] and records.held == 0
    many = Ask(3, tuple((at, at + 1) for at in range(2000)))
    (found,) = Records(asks=True).feed(wire.ask(many))
    assert found == Ask(3, many.ranges[:1024])
