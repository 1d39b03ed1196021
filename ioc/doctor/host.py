"""What the doctor asks of the host: software, clock, memory."""

import ctypes
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ioc.core.config import Config
from ioc.doctor.finding import Finding, bad, good, warning

PYTHONS = ((3, 11), (3, 13))
PACKAGES = ("rayfan", "softioc", "epicscorelibs", "p4p", "numpy", "h5py", "pydantic")
OWN_PACKAGES = ("ioc", "detector_sim", "consumers", "db")
PER_CORE = 1.0
"""Load average of others, for each core, from which on figures suffer."""
TIME_ERROR = 5
"""What adjtimex(2) returns while the clock is not synchronised."""
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
GB = 1e9


def findings(config: Config) -> Iterator[Finding]:
    """Yield what was found of the host."""
    yield _python()
    yield from _packages()
    yield _shadowed()
    yield _clock()
    yield _memory(config)
    yield _huge_pages()
    yield _load()


def _python() -> Finding:
    found = platform.python_version()
    first, last = PYTHONS
    if first <= sys.version_info[:2] <= last:
        return good("Python", found)
    expected = " to ".join(".".join(map(str, one)) for one in PYTHONS)
    return bad("Python", found, f"use Python {expected}")


def _packages() -> Iterator[Finding]:
    told = []
    for name in PACKAGES:
        try:
            told.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            yield bad(f"package {name}", "not installed", "install Rayfan with its requirements: pip install rayfan")
    yield good("packages", ", ".join(told))


def _shadowed() -> Finding:
    """Look whether a folder or module of the same name lies before one of ours on the path."""
    own = Path(__file__).parents[2]
    for name in OWN_PACKAGES:
        found = importlib.util.find_spec(name)
        places = [Path(place) for place in (found.submodule_search_locations or ())] if found else []
        if own / name not in places:
            where = found.origin if found and found.origin else places[0] if places else "nowhere"
            return bad(f"package {name}", f"found at {where}", f"rename it, or start elsewhere: it hides {own / name}")
    return good("names", "no other package hides one of Rayfan's")


def _clock() -> Finding:
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))  # struct timex, all zero: only read
    if state == TIME_ERROR:
        advice = "run chrony or another NTP client, or time stamps of several hosts cannot be compared"
        return warning("clock", "not synchronised", advice)
    return good("clock", "synchronised") if state >= 0 else warning("clock", "cannot be asked", "look by chronyc")


def _memory(config: Config) -> Finding:
    """Frames lie in memfd files, which are bounded by memory alone, not by /dev/shm."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    available = min(int(found[1]) * 1024 if found else 0, _granted())
    told = f"{available / GB:.1f} GB free, memory_budget {config.memory_budget / GB:.1f} GB"
    if config.memory_budget > available:
        return bad("memory", told, "lower memory_budget, or free memory: processes would be killed")
    if config.memory_budget > available / 2:
        return warning("memory", told, "little is left for the rest of the machine")
    return good("memory", told)


def _granted() -> float:
    """Return the bytes that the control group of this process may still take: frames count as its memory."""
    try:
        group = Path("/proc/self/cgroup").read_text().partition("::")[2].strip()
        folder = CONTROL_GROUPS / group.lstrip("/")
        return int((folder / "memory.max").read_text()) - int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return float("inf")  # there is none, or its limit is the word `max`


def _huge_pages() -> Finding:
    try:
        chosen = re.search(r"\[(\w+)\]", HUGE_PAGES.read_text())
    except OSError:
        chosen = None
    state = chosen[1] if chosen else "unknown"
    if state in ("always", "within_size", "advise", "force"):
        return good("huge pages", f"shmem_enabled is {state}")
    advice = f"echo advise > {HUGE_PAGES}, as root: large frames are copied a little faster"
    return warning("huge pages", f"shmem_enabled is {state}", advice)


def _load() -> Finding:
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    told = f"load {load:.1f} on {cores} cores"
    if load > PER_CORE * cores:
        return warning("load", told, "others use this machine; rates below are what is left")
    return good("load", told)
