"""A survivor: the process that an earlier supervisor started and left running, found again by its birth."""

from ioc.supervisor.plan import jobs_of
from ioc.supervisor.process import Process, runs_module, start_time
from ioc.supervisor.run_folder import Birth, RunFolder


def find_alive(birth: Birth, folder: RunFolder, module: str) -> Process | None:
    """Return the process of a birth if it still lives.

    If its supervisor died before it could write the pid down, the process is known by its own status and command.
    """
    if birth.pid is not None and birth.started is not None:
        return Process.find(birth.pid, birth.started)
    status = folder.read_status(birth.spec.name) if jobs_of(birth.spec) is None else None
    if birth.pid is not None or status is None or not runs_module(status.pid, module):
        return None
    started = start_time(status.pid)
    return None if started is None else Process.find(status.pid, started)
