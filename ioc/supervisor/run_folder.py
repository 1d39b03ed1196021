"""The run folder of an appliance: who owns it, its files, and the lock that lets only one supervisor in.

Files: `lock` (held while a supervisor lives), `<name>.spec` (how a process was started: a `Birth`), `<name>.status`,
`<name>.book`, `<name>.<giver>.book`, `<name>.journal`, `<name>.settings`, `<name>.log` and `<name>.log.1` of each
process, `quarantine` (a folder of frames that killed a process twice, which is not removed), `frames` (the detector's
socket) and `frames.N.<name>` (those of a chain), `<name>.ended` and `<name>.place` (how far a stream got, for the next
life), `counts.json` (members of groups in chains, if they were changed), `appliance.json` (what the supervisor sees,
several times a second), `ledger.json` (all, at the end) and `ledger.sqlite` (the accounts of this run and of those
before it, which is not removed).
"""

import fcntl
import logging
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from ioc.core.config import Config
from ioc.core.errors import ConfigError, mismatch
from ioc.core.status import ProcessSpec, Status
from ioc.supervisor.kept_file import KeptFiles

log = logging.getLogger(__name__)

MODE = 0o700
LOG_END = 8192
"""Bytes of a log that are shown."""
LONGEST_SOCKET_PATH = 107
"""Bytes of a Unix socket's path, without the final zero (unix(7), sun_path)."""
SOCKET = "frames"
SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
LEAST_ROOM = 1 << 18
"""Bytes; below, the folder counts as full."""
OURS = (
    "*.spec",
    "*.status",
    "*.book",
    "*.uri",
    "*.journal",
    "*.given",
    "*.log",
    "*.log.1",
    "*.settings",
    "*.new",
    "*.autosave",
    "*.gone",
    "*.renewed",
    "*.leave",
    "*.token",
    "*.ended",
    "*.place",
    "appliance.json",
    "counts.json",
    "ledger.json",
    SOCKET,
    f"{SOCKET}.*",
)
"""What a supervisor removes at its start, except what is its own; nothing else in the folder is touched."""


class JobBirth(BaseModel):
    """What finds a job again: PSI/J's name of the scheduler, the scheduler's own id, and the life that reports bear."""

    executor: str
    native_id: str
    life: str


class Birth(BaseModel):
    """How a process was started; `started` is its start time in clock ticks since boot (proc(5), field 22).

    `pid` and `started` are None between the decision to start it and its start. `over`: it is not to run any more.
    """

    spec: ProcessSpec
    pid: int | None = None
    started: int | None = None
    restarts: int = 0
    over: bool = False
    job: JobBirth | None = None


class Holder(BaseModel):
    """Who holds the lock of a run folder."""

    prefix: str
    pid: int


def folder_of(config: Config, environ: Mapping[str, str]) -> Path:
    """Return the run folder of a configuration; nothing is made."""
    if config.run_dir is not None:
        return Path(os.path.abspath(config.run_dir))  # noqa: PTH100 - resolve() would follow links
    name = slug(config.prefix)
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime and os.access(runtime, os.W_OK) and Path(runtime).is_absolute():
        return Path(runtime) / "rayfan" / name
    return Path(tempfile.gettempdir()) / f"rayfan-{os.getuid()}" / name


def slug(prefix: str) -> str:
    """Return a file name for a prefix, a different one for every prefix: `RF:` is `RF+`."""
    return "".join(char if char in SAFE else "+" if char == ":" else f"%{ord(char):02X}" for char in prefix)


