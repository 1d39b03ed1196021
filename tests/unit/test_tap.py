"""The way of a plug-in's frames to a file writer's process: who wants which port, who is slow, who dies."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from consumers.plugins.ledger import PluginLedger
from consumers.plugins.tap import Taps, Writers
from ioc.channels.book import Book, book_name
from ioc.channels.journal import JournalReader
from ioc.channels.local import LocalServer
from ioc.channels.local_receiver import LocalReceiver
from ioc.channels.local_wire import Hello
from ioc.core.config_table import Policy
from ioc.core.config_writer import WriterConfig
from ioc.core.frame import Frame
from tests.support.plugin_rig import Rig, images

SECONDS = 20.0
MEMORY = 1 << 20


class Bench:
    """A graph with taps for HDF1 (Bounded, 4 frames) and HDF2 (Lossless, 4 frames)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rig = Rig()
        self.rig.add("ROI1", SizeX=2)
        self.rig.add("Stats1")
        self.ledger = PluginLedger("Plug1", folder / "journal")
        tables = {
            "HDF1": WriterConfig(queue_size=4),
            "HDF2": WriterConfig(queue_size=4, policy=Policy.LOSSLESS),
        }
        server = LocalServer(folder / "frames.plugins", "Plug1")
        self.taps = Taps(server, self.rig.graph, self.ledger, Writers(tables, MEMORY))
        self.taps.start()
        self.receivers: list[LocalReceiver] = []

    def writer(self, name: str, port: str) -> LocalReceiver:
        """Connect as a writer that wants the frames of a port; return once its frames would come."""
        book = Book(self.folder / book_name(name, "Plug1"))
        receiver = LocalReceiver(self.folder / "frames.plugins", Hello(name, port, 0), book)
        self.receivers.append(receiver)
        receiver.receive(1, 0.0)
        for _ in range(200):
            receiver.receive(1, 0.1)
            if any(taker.port == f"File{name}" for taker in self.rig.graph.takers(port)):
                return receiver
        raise AssertionError(f"{name} is not let in")

    def account(self, name: str) -> tuple[int, int, dict[str, int]]:
        """Return what a writer was given, what it finished, what it did not get and why."""
        reader = JournalReader(self.folder / "journal")
        try:
            (one,) = (one for one in reader.read() if one.name == f"Plug1.{name}")
        finally:
            reader.close()
        return one.came, one.done, {reason: count for reason, count in one.dropped.items() if count}

    def close(self) -> None:
        for receiver in self.receivers:
            receiver.close(drain=False)
        self.taps.close()
        self.ledger.close()
        for plugin in self.rig.plugins.values():
            plugin.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.close()


def taken(receiver: LocalReceiver, count: int, release: bool = True) -> list[tuple[int, tuple[int, ...], int]]:
    """Return id, shape and first pixel of so many frames, each finished with."""
    found: list[tuple[int, tuple[int, ...], int]] = []
    for _ in range(400):
        for item in receiver.receive(count - len(found), 0.05):
            assert isinstance(item, Frame)
            found.append((item.unique_id, item.data.shape, int(item.data.flat[0])))
            if release:
                receiver.release(1)
        if len(found) == count:
            return found
    raise AssertionError(f"{len(found)} of {count} frames came")


def test_a_writer_gets_the_frames_of_the_port_that_it_names(bench: Bench) -> None:
    region, whole = bench.writer("HDF1", "ROI1"), bench.writer("HDF2", "STATS1")
    bench.rig.feed(*images(3, (3, 4)))
    assert taken(region, 3) == [(number, (3, 2), number) for number in (1, 2, 3)]
    assert taken(whole, 3) == [(number, (3, 4), number) for number in (1, 2, 3)]
    assert bench.rig.graph.settle(SECONDS)
    assert bench.account("HDF1") == bench.account("HDF2") == (3, 3, {})


def test_a_port_that_is_not_there_and_a_stranger_are_sent_away(bench: Bench) -> None:
    for name, port in (("HDF1", "ROI9"), ("HDF9", "ROI1")):
        receiver = LocalReceiver(
            bench.folder / "frames.plugins", Hello(name, port, 0), Book(bench.folder / book_name(name, "Plug1"))
        )
        for _ in range(200):
            receiver.receive(1, 0.1)
            if receiver.finished:
                break
        assert receiver.finished, (name, port)
        receiver.close(drain=False)


def test_what_a_slow_writer_does_not_get_is_named(bench: Bench) -> None:
    receiver = bench.writer("HDF1", "ROI1")
    bench.rig.feed(*images(20))
    assert len(taken(receiver, 2, release=False)) == 2  # its window: half of what may wait
    came, done, dropped = bench.account("HDF1")
    assert (came, done) == (20, 0) and set(dropped) == {"queue_full"}
    receiver.release(2)
    more = 20 - 2 - dropped["queue_full"]
    assert [one for one, _, _ in taken(receiver, more)][-1] == 20, "the newest are kept"
    assert bench.rig.graph.settle(SECONDS)
    assert bench.account("HDF1") == (20, 20 - dropped["queue_full"], dropped)


def test_a_lossless_writer_makes_the_plugin_wait(bench: Bench) -> None:
    receiver = bench.writer("HDF2", "ROI1")
    feeding = threading.Thread(target=lambda: bench.rig.feed(*images(30)))
    feeding.start()
    assert [number for number, _, _ in taken(receiver, 30)] == list(range(1, 31))
    feeding.join(SECONDS)
    assert not feeding.is_alive() and bench.rig.graph.settle(SECONDS)
    assert bench.account("HDF2") == (30, 30, {})


def test_what_a_writer_died_with_is_named_and_its_successor_goes_on(bench: Bench) -> None:
    receiver = bench.writer("HDF1", "ROI1")
    bench.rig.feed(*images(3))
    assert len(taken(receiver, 2, release=False)) == 2
    receiver.close(drain=False)
    assert bench.rig.graph.settle(SECONDS)
    again = bench.writer("HDF1", "STATS1")
    assert bench.account("HDF1") == (3, 0, {"member_gone": 3})
    bench.rig.feed(*images(2))
    assert len(taken(again, 2)) == 2
    assert bench.rig.graph.settle(SECONDS)
    assert bench.account("HDF1") == (5, 2, {"member_gone": 3})


def test_frames_that_are_too_large_are_named(bench: Bench) -> None:
    bench.writer("HDF2", "STATS1")
    bench.rig.feed(Frame(7, 1, 0, np.zeros((1024, 1024), np.uint8)))
    assert bench.account("HDF2") == (1, 0, {"shed": 1})
