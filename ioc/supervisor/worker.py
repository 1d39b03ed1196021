"""One process of the appliance through all its lives: started, watched, restarted, given up.

    new -> alive -> (ended, hung: killed) -> waiting for its next start -> alive ...
                                          -> given up        too many failures within a minute, or exit code 2
    too much memory -> alive, draining -> waiting for its next start
    asked to leave  -> alive, draining -> over               never restarted; killed when its time is up

States: Starting (no word yet, or waiting for its start), Running, Draining, Stopped (over, or by command),
Failed (given up), Quarantining (a frame that it died of twice is being put aside).

Rules: the first restart is at once, the next ones after 0.5, 1, 2, ... s (lapses.py). A process is hung when it says
that it runs and its heartbeat stands still for `hang` seconds of ours (silence.py). What hangs is asked for the stacks
of its threads before it is killed. A process may be a batch job (jobs.py): nothing is expected of one before it runs,
nor of one whose worker has left, and one that has fallen silent is ended after its own `patience`.
"""

import json
import logging
import signal
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ioc.core.quarantine import Death
from ioc.core.status import ExitCode, ProcessSpec, State, Status
from ioc.supervisor.death import LOG_BYTES, death_of
from ioc.supervisor.jobs import Job, Jobs
from ioc.supervisor.lapses import Lapses
from ioc.supervisor.plan import gives, jobs_of, node_of
from ioc.supervisor.process import Process
from ioc.supervisor.rules import Rules
from ioc.supervisor.run_folder import Birth, RunFolder
from ioc.supervisor.silence import Silence
from ioc.supervisor.survivor import find_alive
from ioc.supervisor.usage import Usage, UsageMeter

log = logging.getLogger(__name__)

STACKS_SECONDS = 0.2
"""s in which a process that hangs writes down what its threads do."""
ASIDE_SECONDS = 0.5
"""s that the state Quarantining stays at least, so that it is seen."""
DEATHS_KEPT = 6


class Fate(Enum):
    """What is to become of a process."""

    WANTED = "wanted"
    RENEWING = "renewing"
    LEAVING = "leaving"
    OVER = "over"
    GIVEN_UP = "given up"


