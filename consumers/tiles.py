"""Frames cut into tiles and put together again: pure, bit for bit.

A tile has series, id and time stamp of its frame, the frame's attributes, and: TileIndex (from 0, row by row),
TileCount, TileX and TileY (its corner in the frame, pixels), FullX and FullY (the frame's width and height, pixels).
`TilesMissing` on a frame that was put together counts the tiles that are zeros instead.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ioc.core.errors import UserError, mismatch
from ioc.core.frame import Attribute, EndOfSeries, Frame
from ioc.core.reorder import Place
from ioc.core.sequence import Ranges

INDEX, COUNT, X, Y, FULL_X, FULL_Y = "TileIndex", "TileCount", "TileX", "TileY", "FullX", "FullY"
KEYS = (INDEX, COUNT, X, Y, FULL_X, FULL_Y)
MISSING = "TilesMissing"
MOST_PIXELS = 1 << 31
"""Pixels of a frame; a larger one is not believed."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Tiles from top to bottom and from left to right."""

    rows: int
    columns: int

    @property
    def count(self) -> int:
        """Return the number of tiles."""
        return self.rows * self.columns

    def pieces(self, height: int, width: int) -> Iterator[tuple[slice, slice]]:
        """Yield the rows and columns of each tile of an image of that size, in pixels."""
        for row in range(self.rows):
            for column in range(self.columns):
                yield (
                    slice(row * height // self.rows, (row + 1) * height // self.rows),
                    slice(column * width // self.columns, (column + 1) * width // self.columns),
                )


def tiles_of(frame: Frame, grid: Grid) -> list[Frame]:
    """Return the tiles of a frame as views of its `data[y, x]` or `[y, x, 3]`."""
    height, width = frame.data.shape[:2]
    tiles = []
    for index, (rows, columns) in enumerate(grid.pieces(height, width)):
        own = {INDEX: index, COUNT: grid.count, X: columns.start, Y: rows.start, FULL_X: width, FULL_Y: height}
        tiles.append(replace(frame, data=frame.data[rows, columns], attributes={**frame.attributes, **own}))
    return tiles


class Numbering:
    """Positions in a stream of which every frame has `tiles` parts; 1: the ids themselves."""

    def __init__(self, tiles: int = 1) -> None:
        self.tiles = tiles

    def place(self, frame: Frame) -> Place:
        """Return where a frame or tile belongs.

        Raises:
            UserError: it is no tile, or one of another number of tiles.
        """
        if self.tiles == 1:
            return Place(frame.series, frame.unique_id)
        index, count = frame.attributes.get(INDEX), frame.attributes.get(COUNT)
        if type(index) is not int or count != self.tiles or not 0 <= index < self.tiles:
            expected = f"{INDEX} below {COUNT} = {self.tiles}"
            raise UserError(mismatch(f"tile of frame {frame.unique_id}", expected, (index, count)))
        return Place(frame.series, (frame.unique_id - 1) * self.tiles + index + 1)

    def inward(self, marker: EndOfSeries) -> EndOfSeries:
        """Return an end marker in positions instead of ids."""
        tiles = self.tiles
        filtered = tuple(((first - 1) * tiles + 1, last * tiles) for first, last in marker.filtered)
        return EndOfSeries(marker.series, marker.published * tiles, filtered)

    def outward(self, marker: EndOfSeries) -> EndOfSeries:
        """Return an end marker in ids; only whole frames count as filtered."""
        tiles = self.tiles
        pieces = (((first + tiles - 2) // tiles + 1, last // tiles) for first, last in marker.filtered)
        filtered = tuple((first, last) for first, last in pieces if first <= last)
        return EndOfSeries(marker.series, -(-marker.published // tiles), filtered)

    def ids(self, positions: Ranges) -> Ranges:
        """Return the ids of positions."""
        tiles = self.tiles
        return Ranges(((first - 1) // tiles + 1, (last - 1) // tiles + 1) for first, last in positions)


@dataclass(slots=True)
class _Whole:
    """A frame that is being put together."""

    first: Frame
    data: NDArray
    tiles: int = 0


class Stitcher:
    """Puts frames together from tiles that come in order; a frame is over when a tile of the next one comes."""

    def __init__(self, tiles: int, deliver_incomplete: bool) -> None:
        self.incomplete: dict[int, Ranges] = {}
        self.incomplete_count = 0
        self._tiles = tiles
        self._deliver = deliver_incomplete
        self._whole: _Whole | None = None

    def add(self, tile: Frame) -> list[Frame]:
        """Return the frames that are finished with this tile: none, one, or one that is incomplete and this one.

        Raises:
            UserError: the tile does not fit into its frame; it is left out.
        """
        finished = self.flush() if self._is_of_another(tile) else []
        corner = _fit(tile)
        if self._whole is None:
            full = (int(tile.attributes[FULL_Y]), int(tile.attributes[FULL_X]), *tile.data.shape[2:])
            self._whole = _Whole(tile, np.zeros(full, tile.data.dtype))
        whole = self._whole
        y, x = corner
        height, width = tile.data.shape[:2]
        if whole.data.dtype != tile.data.dtype or whole.data.shape[:2] != _full(tile):
            found = f"{tile.data.dtype} {_full(tile)}"
            raise UserError(
                mismatch(f"tile of frame {tile.unique_id}", f"{whole.data.dtype} {whole.data.shape[:2]}", found)
            )
        whole.data[y : y + height, x : x + width] = tile.data
        whole.tiles += 1
        return finished + (self.flush() if whole.tiles == self._tiles else [])

    def flush(self) -> list[Frame]:
        """Return the frame that is being put together as it is: at the end of a series, or if its rest is lost."""
        whole, self._whole = self._whole, None
        if whole is None:
            return []
        attributes: dict[str, Attribute] = {k: v for k, v in whole.first.attributes.items() if k not in KEYS}
        if whole.tiles < self._tiles:
            first = whole.first
            self.incomplete_count += 1
            self.incomplete.setdefault(first.series, Ranges()).add(first.unique_id, first.unique_id)
            if not self._deliver:
                return []
            attributes[MISSING] = self._tiles - whole.tiles
        return [replace(whole.first, data=whole.data, attributes=attributes)]

    def forget(self, series: int) -> None:
        """Forget which frames of series before this one were incomplete; their number is kept."""
        self.incomplete = {number: ids for number, ids in self.incomplete.items() if number >= series}

    def _is_of_another(self, tile: Frame) -> bool:
        whole = self._whole
        return whole is not None and (whole.first.series, whole.first.unique_id) != (tile.series, tile.unique_id)


def _full(tile: Frame) -> tuple[int, int]:
    return int(tile.attributes[FULL_Y]), int(tile.attributes[FULL_X])


def _fit(tile: Frame) -> tuple[int, int]:
    """Return the corner of a tile as (y, x).

    Raises:
        UserError: it does not lie within its frame.
    """
    numbers: Mapping[str, Attribute] = {key: tile.attributes.get(key, "absent") for key in (X, Y, FULL_X, FULL_Y)}
    x, y, full_x, full_y = numbers.values()
    where = f"tile of frame {tile.unique_id}"
    if not all(type(one) is int and one >= 0 for one in (x, y, full_x, full_y)):
        raise UserError(mismatch(where, f"{X}, {Y}, {FULL_X}, {FULL_Y}", dict(numbers)))
    height, width = tile.data.shape[:2]
    assert isinstance(x, int) and isinstance(y, int) and isinstance(full_x, int) and isinstance(full_y, int)
    if x + width > full_x or y + height > full_y or full_x * full_y > MOST_PIXELS:
        raise UserError(
            mismatch(where, f"a place within {full_x} x {full_y} pixels", f"{width} x {height} at {x}, {y}")
        )
    return y, x
