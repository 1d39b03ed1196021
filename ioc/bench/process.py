"""A process that the benchmark started: its lines, its CPU time, its end.

Each runs in a session of its own, so that Ctrl-C reaches the benchmark alone, which then ends them one by one.
"""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ioc.bench.workplace import check_interrupt
from ioc.core.errors import PeerError

log = logging.getLogger(__name__)

TICKS = os.sysconf("SC_CLK_TCK")
LOOK_SECONDS = 0.05
END_SECONDS = 5.0
LOG_END = 2000


class Started:
    """One process with a log file; a context that leaves it ended.

    Its standard input is a pipe that stays open as long as this process lives.
    """

    def __init__(self, name: str, command: Sequence[str], log_file: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self._log_file = log_file
        self._rest = b""
        with log_file.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=dict(environment),
                cwd=log_file.parent,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def say(self, message: Mapping[str, Any]) -> None:
        """Write one line of JSON to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self, seconds: float) -> dict[str, Any]:
        """Return the next line of JSON that it prints.

        Raises:
            PeerError: none came in time, or it ended.
        """
        line = self._line(time.monotonic() + seconds)
        try:
            return json.loads(line)
        except json.JSONDecodeError:
            raise PeerError(f"{self.name}: expected a line of JSON, found {line[:200]!r}") from None

    def alive(self) -> bool:
        """Return whether it runs."""
        return self.process.poll() is None

    def words(self) -> str:
        """Return the end of what it wrote to its standard error."""
        return self._log_file.read_bytes()[-LOG_END:].decode(errors="replace").strip()

    def finish_input(self) -> None:
        """Close its standard input, which asks a part of the benchmark to end."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                log.debug("%s had closed its input", self.name)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.alive():
            self.process.send_signal(number)

    def end(self, seconds: float = END_SECONDS) -> int:
        """Ask it to end, by force after `seconds`; return its exit code."""
        self.finish_input()
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            log.warning("%s did not end within %g s and was killed", self.name, seconds)
            self.process.kill()
            return self.process.wait()
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()

    def _line(self, limit: float) -> bytes:
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        while b"\n" not in self._rest:
            wait = limit - time.monotonic()
            ready, _, _ = select.select([descriptor], [], [], max(0.0, wait))
            if not ready:
                raise PeerError(f"{self.name}: said nothing in time; {self.words() or 'no error was printed'}")
            data = os.read(descriptor, 1 << 16)
            if not data:
                raise PeerError(f"{self.name}: ended early (exit code {self.process.wait()}); {self.words()}")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def part(module: str, folder: Path, environment: Mapping[str, str], settings: Mapping[str, Any]) -> Started:
    """Return a started part of the benchmark, `ioc.bench.<module>`, that was told its settings."""
    name = f"{module}-{settings.get('role', 'part')}"
    command = [sys.executable, "-P", "-m", f"ioc.bench.{module}"]
    started = Started(name, command, folder / f"{name}.log", environment)
    try:
        started.say(settings)
    except OSError as error:
        started.end()
        raise PeerError(f"{name}: cannot be told what to do: {error}; {started.words()}") from None
    return started


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU time in s, user and system, that processes have used; one that is gone counts as 0."""
    return sum(_cpu_seconds(pid) for pid in pids)


def _cpu_seconds(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()  # the name in parentheses may hold spaces (proc(5))
    return (int(fields[11]) + int(fields[12])) / TICKS


def wait_while(processes: Sequence[Started], seconds: float) -> None:
    """Wait, as long as every process lives.

    Raises:
        PeerError: one ended.
    """
    limit = time.monotonic() + seconds
    while (rest := limit - time.monotonic()) > 0:
        check_interrupt()
        for one in processes:
            if not one.alive():
                raise PeerError(f"{one.name}: ended early (exit code {one.process.returncode}); {one.words()}")
        select.select([], [], [], min(LOOK_SECONDS, rest))
