"""areaDetector's plug-ins in a configuration, the table [plugins]."""

from typing import Annotated

from pydantic import Field, field_validator

from ioc.core.config_detector import DataTypeName
from ioc.core.config_table import GIB, Policy, PolicyName, Table

PASSING = ("image", "Stats")
"""What the names of plug-ins begin with that make no frames of their own."""
PluginName = Annotated[str, Field(pattern="^(image|Stats|ROI|Proc|Trans|Codec|CB)[1-9]$")]


class PluginsConfig(Table):
    """areaDetector's plug-ins, `$(P)Stats1:`, `$(P)ROI1:` and so on, in a process of their own."""

    names: list[PluginName] = ["image1", "Stats1", "ROI1", "Proc1", "Trans1", "Codec1", "CB1"]
    """Which there are: image, Stats, ROI, Proc, Trans, Codec or CB, with a number from 1 to 9."""
    policy: PolicyName = Policy.BOUNDED
    """As in [groups.*]; with `bounded` no plug-in ever stops the detector."""
    queue_size: int = Field(default=64, ge=1, le=65536)
    """Frames that may wait for the process, and at start for each plug-in: `QueueSize`."""
    memory: int = Field(default=GIB // 4, ge=1)
    """Bytes that frames may take up in the process: those that wait, and those that `CB1:` keeps."""
    array_type: DataTypeName | None = None
    """Type of `image1:ArrayData`; left out: that of the detector's frames at start."""
    array_size: int | None = Field(default=None, ge=1, le=1 << 28)
    """Elements of `image1:ArrayData`; left out: as many as the detector's frames have at start."""

    @field_validator("names")
    @classmethod
    def _no_name_twice(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names) or not names:
            raise ValueError(f"expected different names, at least one, found {', '.join(names) or 'none'}")
        return names
