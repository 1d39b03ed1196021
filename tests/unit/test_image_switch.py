"""The switch before the image channel: what it passes on, and when what passed by counts as finished with."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector_sim.image_switch import ImageSwitch
from ioc.channels.base import Accepted, Counters, Refusal
from ioc.core.clock import VirtualClock
from ioc.core.frame import EndOfSeries, Frame, Item


class Channel:
    """A link that takes what it has room for, and finishes what it is told to."""

    name, ready, leaving, watched = "Image", True, False, True

    def __init__(self, room: int = 1000) -> None:
        self.missed = 0
        self.room = room
        self.taken: list[Item] = []
        self.finished = 0
        self.rings_at = 0

    def publish(self, items: Sequence[Item]) -> Accepted:
        count = min(len(items), self.room)
        self.room -= count
        self.taken += items[:count]
        return Accepted(count) if count == len(items) else Accepted(count, Refusal.FULL)

    def done(self) -> int:
        return self.finished

    def ring_at(self, done: int) -> None:
        self.rings_at = done

    def expect_acknowledgement(self, within: float | None) -> None:
        pass

    def alive(self) -> bool:
        return True

    def fileno(self) -> int:
        return 0

    def refresh(self) -> None:
        pass

    def counters(self) -> Counters:
        return Counters(len(self.taken))

    def close(self, drain: bool) -> None:
        pass


def frame(unique_id: int) -> Frame:
    """Return a small frame."""
    return Frame(1, unique_id, 5, np.zeros((2, 2), np.uint8), {})


def test_frames_pass_by_while_it_is_disabled_and_ends_do_not() -> None:
    channel = Channel()
    switch = ImageSwitch(channel, VirtualClock())
    switch.enabled = False
    assert switch.publish([frame(1), EndOfSeries(1, 1), frame(1)]) == Accepted(3)
    assert [type(one) for one in channel.taken] == [EndOfSeries] and (switch.frames, switch.newest) == (0, None)
    switch.enabled = True
    switch.publish([frame(2), frame(3)])
    assert switch.frames == 2 and switch.newest is not None and switch.newest.unique_id == 3


def test_frames_that_come_sooner_than_they_may_pass_by() -> None:
    clock, channel = VirtualClock(), Channel()
    switch = ImageSwitch(channel, clock)
    switch.least_ns = 1_000_000_000
    switch.publish([frame(1), frame(2)])
    clock.advance(0.5)
    switch.publish([frame(3)])
    clock.advance(0.5)
    switch.publish([frame(4), frame(5)])
    assert [one.unique_id for one in channel.taken if isinstance(one, Frame)] == [1, 4]


def test_what_the_channel_has_no_room_for_is_to_be_offered_again() -> None:
    switch = ImageSwitch(Channel(room=1), VirtualClock())
    switch.least_ns = 1
    assert switch.publish([frame(1), frame(2)]) == Accepted(2), "the second one passes by"
    switch.least_ns = 0
    assert switch.publish([frame(3)]) == Accepted(0, Refusal.FULL)
    assert switch.frames == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3)), max_size=12), st.data())
def test_memory_comes_back_in_order(parts: list[tuple[bool, int]], data: st.DataObject) -> None:
    channel = Channel()
    switch = ImageSwitch(channel, VirtualClock())
    sent: list[bool] = []
    for enabled, count in parts:
        switch.enabled = enabled
        switch.publish([frame(1)] * count)
        sent += [enabled] * count
    channel.finished = data.draw(st.integers(0, sum(sent)))

    def done_when(finished: int) -> int:
        """Return how many are finished with, in order, when so many of those sent are."""
        before = 0
        for at, one in enumerate(sent):
            if one and before == finished:
                return at
            before += one
        return len(sent)

    assert switch.done() == done_when(channel.finished)
    wanted = data.draw(st.integers(switch.done(), len(sent)))
    switch.ring_at(wanted)
    assert done_when(max(channel.rings_at, 0)) >= wanted
    assert channel.rings_at <= 0 or done_when(channel.rings_at - 1) < wanted or channel.rings_at <= channel.finished
