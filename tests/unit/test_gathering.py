"""A collector's loop between two givers and a list: order, gaps, tiles, and a life after a kill."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from consumers.gathering import Gathering, Parts
from consumers.tiles import Grid, Numbering, Stitcher, tiles_of
from ioc.channels.base import Accepted, Counters
from ioc.channels.book import Book
from ioc.channels.local_givers import LOOK_SECONDS
from ioc.channels.local_separate import Held, SeparateInputs
from ioc.core.clock import SystemClock
from ioc.core.frame import EndOfSeries, Frame, Item
from ioc.core.reorder import Bounds, Reorder
from tests.support.chains import DEADLINE, Chain, frame


class Shelf:
    """A publisher that keeps copies of all that it is given."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    def publish(self, items: Sequence[Item]) -> Accepted:
        for item in items:
            copied = item
            if isinstance(item, Frame):
                copied = Frame(item.series, item.unique_id, item.timestamp_ns, item.data.copy(), item.attributes)
            self.items.append(copied)
        return Accepted(len(items))

    def counters(self) -> Counters:
        return Counters(len(self.items))

    def close(self, drain: bool) -> None:
        pass

    @property
    def told(self) -> list[int | EndOfSeries]:
        """Return the ids of frames, and end markers."""
        return [item.unique_id if isinstance(item, Frame) else item for item in self.items]


