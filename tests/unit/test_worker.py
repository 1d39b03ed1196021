"""The loop of a consumer with processors that misbehave: what it counts, what it tells, and that it goes on."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumers.batch import Batch
from consumers.failures import Failures
from consumers.processor import Processor
from consumers.result import check_result
from consumers.worker import Worker
from ioc.channels.base import Accepted, Counters
from ioc.channels.book import Book
from ioc.core.clock import SystemClock, VirtualClock
from ioc.core.errors import UserError
from ioc.core.frame import EndOfSeries, Frame, Item
from tests.support.frames import frame as framed

COUNT = 6


class Given:
    """A receiver that gives some items, then is over."""

    account = None
    missed = 0

    def __init__(self, items: Sequence[Item], book: Book) -> None:
        self.items = list(items)
        self.suspects: set[tuple[int, int]] = set()
        self.released = 0
        self.book = book
        self.finished = False

    def receive(self, max_items: int, timeout: float) -> list[Item]:
        batch, self.items = self.items[:max_items], self.items[max_items:]
        self.book.counts.received += sum(isinstance(item, Frame) for item in batch)
        self.finished = not batch
        return batch

    def release(self, count: int) -> None:
        self.released += count

    def fail(self, frames: Sequence[Frame]) -> None:
        self.failed = [*getattr(self, "failed", []), *frames]

    def leave(self) -> None:
        pass

    def rejoin(self) -> None:
        self.finished = False


class Taken:
    """A publisher that keeps what it is given."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    def publish(self, items: Sequence[Item]) -> Accepted:
        self.items += items
        return Accepted(len(items))

    def counters(self) -> Counters:
        return Counters(len(self.items))

    def close(self, drain: bool) -> None:
        pass


def frames(count: int = COUNT) -> list[Frame]:
    """Return frames with ids from 1."""
    return [framed(np.full((2, 3), number, np.uint8), number) for number in range(1, count + 1)]


class Bench:
    """A worker on frames 1 to 6 and the end of their series, run to its end."""

    def __init__(self, folder: Path, processor: Processor, suspects: Sequence[int] = ()) -> None:
        book = Book(folder / "book")
        given = frames()
        items: list[Item] = [*given, EndOfSeries(given[0].series, COUNT)]
        self.receiver, self.taken = Given(items, book), Taken()
        self.receiver.suspects |= {(given[0].series, unique_id) for unique_id in suspects}
        self.worker = Worker(self.receiver, book, processor, [self.taken], SystemClock())  # type: ignore[arg-type]
        self.worker.start()
        assert self.worker.drain(20.0), self.worker.failure
        self.counts = book.counts
        assert self.receiver.released == COUNT + 1
        assert self.counts.received == self.counts.processed + self.counts.failed == COUNT
        assert self.counts.processed + self.counts.made == self.counts.published + self.counts.withheld

    @property
    def ids(self) -> list[int]:
        """Return the ids that were put out."""
        return [item.unique_id for item in self.taken.items if isinstance(item, Frame)]


def doing(act: Callable[[Frame], Any]) -> Processor:
    """Return a processor that does something with each frame."""

    class Doing(Processor):
        def process(self, frame: Frame, metadata: Any) -> Any:
            return act(frame)

    return Doing()


def changed(frame: Frame, **changes: Any) -> Frame:
    """Return a frame with something else in it."""
    return Frame(**{name: changes.get(name, getattr(frame, name)) for name in Frame.__slots__})


class SillyError(Exception):
    """An error that cannot be told."""

    def __str__(self) -> str:
        raise ValueError("not even this")


def leave(_frame: Frame) -> None:
    raise SystemExit(3)


def interrupt(_frame: Frame) -> None:
    raise KeyboardInterrupt


def be_silly(_frame: Frame) -> None:
    raise SillyError


def write_to(frame: Frame) -> None:
    frame.data.flags.writeable = False
    frame.data[0] = 1


