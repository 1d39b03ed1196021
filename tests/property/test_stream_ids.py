"""Ids of a stream from outside: between two restarts every id has come or is missing, whatever the gaps."""

from hypothesis import given
from hypothesis import strategies as st

from ioc.core.stream_ids import LARGEST_GAP, Source, StreamIds

GAPS = st.lists(st.integers(1, 1000), min_size=1, max_size=30)


@given(first=st.integers(1, 1 << 40), step=st.integers(1, 50), gaps=GAPS)
def test_ids_that_grow_come_or_are_missing(first: int, step: int, gaps: list[int]) -> None:
    ids = StreamIds(step)
    numbers = [first]
    for gap in gaps:
        numbers.append(numbers[-1] + gap * step)
    places = [ids.place(Source(0, number)) for number in numbers]
    came = set(numbers)
    missing: set[int] = set()
    for place in places:
        assert place is not None
        assert place.epoch == 0
        if place.missing is not None:
            low, high, by = place.missing
            found = set(range(low, high + 1, by))
            assert len(found) == place.missed
            assert not found & (came | missing)
            missing |= found
    assert came | missing == set(range(numbers[0], numbers[-1] + 1, step))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 1 << 62), st.booleans()), max_size=50))
def test_nothing_that_a_source_says_is_believed_beyond_bounds(said: list[tuple[int, int, bool]]) -> None:
    ids = StreamIds()
    epoch = 0
    for series, number, again in said:
        if again:
            ids.reconnected()
        place = ids.place(Source(series, number))
        if place is None:
            continue
        assert epoch <= place.epoch <= epoch + 1
        assert place.missed <= LARGEST_GAP
        epoch = place.epoch
