"""Processor `split`: cuts every frame into tiles, for the members of the group behind; a collector puts them together.

Tile k (from 0) of a frame lies in row k // Columns and column k % Columns; tiles differ by at most one pixel in height
and width. A tile has the id of its frame and says by attributes which part of it it is: see consumers/tiles.py.
"""

from collections.abc import Mapping

from consumers.processor import Metadata, Processor, Setting, Statistic, Value
from consumers.tiles import Grid, tiles_of
from ioc.core.errors import RefusedError, mismatch
from ioc.core.frame import Frame

MOST = 64


class Split(Processor):
    """Puts out Rows x Columns tiles a frame, views of it."""

    declared_settings = (
        Setting("Rows", 2, low=1, high=MOST, description="Tiles from top to bottom"),
        Setting("Columns", 2, low=1, high=MOST, description="Tiles from left to right"),
    )
    declared_statistics = (Statistic("Tiles", int, description="Tiles of a frame"),)

    def configure(self, settings: Mapping[str, Value]) -> None:
        """Take the grid."""
        super().configure(settings)
        self._grid = Grid(int(settings["Rows"]), int(settings["Columns"]))
        self.report(Tiles=self._grid.count)

    def process(self, frame: Frame, metadata: Metadata) -> list[Frame]:
        height, width = frame.data.shape[:2]
        if self._grid.rows > height or self._grid.columns > width:
            raise RefusedError(
                mismatch(
                    f"frame {frame.unique_id}",
                    f"at least {self._grid.rows} x {self._grid.columns} pixels",
                    f"{height} x {width}",
                    "set fewer Rows or Columns",
                )
            )
        return tiles_of(frame, self._grid)
