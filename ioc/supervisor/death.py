"""How a process ended, from its exit code and from what it wrote last: the stacks of its threads, or a traceback."""

import re
import signal
import time

from ioc.core.quarantine import LONGEST_TRACE, Death

LOG_BYTES = 1 << 16
"""Bytes at the end of a log that are looked through."""
SHORT_TRACE = 1000
"""Characters of last words without a trace."""
STACKS = re.compile(r"^(Fatal Python error|Thread 0x|Current thread 0x)", re.MULTILINE)
TRACEBACK = "Traceback (most recent call last)"
"""How faulthandler and Python begin to tell where a process was."""


def death_of(name: str, pid: int, exit_code: int, reason: str, written: str) -> Death:
    """Return the end of a process just now; `exit_code` is negative for a signal."""
    return Death(
        name=name,
        pid=pid,
        wall_ns=time.time_ns(),
        exit_code=exit_code,
        signal=signal.Signals(-exit_code).name if exit_code < 0 else None,
        reason=reason,
        trace=last_trace(written),
    )


def last_trace(written: str) -> str:
    """Return the stacks, or else the last traceback, in what a process wrote; without any, its last words."""
    stacks = STACKS.search(written)
    start = stacks.start() if stacks is not None else written.rfind(TRACEBACK)
    return written[start : start + LONGEST_TRACE] if start >= 0 else written[-SHORT_TRACE:]
