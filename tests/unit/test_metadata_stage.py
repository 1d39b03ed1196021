"""A consumer's metadata between receiver and processor: what the processor is given, and what is booked as filtered."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from consumers.metadata import MetadataStage
from consumers.processor import Metadata, Processor
from consumers.worker import Worker
from ioc.channels.book import Book
from ioc.core.clock import SystemClock
from ioc.core.config_metadata import ChannelConfig, MetadataConfig
from ioc.core.errors import RefusedError
from ioc.core.frame import EndOfSeries, Frame, Item
from ioc.core.metadata import Update
from tests.support.rigs import LocalRig, rig

PIXELS = np.zeros((2, 2), np.uint8)


class Scripted:
    """A channel that gives what it was told; a provider of itself."""

    def __init__(self) -> None:
        self.connected = True
        self.errors = 0
        self.last_error = ""
        self.updates: list[Update] = []
        self.searches = 0
        self.closed = False

    def open(self, config: ChannelConfig) -> "Scripted":
        return self

    def poll(self) -> Sequence[Update]:
        found, self.updates = self.updates, []
        return found

    def filenos(self) -> Sequence[int]:
        return (7,)

    def search(self) -> None:
        self.searches += 1

    def close(self) -> None:
        self.closed = True


def frame(unique_id: int, **attributes: float) -> Frame:
    return Frame(1, unique_id, unique_id * 1_000_000, PIXELS, attributes)


def stage(source: Scripted, **channel: object) -> MetadataStage:
    config = ChannelConfig(channel="pva://X", match="id", **channel)  # pyright: ignore[reportArgumentType]
    return MetadataStage(MetadataConfig(channels={"A": config}), {"pva": lambda: source})


def test_values_become_attributes_beside_those_that_are_there() -> None:
    source = Scripted()
    one = stage(source)
    source.updates = [Update(1.5, 1_000_000, 1)]
    (settled,) = one.through([frame(1, ColorMode=0)])
    assert dict(settled.metadata) == {"A": 1.5}
    assert isinstance(settled.item, Frame)
    assert settled.item.attributes == {"ColorMode": 0, "A": 1.5, "AQuality": "matched"}
    shown = one.values()
    assert (shown["Complete"], shown["A:Matched"], shown["A:Connected"]) == (1, 1, "yes")


def test_the_end_of_a_series_waits_for_its_frames() -> None:
    source = Scripted()
    one = stage(source, wait=60.0)
    assert one.through([frame(1), EndOfSeries(1, 1)]) == []
    assert one.waiting == 2
    assert [type(settled.item) for settled in one.through((), patient=False)] == [Frame, EndOfSeries]
    assert one.values()["Unmatched"] == 1


def test_a_frame_that_is_not_wanted_says_so() -> None:
    one = stage(Scripted(), wait=0.0, late="drop")
    (settled,) = one.through([frame(1)])
    assert not settled.wanted
    assert one.values()["Unwanted"] == 1


def test_rules_are_changed_while_it_runs() -> None:
    one = stage(Scripted())
    one.change("A", "Window", 0.25)
    one.change("A", "Wait", 0.5)
    one.change("A", "Offset", -2.0)
    assert one.demands() == {"A:Window": 0.25, "A:Wait": 0.5, "A:Offset": -2.0}
    with pytest.raises(RefusedError, match="Meta:B:Window"):
        one.change("B", "Window", 1.0)


def test_nothing_is_asked_of_channels_that_are_closed() -> None:
    source = Scripted()
    one = stage(source)
    one.close()
    source.updates = [Update(1.0, 0, 1)]
    one.poll()
    assert (source.closed, len(source.updates)) == (True, 1)


class Feed:
    """A receiver that has some items, then no more; counts what is released."""

    account = None
    missed = 0

    def __init__(self, items: list[Item]) -> None:
        self._items = items
        self.finished = False
        self.released = 0
        self.suspects: set[tuple[int, int]] = set()

    def receive(self, max_items: int, timeout: float) -> list[Item]:
        found, self._items = self._items[:max_items], self._items[max_items:]
        if not found:
            self.finished = True
        return found

    def release(self, count: int) -> None:
        self.released += count

    def fail(self, frames: Sequence[Frame]) -> None:
        raise AssertionError(f"{len(frames)} frames failed")

    def leave(self) -> None:
        self.finished = not self._items

    def rejoin(self) -> None:
        self.finished = False


class Keeper(Processor):
    """Keeps the metadata of each frame."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, dict[str, object]]] = []

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        self.seen.append((frame.unique_id, dict(metadata)))
        return frame


def test_the_worker_books_what_is_not_wanted_as_filtered(tmp_path: Path) -> None:
    source = Scripted()
    source.updates = [Update(float(n), n * 1_000_000, n) for n in (1, 3)]
    feed = Feed([frame(1), frame(2), frame(3), EndOfSeries(1, 3)])
    book = Book(tmp_path / "Cons1.book")
    book.counts.received += 3  # what a receiver books
    keeper = Keeper()
    worker = Worker(feed, book, keeper, [], SystemClock())  # pyright: ignore[reportArgumentType]
    worker.metadata = stage(source, wait=0.0, late="drop")
    worker.start()
    assert worker.drain(30.0)
    counts = book.counts
    book.close()
    assert keeper.seen == [(1, {"A": 1.0}), (3, {"A": 3.0})]
    assert (counts.processed, counts.withheld, counts.published, feed.released) == (3, 1, 2, 4)


def test_descriptors_are_told_only_while_frames_wait_for_values() -> None:
    source = Scripted()
    one = stage(source, wait=60.0)
    assert one.filenos() == []
    assert one.through([frame(1)]) == []
    assert one.filenos() == [7]
    source.updates = [Update(1.0, 1_000_000, 1)]
    assert len(one.through(())) == 1
    assert one.filenos() == []


def test_a_wait_for_frames_ends_when_a_value_may_be_there(tmp_path: Path) -> None:
    """A deadline far beyond the test's own says that it was not waited for."""
    with rig("local", tmp_path) as local:
        assert isinstance(local, LocalRig)
        bell = os.eventfd(0)
        local.receiver.beside = lambda: (bell,)
        os.eventfd_write(bell, 1)
        assert local.receiver.receive(1, 10_000.0) == ()
        local.sender.publish([local.prepared(frame(1))])
        (found,) = local.receiver.receive(1, 10_000.0)
        assert isinstance(found, Frame) and found.unique_id == 1
        os.eventfd_read(bell)
        local.receiver.release(1)
        local.sender.publish([local.prepared(frame(2))])
        assert len(local.receiver.receive(1, 10_000.0)) == 1
        os.close(bell)
