"""What a process takes up of the machine, its children included: memory and processor time, from /proc (proc(5)).

`private` is what only this process has: its anonymous pages and what of it was swapped out. Frames lie in memory that
several processes share: they are in `rss` of each of them, in `pss` by equal parts, and not in `private`.
"""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
"""Clock ticks a second in which /proc counts processor time."""
KIB = 1024
LOOK_SECONDS = 1.0
PSS_SECONDS = 5.0
"""s between two looks at what is shared with whom: the kernel has to walk through all pages for it."""
_UTIME, _STIME = 11, 12
"""Places of fields 14 and 15 of /proc/PID/stat behind the command's name."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of memory; `cpu` in cores that are kept busy, over the time since the look before."""

    rss: int = 0
    pss: int = 0
    private: int = 0
    cpu: float = 0.0


class UsageMeter:
    """Looks at one process now and then."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._looked_ns: int | None = None
        self._walked_ns: int | None = None
        self._seconds = 0.0
        self.usage = Usage()

    def look(self, now_ns: int) -> bool:
        """Look, if it is time to; return whether `usage` is new. A process that is gone leaves the last one."""
        if self._looked_ns is not None and now_ns - self._looked_ns < LOOK_SECONDS * 1e9:
            return False
        memory, seconds = [0, 0], 0.0
        pids = family(self._pid)
        for pid in pids:
            seconds += cpu_seconds(_read(pid, "stat"))
            for at, size in enumerate(resident(_read(pid, "status"))):
                memory[at] += size
        if not memory[0]:
            return False
        busy = 0.0
        if self._looked_ns is not None:  # a child that ended takes its time with it
            busy = max(0.0, seconds - self._seconds) * 1e9 / (now_ns - self._looked_ns)
        pss = self.usage.pss
        if self._walked_ns is None or now_ns - self._walked_ns >= PSS_SECONDS * 1e9:
            self._walked_ns = now_ns
            pss = sum(kib_of(_read(pid, "smaps_rollup"), "Pss") for pid in pids)
        self._looked_ns, self._seconds = now_ns, seconds
        self.usage = Usage(memory[0], pss, memory[1], busy)
        return True


def family(pid: int) -> list[int]:
    """Return a process and its children, theirs included."""
    found, at = [pid], 0
    while at < len(found):
        try:
            tasks = list(Path(f"/proc/{found[at]}/task").iterdir())
            children = [child for task in tasks for child in (task / "children").read_text().split()]
        except OSError:
            children = []
        found += [int(child) for child in children]
        at += 1
    return found


def resident(text: str) -> tuple[int, int]:
    """Return the bytes of /proc/PID/status that are in RAM, and those that nobody shares, swapped ones included."""
    return kib_of(text, "VmRSS"), kib_of(text, "RssAnon") + kib_of(text, "VmSwap")


def kib_of(text: str, name: str) -> int:
    """Return the bytes of a line `NAME:  123 kB`; 0 if there is none: a process that is gone has no memory."""
    start = text.find(f"{name}:")
    return int(text[start:].split(None, 2)[1]) * KIB if start >= 0 else 0


def cpu_seconds(text: str) -> float:
    """Return the processor time, user and system, of /proc/PID/stat in s; 0 if it is empty."""
    if not text:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / TICKS


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""
