"""Single rules of association: what each quality means, what is given up when, and what a series' end forgets."""

import numpy as np
import pytest

from ioc.core.association import Association, Settled, Waiting
from ioc.core.clock_offset import ClockOffset
from ioc.core.frame import EndOfSeries, Frame
from ioc.core.id_stream import IdStream
from ioc.core.metadata import Metadata, Quality, Update
from ioc.core.metadata_stream import MOST_VALUES, OVERTAKEN, Late, Rule, Stream
from ioc.core.time_stream import TimeStream

PIXELS = np.zeros((2, 2), np.uint8)
WAIT = 1000


def frame(unique_id: int, stamp_ns: int = 0, series: int = 1) -> Frame:
    return Frame(series, unique_id, stamp_ns or unique_id * 100, PIXELS)


def by_id(**rule: object) -> IdStream:
    return IdStream(Rule(wait_ns=WAIT, **rule), ClockOffset(0))  # pyright: ignore[reportArgumentType]


def by_time(window: int = 10, **rule: object) -> TimeStream:
    return TimeStream(Rule(window, wait_ns=WAIT, **rule), ClockOffset(0))  # pyright: ignore[reportArgumentType]


def association(stream: Stream, connected: bool = True, most: Waiting | None = None) -> Association:
    made = Association({"A": stream}, most or Waiting(100))
    made.connected["A"] = connected
    return made


def told(settled: list[Settled]) -> list[tuple[object, str]]:
    return [(one.metadata.get("A"), one.metadata.quality["A"].value) for one in settled if isinstance(one.item, Frame)]


def test_a_frame_waits_for_its_value_and_no_longer() -> None:
    one = association(by_id())
    one.offer(frame(1), 0)
    assert not list(one.settled(WAIT - 1))
    one.take("A", [Update(1.5, 100, 1)], WAIT - 1)
    assert told(list(one.settled(WAIT - 1))) == [(1.5, "matched")]
    one.offer(frame(2), WAIT)
    assert told(list(one.settled(2 * WAIT))) == [(None, "missing")]


def test_frames_keep_their_order_though_a_later_one_has_its_value() -> None:
    one = association(by_id())
    one.offer(frame(1), 0)
    one.offer(frame(2), 0)
    one.take("A", [Update(2.5, 200, 2)], 1)
    assert not list(one.settled(1))
    one.take("A", [Update(1.5, 100, 1)], 2)
    assert told(list(one.settled(2))) == [(1.5, "matched"), (2.5, "matched")]


def test_a_late_value_is_counted_and_goes_to_nobody() -> None:
    stream = by_id()
    one = association(stream)
    one.offer(frame(1), 0)
    assert told(list(one.settled(WAIT))) == [(None, "missing")]
    one.take("A", [Update(1.5, 100, 1)], WAIT + 1)
    assert (stream.counts.late, list(stream.counts.unused_values)) == (1, [(1, 1)])
    assert (list(stream.counts.unmatched_frames), list(one.counts.unmatched_ids)) == ([(1, 1)], [(1, 1)])


@pytest.mark.parametrize("stream", [by_id(late=Late.HOLD), by_time(late=Late.HOLD)], ids=("id", "time"))
def test_the_last_value_may_be_held_and_is_called_late(stream: Stream) -> None:
    one = association(stream)
    one.take("A", [Update(1.5, 100, 1)], 0)
    one.offer(frame(1), 0)
    one.offer(frame(2), 0)
    assert told(list(one.settled(WAIT))) == [(1.5, "matched"), (1.5, "late")]
    assert (one.counts.complete, one.counts.unmatched) == (1, 1)


def test_a_frame_without_its_value_may_be_unwanted() -> None:
    one = association(by_id(late=Late.DROP))
    one.offer(frame(1), 0)
    (settled,) = one.settled(WAIT)
    assert not settled.wanted
    assert one.counts.unwanted == 1


def test_a_channel_that_is_not_there_is_not_waited_for() -> None:
    one = association(by_id(), connected=False)
    one.offer(frame(1), 0)
    assert told(list(one.settled(0))) == [(None, "disconnected")]


@pytest.mark.parametrize("most", [Waiting(2), Waiting(100, 2 * PIXELS.nbytes)], ids=("frames", "bytes"))
def test_more_than_the_limit_does_not_wait(most: Waiting) -> None:
    one = association(by_id(), most=most)
    for unique_id in range(1, 6):
        one.offer(frame(unique_id), 0)
    assert told(list(one.settled(0))) == [(None, "missing")] * 3
    assert one.frames == 2


def test_a_gap_is_not_waited_for_when_it_is_overtaken() -> None:
    for stream in (by_id(), by_time()):
        one = association(stream)
        one.offer(frame(1), 0)
        updates = [Update(float(later), later * 100, later) for later in range(2, OVERTAKEN + 2)]
        one.take("A", updates[:-1], 1)
        assert not list(one.settled(1)), "one more may still come before it"
        one.take("A", updates[-1:], 2)
        assert told(list(one.settled(2))) == [(None, "missing")]


def test_two_values_of_one_id_are_ambiguous_and_the_same_twice_is_not() -> None:
    stream = by_id()
    one = association(stream)
    one.take("A", [Update(1.0, 100, 1), Update(1.0, 100, 1), Update(2.0, 200, 2), Update(2.5, 201, 2)], 0)
    one.offer(frame(1), 0)
    one.offer(frame(2), 0)
    assert told(list(one.settled(0))) == [(1.0, "matched"), (2.0, "ambiguous")]
    assert stream.counts.duplicates == 2


