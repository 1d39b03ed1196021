"""A supervisor process as its launcher sees it: started with the lock, read through the run folder, told by signals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ioc.core.status import ExitCode, ProcessSpec
from ioc.supervisor.appliance import Appliance
from ioc.supervisor.process import command
from ioc.supervisor.run_folder import RunFolder

MOST_RESTARTS = 5
"""Times that a supervisor which was killed is started again."""


class Launch:
    """One appliance under a supervisor of its own. `start` it, look at `view`, `stop` it, until `ended`."""

    def __init__(self, spec: ProcessSpec, folder: RunFolder, module: str) -> None:
        self.folder = folder
        self.restarts = 0
        self._spec = spec
        self._module = module
        self._child: subprocess.Popen | None = None
        self._pidfd = -1
        self._stops = 0

    def start(self) -> None:
        """Start the supervisor.

        Raises:
            ConfigError: the run folder cannot be used, or an appliance with this prefix runs already.
        """
        self.folder.prepare()
        lock = self.folder.lock(self._spec.config.prefix)
        mode = "ab" if self.restarts else "wb"
        with (self.folder.path / "supervisor.log").open(mode) as output:
            self._child = subprocess.Popen(
                [*command(self._module), "--lock", str(lock), "--launcher", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[lock],
            )
        os.close(lock)
        self._pidfd = os.pidfd_open(self._child.pid)
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(self._spec.model_dump_json().encode())
            self._child.stdin.close()
        except BrokenPipeError:
            pass  # it died at once; its exit code tells

    @property
    def pid(self) -> int:
        """The process id of the supervisor."""
        assert self._child is not None
        return self._child.pid

    def fileno(self) -> int:
        """Return a descriptor that is readable once the supervisor has ended."""
        return self._pidfd

    def view(self) -> Appliance | None:
        """Return what the supervisor sees; None before it has looked."""
        try:
            view = Appliance.model_validate_json((self.folder.path / "appliance.json").read_bytes())
        except (OSError, ValidationError):
            return None
        return view if view.pid == self.pid else None

    def ended(self) -> int | None:
        """Return the exit code once all is over. A supervisor that was killed is started again, its processes live."""
        assert self._child is not None
        code = self._child.poll()
        if code is None or code >= 0:
            return code
        if self.restarts == MOST_RESTARTS:
            return ExitCode.FAILED
        self.restarts += 1
        os.close(self._pidfd)
        self.start()
        if self._stops:
            self._send()
        return None

    def stop(self) -> None:
        """Ask for everything to finish and stop; asked again: within moments."""
        self._stops += 1
        self._send()

    def last_error(self) -> str:
        """Return why it ended as it did; empty if all went well."""
        view = self.view()
        if view is not None and view.last_error:
            return view.last_error
        status = self.folder.read_status("supervisor")
        if status is not None and status.pid == self.pid and status.last_error:
            return status.last_error
        return self.folder.last_words("supervisor")

    def ledger(self) -> dict[str, Any] | None:
        """Return the report that the supervisor left; None if it did not come to it."""
        try:
            return json.loads((self.folder.path / "ledger.json").read_text())
        except FileNotFoundError:
            return None

    def close(self) -> None:
        """Let go of the supervisor."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _send(self) -> None:
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
        except ProcessLookupError:
            pass  # it ended meanwhile


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write a report as JSON; `-` is standard output."""
    text = json.dumps(report, indent=2) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    else:
        path.write_text(text)
