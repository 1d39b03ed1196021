"""The connections of one member to those that give it frames, as they come and go: found, joined, read, waited for.

A giver is there while its socket is; one that is given up counts as gone. What is received waits in `ahead` of its
input until somebody takes it; an input of which something waits is not read.
"""

import select
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from ioc.channels.base import Counters
from ioc.channels.books import Books
from ioc.channels.local_receiver import RETRY_SECONDS, LocalReceiver
from ioc.channels.local_wire import Hello
from ioc.core.frame import Frame, Item

LOOK_SECONDS = 0.2
"""s between two looks at who gives."""
Find = Callable[[], Mapping[str, Path]]
"""Returns the sockets of those that give now, by name."""
T = TypeVar("T")


class Companion(Protocol):
    """Who is looked after whenever frames are waited for: the output of the same thread."""

    def filenos(self) -> list[int]:
        """Return descriptors that become readable when there is something to do."""
        ...

    def woken(self, ready: Sequence[int]) -> None:
        """Take notice of those that have become readable."""
        ...

    def patience(self) -> float:
        """Return how long it may be left alone, in s; asked for after `filenos`."""
        ...

    def tend(self) -> bool:
        """Do what there is to do, without waiting; return whether there was anything."""
        ...

    @property
    def open(self) -> bool:
        """Whether frames may come: those behind are there."""
        ...


class Nobody:
    """No companion."""

    open = True

    def filenos(self) -> list[int]:
        return []

    def woken(self, ready: Sequence[int]) -> None:
        pass

    def patience(self) -> float:
        return LOOK_SECONDS

    def tend(self) -> bool:
        return False


@dataclass(slots=True)
class Input:
    """One giver: what it gave and was not handed on waits in `ahead`; all series up to `past` are over for it."""

    name: str
    receiver: LocalReceiver
    ahead: deque[Item] = field(default_factory=deque)
    past: int = -1
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """Who receives: where it looks for givers, as whom it joins them, and what it keeps its accounts in."""

    find: Find
    who: Hello
    books: Books


class LocalGivers:
    """All connections of one member; used by one thread."""

    def __init__(self, member: Member, companion: Companion | None = None) -> None:
        """Look after `companion` whenever frames are waited for."""
        self.inputs: dict[str, Input] = {}
        self.books = member.books
        self.suspects: set[tuple[int, int]] = set()
        self._member = member
        self._companion = companion or Nobody()
        self._retired: list[Input] = []
        self._leaving = False
        self._looked = 0.0

    @property
    def missed(self) -> int:
        """Return how many frames were dropped for this member so far, by all its givers."""
        return sum(one.receiver.missed for one in (*self.inputs.values(), *self._retired))

    @property
    def finished(self) -> bool:
        """Return whether it asked to leave and everything that was on its way has been handed on."""
        return self._leaving and all(one.receiver.finished and not one.ahead for one in self.inputs.values())

    def counters(self) -> Counters:
        counts = self.books.counts
        errors = sum(one.receiver.counters().errors for one in self.inputs.values())
        return Counters(counts.received, counts.bytes, errors)

    def leave(self) -> None:
        """Ask for no more frames; those on their way still come, then `finished` is true."""
        self._leaving = True
        for one in self.inputs.values():
            one.receiver.leave()

    def rejoin(self) -> None:
        """Take part again after `leave`."""
        self._leaving = False
        for one in self.inputs.values():
            one.receiver.rejoin()

    def close(self, drain: bool) -> None:
        if drain:
            self.leave()
            return
        for one in (*self.inputs.values(), *self._retired):
            one.receiver.close(drain=False)
        self._leaving = True

    def look(self) -> None:
        """Notice who has come and who has gone; called often, it looks now and then."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        present = self._member.find()
        for name, path in present.items():
            if name not in self.inputs and not self._leaving:
                self.inputs[name] = self._welcome(name, path)
        for name, one in self.inputs.items():
            one.gone = name not in present

    def look_now(self) -> None:
        """Notice who has come and who has gone, at once."""
        self._looked = 0.0
        self.look()

    def fill(self, one: Input, max_items: int) -> None:
        """Take up what an input has, if nothing of it waits; an input that is gone and empty is let go."""
        if one.ahead:
            return
        if one.receiver.finished and not self._leaving:
            one.receiver.rejoin()  # it said goodbye: it may come back, we were not told to end
        batch = one.receiver.poll(max_items)
        self.books.received(sum(isinstance(item, Frame) for item in batch))
        one.ahead.extend(batch)
        if one.gone and not batch and one.receiver.fileno() is None:
            one.receiver.leave()
            self._retired.append(self.inputs.pop(one.name))

    def ready(self) -> bool:
        """Return whether frames may be taken now."""
        return self._companion.open or self._leaving

    def tend(self) -> bool:
        """Do what the companion has to do; return whether there was anything."""
        return self._companion.tend()

    def wait_for(self, gather: Callable[[], list[T]], timeout: float) -> list[T]:
        """Return what `gather` finds as soon as that is something; empty after `timeout` s, or at the end."""
        deadline = time.monotonic() + timeout
        while True:
            moved = self.tend()
            self.look()
            items = gather() if self.ready() else []
            left = deadline - time.monotonic()
            if items or self.finished or left <= 0:
                return items
            if not moved:
                self.sleep(left)

    def sleep(self, left: float) -> None:
        """Wait until somebody says something, or it is time to look again."""
        listened = [one.receiver.fileno() for one in self.inputs.values() if not one.ahead]
        connected = [descriptor for descriptor in listened if descriptor is not None]
        wait = LOOK_SECONDS if len(connected) == len(listened) else RETRY_SECONDS
        listened = [*connected, *self._companion.filenos()]
        self._companion.woken(select.select(listened, [], [], min(left, wait, self._companion.patience()))[0])

    def _welcome(self, name: str, path: Path) -> Input:
        for one in self._retired:
            if one.name == name:  # it was here before, and some of its items may still be in our hands
                self._retired.remove(one)
                one.receiver.rejoin()
                one.gone = False
                return one
        return Input(name, self._connection(name, path))

    def _connection(self, name: str, path: Path) -> LocalReceiver:
        receiver = LocalReceiver(path, self._member.who, self.books.open(name), self.books.account(name))
        receiver.suspects = self.suspects  # one set for all: a frame may come by any of them
        return receiver
