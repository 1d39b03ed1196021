"""The distributor groups of a configuration, the tables [groups.*]: who processes the frames."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ioc.core.config_jobs import JobsConfig
from ioc.core.config_metadata import MetadataConfig
from ioc.core.config_modes import Output, Remote
from ioc.core.config_supervision import Limited
from ioc.core.topology import DETECTOR

MOST_MEMBERS = 64
JOB_PLACEMENTS = ("slurm", "psij")
"""Placements whose consumers are batch jobs."""
ACK_TIMEOUT = 10.0
"""s that a PVA member of policy Acknowledged may be silent, unless configured otherwise."""


class GroupConfig(Remote, Limited):
    """One distributor group and the consumers that make it up."""

    count: int = Field(default=1, ge=0, le=MOST_MEMBERS)
    """Members of the group."""
    sets: int | None = Field(default=None, ge=1, le=MOST_MEMBERS)
    """Sets that the members are dealt into; the members of a set see the same frames, sets take turns.
    Left out: every member is a set of its own, so the members take turns."""
    updates: int = Field(default=1, ge=1)
    """Frames in sequence that a set gets before it is the next one's turn."""
    ack_timeout: float = Field(default=ACK_TIMEOUT, gt=0, le=3600)
    """acknowledged: s after which a PVA member that has frames and acknowledges none has lost them to the others."""
    processor: str = "statistics"
    """Name of a processor that comes with Rayfan, `package.module:Class`, or `path/to/file.py:Class`."""
    settings: dict[str, Any] = {}
    """Settings of the processor."""
    time_limit: float = Field(default=30.0, gt=0)
    """s that the processor may take for one frame or batch; a consumer that takes longer is killed and restarted."""
    input: str = DETECTOR
    """Where the members' frames come from: `detector`, `groups.NAME` (what that group puts out), `collectors.NAME`,
    `intake.NAME`, `ingress.NAME` (what comes by EJFAT), or the URL of a stream from outside, as in [intake.*]."""
    outputs: list[Output] = ["pva"]
    """Where the processor's frames go besides those that name this group as their `input`: `pva` is the channel
    `$(P)Cons1:Image`; `put://CHANNEL` a channel of somebody else, `rpc://SERVICE` a service of somebody else. A `*`
    in their names stands for the consumer's number."""
    metadata: MetadataConfig = MetadataConfig()
    """Values of other channels that go with the frames."""
    placement: Literal["local", "remote", "slurm", "psij"] = "local"
    """`local`: Rayfan starts the consumers. `remote`: they are PVA clients that join by the member channels, or workers
    that join with `rayfan work`. `slurm`, or `psij` with `jobs.executor`: Rayfan has them started as batch jobs."""
    jobs: JobsConfig = JobsConfig()

    @model_validator(mode="after")
    def _jobs_fit(self) -> Self:
        if self.placement == "psij" and not self.jobs.executor:
            raise ValueError("placement 'psij' needs the key 'jobs.executor', for example \"slurm\" or \"local\"")
        if self.placement not in JOB_PLACEMENTS and self.jobs != JobsConfig():
            raise ValueError(f"jobs: expected placement 'slurm' or 'psij' with this table, found {self.placement!r}")
        return self

    @model_validator(mode="after")
    def _sets_fit(self) -> Self:
        if self.sets is not None and self.sets > max(self.count, 1):
            raise ValueError(f"sets: expected at most count = {self.count}, found {self.sets}")
        if self.placement == "remote" and self.metadata.channels:
            raise ValueError(
                "metadata: expected none with placement 'remote', found channels; Rayfan runs no processor"
            )
        return self