@dataclass(slots=True)
class Worker:
    """A process, its spec, and what is known of it. `restarts` counts unwanted ends that were repaired."""

    spec: ProcessSpec
    module: str
    folder: RunFolder
    rules: Rules
    jobs: Jobs = field(default_factory=Jobs)
    process: Process | Job | None = None
    status: Status | None = None
    fate: Fate = Fate.WANTED
    restarts: int = 0
    last_error: str = ""
    exit_code: int | None = None
    ran: bool = False
    killed_late: bool = False
    retry_ns: int | None = None
    deadline_ns: int | None = None
    usage: Usage = field(default_factory=Usage)
    deaths: deque[Death] = field(default_factory=lambda: deque(maxlen=DEATHS_KEPT))
    settings: dict[str, Any] = field(default_factory=dict)
    _lapses: Lapses = field(init=False)
    _silence: Silence = field(default_factory=Silence)
    _hung: bool = False
    _asked: bool = False
    _meter: UsageMeter | None = None
    _log_start: int = 0
    _kill_ns: int | None = None
    _aside_ns: int | None = None

    def __post_init__(self) -> None:
        self._lapses = Lapses(self.rules)

    @property
    def name(self) -> str:
        """The name of the process."""
        return self.spec.name

    @property
    def alive(self) -> bool:
        """Whether a process is there."""
        return self.process is not None

    @property
    def state(self) -> State:
        """The state to show."""
        if self.fate is Fate.GIVEN_UP:
            return State.FAILED
        if self._aside_ns is not None and self.fate is Fate.WANTED:
            return State.QUARANTINING
        if self.process is None:
            return State.STOPPED if self.fate is Fate.OVER else State.STARTING
        if self.fate in (Fate.LEAVING, Fate.RENEWING):
            return State.DRAINING
        return self.status.state if self.status is not None and self.current else State.STARTING

    @property
    def current(self) -> bool:
        """Whether `status` is of the present life."""
        return self.status is not None and self.process is not None and self.process.owns(self.status)

    @property
    def running(self) -> bool:
        """Whether the process is there and says that it runs."""
        return self.fate is Fate.WANTED and self.state is State.RUNNING

    @property
    def failures(self) -> int:
        """How often it failed lately."""
        return self._lapses.count

    def backoff(self, now_ns: int) -> float:
        """Return in how many s it is started again, 0: now, or it is there."""
        return max(0.0, (self.retry_ns - now_ns) / 1e9) if self.retry_ns is not None else 0.0

    def message(self, now_ns: int) -> str:
        """Return why it is in the state that it is in, empty: all is well."""
        if self.fate is Fate.GIVEN_UP:
            return f"given up after {self.failures} failures within {self.rules.window:g} s: {self.last_error}"
        if self.fate is Fate.RENEWING:
            return f"finishes what it has and starts anew: {self.last_error}"
        if self.fate is Fate.WANTED and self.process is None and self.last_error:
            return f"starts again in {self.backoff(now_ns):.1f} s, failure {self._lapses}: {self.last_error}"
        if self.state is State.QUARANTINING:
            return "a frame that it died of twice is put aside"
        return self.status.message if self.status is not None and self.current else ""

    @property
    def job(self) -> Job | None:
        """The job that the process is, if it is one."""
        return self.process if isinstance(self.process, Job) else None

    @property
    def queued(self) -> bool:
        """Whether it waits in the queue of a scheduler, for as long as that likes."""
        return self.job is not None and self.job.waits

    def start(self, now_ns: int) -> None:
        """Start the process."""
        for mark in (f"{self.name}.gone", self.spec.renewed_file.name):
            self.folder.remove(mark)
        self._log_start = self.folder.log_size(self.name)
        self.spec = self.spec.model_copy(update={"last_end": self.last_error})
        self._write_birth()
        if jobs_of(self.spec) is not None:
            self.process = self.jobs.launch(self.spec)
            log.info("%s is submitted", self.name)
        else:
            self.process = Process.launch(self.spec, self.module)
            log.info("%s started, process %d", self.name, self.process.pid)
        self._write_birth()
        self.retry_ns = None
        self._begin_watch(now_ns)

    def adopt(self, birth: Birth, now_ns: int) -> bool:
        """Take over the process of an earlier supervisor if it still lives; return whether it does."""
        self.restarts = birth.restarts
        process: Process | Job | None = find_alive(birth, self.folder, self.module)
        if birth.job is not None and not birth.over:
            process = self.jobs.find(birth.spec, birth.job)
        if process is None:
            return False
        self.spec = birth.spec
        self.process = process
        self._write_birth()
        self._begin_watch(now_ns)
        self.status = self.folder.read_status(self.name)
        log.info("%s still runs, %s: taken over", self.name, birth.job or process.pid)
        return True

    def look(self, now_ns: int) -> bool:
        """Read the status, judge the process; return whether it ended just now."""
        status = self.folder.read_status(self.name)
        if status is not None:
            self.status = status
        if self._aside_ns is not None and now_ns >= self._aside_ns:
            self._aside_ns = None
        if self.process is None:
            return False
        if isinstance(self.process, Job) and self.process.news():
            self._write_birth()
        if self.process.ended():
            self.status = self.folder.read_status(self.name) or self.status
            self._ended(now_ns)
            return True
        self._watch(now_ns)
        return False

    def leave(self, now_ns: int, seconds: float) -> None:
        """Ask the process to finish and go, and give it so long."""
        self.retry_ns = None
        if self.fate in (Fate.WANTED, Fate.RENEWING):
            if self.process is None:
                self.rest()
                self._write_birth()
                return
            self.fate = Fate.LEAVING
            self.folder.remove(self.spec.renewed_file.name)
            self._write_birth()
            self.process.send(signal.SIGTERM)
            self.deadline_ns = now_ns + round(seconds * 1e9)

    def rest(self) -> None:
        """Be over; those behind wait no more for what it may still have to give."""
        self.fate = Fate.OVER
        if gives(self.spec):
            self.folder.remove(self.spec.output_socket(node_of(self.spec), self.name).name)

    def renew(self, now_ns: int, why: str, asked: bool = False) -> None:
        """Ask a process to finish and go, and start another one in its place; `asked`: it has done nothing wrong."""
        if self.fate is Fate.WANTED and self.process is not None:
            log.warning("%s: %s", self.name, why)
            self.fate = Fate.RENEWING
            self._asked = asked
            self.last_error = why
            self.folder.write(self.spec.renewed_file.name, why)
            self.process.send(signal.SIGTERM)
            self.deadline_ns = now_ns + round(self.rules.drain * 1e9)

    def put_aside(self, now_ns: int) -> None:
        """Show that a frame that it died of is put aside."""
        self._aside_ns = now_ns + round(ASIDE_SECONDS * 1e9)

    def revive(self) -> None:
        """Want a process again that was over."""
        self.fate = Fate.WANTED
        self.killed_late = False
        self.last_error = ""

    def hurry(self, now_ns: int, seconds: float) -> None:
        """Give a process that was asked to leave no more than so many seconds."""
        if self.deadline_ns is not None:
            self.deadline_ns = min(self.deadline_ns, now_ns + round(seconds * 1e9))

    def close(self) -> None:
        """Let go of the process without ending it."""
        if self.process is not None:
            self.process.close()
            self.process = None

    def _begin_watch(self, now_ns: int) -> None:
        self._silence = Silence(now_ns)
        self._hung = False
        self._kill_ns = None
        self.exit_code = None
        assert self.process is not None
        self._meter = UsageMeter(self.process.pid) if self.job is None and self.process.pid is not None else None
        self.usage = Usage()

    def _watch(self, now_ns: int) -> None:
        assert self.process is not None
        heartbeat_ns = self.status.heartbeat_ns if self.status is not None and self.current else 0
        self._silence.look(heartbeat_ns, now_ns, deaf=self.folder.full())
        self.ran = self.ran or self.running
        if self._meter is not None and self._meter.look(now_ns):
            self.usage = self._meter.usage
        if self._kill_ns is not None and now_ns >= self._kill_ns:
            self._kill_ns = None
            self.process.send(signal.SIGKILL)
        if self.deadline_ns is not None and now_ns >= self.deadline_ns:
            log.error("%s did not finish in time and is killed", self.name)
            if self.fate is Fate.LEAVING:
                self.killed_late = True
                self.last_error = "did not finish in time and was killed"
            self._kill_with_stacks(now_ns)
            self.deadline_ns = None
        elif self.fate is Fate.WANTED and not self._hung and self._silence.seconds > self._patience():
            self._hung = True
            said = self.status.last_error if self.status is not None and self.current else ""
            self.last_error = f"no sign of life for {self._patience():g} s: killed" + (f" ({said})" if said else "")
            log.error("%s: %s", self.name, self.last_error)
            self._kill_with_stacks(now_ns)

    def _kill_with_stacks(self, now_ns: int) -> None:
        """Let a process write down where its threads are, and kill it a moment later."""
        assert self.process is not None
        self.process.send(signal.SIGUSR1)
        self._kill_ns = now_ns + round(STACKS_SECONDS * 1e9)

    def _patience(self) -> float:
        config = jobs_of(self.spec)
        if config is not None:
            return config.patience if self.state is State.RUNNING else float("inf")
        return self.rules.hang if self.state is State.RUNNING else self.rules.start

    def _ended(self, now_ns: int) -> None:
        assert self.process is not None
        code, pid = self.process.exit_code(), self.process.pid
        self.exit_code = int(self._told()) if code is None else code
        failure = self._explain()
        self.close()
        self.deadline_ns = None
        if self.fate is Fate.LEAVING:
            self.rest()
            if self.exit_code == -signal.SIGTERM:  # it had not got as far as to listen, so it had nothing to finish
                self.exit_code = ExitCode.DRAINED
            log.info("%s ended with exit code %d", self.name, self.exit_code)
            if self.killed_late and self.exit_code == ExitCode.DRAINED:  # it was faster than the kill
                self.killed_late, self.last_error = False, ""
            if self.exit_code != ExitCode.DRAINED and not self.killed_late:
                self.last_error = failure
            return
        renewed = self.fate is Fate.RENEWING
        self.fate = Fate.WANTED
        if renewed and self._asked and self.exit_code == ExitCode.DRAINED:
            self.restarts += 1
            self.last_error = ""
            self.retry_ns = now_ns
            return
        self.last_error = self.last_error if self._hung or renewed else failure
        self._note_death(pid or 0)
        self._lapses.note(now_ns)
        log.error("%s ended: %s", self.name, self.last_error)
        bad = self.exit_code == ExitCode.BAD_CONFIGURATION and not renewed
        if bad or self._lapses.too_many:
            self.fate = Fate.GIVEN_UP
            self.folder.write(f"{self.name}.gone", self.last_error)
            log.error("%s is given up", self.name)
            return
        self.restarts += 1
        self.retry_ns = now_ns + round(self._lapses.delay * 1e9)

    def _note_death(self, pid: int) -> None:
        """Keep how it ended, and what its processor was set to: for a frame that turns out to be the cause."""
        assert self.exit_code is not None
        written = self.folder.log_since(self.name, self._log_start, LOG_BYTES)
        self.deaths.append(death_of(self.name, pid, self.exit_code, self.last_error, written))
        try:
            self.settings = json.loads(self.folder.read(self.spec.settings_file.name) or "{}")
        except ValueError as error:
            log.warning("%s: what its processor was set to cannot be read: %s", self.name, error)

    def _told(self) -> int:
        """Return the exit code that the last status of somebody else's child stands for."""
        if self.status is None or not self.current:
            return ExitCode.FAILED
        return ExitCode.DRAINED if self.status.state is State.STOPPED else ExitCode.FAILED

    def _explain(self) -> str:
        """Return why the process ended: its own last word if it had one."""
        assert self.exit_code is not None
        if self.job is not None and (words := self.job.words()):
            said = self.status.last_error if self.status is not None and self.current else ""
            return f"{words} ({said})" if said else words
        if self.exit_code < 0:
            return f"was killed by {signal.Signals(-self.exit_code).name}"
        if self.status is not None and self.current and self.status.state is State.FAILED and self.status.last_error:
            return self.status.last_error
        if self.exit_code == ExitCode.NOT_DRAINED:
            return "could not finish its frames in time"
        said = "" if self.current else self.folder.last_words(self.name)
        return f"ended with exit code {self.exit_code}" + (f": {said}" if said else "")

    def _write_birth(self) -> None:
        birth = Birth(spec=self.spec, restarts=self.restarts, over=self.fate is not Fate.WANTED)
        if self.process is not None:
            birth.pid, birth.started = self.process.pid, self.process.started
        if self.job is not None:
            birth.job = self.job.birth()
        self.folder.write(f"{self.name}.spec", birth.model_dump_json())