def dig(frame: Frame) -> Any:
    return dig(frame)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (leave, "SystemExit: 3"),
        (interrupt, "KeyboardInterrupt"),
        (be_silly, "SillyError: an error whose text cannot be made"),
        (dig, "RecursionError"),
        (write_to, "read-only"),
        (lambda _: "text", "expected a Frame, a list of Frames or None, found 'str'"),
        (lambda frame: (frame, frame), "found 'tuple'"),
        (lambda frame: [frame, None], "a list of Frames"),
        (lambda frame: changed(frame, data="pixels"), "expected a NumPy array, found 'str'"),
        (lambda frame: changed(frame, data=np.array([[object()]])), "use data.astype"),
        (lambda frame: changed(frame, data=frame.data > 0), "use data.astype"),
        (lambda frame: changed(frame, data=frame.data.astype(">u2")), "use data.astype"),
        (lambda frame: changed(frame, data=frame.data[0]), "shape [y, x]"),
        (lambda frame: changed(frame, data=frame.data[:0]), "shape [y, x]"),
        (lambda frame: changed(frame, unique_id="7"), "unique_id: expected an int"),
        (lambda frame: changed(frame, series=-1), "series: expected an int"),
        (lambda frame: changed(frame, attributes={"a": [1]}), "attribute 'a'"),
        (lambda frame: changed(frame, attributes={"a": "\ud800"}), "surrogates"),
        (lambda frame: changed(frame, attributes={f"n{at}": "x" * 100 for at in range(500)}), "at most 16384 bytes"),
        (lambda frame: changed(frame, attributes=7), "expected a mapping"),
    ],
)  # fmt: skip
def test_what_a_processor_does_wrong_costs_the_frame_and_nothing_else(tmp_path: Path, act: Any, said: str) -> None:
    bench = Bench(tmp_path, doing(lambda frame: act(frame) if frame.unique_id == 3 else frame))
    assert bench.ids == [1, 2, 4, 5, 6]
    assert (bench.counts.failed, bench.counts.processed) == (1, 5)
    failure = bench.worker.snapshot.failure
    assert said in failure.text
    assert (failure.unique_id, failure.series > 0, failure.wall_ns > 0) == (3, True, True)
    assert bench.worker.snapshot.failures == 1
    assert bench.worker.busy_since_ns is None


def test_what_cannot_be_told_of_a_processor_does_not_stop_it(tmp_path: Path) -> None:
    processor = doing(lambda frame: frame)
    processor.statistics = lambda: {"Nonsense": object()}  # type: ignore[method-assign,dict-item]
    processor.flush = lambda: leave(frames()[0])  # type: ignore[method-assign]
    bench = Bench(tmp_path, processor)
    assert bench.ids == list(range(1, 7))
    assert isinstance(bench.taken.items[-1], EndOfSeries), "the end of the series goes on, whatever flush does"


def test_numpy_scalars_in_attributes_are_numbers(tmp_path: Path) -> None:
    bench = Bench(tmp_path, doing(lambda frame: changed(frame, attributes={"mean": np.float32(1.5)})))
    values = [item.attributes["mean"] for item in bench.taken.items if isinstance(item, Frame)]
    assert values == [1.5] * COUNT
    assert {type(value) for value in values} == {float}


def test_a_frame_that_has_no_room_behind_is_refused() -> None:
    (one,) = frames(1)
    check_result([one], [one], 1)
    with pytest.raises(UserError, match="at most 5 bytes, found 6"):
        check_result([changed(one)], [one], 5)


class Batches(Processor):
    batch_size = 4

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def process_batch(self, frames: Batch, metadata: Any) -> list[Frame]:
        self.seen.append([frame.unique_id for frame in frames])
        return list(frames)


def test_frames_that_somebody_died_with_are_worked_on_one_by_one(tmp_path: Path) -> None:
    processor = Batches()
    bench = Bench(tmp_path, processor, suspects=(2, 3))
    assert processor.seen == [[1], [2], [3], [4, 5, 6]]
    assert bench.ids == list(range(1, 7))
    assert not bench.receiver.suspects, "each is suspect once"


def test_an_error_of_every_frame_is_told_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    clock = VirtualClock()
    failures = Failures(clock)
    with caplog.at_level(logging.ERROR):
        for number in range(60_000):
            try:
                raise ValueError(number)
            except ValueError as error:
                failures.note(error, frames(1) if not number else ())
            clock.advance(0.0001)
    assert len(caplog.records) == 2
    assert "series" in caplog.records[0].getMessage() and "in test_an_error" in caplog.records[0].getMessage()
    assert "49999 more" in caplog.records[1].getMessage()
    assert (failures.count, failures.last.text, failures.last.unique_id) == (60_000, "ValueError: 59999", 0)


def test_the_end_of_the_life_before_is_shown_until_there_is_another_error() -> None:
    failures = Failures(VirtualClock())
    failures.recall("")
    assert failures.last.text == ""
    failures.recall("was killed by SIGSEGV")
    assert failures.last.text == "the life before: was killed by SIGSEGV"
    failures.note(ValueError("new"))
    assert failures.last.text == "ValueError: new"
    failures.clear()
    assert failures.last.text == ""
