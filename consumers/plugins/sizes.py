"""How long the rows of numbers of plug-ins' records are: EPICS wants to know before the first frame."""

from dataclasses import dataclass

from ioc.core.frame import DataType


@dataclass(frozen=True, slots=True)
class Sizes:
    """Columns and rows of the frames, and elements and type of `image1:ArrayData`."""

    width: int = 512
    height: int = 512
    elements: int = 512 * 512
    element: DataType = DataType.UINT8
