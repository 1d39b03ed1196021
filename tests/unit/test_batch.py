"""Batches: one array without a copy where the frames lie evenly, otherwise a copy that is said."""

import mmap

import numpy as np
import pytest

from consumers.batch import Batch, stacked
from consumers.processor import Processor
from ioc.channels.local_pool import Segment
from ioc.core.errors import UserError
from ioc.core.frame import Frame
from tests.support.frames import frame


def frames_in(memory: np.ndarray, *places: int) -> list[Frame]:
    """Return frames that are views of the rows of an array."""
    return [frame(memory[place], place + 1) for place in places]


@pytest.mark.parametrize("places", [(0, 1, 2), (1, 3, 5), (4,), (2, 5), (2, 1, 0), (5, 3, 1)])
def test_frames_that_lie_evenly_are_not_copied(places: tuple[int, ...]) -> None:
    memory = np.arange(6 * 4 * 5, dtype=np.uint16).reshape(6, 4, 5)
    batch = Batch(frames_in(memory, *places))
    assert np.shares_memory(batch.array, memory)
    np.testing.assert_array_equal(batch.array, memory[list(places)])
    assert not batch.copied
    assert not batch.array.flags.writeable
    assert batch.array.flags.c_contiguous == (places in [(0, 1, 2), (4,)])
    assert batch.array is batch.array


@pytest.mark.parametrize("places", [(2, 0, 1), (0, 1, 3), (4, 5, 0), (1, 1)])
def test_frames_that_do_not_are_copied_and_it_is_said(places: tuple[int, ...]) -> None:
    memory = np.arange(6 * 4 * 5, dtype=np.uint16).reshape(6, 4, 5)
    batch = Batch(frames_in(memory, *places))
    assert not batch.copied, "nobody asked for the array yet"
    np.testing.assert_array_equal(batch.array, memory[list(places)])
    assert batch.copied
    assert not np.shares_memory(batch.array, memory)


def test_frames_of_different_memory_are_copied_wherever_they_lie() -> None:
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    pieces = [np.frombuffer(memory, np.uint8, 20, at * 20).reshape(4, 5) for at in range(2)]
    assert not stacked([frame(one) for one in pieces])[1]
    alone = [np.array(one) for one in pieces]
    assert stacked([frame(one) for one in alone])[1]
    assert stacked([frame(alone[0]), frame(pieces[1])])[1]


def test_slots_of_a_segment_lie_evenly() -> None:
    segment = Segment((4, 5), np.dtype(np.uint16), 8)
    slots = [segment.take() for _ in range(4)]
    for value, slot in enumerate(slots):
        assert slot is not None
        slot.array[:] = value
    batch = Batch([Frame(1, at, 0, slot.array) for at, slot in enumerate(slots) if slot is not None])
    assert batch.array[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert not batch.copied
    assert abs(batch.array.strides[0]) == 64  # slots begin on a cache line
    segment.close()


@pytest.mark.parametrize("other", [np.zeros((4, 6), np.uint16), np.zeros((4, 5), np.int16)])
def test_frames_of_different_kinds_are_no_array(other: np.ndarray) -> None:
    batch = Batch([frame(np.zeros((4, 5), np.uint16)), frame(other, 2)])
    with pytest.raises(UserError, match=r"frame 2: expected frames of \(4, 5\) uint16 in one batch"):
        _ = batch.array
    assert [one.unique_id for one in batch] == [1, 2]
    assert batch[1].unique_id == 2
    assert len(batch[:1]) == 1


def test_a_processor_of_batches_may_be_given_one_frame() -> None:
    class Means(Processor):
        def process_batch(self, frames: Batch, metadata: object) -> list[Frame]:
            self.report(Mean=float(frames.array.mean()))
            return list(frames)

    means = Means()
    assert means.process(frame(np.full((2, 2), 3.0)), {}) is not None
    assert means.statistics() == {"Mean": 3.0}
