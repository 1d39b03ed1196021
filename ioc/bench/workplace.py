"""Where a benchmark works: a folder of its own that is gone afterwards, and EPICS on loopback with ports of its own."""

import os
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ioc.core.errors import PeerError

MOST_TRIES = 50
BELOW_EPHEMERAL = range(10_000, 32_000)
"""Ports below those that Linux gives to whoever asks for any (net.ipv4.ip_local_port_range begins at 32768)."""

_interrupts: list[int] = []
"""Signals that asked for the end; a list, because a handler may take no lock."""


@contextmanager
def workplace() -> Iterator[Path]:
    """Yield an empty folder, removed at the end; SIGTERM and SIGHUP end the benchmark as Ctrl-C does."""
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    _interrupts.clear()
    folder = Path(tempfile.mkdtemp(prefix="rf-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def prefix() -> str:
    """Return a PV prefix that nobody else uses."""
    return f"B{secrets.token_hex(3).upper()}:"


def environment() -> dict[str, str]:
    """Return an environment in which EPICS clients and servers see only loopback, on free ports."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")}
    ca, pva, repeater, search = (str(_free_port()) for _ in range(4))
    variables.update(
        EPICS_CA_ADDR_LIST="127.255.255.255",
        EPICS_CA_AUTO_ADDR_LIST="NO",
        EPICS_CA_SERVER_PORT=ca,
        EPICS_CA_REPEATER_PORT=repeater,
        EPICS_CAS_BEACON_ADDR_LIST="127.255.255.255",
        EPICS_CAS_AUTO_BEACON_ADDR_LIST="NO",
        EPICS_PVA_ADDR_LIST="127.0.0.1",
        EPICS_PVA_AUTO_ADDR_LIST="NO",
        EPICS_PVA_SERVER_PORT=pva,
        EPICS_PVAS_SERVER_PORT=pva,
        EPICS_PVA_BROADCAST_PORT=search,
        EPICS_PVAS_INTF_ADDR_LIST="127.0.0.1",
    )
    return variables


def check_interrupt() -> None:
    """Raise KeyboardInterrupt if the benchmark was to end: one that came within a finalizer was lost.

    Raises:
        KeyboardInterrupt: somebody has asked for the end.
    """
    if _interrupts:
        raise KeyboardInterrupt


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _interrupts.append(number)
    raise KeyboardInterrupt


def _free_port() -> int:
    """Return a port that is free now for TCP and UDP, and that the kernel gives to nobody by chance."""
    for _ in range(MOST_TRIES):
        port = secrets.choice(BELOW_EPHEMERAL)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as first,
            socket.socket(type=socket.SOCK_DGRAM) as second,
        ):
            try:
                first.bind(("", port))
                second.bind(("", port))
            except OSError:
                continue
            return port
    raise PeerError(f"loopback: expected a port that is free for TCP and UDP, found none in {MOST_TRIES} tries")
