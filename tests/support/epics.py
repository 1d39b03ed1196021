"""EPICS on loopback: an environment with free ports of its own, and a prefix that nobody else uses."""

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

LOWEST, BLOCK, BLOCKS = 10_000, 200, 110
"""Ports below those that Linux gives to whoever asks for any (net.ipv4.ip_local_port_range begins at 32768)."""


class PortBlock:
    """A block of ports that is this process's alone among all tests of the host, until it ends; dealt out in turn.

    The claim is an abstract Unix socket. Nobody else gets a port by chance between its choice and the start of its
    server, and none comes again before all others of the block had their turn.
    """

    def __init__(self) -> None:
        self._claim = socket.socket(socket.AF_UNIX)
        self._first = next(first for first in _blocks() if self._claimed(first))
        self._turn = 0

    def take(self, count: int) -> int:
        """Return the first of `count` ports in a row that are free on all addresses for TCP and for UDP."""
        for _ in range(BLOCK):
            begin = self._turn if self._turn + count <= BLOCK else 0
            self._turn = begin + count
            row = range(self._first + begin, self._first + begin + count)
            if all(_is_free(port, kind) for port in row for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
                return row[0]
        raise AssertionError(f"no {count} free ports in a row in {self._first} ... {self._first + BLOCK - 1}")

    def _claimed(self, first: int) -> bool:
        try:
            self._claim.bind(f"\0rayfan-test-ports-{first}")
        except OSError:
            return False
        return True


def _blocks() -> Iterator[int]:
    begin = secrets.randbelow(BLOCKS)
    yield from (LOWEST + (begin + number) % BLOCKS * BLOCK for number in range(BLOCKS))
    raise AssertionError(f"all {BLOCKS} blocks of ports are claimed by processes of tests")


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as sock:
        try:
            sock.bind(("", port))
        except OSError:
            return False
    return True


@cache
def _ports(_pid: int) -> PortBlock:
    return PortBlock()


def free_port() -> int:
    """Return a port number that nobody else is given, free now for TCP and UDP alike."""
    return free_row(1)


def free_row(count: int) -> int:
    """Return the first of `count` port numbers in a row, as of `free_port`."""
    return _ports(os.getpid()).take(count)


def random_prefix() -> str:
    """Return a PV prefix for one test."""
    return f"T{secrets.token_hex(3).upper()}:"


def fresh_cache() -> str:
    """Return a folder that is not there yet, and is gone with this process."""
    return str(Path(_caches(os.getpid()).name) / secrets.token_hex(4))


@cache
def _caches(_pid: int) -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="rayfan-tests-", ignore_cleanup_errors=True)


def isolated_environment() -> dict[str, str]:
    """Return a copy of this process's environment in which EPICS sees only loopback, and nobody the user's caches.

    Several CA servers of one host share the UDP port, so the search goes to the loopback broadcast address. Without
    scheduling by priorities EPICS does not lock all memory of a process into RAM where it may, which is as root only.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")}
    ca, pva = free_port(), free_port()
    environment.update(
        XDG_CACHE_HOME=fresh_cache(),
        EPICS_ALLOW_POSIX_THREAD_PRIORITY_SCHEDULING="NO",
        EPICS_CA_ADDR_LIST="127.255.255.255",
        EPICS_CA_AUTO_ADDR_LIST="NO",
        EPICS_CA_SERVER_PORT=str(ca),
        EPICS_CA_REPEATER_PORT=str(free_port()),
        EPICS_CAS_BEACON_ADDR_LIST="127.255.255.255",
        EPICS_CAS_AUTO_BEACON_ADDR_LIST="NO",
        EPICS_CA_MAX_ARRAY_BYTES="40000000",
        EPICS_PVA_ADDR_LIST="127.0.0.1",
        EPICS_PVA_AUTO_ADDR_LIST="NO",
        EPICS_PVA_SERVER_PORT=str(pva),
        EPICS_PVAS_SERVER_PORT=str(pva),
        EPICS_PVA_BROADCAST_PORT=str(free_port()),
        EPICS_PVAS_INTF_ADDR_LIST="127.0.0.1",
    )
    return environment


@contextmanager
def alone_on_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep EPICS on loopback meanwhile, and see that no thread is left over."""
    for variable, value in isolated_environment().items():
        if variable.startswith("EPICS_"):
            monkeypatch.setenv(variable, value)
    before = set(threading.enumerate())
    yield
    ours = [thread for thread in threading.enumerate() if not thread.name.startswith("Dummy")]  # of p4p's that logged
    left = [thread.name for thread in ours if thread not in before]
    assert not left, f"threads left over: {left}"
