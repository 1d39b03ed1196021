"""Acknowledgements against brute force, and the words they come in against anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.core.acknowledgement import Acknowledgement, Answer, Outstanding, parse
from ioc.core.errors import ProtocolError
from ioc.core.frame import EndOfSeries, Frame, Item
from tests.property.test_core_models import frame

IDS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 2)), max_size=3)


def ranges_of(pieces: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return ascending ranges made of any pieces (first, length)."""
    made: list[tuple[int, int]] = []
    for first, length in sorted(pieces):
        low = max(first, made[-1][1] + 1) if made else first
        made.append((low, low + length))
    return tuple(made)


SAID = st.one_of(
    st.builds(Acknowledgement),
    st.builds(Acknowledgement, st.integers(1, 2), st.integers(1, 12)),
    st.builds(Acknowledgement, st.integers(1, 2), st.none(), IDS.map(ranges_of)),
)


@given(st.permutations(list(range(1, 13))), st.lists(st.one_of(SAID, st.integers(1, 4), st.just("end"))))
def test_done_counts_what_was_acknowledged_in_order(order: list[int], steps: list[Acknowledgement | int | str]) -> None:
    outstanding = Outstanding()
    given_items: list[Item] = []
    acknowledged: set[int] = set()
    for step in steps:
        done = outstanding.done
        if isinstance(step, Acknowledgement):
            out = [item.unique_id for item in given_items[done:] if isinstance(item, Frame)]
            if step.up_to is not None:
                known = step.series == 1 and step.up_to in out
                named = set(out[: out.index(step.up_to) + 1]) if known else set()
                unknown = 0 if known else 1
            else:
                ids = {i for first, last in step.ranges for i in range(first, last + 1)}
                named = ids & set(out) if step.series == 1 else set()
                unknown = len(ids) - len(named)
            fresh = named - acknowledged
            acknowledged |= named
            still = [i for i in out if i not in acknowledged]
            assert outstanding.acknowledge(step) == Answer(len(fresh), unknown, len(still))
        elif step == "end":
            given_items.append(EndOfSeries(1, 0))
            outstanding.give(given_items[-1])
        else:
            while step and order:
                given_items.append(frame(order.pop(), 1))
                outstanding.give(given_items[-1])
                step -= 1  # type: ignore[operator]
        expected = done
        while expected < len(given_items):
            item = given_items[expected]
            if isinstance(item, Frame) and item.unique_id not in acknowledged:
                break
            expected += 1
        assert outstanding.settle(len(given_items), acknowledged_only=True) == expected
        assert outstanding.frames == sum(isinstance(item, Frame) for item in given_items[expected:])
    assert outstanding.settle(len(given_items), acknowledged_only=False) == len(given_items)


def test_nothing_is_done_before_it_was_posted() -> None:
    outstanding = Outstanding()
    for unique_id in (1, 2, 3):
        outstanding.give(frame(unique_id, 1))
    outstanding.acknowledge(Acknowledgement(1, 3))
    assert [outstanding.settle(posted, acknowledged_only=True) for posted in (0, 2, 3)] == [0, 2, 3]


@given(
    st.dictionaries(
        st.sampled_from(["ids", "series", "uniqueId", "window", "other"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.from_regex(r"[0-9, -]{1,12}")),
    )
)
def test_any_words_are_understood_or_refused(fields: dict[str, object]) -> None:
    try:
        said = parse(fields)
    except ProtocolError as error:
        assert len(str(error)) < 300
        return
    assert "other" not in fields
    assert said.window is None or 1 <= said.window <= 64
    assert all(1 <= first <= last for first, last in said.ranges)
    assert said.up_to is None or said.up_to >= 1


@pytest.mark.parametrize(
    "fields, said",
    [
        ({}, Acknowledgement()),
        ({"window": "16"}, Acknowledgement(window=16)),
        ({"series": 3, "uniqueId": 20}, Acknowledgement(3, 20)),
        ({"series": "3", "ids": "1-5, 9"}, Acknowledgement(3, None, ((1, 5), (9, 9)))),
    ],
)
def test_the_words_say(fields: dict[str, object], said: Acknowledgement) -> None:
    assert parse(fields) == said


@pytest.mark.parametrize(
    "fields",
    [
        {"uniqueId": 5},
        {"series": 1, "uniqueId": 0},
        {"series": 1, "uniqueId": True},
        {"series": 1, "uniqueId": 5, "ids": "5"},
        {"series": 1, "ids": "5-1"},
        {"series": 1, "ids": "5,5"},
        {"series": 1, "ids": ""},
        {"series": 1, "ids": ",".join(map(str, range(1, 1000)))},
        {"series": 1, "ids": "1" * 5000},
        {"window": 0},
        {"window": 65},
        {"windw": 5},
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ProtocolError, match="acknowledgement"):
        parse(fields)
