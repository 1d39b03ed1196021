"""The ids that a report lists, against plain sets of ids."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.channels.trail import Run
from ioc.core import sequence
from ioc.core.sequence import Ranges
from ioc.supervisor import missed_ids
from ioc.supervisor.missed_ids import Listed, MissedIds

RUNS = st.builds(Run, st.integers(1, 2), st.integers(1, 30), st.integers(1, 4), st.integers(1, 8))


def ids_of(run: Run) -> list[tuple[int, int]]:
    """Return series and id of everything in a run."""
    return [(run.series or 0, run.first + run.step * at) for at in range(run.count)]


@given(st.lists(st.tuples(RUNS, st.booleans())))
def test_what_is_listed_is_what_was_missed_more_often_than_found(history: list[tuple[Run, bool]]) -> None:
    missed, balance = MissedIds(), Counter[tuple[int, int]]()
    for run, found in history:
        missed.note(run, found)
        for one in ids_of(run):
            balance[one] += -1 if found else 1
    ranges, left_out = missed.listed()
    listed = [(series, unique_id) for series, first, last in ranges for unique_id in range(first, last + 1)]
    assert listed == sorted(one for one, count in balance.items() if count > 0), "each once, ascending"
    assert left_out == 0
    assert all(before[0] < after[0] or before[2] + 1 < after[1] for before, after in pairwise(ranges))


@given(st.lists(RUNS, min_size=1), st.integers(0, 6), st.integers(0, 6))
def test_a_list_that_is_too_long_tells_how_many_ids_it_lacks(runs: list[Run], listed: int, spread: int) -> None:
    everything = {one for run in runs for one in ids_of(run)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(missed_ids, "MOST_LISTED", listed)
        missed = MissedIds(_room=spread)
        for run in runs:
            missed.note(run, found=False)
        ranges, left_out = missed.listed()
    named = {(series, one) for series, first, last in ranges for one in range(first, last + 1)}
    assert len(ranges) <= listed and named <= everything
    twice = sum(run.count for run in runs) - len(everything)
    assert len(everything) - len(named) <= left_out <= len(everything) - len(named) + twice
    if spread >= sum(run.count for run in runs if run.step > 1):
        assert left_out == len(everything) - len(named), "exact where every id was looked at"


def test_a_hundred_thousand_single_ids_are_bounded_and_counted() -> None:
    missed = MissedIds()
    for unique_id in range(1, 300_001, 3):
        missed.note(Run(7, unique_id, 1, 1), found=False)
    assert missed.listed() == Listed([[7, one, one] for one in range(1, 30_001, 3)], 90_000)


def test_too_many_ranges_are_joined_many_at_once_and_cover_what_they_did() -> None:
    ranges, added = Ranges(), range(1, 7 * sequence.MOST_RANGES, 3)
    for unique_id in added:
        ranges.add(unique_id, unique_id)
    assert len(ranges) <= sequence.MOST_RANGES and not ranges.exact
    assert all(unique_id in ranges for unique_id in added)
    newest = list(ranges)[-sequence.MOST_RANGES // 3 :]
    assert newest == [(one, one) for one in added[-len(newest) :]], "the newest are as they were"