class RunFolder:
    """One run folder; `prepare` makes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: dict[str, tuple[int, int, Status]] = {}
        self.files = KeptFiles()

    def prepare(self) -> None:
        """Make the folder, readable by its owner only, or check the one that is there.

        Raises:
            ConfigError: it belongs to somebody else, is open to others, or its path is too long for a socket.
        """
        length = len(os.fsencode(self.path / SOCKET))
        if length > LONGEST_SOCKET_PATH:
            expected = f"a path of at most {LONGEST_SOCKET_PATH - len(SOCKET) - 1} bytes"
            found = f"{length - len(SOCKET) - 1} bytes"
            raise ConfigError(mismatch(f"run folder {self.path}", expected, found, "set run_dir to a shorter path"))
        try:
            for folder in (*reversed(self.path.parents), self.path):
                if not folder.exists():
                    folder.mkdir(mode=MODE, exist_ok=True)
            self._check()
        except OSError as error:
            raise ConfigError(f"run folder {self.path}: cannot be made: {error.strerror}; set run_dir") from None

    def lock(self, prefix: str) -> int:
        """Return a descriptor that holds the folder's lock until it, and all its copies, are closed.

        Raises:
            ConfigError: another appliance runs in this folder.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise ConfigError(self._taken(prefix)) from None
        self.hold(prefix, os.getpid())
        return descriptor

    def hold(self, prefix: str, pid: int) -> None:
        """Write who holds the lock."""
        holder = Holder(prefix=prefix, pid=pid)
        (self.path / "lock").write_text(holder.model_dump_json())  # in place: the lock is on this very file

    def remove(self, name: str) -> None:
        """Remove one file if it is there."""
        (self.path / name).unlink(missing_ok=True)
        self.files.forget(self.path / name)

    def write(self, name: str, text: str) -> None:
        """Replace one file as a whole, now or as soon as there is room."""
        self.files.write(self.path / name, text)

    @property
    def fault(self) -> str:
        """Why nothing can be written here, empty: it can."""
        return self.files.fault or (f"{self.path}: no room is left" if self.full() else "")

    def full(self) -> bool:
        """Return whether there is too little room for a process to start in, or to tell its status."""
        facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_frsize < LEAST_ROOM

    def read(self, name: str) -> str:
        """Return the text of one file; empty if there is none."""
        try:
            return (self.path / name).read_text()
        except FileNotFoundError:
            return ""

    def read_status(self, name: str) -> Status | None:
        """Return the last status of a process; None if there is none yet. A file is parsed once."""
        path = self.path / f"{name}.status"
        try:
            facts = path.stat()
            inode, written, status = self._read.get(name, (0, 0, None))
            if status is None or (inode, written) != (facts.st_ino, facts.st_mtime_ns):
                status = Status.model_validate_json(path.read_bytes())
                self._read[name] = (facts.st_ino, facts.st_mtime_ns, status)
            return status
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            log.warning("%s.status cannot be read: %s", name, error)
            return None

    def births(self) -> list[Birth]:
        """Return how the processes of an earlier supervisor were started."""
        found = []
        for path in sorted(self.path.glob("*.spec")):
            try:
                found.append(Birth.model_validate_json(path.read_bytes()))
            except (OSError, ValidationError) as error:
                log.warning("%s is left aside: %s", path, error)
        return found

    def last_words(self, name: str) -> str:
        """Return the last line of a process's log; empty if it said nothing."""
        lines = self.log_end(name).splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def log_end(self, name: str) -> str:
        """Return the last few thousand characters of a process's log."""
        return self.log_since(name, 0)

    def log_size(self, name: str) -> int:
        """Return how many bytes a process's log has."""
        try:
            return (self.path / f"{name}.log").stat().st_size
        except OSError:
            return 0

    def log_since(self, name: str, start: int, most: int = LOG_END) -> str:
        """Return what was written to a log from byte `start` on, the last `most` bytes of it."""
        try:
            with (self.path / f"{name}.log").open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(start if start <= size else 0, size - most))  # it may have begun anew since
                return file.read(most).decode(errors="replace")
        except OSError:
            return ""

    def clean(self) -> None:
        """Remove what an earlier appliance left."""
        for pattern in OURS:
            for path in self.path.glob(pattern):
                if not path.name.startswith("supervisor."):
                    path.unlink(missing_ok=True)
        self._read.clear()

    def _check(self) -> None:
        facts = self.path.lstat()
        if not stat.S_ISDIR(facts.st_mode):
            raise ConfigError(mismatch(f"run folder {self.path}", "a folder", "something else", "set run_dir"))
        if facts.st_uid != os.geteuid():
            raise ConfigError(
                mismatch(f"run folder {self.path}", f"owner {os.geteuid()}", facts.st_uid, "set run_dir to your own")
            )
        if stat.S_IMODE(facts.st_mode) == MODE:
            return
        if any(self.path.iterdir()):
            mode = f"{stat.S_IMODE(facts.st_mode):04o}"
            raise ConfigError(mismatch(f"run folder {self.path}", "mode 0700", mode, f"chmod 700 {self.path}"))
        self.path.chmod(MODE)

    def _taken(self, prefix: str) -> str:
        try:
            holder = Holder.model_validate_json((self.path / "lock").read_bytes())
        except (OSError, ValidationError):
            return f"prefix {prefix!r}: an appliance runs already in {self.path}; stop it, or choose another prefix"
        return (
            f"prefix {holder.prefix!r}: an appliance runs already, its supervisor is process {holder.pid}; "
            f"stop it (kill {holder.pid}) or choose another prefix (--set prefix=...)"
        )
