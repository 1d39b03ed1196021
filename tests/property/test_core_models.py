"""partition, sequence, overflow and ledger against brute-force models."""

import itertools
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ioc.core.config_table import Policy
from ioc.core.frame import EndOfSeries, Frame
from ioc.core.ledger import Hop, Ledger, Stage
from ioc.core.overflow import Limits, MemberQueue
from ioc.core.partition import START, deal, next_turn
from ioc.core.sequence import Arrival, Ranges, SequenceTracker


@given(st.sets(st.integers(1, 8), min_size=1), st.integers(1, 5), st.integers(1, 60))
def test_steady_sets_share_evenly(present: set[int], updates: int, rounds: int) -> None:
    turn, got = START, Counter[int]()
    for _ in range(len(present) * updates * rounds):
        following = next_turn(sorted(present), turn, updates)
        assert following is not None
        turn = following
        got[turn.set_number] += 1
    assert got == Counter(dict.fromkeys(present, updates * rounds))


@given(st.lists(st.sets(st.integers(1, 6)), max_size=60), st.integers(1, 4))
def test_every_frame_has_one_set_that_is_there(presence: list[set[int]], updates: int) -> None:
    turn = START
    for present in presence:
        following = next_turn(sorted(present), turn, updates)
        assert (following is None) == (not present)
        if following is not None:
            assert following.set_number in present
            assert following.given <= updates
            same = following.set_number == turn.set_number
            assert following.given == (turn.given + 1 if same and turn.given < updates else 1)
            turn = following


@given(st.lists(st.tuples(st.sets(st.integers(1, 6)), st.integers(1, 4), st.integers(1, 20)), max_size=20))
def test_dealing_at_once_is_dealing_one_by_one(bursts: list[tuple[set[int], int, int]]) -> None:
    turn, model = START, START
    for present, updates, count in bursts:
        runs, turn = deal(sorted(present), turn, updates, count)
        dealt = [number for number, many in runs for _ in range(many)]
        for at in range(count):
            following = next_turn(sorted(present), model, updates)
            if following is None:
                assert not dealt
                break
            model = following
            assert dealt[at] == model.set_number
        # beyond `updates` there is nothing to count: both say that the next set is due
        assert (turn.set_number, min(turn.given, updates)) == (model.set_number, min(model.given, updates))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 6))))
def test_ranges_are_a_set_of_integers(operations: list[tuple[bool, int, int]]) -> None:
    ranges, model = Ranges(), set[int]()
    for add, first, length in operations:
        if add:
            ranges.add(first, first + length)
            model |= set(range(first, first + length + 1))
        else:
            assert ranges.discard(first) == (first in model)
            model.discard(first)
    pieces = list(ranges)
    assert {i for first, last in pieces for i in range(first, last + 1)} == model
    assert ranges.count() == len(model)
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(pieces))
    assert all((i in ranges) == (i in model) for i in range(50))


@given(st.lists(st.integers(1, 30)), st.integers(0, 40))
def test_tracker_knows_what_is_missing(ids: list[int], published: int) -> None:
    tracker, seen = SequenceTracker(), set[int]()
    for unique_id in ids:
        verdict = tracker.arrived(unique_id)
        assert (verdict is Arrival.DUPLICATE) == (unique_id in seen)
        seen.add(unique_id)
    tracker.ended(published)
    highest = max([published, *seen, 0])
    missing = {i for first, last in tracker.missed for i in range(first, last + 1)}
    assert missing == set(range(1, highest + 1)) - seen
    assert tracker.received == len(seen)
    assert tracker.duplicates == len(ids) - len(seen)


def frame(unique_id: int, size: int) -> Frame:
    return Frame(1, unique_id, 0, np.zeros((1, size), np.uint8))


@given(
    st.sampled_from(list(Policy)),
    st.integers(1, 5),
    st.one_of(st.none(), st.integers(1, 30)),
    st.lists(st.one_of(st.integers(1, 12), st.just("take"), st.just("end"))),
)
def test_queue_keeps_order_bounds_and_books(
    policy: Policy, depth: int, size_bytes: int | None, operations: list[int | str]
) -> None:
    queue: MemberQueue[Frame] = MemberQueue(Limits(policy, depth, size_bytes))
    offered, taken, dropped, refused = 0, [], [], 0
    markers = taken_markers = 0
    for operation in operations:
        if operation == "take":
            items = queue.peek(1)
            queue.take(len(items))
            taken += [item.unique_id for item in items if isinstance(item, Frame)]
            taken_markers += sum(isinstance(item, EndOfSeries) for item in items)
        elif operation == "end":
            queue.put_end(EndOfSeries(1, offered))
            markers += 1
        else:
            assert isinstance(operation, int)
            if not policy.may_drop and not queue.has_room(operation):
                refused += 1
                continue
            room = queue.room(operation)
            assert (room > 0) == queue.has_room(operation)
            if room > 1:  # a burst that fits is the same as its frames one by one
                queue.extend([frame(offered + 1, operation), frame(offered + 2, operation)])
                offered += 2
                continue
            offered += 1
            dropped += [loser.unique_id for loser in queue.put(frame(offered, operation))]
        limit = 1 if policy is Policy.LATEST else depth
        assert queue.frames <= limit
        assert size_bytes is None or queue.frames <= 1 or queue.size_bytes <= size_bytes
    left = [item.unique_id for item in queue.peek(len(queue)) if isinstance(item, Frame)]
    assert sorted(taken + dropped + left) == list(range(1, offered + 1))
    assert taken == sorted(taken)
    assert policy.may_drop or not dropped
    assert taken_markers + len(queue) - len(left) == markers


@given(st.lists(st.tuples(*[st.integers(0, 20)] * 5), min_size=1, max_size=6), st.integers(0, 9))
def test_ledger_closes_and_sees_any_error(accounts: list[tuple[int, ...]], nobody: int) -> None:
    stages = [
        Stage(f"Cons{i}", "g", p + f + q, p, f, q, flying, Counter({"queue_full": dropped}))
        for i, (p, f, q, flying, dropped) in enumerate(accounts, 1)
    ]
    given = sum(sum(account) for account in accounts) + nobody
    ledger = Ledger(
        given, [(1, given)], stages, [Hop("g", given, (*stages, Stage("g.nobody", dropped=Counter(no_member=nobody))))]
    )
    assert ledger.residue() == 0
    assert ledger.complete() == (sum(a[2] + a[3] for a in accounts) == 0)
    stages[0].processed += 1
    assert ledger.residue() == 1
    stages[0].processed -= 2
    assert ledger.residue() == 1
