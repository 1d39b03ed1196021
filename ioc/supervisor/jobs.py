"""Workers as batch jobs, submitted, watched and cancelled through PSI/J; to the supervisor a job looks like a process.

How it works: PSI/J calls commands of the scheduler, which may take their time or hang; so these run on a thread of
their own, in order, and what came of them is seen by a descriptor. Nothing of a scheduler is here: which states there
are and how a job is described is PSI/J's.
"""

import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ioc.core.config_jobs import JobsConfig
from ioc.core.errors import ConfigError, RayfanBug, mismatch
from ioc.core.status import ProcessSpec, Status
from ioc.supervisor.kept_file import write_whole
from ioc.supervisor.plan import jobs_of
from ioc.supervisor.process import ONE_THREAD
from ioc.supervisor.run_folder import JobBirth, slug

if TYPE_CHECKING:
    import psij

log = logging.getLogger(__name__)

LIFE_BYTES = 8
MODE = 0o700
SUBMITTING = "SUBMITTING"
LAUNCHERS = {"slurm": "srun"}
"""Without srun the scheduler's SIGTERM ends the batch script at once, and the worker with it."""


class Jobs:
    """All batch jobs of one appliance; used by the supervisor's thread."""

    def __init__(self) -> None:
        logging.getLogger("psij").setLevel(logging.WARNING)  # it tells of every look at the queue
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="jobs")
        self._executors: dict[str, psij.JobExecutor] = {}
        self._jobs: list[Job] = []
        self._tokens: set[Path] = set()

    def check(self, spec: ProcessSpec) -> None:
        """Look whether the jobs of a group can be submitted at all.

        Raises:
            ConfigError: PSI/J is not installed, does not know the scheduler, or there is no folder to share.
        """
        config, where = _config(spec), f"groups.{spec.table}.jobs"
        self.executor(executor_name(spec), config, where)
        if config.pre_launch is not None and not config.pre_launch.is_file():
            raise ConfigError(mismatch(f"{where}.pre_launch", "a script", str(config.pre_launch)))
        folder = folder_of(spec)
        try:
            folder.mkdir(mode=MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{where}.folder: {folder} cannot be made: {error.strerror}; name one that may be"
            ) from None

    def executor(self, name: str, config: JobsConfig, where: str) -> "psij.JobExecutor":
        """Return PSI/J's executor for a scheduler.

        Raises:
            ConfigError: PSI/J is not installed, or does not know it.
        """
        if name not in self._executors:
            try:
                import psij
                from psij.executors.batch.batch_scheduler_executor import BatchSchedulerExecutorConfig
            except ImportError as error:
                todo = "pip install 'rayfan[slurm]'"
                raise ConfigError(mismatch(where, "PSI/J (psij-python)", str(error), todo)) from None
            known = sorted(psij.JobExecutor.get_executor_names())
            if name not in known:
                raise ConfigError(mismatch(f"{where}.executor", f"one of {', '.join(known)}", name))
            executor = psij.JobExecutor.get_instance(name)
            if isinstance(executor.config, BatchSchedulerExecutorConfig):
                executor.config.queue_polling_interval = config.poll
            self._executors[name] = executor
        return self._executors[name]

    def launch(self, spec: ProcessSpec) -> "Job":
        """Submit the job of a process."""
        config, name = _config(spec), executor_name(spec)
        (spec.run_dir / f"{spec.name}.leave").unlink(missing_ok=True)
        self._share_token(spec)
        job = Job(spec, name, secrets.token_hex(LIFE_BYTES), self._pool)
        self._jobs.append(job)
        executor = self.executor(name, config, f"groups.{spec.table}.jobs")
        job.submit(executor, description(spec, job.life))
        return job

    def find(self, spec: ProcessSpec, birth: JobBirth) -> "Job":
        """Return a job of an earlier supervisor; whether it still lives is seen later."""
        job = Job(spec, birth.executor, birth.life, self._pool)
        self._jobs.append(job)
        self._tokens.add(token_of(spec))
        job.attach(self.executor(birth.executor, _config(spec), f"groups.{spec.table}.jobs"), birth.native_id)
        return job

    def close(self) -> None:
        """Cancel what has not ended, and wait a while for the scheduler to take notice."""
        for job in self._jobs:
            if not job.ended():
                job.cancel()
        self._pool.shutdown(wait=True)
        for token in self._tokens:
            token.unlink(missing_ok=True)
        for job in self._jobs:
            job.close()

    def end(self, spec: ProcessSpec, birth: JobBirth) -> None:
        """Cancel a job that an earlier appliance left behind."""
        log.warning("%s: job %s is left from an earlier run: it is cancelled", spec.name, birth.native_id)
        self.find(spec, birth).cancel()

    def _share_token(self, spec: ProcessSpec) -> None:
        """Put the token where the nodes can read it, for its owner only."""
        path, token = token_of(spec), spec.token_file.read_text()
        self._tokens.add(path)
        if not path.exists() or path.read_text() != token:
            write_secret(path, token)


