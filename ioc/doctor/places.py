"""What a configuration wants for itself on this host: its prefix, and the ports that it names."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

from ioc.core.config import Config
from ioc.core.errors import ConfigError
from ioc.doctor.finding import Finding, bad, good, warning
from ioc.supervisor.prefix_claim import PrefixClaim

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


@dataclass(frozen=True, slots=True)
class Place:
    """An address and port that the key `what` asks for; where another is taken if it is not free, `other` says so."""

    what: str
    kind: socket.SocketKind
    address: str
    port: int
    other: str = ""


def findings(config: Config) -> Iterator[Finding]:
    """Yield what was found of the places of a configuration."""
    try:
        PrefixClaim(config.prefix).close()
    except ConfigError as error:
        told = f"an appliance has {config.prefix} already; the ports of this configuration were not looked at"
        yield warning("prefix", told, str(error).partition("; ")[2])
        return
    yield good("prefix", f"nobody on this host has {config.prefix}")
    for place in places(config):
        yield _look(place)


def places(config: Config) -> Iterator[Place]:
    """Yield the ports that are asked for by number."""
    if config.web.enabled and config.web.port:
        told = "the page takes another one, which rayfan up prints; or choose web.port"
        yield Place("web.port", TCP, config.web.address, config.web.port, told)
    if config.metrics is not None:
        yield Place("metrics.port", TCP, config.metrics.address, config.metrics.port)
    for name, ingress in config.ingress.items():
        for port in range(ingress.port, ingress.port + (1 << ingress.port_range)) if ingress.port else ():
            yield Place(f"ingress.{name}.port", UDP, ingress.address, port)
    for name, balancer in config.balancers.items():
        if balancer.port:
            yield Place(f"balancers.{name}.port", TCP, balancer.address, balancer.port)


def _look(place: Place) -> Finding:
    where = f"{place.address}:{place.port}"
    family = socket.AF_INET6 if ":" in place.address else socket.AF_INET
    try:
        with socket.socket(family, place.kind) as sock:
            if place.kind is TCP:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was closed lately is free
            sock.bind((place.address, place.port))
    except OSError as error:
        told = f"{where} cannot be listened on: {error.strerror}"
        advice = f"choose another {place.what}, or stop who has it: ss -lnp 'sport = {place.port}'"
        return warning(place.what, told, place.other) if place.other else bad(place.what, told, advice)
    return good(place.what, f"{where} is free")
