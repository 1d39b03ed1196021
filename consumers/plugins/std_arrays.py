"""`image1:`, areaDetector's NDPluginStdArrays: the pixels of the newest frame as a row of numbers, `ArrayData`.

The row's type and most elements are fixed when the process starts; pixels are converted to it, and those beyond it are
left out, as in areaDetector.
"""

from collections.abc import Sequence

from numpy.typing import NDArray

from consumers.plugins.casting import cast
from consumers.plugins.plugin import Plugin, Surroundings
from consumers.plugins.sizes import Sizes
from ioc.records.table import Access, Kind, Record


def image_records(sizes: Sizes) -> tuple[Record, ...]:
    """Return the records beyond those of every plug-in."""
    return (
        Record(
            "ArrayData",
            Kind.ARRAY,
            "Pixels of the newest frame, row by row",
            Access.SHOWN,
            "count",
            size=sizes.elements,
            element=sizes.element,
        ),
    )


class StdArrays(Plugin):
    """Passes frames on as they came."""

    kind = "NDPluginStdArrays"

    def __init__(self, name: str, table: Sequence[Record], around: Surroundings) -> None:
        super().__init__(name, table, around)
        self._type = next(one.element for one in table if one.name == "ArrayData").dtype

    def rows(self) -> dict[str, NDArray]:
        rows = super().rows()
        if self.newest is not None:
            rows["ArrayData"] = cast(self.newest.data.reshape(-1), self._type)
        return rows