def test_a_value_of_the_last_series_is_not_taken_for_one_of_the_next() -> None:
    stream = by_id()
    one = association(stream)
    one.take("A", [Update(1.0, 100, 1), Update(3.0, 300, 3)], 0)
    one.offer(frame(1), 0)
    one.offer(frame(2, 400), 0)
    one.offer(EndOfSeries(1, 2), 0)
    assert told(list(one.settled(0))) == [(1.0, "matched")]
    one.take("A", [Update(10.0, 1000, 1)], 0)
    assert len(list(one.settled(WAIT))) == 2
    for unique_id in (1, 3):
        one.offer(frame(unique_id, 900 + unique_id * 100, series=2), WAIT)
    assert told(list(one.settled(2 * WAIT))) == [(10.0, "matched"), (None, "missing")]
    assert list(stream.counts.unused_values) == [(3, 3)]


def test_the_id_guard_refuses_a_value_of_another_time() -> None:
    one = association(by_id(window_ns=50))
    one.take("A", [Update(1.0, 5000, 1)], 0)
    one.offer(frame(1), 0)
    assert told(list(one.settled(WAIT))) == [(None, "missing")]


def test_a_slow_channel_is_nearest_within_reach() -> None:
    stream = by_time(reach_ns=1000)
    one = association(stream)
    one.take("A", [Update("open", 90), Update("shut", 700)], 0)
    for unique_id in (1, 2, 6, 30):
        one.offer(frame(unique_id), 0)
    settled = told(list(one.settled(WAIT)))
    assert settled == [("open", "matched"), ("open", "nearest"), ("shut", "nearest"), (None, "missing")]


def test_two_values_that_the_jitter_does_not_tell_apart_are_ambiguous() -> None:
    stream = by_time()
    stream.offset.jitter_ns = 4
    one = association(stream)
    one.take("A", [Update(1.0, 97), Update(2.0, 104)], 0)
    one.offer(frame(1), 0)
    assert told(list(one.settled(0))) == [(1.0, "ambiguous")]


def test_texts_are_not_interpolated() -> None:
    one = association(by_time(interpolate=True, reach_ns=100))
    one.take("A", [Update("a", 60), Update("b", 170)], 0)
    one.offer(frame(1), 0)
    assert told(list(one.settled(0))) == [("a", "nearest")]


@pytest.mark.parametrize("stream", [by_id(), by_time()], ids=("id", "time"))
def test_memory_is_bounded_though_no_frame_ever_comes(stream: Stream) -> None:
    stream.take([Update(0.0, number, number) for number in range(1, 2 * MOST_VALUES)], 0)
    assert stream.waiting() <= MOST_VALUES
    assert stream.counts.unused + stream.waiting() == stream.counts.received
    assert stream.counts.discarded == stream.counts.unused


def test_a_lock_that_fits_nothing_any_more_is_given_up() -> None:
    """The clock of the channel jumps by a second; the offset is found again."""
    stream = TimeStream(Rule(10, wait_ns=WAIT), ClockOffset(None))
    one = association(stream)
    jump = 1_000_000_000
    qualities = []
    for unique_id in range(1, 400):
        now = unique_id * 100
        one.take("A", [Update(float(unique_id), now + (jump if unique_id > 100 else 0))], now)
        one.offer(frame(unique_id), now)
        qualities += told(list(one.settled(now)))
    qualities += told(list(one.settled(10**9)))
    assert qualities[50] == (51.0, "matched")
    assert qualities[-1] == (399.0, "matched")
    wrong = [at for at, (value, quality) in enumerate(qualities) if quality == "matched" and value != at + 1]
    assert not wrong


def test_attributes_carry_values_and_qualities() -> None:
    metadata = Metadata({"A": 1.5, "Spectrum": np.arange(3)})
    metadata.quality |= {"A": Quality.MATCHED, "Spectrum": Quality.MATCHED, "B": Quality.MISSING}
    attributes = metadata.attributes()
    assert attributes == {"A": 1.5, "AQuality": "matched", "SpectrumQuality": "matched", "BQuality": "missing"}
    carried = Metadata.carried(attributes, ("A", "B", "C"))
    assert (dict(carried), carried.quality) == ({"A": 1.5}, {"A": Quality.MATCHED, "B": Quality.MISSING})
    assert not Metadata.carried({"AQuality": "perfect"}, ("A",)).quality


def test_frames_from_elsewhere_say_themselves_what_goes_along() -> None:
    attributes = {"A": 1.5, "AQuality": "matched", "BQuality": "missing", "BeamQuality": "good", "ColorMode": 0}
    told = Metadata.told(attributes)
    assert (dict(told), told.quality) == ({"A": 1.5}, {"A": Quality.MATCHED, "B": Quality.MISSING})
    assert not Metadata.told({"ColorMode": 0}).quality
    joined = told.joined(Metadata({"A": 2.5, "C": "x"}, {"A": Quality.LATE, "C": Quality.MATCHED}))
    assert dict(joined) == {"A": 2.5, "C": "x"}
    assert joined.quality == {"A": Quality.LATE, "B": Quality.MISSING, "C": Quality.MATCHED}
    assert told.quality["A"] is Quality.MATCHED, "neither of the two is changed"
