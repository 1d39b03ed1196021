"""Whose turn it is: the one definition of how a distributor group deals out its frames.

Rules: a group has sets, a set has members. The first N updates go to every member of the first set, the next N to the
next set, and so on round. Sets are known by their numbers (from 1), taken in ascending order. A set without members
is passed over; a set that leaves in the middle of its turn hands the turn to the next one; a set that joins is dealt
in when its number comes up. Nothing is skipped and nothing doubled by joining or leaving.

This is what PvaPy's data distributor does with named sets (mode "all"); see docs/explanation/distributor.md.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """Set `set_number` has been given `given` updates in its present turn."""

    set_number: int
    given: int


START = Turn(0, 0)
"""Before the first update: no set has number 0."""


def next_turn(present: Sequence[int], turn: Turn, updates: int) -> Turn | None:
    """Return the turn that the next update belongs to, None if no set is present.

    `present` are the numbers of the sets that have members, ascending; `turn` is what this function returned for the
    update before, `START` for the first.
    """
    if not present:
        return None
    if turn.given < updates and turn.set_number in present:
        return Turn(turn.set_number, turn.given + 1)
    at = bisect_right(present, turn.set_number)
    return Turn(present[at % len(present)], 1)


def deal(present: Sequence[int], turn: Turn, updates: int, count: int) -> tuple[list[tuple[int, int]], Turn]:
    """Return the runs (set number, how many) that the next `count` updates are dealt in, and the turn of the last.

    The same as asking `next_turn` for one update after the other, `count` times (at least 1); no runs if no set is
    present.
    """
    if not present:
        return [], turn
    number, given = turn.set_number, turn.given
    if len(present) == 1:
        given = min(given, updates) if number == present[0] else 0
        return [(present[0], count)], Turn(present[0], (given + count - 1) % updates + 1)
    runs: list[tuple[int, int]] = []
    while count > 0:
        if given >= updates or number not in present:
            number, given = present[bisect_right(present, number) % len(present)], 0
        many = min(count, updates - given)
        runs.append((number, many))
        given += many
        count -= many
    return runs, Turn(number, given)


def set_of(index: int, sets: int) -> int:
    """Return the set number (from 1) of the group's member `index` (from 0) when members are dealt into `sets`."""
    return index % sets + 1


def place_of(index: int, sets: int) -> int:
    """Return the member number (from 1) within its set of the group's member `index` (from 0)."""
    return index // sets + 1
