"""Association against models: streams with drift, jitter, gaps, doubles and reordering, of which the truth is known."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ioc.core.association import Association, Settled, Waiting
from ioc.core.clock_offset import ClockOffset
from ioc.core.frame import EndOfSeries, Frame
from ioc.core.id_stream import IdStream
from ioc.core.metadata import MetadataValue, Quality, Update
from ioc.core.metadata_stream import Late, Rule, Stream
from ioc.core.time_stream import TimeStream

MS = 1_000_000
PERIOD = 10 * MS
START = 1_700_000_000 * 1000 * MS
WAIT = 20 * PERIOD
PIXELS = np.zeros((1, 1), np.uint8)


def frame(unique_id: int, stamp_ns: int, series: int = 1) -> Frame:
    return Frame(series, unique_id, stamp_ns, PIXELS)


@dataclass(frozen=True)
class Faults:
    """What is wrong with a stream; times in ns, parts from 0 to 1."""

    offset: int = 0
    drift: float = 0.0
    jitter: int = 0
    gaps: float = 0.0
    doubles: float = 0.0
    late: int = PERIOD // 4
    """Values arrive up to so long after their frame, and thereby out of order if it is more than a period."""


def arrivals(count: int, faults: Faults, chance: random.Random) -> tuple[list[tuple[int, Update]], set[int], int]:
    """Return values as (arrival, update), in order of arrival, the ids that were left out, and how many come twice."""
    found, left_out, twice = [], set(), 0
    for one in range(1, count + 1):
        true_ns = one * PERIOD
        if chance.random() < faults.gaps:
            left_out.add(one)
            continue
        wrong = chance.randint(-faults.jitter, faults.jitter)
        stamp = START + true_ns + faults.offset + round(true_ns * faults.drift) + wrong
        at = true_ns + chance.randint(0, faults.late)
        update = Update(float(one), stamp, one)
        found.append((at, update))
        if chance.random() < faults.doubles:
            found.append((at + chance.randint(0, PERIOD), update))
            twice += 1
    return sorted(found, key=lambda pair: pair[0]), left_out, twice


def run(stream: Stream, values: list[tuple[int, Update]], count: int, connected: bool = True) -> list[Settled]:
    """Return what comes out when frames and values arrive in order of time, looked at each millisecond or so."""
    association = Association({"A": stream}, Waiting(10_000))
    association.connected["A"] = connected
    events: list[tuple[int, int, Update | Frame]] = [(at, 0, update) for at, update in values]
    events += [(one * PERIOD + MS, 1, frame(one, START + one * PERIOD)) for one in range(1, count + 1)]
    out: list[Settled] = []
    for at, _, what in sorted(events, key=lambda event: event[:2]):
        if isinstance(what, Frame):
            association.offer(what, at)
        else:
            association.take("A", [what], at)
        out += association.settled(at)
    association.offer(EndOfSeries(1, count), (count + 1) * PERIOD)
    out += association.settled((count + 1) * PERIOD + WAIT)
    assert association.waiting == association.frames == 0
    assert association.counts.complete + association.counts.unmatched == count
    return out


def told(out: list[Settled]) -> dict[int, tuple[object, Quality]]:
    """Return value and quality by id; checks that the order was kept and the end of the series came last."""
    frames = [one.item for one in out[:-1]]
    assert isinstance(out[-1].item, EndOfSeries)
    ids = [one.unique_id for one in frames if isinstance(one, Frame)]
    assert ids == sorted(ids) == list(range(1, len(frames) + 1))
    return {
        unique_id: (one.metadata.get("A"), one.metadata.quality["A"]) for unique_id, one in zip(ids, out, strict=False)
    }


FAULTS = st.builds(
    Faults,
    offset=st.integers(-3_600_000 * MS, 3_600_000 * MS),
    jitter=st.integers(0, PERIOD // 5),
    gaps=st.sampled_from([0.0, 0.05, 0.4]),
    doubles=st.sampled_from([0.0, 0.2]),
    late=st.sampled_from([0, PERIOD // 3, 3 * PERIOD]),
)


def rule(window: int | None, **more: object) -> Rule:
    return Rule(window_ns=window, wait_ns=WAIT, **more)  # pyright: ignore[reportArgumentType]


@given(FAULTS, st.booleans(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_each_frame_has_its_own_value_or_none(faults: Faults, by_id: bool, seed: int) -> None:
    count, chance = 60, random.Random(seed)
    values, left_out, twice = arrivals(count, faults, chance)
    offset = ClockOffset(faults.offset)
    stream = IdStream(rule(1000 * MS), offset) if by_id else TimeStream(rule(PERIOD // 4), offset)
    found = told(run(stream, values, count))
    for one in range(1, count + 1):
        expected = (None, Quality.MISSING) if one in left_out else (float(one), Quality.MATCHED)
        assert found[one] == expected, f"frame {one} of {faults}"
    counts = stream.counts
    assert counts.matched == count - len(left_out)
    assert counts.frames[Quality.MISSING] == len(left_out)
    assert counts.received == len(values)
    unused = counts.unused
    assert counts.matched + counts.duplicates + unused + stream.waiting() >= len(values)
    if by_id:
        assert (counts.duplicates, unused, stream.waiting()) == (twice, 0, 0)


@given(
    st.integers(-3_600_000 * MS, 3_600_000 * MS),
    st.floats(-300e-6, 300e-6),
    st.sampled_from([0.0, 0.1]),
    st.integers(0, 2**32),
)
@settings(max_examples=25, deadline=None)
def test_an_unknown_offset_is_found_and_its_drift_followed(offset: int, drift: float, gaps: float, seed: int) -> None:
    """Over 600 frames of 10 ms the clock drifts by up to 1.8 ms: with the jitter, more than the window."""
    count, chance = 600, random.Random(seed)
    faults = Faults(offset, drift, jitter=MS, gaps=gaps, late=PERIOD // 5)
    values, left_out, _ = arrivals(count, faults, chance)
    stream = TimeStream(rule(PERIOD // 4), ClockOffset(None))
    found = told(run(stream, values, count))
    wrong = [one for one, (value, quality) in found.items() if quality is Quality.MATCHED and value != float(one)]
    assert not wrong
    unmatched = {one for one, (_, quality) in found.items() if quality is not Quality.MATCHED}
    assert unmatched == left_out
    truth = offset + round(count * PERIOD * drift)
    assert abs(stream.offset.ns - truth) < MS
    assert stream.offset.jitter_ns < MS


@given(st.lists(st.integers(0, 400), max_size=12), st.lists(st.integers(0, 400), max_size=12), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_the_nearest_unused_value_in_the_window_is_the_match(stamps: list[int], frames: list[int], window: int) -> None:
    """All values are there beforehand; the model looks at every one of them."""
    reach = 2 * window
    stream = TimeStream(Rule(window, reach, wait_ns=1000), ClockOffset(0))
    stream.take([Update(float(at), stamp) for at, stamp in enumerate(stamps)], 0)
    model = [(stamp, float(at)) for at, stamp in enumerate(stamps)]
    used: set[float] = set()
    for unique_id, moment in enumerate(sorted(frames), 1):
        found = stream.find(frame(unique_id, moment), final=True)
        assert found is not None
        free = [(stamp, value) for stamp, value in model if value not in used and abs(stamp - moment) <= window]
        near = [(stamp, value) for stamp, value in model if abs(stamp - moment) <= reach]
        if free:
            least = min(abs(stamp - moment) for stamp, _ in free)
            nearest = {value for stamp, value in free if abs(stamp - moment) == least}
            assert found.value in nearest
            assert (
                found.quality is (Quality.AMBIGUOUS if len(nearest) > 1 else Quality.MATCHED) or stream.offset.jitter_ns
            )
            used.add(found.value)  # pyright: ignore[reportArgumentType]
        elif near:
            least = min(abs(stamp - moment) for stamp, _ in near)
            assert found.value in {value for stamp, value in near if abs(stamp - moment) == least}
            assert found.quality is Quality.NEAREST
            used.add(found.value)  # pyright: ignore[reportArgumentType]
        else:
            assert found == (None, Quality.MISSING)


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=20, unique=True), st.integers(0, 1000), st.integers(1, 300))
@settings(max_examples=200, deadline=None)
def test_numbers_are_interpolated_between_their_neighbours(stamps: list[int], moment: int, reach: int) -> None:
    """The values lie on a line, so interpolation gives the line back, as NumPy does."""
    stream = TimeStream(Rule(0, reach, interpolate=True, wait_ns=2000), ClockOffset(0))
    stream.take([Update(3.0 * stamp + 1.0, stamp) for stamp in stamps], 0)
    found = stream.find(frame(1, moment), final=True)
    assert found is not None
    before = max((one for one in stamps if one <= moment), default=None)
    after = min((one for one in stamps if one >= moment), default=None)
    if before is not None and after is not None and max(moment - before, after - moment) <= reach:
        assert found.quality is (Quality.MATCHED if before == after else Quality.INTERPOLATED)
        assert isinstance(found.value, int | float)
        np.testing.assert_allclose(found.value, 3.0 * moment + 1.0)
    elif min(abs(one - moment) for one in stamps) <= reach:
        assert found.quality is Quality.NEAREST
    else:
        assert found.quality is Quality.MISSING


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 2), st.integers(0, 300)), max_size=80), st.booleans())
@settings(max_examples=100, deadline=None)
def test_values_are_conserved_whatever_comes(values: list[tuple[int, int, int]], by_id: bool) -> None:
    """Each value is used by frames, waits, was a duplicate, or is named as unused."""
    late = Rule(20, 50, wait_ns=30, late=Late.HOLD)
    stream: Stream = IdStream(Rule(1000), ClockOffset(0)) if by_id else TimeStream(late, ClockOffset(0))
    association = Association({"A": stream}, Waiting(5))
    association.connected["A"] = True
    out: list[Settled] = []
    for now, (unique_id, value, stamp) in enumerate(values):
        association.take("A", [Update(value, stamp, unique_id)], now)
        association.offer(frame(now + 1, now * 4), now)
        out += association.settled(now)
        assert association.frames <= 5
    out += association.settled(len(values) + 100)
    assert [one.item.unique_id for one in out if isinstance(one.item, Frame)] == list(range(1, len(values) + 1))
    counts = stream.counts
    assert sum(counts.frames.values()) == len(values)
    given_out = counts.frames[Quality.MATCHED] + counts.frames[Quality.AMBIGUOUS]
    rest = counts.received - counts.duplicates - counts.unused - stream.waiting()
    assert counts.received == len(values)
    assert rest == given_out if by_id else rest >= 0


class SlowTimeStream(TimeStream):
    """Is asked about each frame by itself."""

    def certain(self, frames: Sequence[Frame]) -> list[MetadataValue]:
        return []


class SlowIdStream(IdStream):
    """Is asked about each frame by itself."""

    def certain(self, frames: Sequence[Frame]) -> list[MetadataValue]:
        return []


burst = st.tuples(st.integers(0, 6), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), max_size=8))


@given(st.lists(burst, max_size=25), st.booleans(), st.integers(0, 3), st.sampled_from(list(Late)))
@settings(max_examples=200, deadline=None)
def test_many_frames_together_are_given_what_each_is_given_by_itself(
    bursts: list[tuple[int, list[tuple[int, int]]]], by_id: bool, window: int, late: Late
) -> None:
    """Frames come in bursts, one each 4 ns, and values of frames a little ahead and behind, some off by a bit."""
    asked = Rule(1000 if by_id else window, wait_ns=2, late=late)
    kinds = (IdStream, SlowIdStream) if by_id else (TimeStream, SlowTimeStream)
    both = [Association({name: kind(asked, ClockOffset(0)) for name in "AB"}, Waiting(9)) for kind in kinds]
    out: list[list[object]] = [[], []]
    last = 0
    for now, (frames, values) in enumerate(bursts):
        items = [frame(one, one * 4) for one in range(last + 1, last + frames + 1)]
        last += frames
        regular = [Update(one, one * 4, one) for one in range(last - frames + 1, last + 1)]
        odd = [
            Update(value, max(0, last - 6 + one) * 4 + off, max(1, last - 6 + one))
            for value, (one, off) in enumerate(values)
        ]
        for association, found in zip(both, out, strict=True):
            association.connected |= {"A": True, "B": True}
            for item in items:
                association.offer(item, now)
            association.take("A", regular + odd[:1], now)
            association.take("B", odd + regular, now)
            found += [
                (one.item, dict(one.metadata), one.metadata.quality, one.wanted) for one in association.settled(now)
            ]
    quick, slow = both
    assert out[0] == out[1]
    assert (quick.counts.complete, quick.counts.unmatched) == (slow.counts.complete, slow.counts.unmatched)
    assert (quick.frames, quick.counts.unwanted) == (slow.frames, slow.counts.unwanted)
    for name in "AB":
        assert tally(quick.streams[name]) == tally(slow.streams[name])


def tally(stream: Stream) -> tuple[object, ...]:
    """Return what became of frames and values; when a value that nobody will use is forgotten does not matter."""
    counts = stream.counts
    rest = counts.received, counts.late, counts.duplicates, counts.discarded, counts.unused + stream.waiting()
    return counts.frames, list(counts.unmatched_frames), *rest
