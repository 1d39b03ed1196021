"""The conditions of a run: what the figures depend on and must be quoted with them."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("rayfan", "numpy", "softioc", "p4p", "pvapy")


def conditions() -> dict[str, Any]:
    """Return CPUs, their model, memory (bytes), kernel, Python, versions, and the load average (1 min) so far."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_model": _field("/proc/cpuinfo", "model name"),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: installed(name) for name in PACKAGES},
        "load_before": load_average(),
        "rmem_max": _whole("/proc/sys/net/core/rmem_max"),
    }


def load_average() -> float:
    """Return how many processes ran or waited for a CPU, on average over the last minute."""
    return round(os.getloadavg()[0], 2)


def installed(package: str) -> str | None:
    """Return the version of an installed package, None if there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _field(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)


def _whole(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None
