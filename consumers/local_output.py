"""Where the frames of a consumer or collector go inside the appliance: a distributor of its own, in shared memory.

How it works: no thread of its own. Whoever puts frames out calls `publish`, which waits while a lossless member has no
room, and `tend` whenever it waits for something itself; `filenos` and `woken` tie the two together. A restarted
process first tells the last end of a series that an earlier life passed on, because that may have been lost with it.
"""

import json
import logging
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from ioc.channels.base import Accepted, Counters, Link
from ioc.channels.journal import Journal
from ioc.channels.local import LocalLink, LocalServer
from ioc.channels.local_pool import PooledFrame
from ioc.channels.local_store import FEWEST_SLOTS, FrameStore
from ioc.core.errors import RefusedError
from ioc.core.frame import EndOfSeries, Frame, Item
from ioc.core.status import GroupStatus, ProcessSpec
from ioc.core.topology import takers
from ioc.distributor.distributor import Distributor
from ioc.distributor.spool import Spool
from ioc.distributor.takers import takers_of, useful_slots
from ioc.supervisor.counts import Counts
from ioc.supervisor.kept_file import KeptFiles
from ioc.supervisor.plan import node_of

log = logging.getLogger(__name__)

SNAPSHOT_SECONDS = 0.1
BUSY_SECONDS = 0.005
"""s to sleep while something is on its way; a member rings, this is for the case that its bell and our request
crossed."""
IDLE_SECONDS = 0.1
QUORUM_SECONDS = 20.0
"""s that frames are not taken while members that are to be started have not joined."""


@dataclass(frozen=True, slots=True)
class Outlet:
    """What an output is made of."""

    spec: ProcessSpec
    distributor: Distributor
    server: LocalServer
    store: FrameStore


