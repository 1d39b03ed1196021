"""Givers and a member behind them in one process, for tests of what a chain is made of."""

import select
import time
from pathlib import Path

import numpy as np

from consumers.inputs import Givers, open_books
from consumers.local_output import LocalOutput
from ioc.channels.books import Books
from ioc.channels.journal import Journal
from ioc.channels.local_givers import Member
from ioc.channels.local_inputs import LocalInputs
from ioc.channels.local_separate import SeparateInputs
from ioc.channels.local_wire import Hello
from ioc.core.config import Config, load
from ioc.core.frame import EndOfSeries, Frame, Item
from ioc.core.status import MemberStatus, ProcessSpec, Role
from ioc.supervisor.plan import plan
from ioc.supervisor.rules import Rules
from ioc.supervisor.run_folder import RunFolder
from ioc.supervisor.worker import Worker

DEADLINE = 40.0
TEXT = """
[groups.first]
count = 2
[groups.second]
input = "groups.first"
queue_size = 8
"""


def frame(unique_id: int, series: int = 1, size: int = 16) -> Frame:
    """Return a frame whose pixels are its id."""
    return Frame(series, unique_id, time.time_ns(), np.full((size, size), unique_id % 251, np.uint8), {"Id": unique_id})


class Chain:
    """Members `Cons1` and `Cons2` of the first group as outputs, `Cons3` of the second as inputs."""

    def __init__(self, folder: Path, text: str = TEXT, separate: bool = False) -> None:
        self.config: Config = load(text, "test")
        self.folder = folder
        self.specs = {spec.name: spec for spec in plan(self.config, folder)}
        self.outputs = {name: self.output(name) for name in ("Cons1", "Cons2")}
        self.books, self.member = self._second()
        make = SeparateInputs if separate else LocalInputs
        self.inputs: LocalInputs | SeparateInputs = make(self.member)

    def output(self, name: str) -> LocalOutput:
        """Return the output of a new life of a member of the first group."""
        output = LocalOutput.of(self.specs[name], Journal(self.specs[name].given_file))
        assert output is not None
        return output

    def forget(self, name: str) -> None:
        """Do what the supervisor does when a member of the first group is over."""
        worker = Worker(self.specs[name], "none", RunFolder(self.folder), Rules.of(self.config))
        worker.rest()

    def second(self) -> LocalInputs:
        """Return the inputs of a new life of the member of the second group."""
        self.books, self.member = self._second()
        self.inputs = LocalInputs(self.member)
        return self.inputs

    def renew(self) -> None:
        """Let go of the inputs of a life of the second member that has ended, and make those of its next."""
        self.inputs.close(drain=False)
        self.books.close()
        self.books, self.member = self._second()
        self.inputs = type(self.inputs)(self.member)

    def receive(self, count: int, release: bool = True) -> list[Item]:
        """Return `count` items that came through, frames copied."""
        got: list[Item] = []
        limit = time.monotonic() + DEADLINE
        while len(got) < count:
            self.tend()
            got += self.received_now(count - len(got), release)
            assert time.monotonic() < limit, f"{len(got)} of {count} items within {DEADLINE} s: {got}"
        return got

    def received_now(self, most: int = 4, release: bool = True) -> list[Item]:
        """Return what came through just now, frames copied."""
        assert isinstance(self.inputs, LocalInputs)
        got = []
        for item in self.inputs.receive(most, 0.01):
            got.append(_copy(item))
            if release:
                self.release(item)
        return got

    def release(self, item: Item) -> None:
        """Be done with the oldest item."""
        assert isinstance(self.inputs, LocalInputs)
        self.books.counts.processed += isinstance(item, Frame)
        self.books.counts.published += isinstance(item, Frame)
        self.inputs.release(1)

    def tend(self) -> None:
        """Let the outputs do what they have to do."""
        for output in self.outputs.values():
            output.woken(select.select(output.filenos(), [], [], 0)[0])
            output.tend()

    def settled(self) -> None:
        """Wait until the outputs know that everything was finished with, and check their accounts."""
        limit = time.monotonic() + DEADLINE
        while not all(output.distributor.idle() for output in self.outputs.values()):
            self.tend()
            assert time.monotonic() < limit, [output.groups for output in self.outputs.values()]
        for name in self.outputs:
            account = self.account(name)
            assert account.assigned == account.completed + sum(account.dropped.values()), account

    def account(self, name: str) -> MemberStatus:
        """Return what a giver knows of the member of the second group."""
        (group,) = self.outputs[name].distributor.groups.values()
        return group.status(time.time_ns()).members[0]

    def close(self) -> None:
        """Let go of everything."""
        self.inputs.close(drain=False)
        for output in self.outputs.values():
            for seat in output.distributor.seats():
                seat.vacate()
                seat.abandon()
            output.close(drain=False)
        self.books.close()

    def _second(self) -> tuple[Books, Member]:
        spec: ProcessSpec = self.specs["Cons3"]
        assert spec.role is Role.CONSUMER
        books, _ = open_books(spec)
        return books, Member(Givers(spec, "groups.first"), Hello("Cons3", "second", 0), books)


def _copy(item: Item) -> Item:
    if isinstance(item, EndOfSeries):
        return item
    return Frame(item.series, item.unique_id, item.timestamp_ns, item.data.copy(), dict(item.attributes))