class Job:
    """One job, from being submitted to its end; what ioc/supervisor/process.py is for processes of this host."""

    pid: int | None = None
    started: int | None = None

    def __init__(self, spec: ProcessSpec, executor: str, life: str, pool: ThreadPoolExecutor) -> None:
        self.life = life
        self.executor = executor
        self._name = spec.name
        self._leave_file = spec.run_dir / f"{spec.name}.leave"
        self._pool = pool
        self._job: psij.Job | None = None
        self._failure = ""
        self._cancelled = False
        self._told: tuple[str, str] = ("", "")
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def submit(self, executor: "psij.JobExecutor", spec: "psij.JobSpec") -> None:
        """Submit it, on the thread for that."""
        import psij

        self._job = job = psij.Job(spec)
        job.set_job_status_callback(lambda _job, _status: self._ring())
        self._in_order("submitted", lambda: executor.submit(job))

    def attach(self, executor: "psij.JobExecutor", native_id: str) -> None:
        """Watch a job that is there already."""
        import psij

        self._job = job = psij.Job(psij.JobSpec())
        job.set_job_status_callback(lambda _job, _status: self._ring())
        self._in_order("found again", lambda: executor.attach(job, native_id))

    @property
    def id(self) -> str:
        """The scheduler's id of the job; empty until it has one."""
        return (self._job.native_id or "") if self._job is not None else ""

    @property
    def state(self) -> str:
        """What is known of it, in PSI/J's words: QUEUED, ACTIVE, COMPLETED, FAILED, CANCELED."""
        if self._failure:
            return "FAILED"
        if self._job is None or (not self.id and not self._job.status.final):
            return SUBMITTING
        return self._job.status.state.name

    @property
    def waits(self) -> bool:
        """Whether it is in the scheduler's queue, so that nothing can be expected of it."""
        return self.state in (SUBMITTING, "NEW", "QUEUED")

    def owns(self, status: Status) -> bool:
        """Return whether a status is of this job."""
        return status.life == self.life

    def news(self) -> bool:
        """Return whether id or state have changed since the last call."""
        now = (self.id, self.state)
        changed, self._told = now != self._told, now
        return changed

    def birth(self) -> JobBirth | None:
        """Return what finds it again, None as long as the scheduler has not taken it."""
        return JobBirth(executor=self.executor, native_id=self.id, life=self.life) if self.id else None

    def fileno(self) -> int:
        """Return a descriptor that is readable when something has changed."""
        return self._descriptor

    def ended(self) -> bool:
        """Return whether the job is over; takes notice of what has changed."""
        try:
            os.eventfd_read(self._descriptor)
        except BlockingIOError:
            pass
        return bool(self._failure) or (self._job is not None and self._job.status.final)

    def exit_code(self) -> int | None:
        """Return the exit code of a worker that ended; None if only its last status knows."""
        if self._cancelled:
            return 0
        return self._job.status.exit_code if self._job is not None and not self._failure else 1

    def words(self) -> str:
        """Return why it ended, as the scheduler says; empty if that says nothing."""
        if self._failure:
            return self._failure
        status = self._job.status if self._job is not None else None
        if status is None or status.state.name in ("COMPLETED", "ACTIVE"):
            return ""
        what = {"CANCELED": "was cancelled"}.get(status.state.name, status.state.name.lower())
        return f"job {self.id} {what}" + (f": {status.message}" if status.message else "")

    def send(self, number: signal.Signals) -> None:
        """Ask the worker to finish and leave, with SIGTERM, if it runs; else cancel the job."""
        if number is signal.SIGTERM and not self.waits:
            write_whole(self._leave_file, "")
        else:
            self.cancel()

    def cancel(self) -> None:
        """Have the scheduler end it."""
        if self._job is None or self._cancelled:
            return
        self._cancelled = True
        self._in_order("cancelled", self._job.cancel)

    def close(self) -> None:
        """Let go of the job without ending it."""

    def _in_order(self, what: str, call: Callable[[], None]) -> None:
        def run() -> None:
            try:
                call()
                log.info("%s: job %s %s", self._name, self.id, what)
            except Exception as error:  # noqa: BLE001 - PSI/J's and the scheduler's own errors, of many kinds
                log.error("%s: job %s cannot be %s: %s", self._name, self.id, what, error)
                if what != "cancelled":
                    self._failure = f"job cannot be {what}: {_line(error)}"
            self._ring()

        self._pool.submit(run)

    def _ring(self) -> None:
        os.eventfd_write(self._descriptor, 1)