class LocalOutput:
    """Deals frames out to the groups behind; implements base.Publisher and local_inputs.Companion."""

    def __init__(self, outlet: Outlet) -> None:
        self.distributor = outlet.distributor
        self.groups: list[GroupStatus] = []
        self.largest_bytes = outlet.spec.config.budget.chain // FEWEST_SLOTS
        self.waiting = False
        self.idle: Callable[[], None] = lambda: None
        self._spec = outlet.spec
        self._server = outlet.server
        self._store = outlet.store
        self._frames = 0
        self._bytes = 0
        self._at_the_door = True
        self._due = 0.0
        self._opens = time.monotonic() + QUORUM_SECONDS
        self._is_open = False
        self._rung = False
        self._files = KeptFiles()
        self._counts = Counts(outlet.spec.config, outlet.spec.run_dir)
        self._adapt()
        self.distributor.last_end = _read_end(outlet.spec)

    @classmethod
    def of(cls, spec: ProcessSpec, journal: Journal | None, reserved: int = 0) -> Self | None:
        """Return the output that a process needs, with its accounts in `journal`; None if nobody takes its frames.

        `reserved` bytes of the process's share of the memory are for frames that wait elsewhere in it.
        """
        node, config = node_of(spec), spec.config
        if journal is None or not takers(config.inputs, node):
            return None
        distributor = Distributor(journal, aside=Spool(spec.quarantine_folder, config.quarantine.most_bytes))
        for taker in takers_of(config, node):
            distributor.add_group(taker.slot, taker.shape, taker.members)
        server = LocalServer(spec.output_socket(node, spec.name), spec.name)
        store = FrameStore(config.budget.chain - reserved, useful_slots(config, node))
        return cls(Outlet(spec, distributor, server, store))

    @property
    def open(self) -> bool:
        """Whether every member that is to be started has joined once, or `QUORUM_SECONDS` are over."""
        if not self._is_open:
            absent = any(seat.expected and seat.link is None for seat in self.distributor.seats())
            self._is_open = not absent or time.monotonic() >= self._opens
        return self._is_open

    def publish(self, items: Sequence[Item]) -> Accepted:
        """Copy frames and deal them out; waits while a lossless member has no room for one."""
        self.distributor.muster()
        try:
            for item in items:
                if isinstance(item, EndOfSeries):
                    told = json.dumps([item.series, item.published, item.filtered])
                    self._files.write(self._spec.ended_file, told)
                    self.distributor.end_series(item)
                else:
                    self._give(item)
        finally:
            self.waiting = False
        self._pump()
        return Accepted(len(items))

    def counters(self) -> Counters:
        return Counters(self._frames, self._bytes)

    def tend(self) -> bool:
        """Let members in, hand them what waits; return whether anything moved."""
        if self._at_the_door:
            self._open_door()
        moved = self._pump()
        if time.monotonic() >= self._due:
            self._look_around()
        return moved

    def filenos(self) -> list[int]:
        """Return what becomes readable when `tend` has something to do; members are asked to ring."""
        self._rung = any(seat.ring() for seat in self.distributor.seated() if not seat.idle)
        return [*self._server.filenos(), *self._links()]

    def woken(self, ready: Sequence[int]) -> None:
        """Take notice of descriptors that have become readable."""
        links = self._links()
        for descriptor in ready:
            if descriptor in links:
                links[descriptor].refresh()
        doors = set(self._server.filenos())
        self._at_the_door = self._at_the_door or not doors.isdisjoint(ready)

    def patience(self) -> float:
        """Return how long to sleep at most, in s; asked for after `filenos`."""
        if self._rung:
            return 0.0  # a member was faster than our asking
        return IDLE_SECONDS if all(seat.idle for seat in self.distributor.seats()) else BUSY_SECONDS

    def drain(self, deadline: float) -> bool:
        """Let the members finish within `deadline` seconds and say goodbye; return whether all did."""
        limit = time.monotonic() + deadline
        while not (finished := self.distributor.idle()) and time.monotonic() < limit:
            if not self.tend():
                self._sleep()
        for seat in self.distributor.seats():
            seat.vacate(politely=True)
            seat.abandon()
        self._look_around()
        self.distributor.commit()
        self.close(drain=False)
        return finished

    def close(self, drain: bool) -> None:
        self.distributor.close()
        self._server.close(expected=True)  # only the supervisor knows whether there is a next life
        self._store.close()

    def _pump(self) -> bool:
        """Move frames on; return whether any moved."""
        self.distributor.commit()  # before anybody is given what it says was assigned
        return self.distributor.pump()

    def _give(self, frame: Frame) -> None:
        pooled = self._place(frame)
        size = frame.data.nbytes
        if self.distributor.room(2, size) < 2:
            self._pump()  # let what waits move on before anything is dropped for this one
        while not self.distributor.room(1, size):
            self._wait()
        self.distributor.offer([pooled])
        assert pooled.slot is not None
        pooled.slot.drop()
        self._frames += 1
        self._bytes += size

    def _place(self, frame: Frame) -> PooledFrame:
        while (pooled := self._store.place(frame)) is None:
            self._tidy()
            if not self.distributor.shed():
                self._wait()
        return pooled

    def _wait(self) -> None:
        self.waiting = True
        self.idle()
        if not self.tend():
            self._sleep()
            self.tend()
        self.distributor.muster()

    def _sleep(self) -> None:
        listened = self.filenos()
        self.woken(select.select(listened, [], [], self.patience())[0])

    def _open_door(self) -> None:
        self._at_the_door = False
        for link in self._server.accept():
            try:
                self.distributor.join(link.who.group, link.who.member, link)
                log.info("%s joined group %s", link.name, link.who.group)
            except RefusedError as error:
                log.warning("%s may not join: %s", link.name, error)
                link.close(drain=True)

    def _look_around(self) -> None:
        """Do what need not be done every time: see who left or is given up, tell the accounts."""
        self._due = time.monotonic() + SNAPSHOT_SECONDS
        self._files.retry()
        self.woken(select.select([*self._server.filenos(), *self._links()], [], [], 0)[0])
        if self._counts.look():
            self._adapt()
        for seat in self.distributor.seats():
            if seat.link is None and seat.expected and self._spec.gone_file(seat.name).exists():
                self.distributor.give_up(seat.name)
        self._tidy()
        self.groups = self.distributor.statuses(time.time_ns())

    def _adapt(self) -> None:
        """Let groups have as many members as they are to have by now."""
        for slot, group in self.distributor.groups.items():
            name = group.shape.name
            if name in self._spec.config.groups and (count := self._counts.of(name)) != group.shape.count:
                self.distributor.reshape(slot, replace(group.shape, count=count))

    def _tidy(self) -> None:
        self.distributor.hand_on()
        for segment in self._store.unused():
            for seat in self.distributor.seats():
                if isinstance(seat.link, LocalLink):
                    seat.link.retire(segment)
            segment.close()

    def _links(self) -> dict[int, Link]:
        links = (seat.link for seat in self.distributor.seats() if seat.link is not None)
        return {link.fileno(): link for link in links if link.alive()}


def _read_end(spec: ProcessSpec) -> EndOfSeries | None:
    try:
        series, published, filtered = json.loads(spec.ended_file.read_text())
    except FileNotFoundError:
        return None
    return EndOfSeries(series, published, tuple((first, last) for first, last in filtered))
