"""EPICS on loopback: an environment with free ports of its own, and a prefix that nobody else uses."""

import os
import secrets
import socket

BELOW_EPHEMERAL = range(25000, 32000)
"""Ports below those that Linux gives out (net.ipv4.ip_local_port_range)."""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port number that is free now on loopback, for TCP and UDP alike."""
    for _ in range(50):
        with socket.socket(socket.AF_INET, kind) as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            other = socket.SOCK_DGRAM if kind is socket.SOCK_STREAM else socket.SOCK_STREAM
            with socket.socket(socket.AF_INET, other) as second:
                try:
                    second.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
    raise AssertionError("no port that is free for TCP and UDP in 50 tries")


def fixed_port() -> int:
    """Return a TCP port that is free on loopback, and that the kernel gives to nobody who asks for any.

    For servers that must have the port that they were told: between this look and their start nobody gets it by chance.
    """
    for _ in range(50):
        port = BELOW_EPHEMERAL[secrets.randbelow(len(BELOW_EPHEMERAL))]
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no free port among {BELOW_EPHEMERAL} in 50 tries")


def random_prefix() -> str:
    """Return a PV prefix for one test."""
    return f"T{secrets.token_hex(3).upper()}:"


def isolated_environment() -> dict[str, str]:
    """Return a copy of this process's environment in which EPICS clients and servers see only loopback.

    Several CA servers of one host share the UDP port, so the search goes to the loopback broadcast address.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")}
    ca, pva = free_port(), free_port()
    environment.update(
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
        EPICS_PVA_BROADCAST_PORT=str(free_port(socket.SOCK_DGRAM)),
        EPICS_PVAS_INTF_ADDR_LIST="127.0.0.1",
    )
    return environment
