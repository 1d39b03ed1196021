"""How the workers of a group are submitted as batch jobs: the table [groups.NAME.jobs], in the words of PSI/J."""

from pathlib import Path

from pydantic import Field

from ioc.core.config_table import Table


class JobsConfig(Table):
    """The batch jobs of a group, one for each worker; what is left out is the scheduler's own default."""

    executor: str = ""
    """PSI/J's name of the scheduler: `slurm`, `pbs`, `lsf`, `flux`, `local`, ...; left out: that of the placement."""
    queue: str | None = None
    """Partition or queue."""
    account: str | None = None
    """Account, project or charge code that the time is booked to."""
    reservation: str | None = None
    """Reservation to run in."""
    time_limit: float = Field(default=3600.0, ge=60)
    """s after which the scheduler ends a job; its worker leaves, and the next job takes its place."""
    cores: int = Field(default=1, ge=1)
    """Cores of each worker."""
    gpus: int | None = Field(default=None, ge=1)
    """GPUs of each worker."""
    memory: int | None = Field(default=None, ge=1)
    """Bytes of memory of each worker."""
    exclusive: bool = False
    """Have a node for each worker alone."""
    attributes: dict[str, str] = {}
    """More options of the scheduler, `slurm.constraint = "fast"` for example."""
    environment: dict[str, str] = {}
    """Environment of the workers, besides that of the supervisor."""
    pre_launch: Path | None = None
    """Script on the nodes that is sourced before a worker starts, for modules and the like."""
    launcher: str | None = None
    """How the worker is started within its job, in PSI/J's words; left out: `srun` on Slurm, so that it hears SIGTERM
    and has KillWait to finish what it has in hand; the executor's own default elsewhere."""
    python: Path | None = None
    """Interpreter on the nodes that has Rayfan; left out: the one that runs here."""
    folder: Path | None = None
    """Folder that the nodes share with this host, for the token, the jobs' output and what processors write; left
    out: `~/.rayfan` and the prefix."""
    poll: int = Field(default=5, ge=1, le=3600)
    """s between two looks at the scheduler's queue."""
    patience: float = Field(default=60.0, ge=2.0, le=86400)
    """s after which a worker ends that does not hear of the appliance any more."""
