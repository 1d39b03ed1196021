"""How processes are supervised, as the configuration says: limits of a process, restarts, quarantine."""

from pydantic import Field

from ioc.core.config_table import Queued, Table


class Limited(Queued):
    """What a process of a group or a collector may take up."""

    memory_limit: int | None = Field(default=None, ge=1 << 20)
    """Bytes of memory of its own that one process may have, besides the frames, which it shares with others; one that
    has more finishes what it has in hand, and is started anew. Left out: any."""
    cpu_limit: float | None = Field(default=None, gt=0)
    """Cores that one process may keep busy before an alarm says so. Left out: any."""


class SupervisionConfig(Table):
    """When processes are started again, and when not."""

    most_failures: int = Field(default=6, ge=1, le=1000)
    """Failures within `window` after which a process is given up."""
    window: float = Field(default=60.0, gt=0, le=86400)
    """s in which failures count."""
    first_delay: float = Field(default=0.5, ge=0, le=3600)
    """s until the second restart within the window; the first is at once, each further one waits twice as long."""
    longest_delay: float = Field(default=8.0, ge=0, le=3600)
    """s that a restart waits at most."""
    log_bytes: int = Field(default=4 << 20, ge=1 << 16)
    """Bytes that the log of a process may have; as many of those before them are kept beside it."""
    hang: float = Field(default=2.0, ge=0.5, le=3600)
    """s without a sign of life after which a process is killed."""


class QuarantineConfig(Table):
    """Where frames are kept that killed a process twice."""

    folder: str = ""
    """Folder of the files; left out: `quarantine` in the run folder."""
    most_frames: int = Field(default=16, ge=0, le=100_000)
    """Files that are kept, the newest: `$(P)Quarantine:MostFrames`."""
    most_bytes: int = Field(default=256 << 20, ge=0)
    """Bytes of all files together: `$(P)Quarantine:MostBytes`. A larger frame is not kept."""
