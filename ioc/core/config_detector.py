"""The detector of a configuration, the table [detector]: its source and the acquisition parameters at start."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from ioc.core.camera_config import ReadoutConfig, SimulationConfig, SourceConfig
from ioc.core.config_metadata import ChannelName, SimulatedChannel
from ioc.core.config_table import Table
from ioc.core.frame import DataType


def _data_type(value: object) -> object:
    if isinstance(value, str):
        for member in DataType:
            if value.lower() == member.value.lower():
                return member
    return value


DataTypeName = Annotated[DataType, BeforeValidator(_data_type)]


class DetectorConfig(Table):
    """The detector: its source and the acquisition parameters it starts with."""

    source: SourceConfig = SourceConfig()
    acquire_at_start: bool = True
    """Begin to acquire as soon as every configured local member has joined."""
    frame_rate: float = Field(default=1000.0, gt=0, le=1e6)
    """Hz; the inverse of AcquirePeriod."""
    acquire_time: float = Field(default=0.0001, ge=0)
    """s; the exposure: the first frame comes so long after the start, and frames never come faster."""
    size: tuple[Annotated[int, Field(ge=1, le=65536)], Annotated[int, Field(ge=1, le=65536)]] = (512, 512)
    """[x, y] of the sensor in pixels; generated and raw sources only, other sources bring their own."""
    readout: ReadoutConfig = ReadoutConfig()
    simulation: SimulationConfig = SimulationConfig()
    attributes: str = ""
    """NDAttributes of every frame: an XML file, or the XML text itself, as `cam1:NDAttributesFile`."""
    metadata: dict[ChannelName, SimulatedChannel] = {}
    """Channels `$(P)Meta:NAME` that are updated with the frames; to try metadata, and to measure."""
    data_type: DataTypeName = DataType.UINT8
    """Int8 ... Float64; generated and raw sources only."""
    color_mode: Literal["Mono", "RGB1"] = "Mono"
    """Mono or RGB1; generated sources only."""
    image_mode: Literal["Single", "Multiple", "Continuous"] = "Continuous"
    """How many frames an acquisition has: one, `num_images`, or until it is stopped."""
    num_images: int = Field(default=100, ge=1)
    """Frames in one acquisition of image mode Multiple."""
