"""De-duplication against a set of everything that was ever here."""

from hypothesis import given
from hypothesis import strategies as st

from ioc.core import sequence
from ioc.core.once import Once

ARRIVALS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 30)))


@given(ARRIVALS, st.integers(0, 40))
def test_every_id_passes_the_first_time_and_never_again(arrivals: list[tuple[int, int]], published: int) -> None:
    once, seen = Once(), set[tuple[int, int]]()
    for one in arrivals:
        assert once.passes(*one) == (one not in seen)
        seen.add(one)
    assert (once.passed, once.duplicates, once.late) == (len(seen), len(arrivals) - len(seen), 0)
    assert once.exact
    for series in range(1, 5):
        holes = {i for first, last in once.missing(series, published) for i in range(first, last + 1)}
        assert holes == {i for i in range(1, published + 1) if (series, i) not in seen}
        assert once.complete(series, published) == (not holes)


@given(ARRIVALS, st.integers(1, 3))
def test_what_is_forgotten_never_passes_twice(arrivals: list[tuple[int, int]], most: int) -> None:
    once, passed = Once(most), list[tuple[int, int]]()
    for one in arrivals:
        if once.passes(*one):
            passed.append(one)
    assert len(passed) == len(set(passed)) == once.passed
    assert once.passed + once.duplicates + once.late == len(arrivals)
    newest = sorted({series for series, _ in arrivals})[-most:]
    assert set(passed) >= {one for one in arrivals if one[0] in newest}, "the newest series lose nothing"


def test_memory_stays_bounded_with_any_number_of_gaps_and_series() -> None:
    once = Once(most_series=3)
    for unique_id in range(1, 2 * sequence.MOST_RANGES + 40, 2):
        once.passes(1, unique_id)
    assert not once.exact
    assert len(once.missing(1, 4 * sequence.MOST_RANGES)) <= sequence.MOST_RANGES + 1
    for series in range(2, 50):
        assert once.passes(series, 1)
    assert once.exact, "the series with the gaps is forgotten"
    assert not once.passes(1, 2)
    assert once.late == 1
