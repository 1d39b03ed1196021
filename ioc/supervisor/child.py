"""A process's side of its contract with the supervisor: one spec in, a status out, SIGTERM drains, a true exit code.

`run` is the `main` of every process. It reads the spec from standard input, hands a `Child` to the body, and writes
the last status, with the error if there was one, whatever happens in between.
"""

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn, Protocol

from pydantic import ValidationError

from ioc.core.errors import ConfigError, UserError
from ioc.core.repeats import Repeats
from ioc.core.status import ExitCode, ProcessSpec, State, Status
from ioc.start import settled
from ioc.supervisor.kept_file import KeptFiles
from ioc.supervisor.log_file import LogFile
from ioc.supervisor.stop_request import StopRequest

log = logging.getLogger(__name__)

STATUS_SECONDS = 0.2
LOOK_SECONDS = 0.1
DRAIN_SECONDS = 20.0
"""Longest time that a process takes to finish what it has, before it says that it could not."""


class Child:
    """What a process has of the outside: its spec, the request to stop, and a place to tell its status."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.stopping = StopRequest()
        self._lock = threading.Lock()
        self._sample: Callable[[], Status] = self._bare
        self._sampler: threading.Thread | None = None
        self._over = threading.Event()
        self.state = State.STARTING
        self.last_error = ""
        self._repeats = Repeats()
        self._log: LogFile | None = None
        self.files = KeptFiles()

    def log_to(self, handler: logging.Handler) -> None:
        """Keep the log on standard error within bounds: entries that repeat, and its length."""
        handler.addFilter(self._repeats)
        path = self.spec.run_dir / f"{self.spec.name}.log"
        self._log = LogFile(path, self.spec.config.supervision.log_bytes)

    def report_with(self, sample: Callable[[], Status]) -> None:
        """Write what `sample` returns to the status file from now on, about five times a second."""
        self._sample = sample
        if self._sampler is None:
            settled()
            self._sampler = threading.Thread(target=self._keep_reporting, name="status", daemon=True)
            self._sampler.start()

    def quarantining(self) -> None:
        """Say that what killed the last life is put aside."""
        self.state = State.QUARANTINING
        self.report()

    def running(self) -> None:
        """Say that the process is ready."""
        self.state = State.RUNNING
        self.report()

    def draining(self) -> None:
        """Say that the process finishes what it has."""
        self.state = State.DRAINING
        self.report()

    def wait(self, failure: Callable[[], BaseException | None]) -> None:
        """Return when the supervisor asks to stop; raise what `failure` returns as soon as that is something."""
        while not self.stopping.wait(LOOK_SECONDS):
            error = failure()
            if error is not None:
                raise error

    def status(self) -> Status:
        """Return the bare status that `sample` fills in."""
        return self._bare()

    def report(self) -> None:
        """Write the status now; a full disk is told by what the sample shows."""
        with self._lock:
            self.files.retry()
            self.files.write(self.spec.status_file, self._sample().model_dump_json())

    def finish(self, state: State) -> None:
        """Write the last status; nothing is written after it."""
        self._over.set()
        if self._sampler is not None:
            self._sampler.join(5.0)
        self.state = state
        self.report()

    def _bare(self) -> Status:
        spec = self.spec
        return Status(
            role=spec.role,
            name=spec.name,
            pid=os.getpid(),
            state=self.state,
            heartbeat_ns=time.monotonic_ns(),
            last_error=self.last_error or self.files.fault,
        )

    def _keep_reporting(self) -> None:
        while not self._over.wait(STATUS_SECONDS):
            try:
                self.report()
                self._look_after_log()
            except Exception:  # stage boundary: a status that cannot be told must not end the process
                log.exception("the status could not be written")

    def _look_after_log(self) -> None:
        for sentence in self._repeats.overdue():
            log.warning("%s", sentence)
        if self._log is not None:
            self._log.look()


def stand_still(status: Status, since_ns: int, limit: float, what: str) -> None:
    """Let the heartbeat stand still from `limit` s after `since_ns` (CLOCK_MONOTONIC) on: the supervisor will act."""
    if status.heartbeat_ns - since_ns > limit * 1e9:
        status.heartbeat_ns = since_ns + round(limit * 1e9)
        status.last_error = what


class Stage(Protocol):
    """What a process is there for: made, started, waited for, closed."""

    def start(self) -> None:
        """Serve, begin to work, and tell that it runs."""
        ...

    def wait(self) -> None:
        """Return when the supervisor asks to stop; raise what ended the work before that."""
        ...

    def close(self) -> bool:
        """Finish what is here and shut down; return whether all was finished."""
        ...


def live(child: Child, make: Callable[[Child], Stage]) -> ExitCode:
    """Let a stage live until the supervisor asks it to stop.

    Raises:
        ConfigError: it could not be made or started as the configuration says.
    """
    try:
        stage = make(child)
        stage.start()
    except UserError as error:
        raise ConfigError(str(error)) from None
    stage.wait()
    child.draining()
    return ExitCode.DRAINED if stage.close() else ExitCode.NOT_DRAINED


def run(body: Callable[[Child], ExitCode]) -> None:
    """Run a process's body and exit with the truth."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # what the supervisor sends before it kills what hangs
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's business: it drains in flow order
    text = sys.stdin.read()
    try:
        spec = ProcessSpec.model_validate_json(text)
    except ValidationError as error:
        sys.stderr.write(f"standard input: expected a process spec, found: {error}\n")
        sys.exit(ExitCode.BAD_CONFIGURATION)
    log_to_stderr(spec.debug)
    child = Child(spec)
    child.log_to(logging.getLogger().handlers[0])
    signal.signal(signal.SIGTERM, lambda *_: child.stopping.set())
    leave(guarded(child, body))


def log_to_stderr(debug: bool) -> None:
    """Write the log of this process to its standard error."""
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )


def leave(code: ExitCode) -> NoReturn:
    """End this process; EPICS threads of C do not end with the interpreter, everything of ours is closed by now."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def guarded(child: Child, body: Callable[[Child], ExitCode]) -> ExitCode:
    """Return the truth about what became of a process, whatever its body raises; its last status says it, too."""
    try:
        code = body(child)
    except UserError as error:
        log.error("%s", error)
        child.last_error = str(error)
        bad = isinstance(error, ConfigError) or child.state is State.STARTING
        code = ExitCode.BAD_CONFIGURATION if bad else ExitCode.FAILED
    except Exception as error:  # stage boundary: the supervisor is told, the traceback is in the log
        log.exception("%s failed", child.spec.name)
        child.last_error = f"{type(error).__name__}: {error}"
        code = ExitCode.FAILED
    good = code in (ExitCode.DRAINED, ExitCode.NOT_DRAINED)
    child.finish(State.STOPPED if good else State.FAILED)
    return code
