"""Whose turn it is, against the rules in words."""

from ioc.core.partition import START, next_turn, place_of, set_of


def deal(present: list[int], updates: int, frames: int) -> list[int]:
    turn, got = START, []
    for _ in range(frames):
        following = next_turn(present, turn, updates)
        assert following is not None
        turn = following
        got.append(turn.set_number)
    return got


def test_sets_take_turns_of_n_updates() -> None:
    assert deal([1, 2, 3], 2, 8) == [1, 1, 2, 2, 3, 3, 1, 1]


def test_one_set_gets_everything() -> None:
    assert deal([4], 3, 5) == [4] * 5


def test_nobody_there() -> None:
    assert next_turn([], START, 1) is None


def test_a_set_that_leaves_in_mid_turn_hands_on_the_turn() -> None:
    turn = next_turn([1, 2, 3], START, 5)
    assert turn is not None and turn.set_number == 1
    after = next_turn([2, 3], turn, 5)
    assert after is not None and (after.set_number, after.given) == (2, 1)


def test_a_set_that_joins_is_dealt_in_at_its_number() -> None:
    turn = next_turn([1, 3], START, 1)
    assert turn is not None
    numbers = []
    for _ in range(4):
        following = next_turn([1, 2, 3], turn, 1)
        assert following is not None
        turn = following
        numbers.append(turn.set_number)
    assert numbers == [2, 3, 1, 2]


def test_members_are_dealt_into_sets() -> None:
    assert [(set_of(i, 2), place_of(i, 2)) for i in range(4)] == [(1, 1), (2, 1), (1, 2), (2, 2)]
