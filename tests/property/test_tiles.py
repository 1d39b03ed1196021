"""Frames cut into tiles and stitched again: bit for bit, and every incomplete one is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from consumers.tiles import MISSING, Grid, Numbering, Stitcher, tiles_of
from ioc.core.errors import UserError
from ioc.core.frame import EndOfSeries, Frame
from ioc.core.reorder import Place
from ioc.core.sequence import Ranges

images = arrays.arrays(
    st.sampled_from([np.uint8, np.uint16, np.int32, np.float64]),
    st.one_of(
        st.tuples(st.integers(1, 9), st.integers(1, 9)), st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3))
    ),
)
grids = st.builds(Grid, st.integers(1, 5), st.integers(1, 5))


def frame(data: np.ndarray, unique_id: int = 1) -> Frame:
    """Return a frame with an attribute of its own."""
    return Frame(7, unique_id, 123, data, {"Gain": 2.5})


@given(images, grids)
def test_what_is_stitched_is_what_was_split(data: np.ndarray, grid: Grid) -> None:
    stitcher = Stitcher(grid.count, deliver_incomplete=False)
    finished = [whole for tile in tiles_of(frame(data), grid) for whole in stitcher.add(tile)]
    assert len(finished) == 1
    assert finished[0].data.dtype == data.dtype
    assert finished[0].data.tobytes() == data.tobytes()
    assert finished[0].attributes == {"Gain": 2.5}
    assert (finished[0].series, finished[0].unique_id, finished[0].timestamp_ns) == (7, 1, 123)
    assert stitcher.incomplete_count == 0


@given(st.integers(2, 9), st.lists(st.sets(st.integers(0, 8), max_size=9), min_size=1, max_size=6), st.booleans())
def test_a_frame_without_all_its_tiles_is_incomplete(count: int, lost: list[set[int]], deliver: bool) -> None:
    stitcher = Stitcher(count, deliver)
    grid = Grid(count, 1)
    delivered = []
    for unique_id, missing in enumerate(lost, 1):
        data = np.full((count, 2), unique_id, np.uint8)
        tiles = tiles_of(frame(data, unique_id), grid)
        delivered += [one for at, tile in enumerate(tiles) if at not in missing for one in stitcher.add(tile)]
    delivered += stitcher.flush()
    gaps = {unique_id: {at for at in missing if at < count} for unique_id, missing in enumerate(lost, 1)}
    some = {unique_id for unique_id, missing in gaps.items() if 0 < len(missing) < count}
    assert stitcher.incomplete.get(7, Ranges()).count() == len(some) == stitcher.incomplete_count
    assert [one.unique_id for one in delivered] == [
        unique_id for unique_id, missing in gaps.items() if not missing or (deliver and unique_id in some)
    ]
    for one in delivered:
        rows = {at for at in range(count) if not one.data[at].any()}
        assert rows == gaps[one.unique_id]
        assert one.attributes.get(MISSING, 0) == len(rows)


@given(st.integers(1, 9), st.integers(0, 50), st.sets(st.integers(1, 50)))
def test_positions_and_ids(tiles: int, published: int, filtered: set[int]) -> None:
    numbering = Numbering(tiles)
    ranges = tuple(Ranges((one, one) for one in filtered))
    marker = EndOfSeries(3, published, ranges)
    assert numbering.outward(numbering.inward(marker)) == marker
    inward = numbering.inward(marker)
    assert sum(last - first + 1 for first, last in inward.filtered) == tiles * len(filtered)
    assert tuple(numbering.ids(Ranges(inward.filtered))) == ranges


def test_a_frame_of_which_one_tile_was_filtered_is_not_filtered_as_a_whole() -> None:
    assert Numbering(4).outward(EndOfSeries(1, 40, ((2, 9), (13, 16)))) == EndOfSeries(1, 10, ((2, 2), (4, 4)))


@pytest.mark.parametrize(
    "change",
    [
        {"TileX": 3},
        {"TileY": -1},
        {"FullX": "wide"},
        {"FullX": 1 << 40},
    ],
)
def test_a_tile_that_does_not_fit_is_refused(change: dict[str, int | str]) -> None:
    tile = tiles_of(frame(np.zeros((4, 4), np.uint8)), Grid(2, 2))[3]
    tile.attributes = {**tile.attributes, **change}
    with pytest.raises(UserError, match="tile of frame 1"):
        Stitcher(4, deliver_incomplete=False).add(tile)


def test_a_frame_that_is_no_tile_has_no_place() -> None:
    whole = frame(np.zeros((4, 4), np.uint8), 5)
    assert Numbering().place(whole) == Place(7, 5)
    with pytest.raises(UserError, match="expected TileIndex below TileCount = 4"):
        Numbering(4).place(whole)
    tile = tiles_of(whole, Grid(2, 2))[3]
    assert Numbering(4).place(tile) == Place(7, 20)
    with pytest.raises(UserError):
        Numbering(6).place(tile)


def test_a_tile_of_another_size_of_frame_is_left_out() -> None:
    stitcher = Stitcher(2, deliver_incomplete=True)
    small, large = frame(np.ones((2, 2), np.uint8)), frame(np.ones((4, 2), np.uint8))
    stitcher.add(tiles_of(small, Grid(2, 1))[0])
    with pytest.raises(UserError):
        stitcher.add(tiles_of(large, Grid(2, 1))[1])
    (left,) = stitcher.flush()
    assert left.data.tolist() == [[1, 1], [0, 0]]
