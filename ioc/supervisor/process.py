"""One operating system process, started here or found again; addressed so that a reused pid cannot fool us."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from ioc.core.status import ProcessSpec, Status

STATE_FIELD, START_FIELD = 0, 19
"""Places of the fields 3 (state) and 22 (start time) of /proc/PID/stat behind the command's name (proc(5))."""


ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Environment of a process, if the user has not set it: parallel work is done by more processes, and idle threads of
a linear algebra library that wait in a loop would take the cores from them."""
NO_PLUGINS = {"PYDANTIC_DISABLE_PLUGINS": "__all__"}
"""Likewise: pydantic would read what every installed distribution says of itself, 0.05 s of CPU at each start."""


def command(module: str) -> list[str]:
    """Return the command line of a process; -P keeps the working folder off sys.path."""
    return [sys.executable, "-P", "-m", "ioc.start", module]


def start_time(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot; None if it is not there, or dead already."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[STATE_FIELD] in "ZX" else int(fields[START_FIELD])


def runs_module(pid: int, module: str) -> bool:
    """Return whether a process was started with `command(module)`."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(module) in words


class Process:
    """A process that runs, or ran; `close` it when it is over."""

    def __init__(self, pid: int, started: int | None, child: subprocess.Popen | None = None) -> None:
        """Hold on to a process; `child` if it is ours to wait for."""
        self.pid = pid
        self.started = started
        self._child = child
        self._descriptor = os.pidfd_open(pid)

    @classmethod
    def launch(cls, spec: ProcessSpec, module: str) -> "Process":
        """Start a process in a session of its own and tell it its spec; its words go to its log."""
        with (spec.run_dir / f"{spec.name}.log").open("ab") as output:
            child = subprocess.Popen(
                command(module),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**ONE_THREAD, **NO_PLUGINS, **os.environ},
            )
        process = cls(child.pid, start_time(child.pid), child)
        assert child.stdin is not None
        try:
            child.stdin.write(spec.model_dump_json().encode())
            child.stdin.close()
        except BrokenPipeError:
            pass  # it died at once; its exit code tells
        return process

    @classmethod
    def find(cls, pid: int, started: int) -> "Process | None":
        """Return the process with this pid if it lives and was started at that time."""
        try:
            process = cls(pid, started)
        except OSError:
            return None
        if start_time(pid) == started and not process.ended():
            return process
        process.close()
        return None

    def owns(self, status: Status) -> bool:
        """Return whether a status is of this process."""
        return status.pid == self.pid

    def fileno(self) -> int:
        """Return a descriptor that is readable once the process has ended."""
        return self._descriptor

    def ended(self) -> bool:
        """Return whether the process is over."""
        if self._child is not None:
            return self._child.poll() is not None
        return bool(select.select([self._descriptor], [], [], 0)[0])

    def exit_code(self) -> int | None:
        """Return the exit code of a process that ended, negative for a signal; None if only its parent knows."""
        return self._child.poll() if self._child is not None else None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process still lives."""
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            pass

    def close(self) -> None:
        """Let go of a process."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
