"""The file writers of a configuration, the tables [writers.*]: frames -> HDF5 files."""

from pydantic import Field

from ioc.core.config_metadata import MetadataConfig
from ioc.core.config_table import GIB, Policy, PolicyName, Table
from ioc.core.topology import DETECTOR


class WriterConfig(Table):
    """A file writer, `$(P)HDF1:` for the first table: areaDetector's NDFileHDF5 in a process of its own."""

    input: str = DETECTOR
    """Where the frames come from, as in [groups.*]."""
    metadata: MetadataConfig = MetadataConfig()
    """Values of other channels that go with the frames, as NDAttributes in the file."""
    policy: PolicyName = Policy.BOUNDED
    """As in [groups.*]; with `bounded` a slow disk costs frames, which are counted, and never stops the detector."""
    queue_size: int = Field(default=512, ge=1, le=65536)
    """Frames that may wait to be written."""
    queue_bytes: int | None = Field(default=None, ge=1)
    """Bytes that may wait to be written; left out: no limit but queue_size."""
    path: str = Field(default="", description="Folder of the files at start: `HDF1:FilePath`.")
    memory: int = Field(default=GIB, ge=1)
    """Bytes that the frames of FileWriteMode Capture may take up."""
