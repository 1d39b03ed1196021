"""A Slurm of one node on this machine, for as long as a test needs it: munged, slurmctld and slurmd, all in one folder.

It runs as whoever runs the tests, with a key, sockets and ports of its own, without cgroups and without accounting;
nothing of a Slurm that may be installed here is touched. `missing` says why it cannot run.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.epics import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
INSTALL = "on Debian and Ubuntu: apt-get install slurm-wlm munge"
START_SECONDS = 30.0
KILL_WAIT = 8
"""s between SIGTERM and SIGKILL for a job that is cancelled, or whose time is up."""
CORES = 8
"""What the node says it has; workers wait more than they work."""
CRED_EXPIRE = 5
"""s; a job that is re-queued may start again after about so long, 120 s if nothing is said."""
KEY_BYTES = 1024

CONFIGURATION = """\
ClusterName=rayfan
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={cred_expire}
CredType=cred/munge
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait={kill_wait}
MinJobAge=300
SchedulerParameters=sched_interval=2,batch_sched_delay=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=INFINITE OverTimeLimit=0 State=UP
"""


def missing() -> str:
    """Return why Slurm cannot run here; empty if it can."""
    absent = [name for name in PROGRAMS if program(name) is None]
    return f"Slurm is not installed here ({', '.join(absent)}); {INSTALL}" if absent else ""


def program(name: str) -> str | None:
    """Return the path of a program, also of those that only administrators have on their path."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")


class SlurmCluster:
    """The daemons; `start`, run commands with `environment`, `stop`."""

    def __init__(self, folder: Path) -> None:
        """Prepare in `folder`, which must be empty and have a short path: sockets lie there."""
        self.folder = folder
        self.configuration = folder / "slurm.conf"
        self._daemons: list[subprocess.Popen] = []
        self._log = (folder / "daemons.log").open("ab")

    @property
    def environment(self) -> Mapping[str, str]:
        """What Slurm's commands find this cluster by."""
        return {"SLURM_CONF": str(self.configuration)}

    def start(self) -> None:
        """Start the daemons and wait until the node takes jobs."""
        self._write()
        self._daemon("munged", "--foreground", *self._munge_options())
        self._wait(lambda: (self.folder / "munge.socket").exists(), "munged listens")
        self._daemon("slurmctld", "-D", "-f", str(self.configuration))
        self._daemon("slurmd", "-D", "-f", str(self.configuration), "-N", socket.gethostname().partition(".")[0])
        self._wait(lambda: self.run("sinfo", "-h", "-o", "%T", check=False).strip() == "idle", "the node is idle")

    def run(self, *command: str, check: bool = True) -> str:
        """Return what one of Slurm's commands prints."""
        path = program(command[0])
        assert path is not None, f"{command[0]}: {missing()}"
        done = subprocess.run(
            [path, *command[1:]], env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=30
        )
        assert not check or done.returncode == 0, (
            f"{command}: exit code {done.returncode}\n{done.stderr}\n{self.logs()}"
        )
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """Return the state of every job that is not over, by id."""
        lines = self.run("squeue", "-h", "-o", "%i %T").splitlines()
        return {words[0]: words[1] for words in map(str.split, lines) if len(words) == 2}

    def logs(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(f"== {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        """End jobs and daemons."""
        if self._daemons and self._daemons[-1].poll() is None:
            self.run("scancel", "--me", "--full", "--signal=KILL", check=False)
            self.run("scancel", "--me", check=False)
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        self._log.close()

    def _write(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(KEY_BYTES))
        key.chmod(0o400)
        self.configuration.write_text(
            CONFIGURATION.format(
                host=socket.gethostname().partition(".")[0],
                user=_user(),
                folder=self.folder,
                controller=free_port(),
                node=free_port(),
                kill_wait=KILL_WAIT,
                cred_expire=CRED_EXPIRE,
                cores=CORES,
            )
        )

    def _munge_options(self) -> list[str]:
        places = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
        places["seed-file"] = "munge.seed"
        return ["--force", *(f"--{option}={self.folder / name}" for option, name in places.items())]

    def _daemon(self, name: str, *arguments: str) -> None:
        path = program(name)
        assert path is not None, missing()
        environment = {**os.environ, **self.environment}
        self._daemons.append(
            subprocess.Popen([path, *arguments], env=environment, stdout=self._log, stderr=subprocess.STDOUT)
        )

    def _wait(self, true: Callable[[], bool], what: str) -> None:
        limit = time.monotonic() + START_SECONDS
        while not true():
            dead = [daemon.args for daemon in self._daemons if daemon.poll() is not None]
            assert not dead, f"{what}: {dead} ended\n{self.logs()}"
            assert time.monotonic() < limit, f"{what}: not within {START_SECONDS} s\n{self.logs()}"
            time.sleep(0.1)  # polled: daemons tell in files and answers only


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name
