"""A flow with a source that counts, and members in threads, for tests of the distributor."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector_sim.acquisition import Acquisition
from detector_sim.flow import Flow
from detector_sim.images import ImageStore
from ioc.channels.book import Book
from ioc.channels.journal import FAILED, MOVED, Journal, JournalReader
from ioc.channels.local import LocalServer
from ioc.channels.local_receiver import LocalReceiver
from ioc.channels.local_wire import Hello
from ioc.channels.trail import Cursor, Run
from ioc.core.clock import SystemClock
from ioc.core.config_detector import DetectorConfig
from ioc.core.config_table import Policy
from ioc.core.frame import EndOfSeries, Frame
from ioc.core.overflow import Limits
from ioc.distributor.distributor import Distributor
from ioc.distributor.group import GroupShape


class CountingSource:
    """Images whose pixels are all the frame's number from 0, modulo 251."""

    def __init__(self, shape: tuple[int, ...] = (4, 6), period: int | None = None, count: int | None = None) -> None:
        self.shape = shape
        self.dtype = np.dtype(np.uint8)
        self.period = period
        self.count = count
        self.anew = True

    def fill(self, index: int, out: NDArray) -> None:
        out[:] = index % 251

    def describe(self) -> str:
        return "counting"

    def close(self) -> None:
        pass


class Member(threading.Thread):
    """A member that notes what it gets; `gate` holds it up while it is cleared; with `quits` it goes, behind it."""

    def __init__(self, run_dir: Path, name: str, group: str = "g", index: int = 0) -> None:
        super().__init__(name=name, daemon=True)
        self.book = Book(run_dir / f"{name}.book")
        self.receiver = LocalReceiver(run_dir / "frames", Hello(name, group, index), self.book)
        self.gate = threading.Event()
        self.gate.set()
        self.quits = threading.Event()
        self.ids: list[tuple[int, int]] = []
        self.pixels: list[int] = []
        self.shapes: list[tuple[int, ...]] = []
        self.ends: list[EndOfSeries] = []
        self.arrived = threading.Condition()

    def run(self) -> None:
        while True:
            batch = self.receiver.receive(16, 0.1)
            if not batch and self.receiver.finished:
                return
            for item in batch:
                self.gate.wait()
                if self.quits.is_set():
                    self.receiver.close(drain=False)
                    return
                with self.arrived:
                    self._note(item)
                    self.arrived.notify_all()
                self.receiver.release(1)

    def _note(self, item: Frame | EndOfSeries) -> None:
        if isinstance(item, EndOfSeries):
            self.ends.append(item)
            return
        self.ids.append((item.series, item.unique_id))
        self.pixels.append(int(item.data.flat[0]))
        self.shapes.append(item.data.shape)
        assert (item.data == item.data.flat[0]).all(), f"frame {item.unique_id} is torn"
        assert not item.data.flags.writeable
        self.book.counts.processed += 1

    def wait_for(self, frames: int, seconds: float = 40.0) -> None:
        with self.arrived:
            done = self.arrived.wait_for(lambda: len(self.ids) >= frames, seconds)
            assert done, f"{self.name}: {len(self.ids)} frames in {seconds} s, expected {frames}"


def shape(policy: Policy = Policy.LOSSLESS, count: int = 1, queue: int = 8, **more: object) -> GroupShape:
    """Return the shape of a group called g."""
    limits = Limits(policy, queue, more.pop("size_bytes", None))  # type: ignore[arg-type]
    sets = more.pop("sets", None)
    updates = more.pop("updates", 1)
    return GroupShape("g", count, sets, updates, limits)  # type: ignore[arg-type]


@contextmanager
def running_flow(run_dir: Path, group: GroupShape, source: CountingSource, **detector: object) -> Iterator[Flow]:
    """Yield a started flow with one group in slot 1; drained at the end, with the conservation checked."""
    config = DetectorConfig.model_validate({"frame_rate": 1e6, "acquire_time": 0.0, **detector})
    clock = SystemClock()
    distributor = Distributor(Journal(run_dir / "detector.journal"))
    names = [f"Cons{index + 1}" for index in range(group.count)]
    distributor.add_group(1, group, names)
    store = ImageStore(source, 1 << 22, 500)
    server = LocalServer(run_dir / "frames")
    flow = Flow(Acquisition(config, clock), distributor, store, server, clock)
    flow.start()
    try:
        yield flow
    finally:
        flow.drain(40.0)
        server.close()
        assert_conserved(flow)


def left(flow: Flow, name: str) -> list[Run]:
    """Return the ids that the journal says a member was not given, without those that went to another one."""
    path = flow.distributor.journal.path
    assert path is not None
    return left_runs(path, name)


def left_runs(path: Path, name: str) -> list[Run]:
    """Return the ids that a journal says the accounts of a name dropped."""
    return [run for run in _left_by_any_way(path, name) if run.mark not in (MOVED, FAILED)]


def failed(flow: Flow, name: str) -> list[Run]:
    """Return the ids that the journal says a member without a book failed on."""
    path = flow.distributor.journal.path
    assert path is not None
    return [run for run in _left_by_any_way(path, name) if run.mark == FAILED]


def _left_by_any_way(path: Path, name: str) -> list[Run]:
    reader = JournalReader(path)
    runs: list[Run] = []
    for number, account in enumerate(reader.read()):
        if account.name == name:
            runs += reader.trails(number)[1].read(Cursor(), account.left)[0]
    reader.close()
    return runs


def ids_in(runs: Iterable[Run]) -> set[int]:
    """Return the ids of runs."""
    return {run.first + run.step * at for run in runs for at in range(run.count)}


def assert_conserved(flow: Flow) -> None:
    """Check that every turn of every group is accounted for."""
    assert flow.failure is None
    for group in flow.snapshot.groups:
        total = group.nobody
        for member in group.members:
            booked = member.completed + sum(member.dropped.values()) + member.queued + member.in_flight
            assert member.assigned == booked, member
            missed = sum(run.count for run in left(flow, member.name))
            assert missed == sum(member.dropped.values()), "every drop has an id"
            total += member.assigned
        assert group.turns == total
