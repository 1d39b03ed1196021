"""The log of a process: what it writes to standard output and error, kept within bounds without losing its end.

The file stays the same one, since children of the process may write to it, too: when it is too long, its end is copied
to `NAME.log.1` and it begins anew. Between two looks it may grow beyond the limit by what is written meanwhile.
"""

import fcntl
import os
import stat
from pathlib import Path

STANDARD_ERROR = 2


class LogFile:
    """The file behind standard error, if it is one."""

    def __init__(self, path: Path, most_bytes: int, descriptor: int = STANDARD_ERROR) -> None:
        """Bound the file at `path`, which is open for writing as `descriptor`, to `most_bytes`."""
        self._path = path
        self._most = most_bytes
        self._descriptor = descriptor
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)  # else what is written next leaves a hole

    def look(self) -> bool:
        """Begin the file anew if it is too long; return whether it was."""
        facts = os.fstat(self._descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size <= self._most:
            return False
        kept = self._keep_end(facts.st_size)
        os.ftruncate(self._descriptor, 0)
        said = f"-- the log begins anew; {kept} bytes are in {self._path.name}.1, {facts.st_size - kept} were cut\n"
        os.write(self._descriptor, said.encode())
        return True

    def _keep_end(self, size: int) -> int:
        earlier = self._path.with_name(f"{self._path.name}.1")
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, size - self._most))
                end = file.read(self._most)
            earlier.write_bytes(end)
            return len(end)
        except OSError:
            earlier.unlink(missing_ok=True)  # the disk is full: better no log than no room
            return 0
