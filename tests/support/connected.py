"""Which PVs answer: a process of its own, `python -m tests.support.connected ca|pva SECONDS`, names on standard input.

It prints the names of those that are not connected within so many seconds, by Channel Access (pyepics) or pvAccess
(p4p), one a line.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any


def silent_ca(names: Sequence[str], seconds: float) -> Iterator[str]:
    """Yield what no CA server is there for."""
    import epics

    pvs = [epics.PV(name, auto_monitor=False) for name in names]
    limit = time.monotonic() + seconds
    for pv in pvs:
        if not pv.wait_for_connection(max(0.0, limit - time.monotonic())):
            yield str(pv.pvname)


def silent_pva(names: Sequence[str], seconds: float) -> Iterator[str]:
    """Yield what no PVA server shows a value of."""
    from p4p.client.thread import Context

    with Context("pva", nt=False) as context:
        told: Any = context.get(list(names), timeout=seconds, throw=False)
        yield from (name for name, value in zip(names, told, strict=True) if isinstance(value, Exception))


def main() -> None:
    """Print what is silent."""
    names = sorted(set(sys.stdin.read().split()))
    silent = {"ca": silent_ca, "pva": silent_pva}[sys.argv[1]]
    for name in silent(names, float(sys.argv[2])):
        print(name)


if __name__ == "__main__":
    main()
