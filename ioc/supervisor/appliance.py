"""What the supervisor sees of the whole appliance: the content of `appliance.json`, for the console and the records."""

from pydantic import BaseModel

from ioc.core.status import Role, State

OK, DEGRADED, FAILED = "OK", "Degraded", "Failed"


class ProcessView(BaseModel):
    """One process: `lag`, `processed`, `failed` and `lost` in frames, `rate` in Hz.

    `failures` are those that count against it now; `backoff` in s until it is started again; `usage` is what
    limits.py tells of memory and processor time. `job` and `job_state`: the scheduler's id of a batch job, and its
    state in PSI/J's words.
    """

    name: str
    role: Role
    state: State
    pid: int | None = None
    job: str = ""
    job_state: str = ""
    restarts: int = 0
    rate: float = 0.0
    lag: int = 0
    processed: int = 0
    failed: int = 0
    lost: int = 0
    last_error: str = ""
    message: str = ""
    failures: int = 0
    backoff: float = 0.0
    usage: dict[str, float | int | str] = {}


class QuarantineView(BaseModel):
    """The frames that killed a process twice: their number, their files' bytes, the newest names and the last path."""

    frames: int = 0
    bytes: int = 0
    names: list[str] = []
    last: str = ""
    most_frames: int = 0
    most_bytes: int = 0


class ChainView(BaseModel):
    """A group of a chain: who gives it frames, how many members it is to have, and how many run."""

    name: str
    input: str
    count: int
    running: int


class SeriesView(BaseModel):
    """The newest series, in frames: `processed` by every group, `dropped` by any; `ended` None while it goes on."""

    id: int
    published: int = 0
    processed: int = 0
    dropped: int = 0
    complete: bool = False
    ended: str | None = None


class Appliance(BaseModel):
    """The appliance at `heartbeat_ns` (CLOCK_MONOTONIC); counts in frames.

    `unseen` is what of `dropped` and `failed` nobody has acknowledged. `running_since_ns` is the moment when all
    processes ran for the first time. `web` is where the web page is, empty:
    nowhere. `exit_code` is there when all is over.
    """

    prefix: str
    pid: int
    state: State
    heartbeat_ns: int
    started_ns: int
    running_since_ns: int | None = None
    health: str = OK
    message: str = ""
    last_error: str = ""
    published: int = 0
    series_published: int = 0
    series: SeriesView | None = None
    residue: int = 0
    complete: bool = False
    dropped: int = 0
    failed: int = 0
    unseen: int = 0
    queued: int = 0
    processes: list[ProcessView] = []
    chains: list[ChainView] = []
    quarantine: QuarantineView = QuarantineView()
    most_failures: int = 0
    web: str = ""
    exit_code: int | None = None
