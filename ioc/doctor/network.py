"""What the doctor asks of the network: EPICS' ports and reach, socket buffers, packet sizes."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ioc.core.config import Config
from ioc.doctor.finding import Finding, bad, good, warning

CA_PORT, PVA_PORT = 5064, 5075
"""EPICS' defaults."""
LOOPBACK = "127.0.0.1"
BROADCAST = "127.255.255.255"
PVA_GROUP = "224.0.0.128"
"""Multicast group by which pvAccess servers of one host share searches (pvAccess specification)."""
ANSWER_SECONDS = 0.5
RMEM = Path("/proc/sys/net/core/rmem_max")
TLS = ("EPICS_PVA_TLS_KEYCHAIN", "EPICS_PVAS_TLS_KEYCHAIN", "EPICS_PVA_TLS_OPTIONS")
LEAST_MTU = 1500


def findings(config: Config) -> Iterator[Finding]:
    """Yield what was found of the network."""
    yield _loopback()
    yield _port("Channel Access", _number(("EPICS_CAS_SERVER_PORT", "EPICS_CA_SERVER_PORT"), CA_PORT))
    yield _port("pvAccess", _number(("EPICS_PVAS_SERVER_PORT", "EPICS_PVA_SERVER_PORT"), PVA_PORT))
    yield _reach()
    yield _group()
    yield from _tls()
    yield from _ejfat(config)


def _loopback() -> Finding:
    """Look whether this host reaches itself: the processes of an appliance find each other that way."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("", 0))
        if _heard(receiver, (LOOPBACK, receiver.getsockname()[1]), sender):
            return good("loopback", f"{LOOPBACK} is there")
    advice = "ip link set lo up; or let UDP to 127.0.0.1 pass the firewall"
    return bad("loopback", f"nothing that is sent to {LOOPBACK} arrives", advice)


def _number(names: tuple[str, ...], default: int) -> int:
    for name in names:
        if os.environ.get(name, "").isdecimal():
            return int(os.environ[name])
    return default


def _port(what: str, port: int) -> Finding:
    """Look whether the TCP port is free; servers fall back to another one, which searches find."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("", port))
        except OSError:
            advice = "further servers take other ports, which searches tell; open them in a firewall, or choose a port"
            return warning(f"{what} port", f"{port} is taken", advice)
    return good(f"{what} port", f"{port} is free")


def _heard(receiver: socket.socket, target: tuple[str, int], sender: socket.socket) -> bool:
    receiver.settimeout(ANSWER_SECONDS)
    try:
        sender.sendto(b"rayfan", target)
        return receiver.recv(16) == b"rayfan"
    except OSError:
        return False


def _reach() -> Finding:
    """Look whether a broadcast on loopback reaches two sockets at one port, as several IOCs on a host need it."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        for one in (first, second):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        first.bind(("", 0))
        second.bind(first.getsockname())
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        target = (BROADCAST, first.getsockname()[1])
        if _heard(first, target, sender) and _heard(second, target, sender):
            return good("broadcast", f"{BROADCAST} reaches every IOC of this host")
    advice = "clients on this host find only one of the IOCs by name; name the servers' ports, or use pvAccess"
    return warning("broadcast", f"{BROADCAST} does not reach two sockets at one port", advice)


def _group() -> Finding:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        loopback = socket.inet_aton(LOOPBACK)
        try:
            receiver.bind(("", 0))
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(PVA_GROUP) + loopback)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, loopback)
            reached = _heard(receiver, (PVA_GROUP, receiver.getsockname()[1]), sender)
        except OSError:
            reached = False
    if reached:
        return good("multicast", f"{PVA_GROUP} works on loopback")
    advice = "ip link set lo multicast on; else pvAccess clients that search by unicast find one server of this host"
    return warning("multicast", f"{PVA_GROUP} does not work on loopback", advice)


def _tls() -> Iterator[Finding]:
    named = [name for name in TLS if os.environ.get(name)]
    if named:
        advice = "no released Python package speaks it; records go unencrypted, use separate networks or a gateway"
        yield warning("TLS", f"{', '.join(named)} is set and has no effect", advice)


def _ejfat(config: Config) -> Iterator[Finding]:
    wanted = max((one.receive_buffer for one in (*config.ingress.values(), *config.balancers.values())), default=0)
    if wanted:
        yield _buffer(wanted)
    for name, egress in config.egress.items():
        if egress.uri:
            yield _mtu(name, egress.uri, egress.mtu)


def _buffer(wanted: int) -> Finding:
    try:
        most = int(RMEM.read_text())
    except (OSError, ValueError):
        most = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        forced = 33  # SO_RCVBUFFORCE (socket(7)), for who has CAP_NET_ADMIN
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, wanted)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
        granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    told = f"{granted} bytes granted, {wanted} asked for (net.core.rmem_max {most})"
    if granted >= wanted:
        return good("receive buffer", told)
    return warning("receive buffer", told, f"sysctl -w net.core.rmem_max={wanted}: bursts of EJFAT packets are lost")


def _mtu(name: str, uri: str, wanted: int) -> Finding:
    """Compare the packets that are sent with the largest that the way to the destination takes."""
    target = next((part[5:] for part in urlsplit(uri).query.split("&") if part.startswith("data=")), "")
    host, _, port = target.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((host.strip("[]"), int(port)))
            path = sock.getsockopt(socket.IPPROTO_IP, 14)  # IP_MTU (ip(7)), of a connected socket
    except (OSError, ValueError) as error:
        return warning(f"egress.{name}", f"no way to {target or uri}: {error}", "look at the uri and at the routes")
    told = f"mtu {wanted}, {path} on the way to {target}"
    if wanted > path:
        return bad(f"egress.{name}", told, f"set egress.{name}.mtu to {path} at most: larger packets are not sent")
    if path > wanted >= LEAST_MTU and path >= 2 * wanted:
        return warning(f"egress.{name}", told, f"egress.{name}.mtu = {path} costs less CPU, if the whole way takes it")
    return good(f"egress.{name}", told)
