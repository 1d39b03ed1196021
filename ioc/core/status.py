"""What a process is told at its start and what it tells while it runs: one spec in, one status out.

The spec comes as JSON on standard input. The status is a JSON file in the run folder, replaced as a whole several
times a second, so that the supervisor, a restarted supervisor and a person with `cat` read the same truth, and so
that a killed process leaves its last word behind.
"""

from enum import Enum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ioc.core.config import Config


class Role(Enum):
    """The kinds of process of an appliance."""

    SUPERVISOR = "supervisor"
    DETECTOR = "detector"
    CONSUMER = "consumer"
    COLLECTOR = "collector"
    EGRESS = "egress"
    BALANCER = "balancer"
    INTAKE = "intake"
    INGRESS = "ingress"
    WRITER = "writer"
    PLUGINS = "plugins"
    WEB = "web"


class State(Enum):
    """Where a process is in its life; the order is that of a clean run.

    QUARANTINING: it died twice of one frame, which is put aside before it goes on.
    """

    STARTING = "Starting"
    RUNNING = "Running"
    DRAINING = "Draining"
    STOPPED = "Stopped"
    FAILED = "Failed"
    QUARANTINING = "Quarantining"


class ExitCode(int, Enum):
    """The truth that a process exits with."""

    DRAINED = 0
    FAILED = 1
    BAD_CONFIGURATION = 2
    NOT_DRAINED = 3


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProcessSpec(_Message):
    """What one process needs to know.

    `name` is also the middle of its PV names: `detector`, `Cons1`, `Coll1`, `Ejfat1`, `EjfatIn1`, `HDF1`, `Plug1`,
    `In1`, `Web1`. `table` is the name of its table in the configuration (of a group, collector, egress, balancer,
    ingress, writer or intake); `member` counts from 0 within the group.
    `destination` is filled in for an egress whose uri was left out. `folder` is where processors may write; left out:
    the run folder. `last_end` says why the life before ended.
    """

    role: Role
    name: str
    config: Config
    run_dir: Path
    table: str | None = None
    member: int | None = None
    destination: str | None = None
    folder: Path | None = None
    debug: bool = False
    last_end: str = ""

    @property
    def status_file(self) -> Path:
        """Where the process writes its status."""
        return self.run_dir / f"{self.name}.status"

    @property
    def book_file(self) -> Path:
        """The counters of the process that outlive it."""
        return self.run_dir / f"{self.name}.book"

    def uri_file(self, balancer: str) -> Path:
        """Where the load balancer of a table leaves its URI, token included; readable by its owner only."""
        return self.run_dir / f"{balancer}.uri"

    @property
    def token_file(self) -> Path:
        """The token of workers elsewhere, made for each run; readable by its owner only."""
        return self.run_dir / "work.token"

    @property
    def memory_file(self) -> Path:
        """Where the processes book the memory that they share."""
        return self.run_dir / "memory"

    @property
    def settings_file(self) -> Path:
        """What a consumer's processor is set to."""
        return self.run_dir / f"{self.name}.settings"

    @property
    def quarantine_folder(self) -> Path:
        """Where frames are kept that killed a process twice."""
        folder = self.config.quarantine.folder
        return Path(folder).expanduser() if folder else self.run_dir / "quarantine"

    @property
    def journal_file(self) -> Path:
        """What became of which frame, as the process tells it; outlives it, too."""
        return self.run_dir / f"{self.name}.journal"

    @property
    def plugins_file(self) -> Path:
        """What became of the frames that each plug-in of the process was given; outlives it, too."""
        return self.run_dir / f"{self.name}.plugins.journal"

    @property
    def plugins_socket(self) -> Path:
        """Where the process of the plug-ins takes writers that want the frames of one of them."""
        return self.run_dir / "frames.plugins"

    @property
    def given_file(self) -> Path:
        """What the process gave to whom behind it, and what became of it; outlives it, too."""
        return self.run_dir / f"{self.name}.given"

    def gone_file(self, member: str) -> Path:
        """Where the supervisor says that it has given a member up: nobody is to wait for it."""
        return self.run_dir / f"{member}.gone"

    @property
    def renewed_file(self) -> Path:
        """Where the supervisor says that a process that it asks to end is to have a next life at once."""
        return self.run_dir / f"{self.name}.renewed"

    @property
    def socket(self) -> Path:
        """Where the detector takes local members."""
        return self.run_dir / "frames"

    @property
    def view_socket(self) -> Path:
        """Where the process lets receivers on the same host see its image channels in shared memory."""
        return self.run_dir / f"{self.name}.view"

    def output_socket(self, giver: str, name: str) -> Path:
        """Where process `name` of the giver `groups.NAME`, `collectors.NAME` or `intake.NAME` takes local members.

        Givers are numbered in file order: their names may hold what a file name may not, and be too long for a socket.
        """
        givers = [*self.config.inputs, *self.config.intakes]
        return self.run_dir / f"frames.{givers.index(giver) + 1}.{name}"

    @property
    def ended_file(self) -> Path:
        """Where a process that gives frames keeps the last end marker that it passed on."""
        return self.run_dir / f"{self.name}.ended"


class SeriesStatus(_Message):
    """One series: published (at an ingress: arrived) so far, and whether its end marker is out."""

    id: int
    published: int
    ended: bool


class StageStatus(_Message):
    """The account of one stage as its owner keeps it."""

    received: int = 0
    processed: int = 0
    failed: int = 0
    queued: int = 0
    dropped: dict[str, int] = {}
    published: int = 0
    withheld: dict[str, int] = {}
    """Frames that were processed and not put out, on purpose, by reason."""


class MemberStatus(_Message):
    """What the distributor knows of one member, summed over all its lives.

    `assigned` frames were meant for it: `assigned = completed + dropped + queued + in_flight`. `lag` is
    queued + in_flight, in frames. A `silent` one is there, but does not acknowledge, and so is given nothing.
    `capacity` is how many frames of the present size can wait.
    """

    name: str
    present: bool
    silent: bool = False
    assigned: int = 0
    completed: int = 0
    queued: int = 0
    in_flight: int = 0
    high_water: int = 0
    capacity: int = 1
    lag_seconds: float = 0.0
    dropped: dict[str, int] = {}


class GroupStatus(_Message):
    """One distributor group: `turns` = frames times members whose turn it was.

    `nobody` counts the frames that no member was there for.
    """

    slot: int
    name: str
    count: int
    sets: int
    updates: int
    policy: str
    queue_size: int
    queue_bytes: int
    drop: str = "oldest"
    ack_timeout: float = 10.0
    turns: int = 0
    nobody: int = 0
    members: list[MemberStatus] = []


class Status(_Message):
    """All that a process says of itself; `heartbeat_ns` is CLOCK_MONOTONIC."""

    role: Role
    name: str
    pid: int
    state: State
    heartbeat_ns: int
    message: str = ""
    last_error: str = ""
    rate: float = 0.0
    series: list[SeriesStatus] = []
    stage: StageStatus = StageStatus()
    groups: list[GroupStatus] = []
    port: int | None = None
    life: str = ""
    """Which job it is of, for processes elsewhere."""
    figures: dict[str, float | int | str] = {}
    """What else is worth showing, by record name without _RBV, for example `LatencyP50`."""
