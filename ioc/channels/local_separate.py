"""A member's end of several local channels, each by itself: for who puts their items in order.

Items may be finished with in any order; each giver is told of its own, in the order in which it gave them.
"""

from collections import deque
from dataclasses import dataclass

from ioc.channels.local_givers import Companion, LocalGivers, Member
from ioc.channels.local_receiver import LocalReceiver
from ioc.core.frame import Frame, Item


@dataclass(slots=True, eq=False)
class Held:
    """An item in our hands, and whose it is; what came of it is booked when its giver is told."""

    giver: str
    item: Item
    done: bool = False
    failed: bool = False
    published: int = 0
    withheld: int = 0
    made: int = 0


@dataclass(slots=True)
class _Line:
    """What is in our hands of one giver, in the order it came."""

    receiver: LocalReceiver
    items: deque[Held]


class SeparateInputs(LocalGivers):
    """All connections of one member, item by item with the giver's name. Used by one thread."""

    def __init__(self, member: Member, companion: Companion | None = None) -> None:
        super().__init__(member, companion)
        self._lines: dict[str, _Line] = {}

    def receive(self, max_items: int, timeout: float) -> list[Held]:
        """Return what came, up to `max_items` of each giver; empty if nothing did within `timeout` seconds."""
        return self.wait_for(lambda: self._gather(max_items), timeout)

    def finish(self, held: Held, failed: bool = False) -> None:
        """Say that an item is finished with; its giver is told as soon as all before it are, too."""
        held.done, held.failed = True, failed
        line = self._lines[held.giver]
        counts = self.books.counts
        items = frames = 0
        while line.items and line.items[0].done:
            first = line.items.popleft()
            items += 1
            if isinstance(first.item, Frame):
                frames += 1
                counts.failed += first.failed
                counts.processed += not first.failed
                if first.failed:
                    line.receiver.fail([first.item])
            counts.published += first.published
            counts.withheld += first.withheld
            counts.made += first.made
        if items:
            self.books.settle(held.giver, frames)
            line.receiver.release(items)

    @property
    def orphans(self) -> int:
        """Items in our hands that no giver has any more; who gives back would lose them."""
        return sum(one.receiver.orphans for one in (*self.inputs.values(), *self._retired))

    def give_back(self) -> None:
        """Leave what is not finished with to the next life of this member; `finished` is true when its givers know.

        What went out although an item before it, of the same giver, waits will come again; it is booked as made, so
        that it may be a duplicate then.
        """
        self._leaving = True
        for name, line in self._lines.items():
            for held in line.items:
                self.books.counts.published += held.published
                self.books.counts.made += held.published
            self.books.settle(name, 0)
            line.receiver.release(0)
        for one in self.inputs.values():
            one.receiver.give_back()

    def _gather(self, max_items: int) -> list[Held]:
        gathered: list[Held] = []
        for one in tuple(self.inputs.values()):
            self.fill(one, max_items)
            line = self._lines.setdefault(one.name, _Line(one.receiver, deque()))
            held = [Held(one.name, item) for item in one.ahead]
            one.ahead.clear()
            line.items.extend(held)
            gathered += held
        return gathered