class Rig:
    """A chain with a gathering behind it."""

    def __init__(self, folder: Path, seconds: float = 5.0, tiles: int | None = None, ordered: bool = True) -> None:
        self.chain = Chain(folder, separate=True)
        self.shelf = Shelf()
        self._bounds, self._tiles, self._ordered = Bounds(seconds), tiles, ordered
        self._drained: list[bool] = []
        self.gathering = self._begin()

    def _begin(self) -> Gathering:
        assert isinstance(self.chain.inputs, SeparateInputs)
        tiles = self._tiles
        reorder: Reorder[Held] = Reorder(self._bounds, self._ordered)
        stitcher = Stitcher(tiles, deliver_incomplete=False) if tiles else None
        place = Book(self.chain.folder / "Coll1.place")
        parts = Parts(self.chain.inputs, reorder, Numbering(tiles or 1), stitcher, [self.shelf], place, SystemClock())
        gathering = Gathering(parts)
        gathering.start()
        return gathering

    def waits(self, count: int) -> None:
        """Wait until so many frames wait in the gathering."""
        self._tend_until(lambda: self.gathering.snapshot.waiting == count, f"{count} frames wait")

    def orphaned(self, count: int) -> None:
        """Wait until the gathering knows that so many items in its hands are nobody else's any more."""
        inputs = self.chain.inputs
        assert isinstance(inputs, SeparateInputs)
        self._tend_until(lambda: inputs.orphans == count, f"{count} items are nobody else's")

    def ask_to_renew(self) -> threading.Thread:
        """Ask the gathering to end for a next life."""

        def drain() -> None:
            self._drained.append(self.gathering.drain(DEADLINE, renewed=True))

        asked = threading.Thread(target=drain, name="renewing", daemon=True)
        asked.start()
        return asked

    def renew(self, asked: threading.Thread | None = None) -> None:
        """Let the gathering end, and begin its next life."""
        asked = asked or self.ask_to_renew()
        self._tend_until(lambda: not asked.is_alive(), "the gathering has ended")
        assert self._drained == [True], self.gathering.failure
        self.chain.renew()
        self.gathering = self._begin()

    def _tend_until(self, true: Callable[[], bool], what: str) -> None:
        limit = time.monotonic() + DEADLINE
        while not true():
            self.chain.tend()
            assert time.monotonic() < limit, f"{what}: not within {DEADLINE} s"
            time.sleep(0.002)  # polled: the gathering is another thread

    def until(self, told: Sequence[int | EndOfSeries]) -> None:
        """Wait until exactly this has come out."""
        self._tend_until(lambda: len(self.shelf.told) >= len(told), f"{told} has come out")
        assert self.shelf.told == list(told)

    def passed(self, seconds: float) -> None:
        """Let the gathering look around for so long, while the givers are there."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            self.chain.tend()
            time.sleep(0.002)  # nothing is to happen: there is no event to wait for

    def finish(self) -> None:
        """Drain, and check that all is accounted for."""
        for name, output in list(self.chain.outputs.items()):
            del self.chain.outputs[name]
            assert output.drain(DEADLINE)
        assert self.gathering.drain(DEADLINE), self.gathering.failure
        counts = self.chain.books.counts
        assert counts.received - counts.returned == counts.processed + counts.failed
        assert counts.processed + counts.made == counts.published + counts.withheld


@contextmanager
def rig(folder: Path, seconds: float = 5.0, tiles: int | None = None, ordered: bool = True) -> Iterator[Rig]:
    """Yield a rig that is drained at the end, with its accounts checked."""
    made = Rig(folder, seconds, tiles, ordered)
    try:
        yield made
        made.finish()
    finally:
        made.chain.close()


def test_two_streams_come_out_as_one_in_order(tmp_path: Path) -> None:
    with rig(tmp_path) as one:
        first, second = one.chain.outputs.values()
        first.publish([frame(1), frame(3), frame(5), EndOfSeries(1, 6, ((6, 6),))])
        second.publish([frame(2), frame(4), EndOfSeries(1, 6, ((6, 6),))])
        one.until([1, 2, 3, 4, 5, EndOfSeries(1, 6, ((6, 6),))])
    assert one.gathering.snapshot.complete
    assert (one.gathering.snapshot.missing, one.gathering.snapshot.filtered) == (0, 1)


def test_gaps_late_ones_and_duplicates_are_booked(tmp_path: Path) -> None:
    with rig(tmp_path, seconds=0.05) as one:
        first, second = one.chain.outputs.values()
        first.publish([frame(1), frame(4)])
        one.until([1, 4])
        second.publish([frame(2), frame(4), frame(5), EndOfSeries(1, 6)])
        first.publish([EndOfSeries(1, 6)])
        one.until([1, 4, 5, EndOfSeries(1, 6)])
    now = one.gathering.snapshot
    assert (now.missing, now.late, now.duplicates, now.complete) == (2, 1, 1, False)
    assert now.missing_ranges == "3 6"
    assert one.gathering.withheld == {"late": 1, "duplicate": 1}


def test_a_frame_without_all_its_tiles_does_not_come_out(tmp_path: Path) -> None:
    grid = Grid(2, 2)
    frames = [Frame(1, n, 0, np.random.default_rng(n).integers(0, 255, (6, 5), np.uint8)) for n in (1, 2, 3)]
    with rig(tmp_path, tiles=4) as one:
        first, second = one.chain.outputs.values()
        tiles = [tile for whole in frames for tile in tiles_of(whole, grid)]
        del tiles[6]  # of frame 2
        first.publish([*tiles[::2], frame(9), EndOfSeries(1, 3)])
        second.publish([*tiles[1::2], EndOfSeries(1, 3)])
        one.until([1, 3, EndOfSeries(1, 3)])
    assert [item.data.tolist() for item in one.shelf.items if isinstance(item, Frame)] == [
        frames[0].data.tolist(),
        frames[2].data.tolist(),
    ]
    now = one.gathering.snapshot
    assert (now.incomplete, now.complete) == (1, False)
    assert one.chain.books.counts.failed == 1, "frame 9 is no tile"
    assert "expected TileIndex below TileCount = 4" in now.last_error


def test_what_waits_for_a_giver_that_starts_anew_comes_in_its_place(tmp_path: Path) -> None:
    with rig(tmp_path, seconds=DEADLINE) as one:
        first, second = one.chain.outputs.values()
        first.publish([frame(1)])
        second.publish([frame(2), frame(4)])
        one.until([1, 2])
        del one.chain.outputs["Cons1"]
        assert first.drain(DEADLINE), "it has given all that it had, and ends"
        second.publish([frame(6), EndOfSeries(1, 6)])
        one.passed(3 * LOOK_SECONDS)
        one.until([1, 2])
        one.chain.outputs["Cons1"] = one.chain.output("Cons1")
        one.chain.outputs["Cons1"].publish([frame(3), frame(5), EndOfSeries(1, 6)])
        one.until([1, 2, 3, 4, 5, 6, EndOfSeries(1, 6)])
    assert (one.gathering.snapshot.late, one.gathering.snapshot.missing) == (0, 0)


def test_what_a_collector_gives_back_comes_again_and_all_is_accounted_for(tmp_path: Path) -> None:
    with rig(tmp_path, seconds=DEADLINE) as one:
        first, second = one.chain.outputs.values()
        first.publish([frame(1)])
        second.publish([frame(2), frame(4), frame(6), EndOfSeries(1, 6)])
        one.until([1, 2])
        one.waits(2)
        one.renew()
        first.publish([frame(3), frame(5), EndOfSeries(1, 6)])
        one.until([1, 2, 3, 4, 5, 6, EndOfSeries(1, 6)])
        assert not one.chain.inputs.suspects, "nobody died with them"
    now = one.gathering.snapshot
    assert (now.late, now.missing, now.duplicates, now.complete) == (0, 0, 0, True)


def test_a_next_life_hears_again_who_has_ended_the_series(tmp_path: Path) -> None:
    with rig(tmp_path, seconds=DEADLINE) as one:
        first, second = one.chain.outputs.values()
        second.publish([frame(2), EndOfSeries(1, 3)])
        first.publish([frame(1)])
        one.until([1, 2])
        one.renew()
        first.publish([frame(3), EndOfSeries(1, 3)])
        one.until([1, 2, 3, EndOfSeries(1, 3)])


def test_what_went_out_of_its_givers_order_is_a_duplicate_when_it_comes_again(tmp_path: Path) -> None:
    with rig(tmp_path, seconds=DEADLINE, ordered=False) as one:
        first, second = one.chain.outputs.values()
        second.publish([frame(5), frame(2)])
        first.publish([frame(1)])
        one.until([1, 2])
        one.waits(1)
        one.renew()
        first.publish([frame(3), frame(4), EndOfSeries(1, 5)])
        second.publish([EndOfSeries(1, 5)])
        one.until([1, 2, 3, 4, 5, EndOfSeries(1, 5)])
    assert (one.gathering.snapshot.duplicates, one.gathering.snapshot.complete) == (1, True)


def test_what_nobody_else_has_is_not_given_back(tmp_path: Path) -> None:
    with rig(tmp_path, seconds=DEADLINE) as one:
        first, second = one.chain.outputs.values()
        second.publish([frame(2), frame(4)])
        one.waits(2)
        del one.chain.outputs["Cons2"]
        for seat in second.distributor.seats():
            seat.vacate()
        second.close(drain=False)  # it is killed: what it gave is in the collector's hands only
        one.orphaned(2)
        asked = one.ask_to_renew()
        one.passed(0.2)
        first.publish([frame(1), frame(3)])
        one.until([1, 2, 3, 4])
        one.renew(asked)
        first.publish([EndOfSeries(1, 4)])
        one.chain.forget("Cons2")
        one.until([1, 2, 3, 4, EndOfSeries(1, 4)])
    assert (one.gathering.snapshot.late, one.gathering.snapshot.missing) == (0, 0)


def test_a_later_life_goes_on_behind_what_was_passed_on(tmp_path: Path) -> None:
    place = Book(tmp_path / "Coll1.place")
    place.counts.link, place.counts.taken = 1, 2
    place.commit()
    place.close()
    with rig(tmp_path) as one:
        first, second = one.chain.outputs.values()
        first.publish([frame(1), frame(3), EndOfSeries(1, 4)])
        second.publish([frame(2), frame(4), EndOfSeries(1, 4)])
        one.until([3, 4, EndOfSeries(1, 4)])
    assert (one.gathering.snapshot.duplicates, one.gathering.snapshot.missing) == (2, 0)
