"""The queue of a member against a list that is looked through from end to end, every policy, end and limit."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ioc.core.config_table import Drop, Policy
from ioc.core.frame import EndOfSeries, Frame
from ioc.core.ledger import Reason
from ioc.core.overflow import Limits, MemberQueue

Waiting = tuple[int, int] | None
"""Id and bytes of a frame, None for an end marker."""


@dataclass
class Model:
    """What waits, by brute force; `kept` holds the ids that a change of limits must not cost."""

    limits: Limits
    waits: list[Waiting] = field(default_factory=list)
    kept: set[int] = field(default_factory=set)

    def frames(self) -> list[tuple[int, int]]:
        return [one for one in self.waits if one is not None]

    def fits(self, more: list[tuple[int, int]]) -> bool:
        frames = self.frames() + more
        most = 1 if self.limits.policy is Policy.LATEST else self.limits.frames
        size = self.limits.size_bytes
        return len(frames) <= most and (len(frames) <= 1 or size is None or sum(s for _, s in frames) <= size)

    def put(self, unique_id: int, size: int) -> list[int]:
        new, dropped = (unique_id, size), []
        newest = self.limits.policy is Policy.BOUNDED and self.limits.drop is Drop.NEWEST
        if self.limits.policy.may_drop and not self.fits([new]):
            if newest or self.kept & {one for one, _ in self.frames()}:
                return [unique_id]
            while not self.fits([new]):
                oldest = self.frames()[0]
                self.waits.remove(oldest)
                dropped.append(oldest[0])
        self.waits.append(new)
        return dropped

    def take(self) -> list[Waiting]:
        return [self.waits.pop(0)] if self.waits else []

    def change(self, limits: Limits) -> None:
        self.limits = limits
        over = not self.fits([]) and limits.policy is not Policy.LATEST
        self.kept = {one for one, _ in self.frames()} if over else set()


def of(unique_id: int, size: int) -> Frame:
    return Frame(1, unique_id, 0, np.zeros((1, size), np.uint8))


def seen(items: list[Frame | EndOfSeries]) -> list[Waiting]:
    return [(item.unique_id, item.data.nbytes) if isinstance(item, Frame) else None for item in items]


LIMITS = st.builds(
    Limits,
    st.sampled_from(list(Policy)),
    st.integers(1, 5),
    st.one_of(st.none(), st.integers(1, 30)),
    st.sampled_from(list(Drop)),
)
STEPS = st.lists(
    st.one_of(st.integers(1, 12), st.sampled_from(["take", "end", "back", "shed"]), LIMITS), min_size=5, max_size=60
)


@given(LIMITS, STEPS)
def test_queue_does_what_the_model_does(limits: Limits, steps: list[int | str | Limits]) -> None:
    queue: MemberQueue[Frame] = MemberQueue(limits)
    model = Model(limits)
    offered, gone, taken = 0, [], []
    for step in steps:
        if isinstance(step, Limits):
            before = seen(queue.peek(len(queue)))
            queue.change(step)
            model.change(step)
            assert seen(queue.peek(len(queue))) == before, "a change loses nothing that waits"
        elif step == "take":
            items = queue.peek(1)
            queue.take(len(items))
            assert seen(items) == model.take()
            taken += items
        elif step == "end":
            queue.put_end(EndOfSeries(1, offered))
            model.waits.append(None)
        elif step == "back" and taken:
            queue.put_back([item := taken.pop()])
            model.waits[:0] = seen([item])
            if model.kept & {one for one, _ in model.frames()}:
                model.kept |= {one for one, _ in filter(None, seen([item]))}
        elif step == "shed" and (waiting := queue.waiting()):
            queue.remove(waiting[0])
            model.waits.remove((waiting[0].unique_id, waiting[0].data.nbytes))
            gone.append(waiting[0].unique_id)
        elif isinstance(step, int) and (queue.limits.policy.may_drop or queue.has_room(step)):
            offered += 1
            assert queue.has_room(step) == model.fits([(offered, step)])
            dropped = [loser.unique_id for loser in queue.put(of(offered, step))]
            assert dropped == model.put(offered, step)
            gone += dropped
        assert seen(queue.peek(len(queue))) == model.waits
        assert (queue.frames, queue.size_bytes) == (len(model.frames()), sum(size for _, size in model.frames()))
    there = [one for one, _ in model.frames()] + [item.unique_id for item in taken if isinstance(item, Frame)]
    assert sorted(there + gone) == list(range(1, offered + 1)), "every frame is somewhere, once"


@given(st.lists(st.integers(1, 12), min_size=1), st.integers(1, 5), st.one_of(st.none(), st.integers(1, 30)))
def test_the_end_that_drops_keeps_the_other(sizes: list[int], depth: int, size_bytes: int | None) -> None:
    for drop in Drop:
        queue: MemberQueue[Frame] = MemberQueue(Limits(Policy.BOUNDED, depth, size_bytes, drop))
        for unique_id, size in enumerate(sizes, 1):
            queue.put(of(unique_id, size))
        ids = [frame.unique_id for frame in queue.waiting()]
        assert (ids[-1] == len(sizes)) if drop is Drop.OLDEST else (ids[-1] == 1)
        assert queue.reason is Reason.QUEUE_FULL
        assert queue.capacity() <= depth


@given(st.integers(2, 12), st.integers(1, 12), st.sampled_from(Drop), st.lists(st.booleans()))
def test_what_waits_survives_a_smaller_depth(waiting: int, depth: int, drop: Drop, takes: list[bool]) -> None:
    queue: MemberQueue[Frame] = MemberQueue(Limits(Policy.BOUNDED, waiting))
    for unique_id in range(1, waiting + 1):
        queue.put(of(unique_id, 1))
    queue.change(Limits(Policy.BOUNDED, depth, None, drop))
    got: list[int] = []
    for offered, take in enumerate(takes, waiting + 1):
        over = depth < waiting and len(got) < waiting - depth
        if take:
            got += [item.unique_id for item in queue.peek(1) if isinstance(item, Frame)]
            queue.take(min(1, len(queue)))
        elif over:
            assert [loser.unique_id for loser in queue.put(of(offered, 1))] == [offered]
    assert got == list(range(1, len(got) + 1))