def executor_name(spec: ProcessSpec) -> str:
    """Return PSI/J's name of the scheduler that a process is submitted to."""
    assert spec.table is not None
    return _config(spec).executor or spec.config.groups[spec.table].placement


def folder_of(spec: ProcessSpec) -> Path:
    """Return the folder that this host shares with the nodes."""
    given = _config(spec).folder
    return (given or Path.home() / ".rayfan" / slug(spec.config.prefix)).expanduser().absolute()


def token_of(spec: ProcessSpec) -> Path:
    """Return where the nodes find the token."""
    return folder_of(spec) / "work.token"


def description(spec: ProcessSpec, life: str) -> "psij.JobSpec":
    """Return a job as PSI/J wants it described: one process that joins as the member that the spec names."""
    import psij

    config, folder = _config(spec), folder_of(spec)
    assert spec.table is not None and spec.member is not None
    attributes = psij.JobAttributes(duration=timedelta(seconds=config.time_limit))
    attributes.queue_name, attributes.account = config.queue, config.account
    attributes.reservation_id = config.reservation
    for name, value in config.attributes.items():
        attributes.set_custom_attribute(name, value)
    resources = psij.ResourceSpecV1(
        node_count=1,
        process_count=1,
        cpu_cores_per_process=config.cores,
        gpu_cores_per_process=config.gpus,
        exclusive_node_use=config.exclusive,
        memory=config.memory,
    )
    words: dict[str, Any] = {
        "--join": spec.config.prefix,
        "--group": spec.table,
        "--name": spec.name,
        "--member": spec.member,
        "--life": life,
        "--token-file": token_of(spec),
        "--folder": folder,
        "--patience": config.patience,
    }
    arguments = ["-P", "-m", "consumers.away", *(str(piece) for item in words.items() for piece in item)]
    return psij.JobSpec(
        executable=str(config.python or sys.executable),
        arguments=arguments,
        name=f"rayfan-{slug(spec.config.prefix)}-{spec.name}",
        directory=Path.cwd(),  # what relative paths in settings are meant from
        environment={**{name: os.environ.get(name, value) for name, value in ONE_THREAD.items()}, **config.environment},
        stdout_path=folder / f"{spec.name}.{life}.out",
        stderr_path=folder / f"{spec.name}.{life}.log",
        resources=resources,
        attributes=attributes,
        pre_launch=config.pre_launch,
        launcher=config.launcher or LAUNCHERS.get(executor_name(spec)),
    )


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.unlink(missing_ok=True)  # one that was open to others must not get the secret
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _config(spec: ProcessSpec) -> JobsConfig:
    config = jobs_of(spec)
    if config is None:
        raise RayfanBug(f"{spec.name}: it is no job")
    return config


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
