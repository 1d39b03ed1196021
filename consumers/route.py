"""Where an egress sends and how an ingress registers: from the configuration, its URI, or the lab balancer's file."""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ioc.channels import ejfat_uri
from ioc.channels.ejfat_control_model import Registration
from ioc.channels.ejfat_uri import EjfatUri, Endpoint
from ioc.core.config_ejfat import ControlConfig, EgressConfig, IngressConfig
from ioc.core.errors import ConfigError, mismatch
from ioc.core.status import ProcessSpec

if TYPE_CHECKING:
    from ioc.channels.ejfat_control import ControlPlane

MOST_NAME = 63


@dataclass(frozen=True, slots=True)
class Route:
    """The destinations of an egress, one a socket, and the URI whose control plane takes part (None: none does)."""

    destinations: tuple[tuple[str, int], ...]
    uri: EjfatUri | None = None


def route_of(spec: ProcessSpec, config: EgressConfig) -> Route:
    """Return where an egress sends.

    Raises:
        ConfigError: the URI has no data address, or asks for a control plane that it does not name.
    """
    where = f"egress.{spec.table}.uri"
    if config.balancer is not None:
        uri = _balancer_uri(spec, config.balancer)
        return Route(destinations(uri, config, where), uri)
    if config.uri is None:
        if spec.destination is None:
            raise ConfigError(mismatch(f"egress.{spec.table}", "the address of its ingress", "none"))
        host, _, port = spec.destination.rpartition(":")
        return Route(((host.strip("[]"), int(port)),) * config.sockets)
    uri = ejfat_uri.parse(config.uri, where)
    named = uri.token is not None and uri.port is not None and uri.lb_id is not None
    if config.control_plane and not named:
        raise ConfigError(
            mismatch(where, "token, control plane and load balancer, ejfat://token@ip:port/lb/id", "less")
        )
    used = named and uri.sync is not None if config.control_plane is None else config.control_plane
    return Route(destinations(uri, config, where), uri if used else None)


def destinations(uri: EjfatUri, config: EgressConfig, where: str) -> tuple[tuple[str, int], ...]:
    """Return one destination a socket: over all data addresses of the IP version in turn, and over their ports.

    Raises:
        ConfigError: there is no data address of the IP version that is asked for.
    """
    version = config.ip or (uri.data.version if uri.data else 4)
    found = [endpoint for endpoint in _data(uri) if endpoint.version == version]
    if not found:
        shown = ejfat_uri.to_text(uri, with_token=False)
        raise ConfigError(mismatch(where, f"a data address of IP version {version}, ...?data=ip:port", shown))
    sockets = max(config.sockets, len(found))
    return tuple(_nth(found, number) for number in range(sockets))


def worker_uri(spec: ProcessSpec, config: IngressConfig) -> EjfatUri | None:
    """Return the URI of the load balancer that an ingress registers with; None: senders come directly.

    Raises:
        ConfigError: it does not name token, control plane and load balancer.
    """
    if config.balancer is not None:
        return _balancer_uri(spec, config.balancer)
    if config.uri is None:
        return None
    uri = ejfat_uri.parse(config.uri, f"ingress.{spec.table}.uri")
    if uri.token is None or uri.port is None or uri.lb_id is None:
        expected = "token, control plane and load balancer, ejfat://token@ip:port/lb/id"
        raise ConfigError(mismatch(f"ingress.{spec.table}.uri", expected, ejfat_uri.to_text(uri, with_token=False)))
    return uri


def registration(spec: ProcessSpec, config: IngressConfig, uri: EjfatUri, port: int) -> Registration:
    """Return what an ingress registers as."""
    return Registration(
        name=config.worker_name or _name(f"{socket.gethostname()}.{spec.config.prefix}{spec.name}"),
        address=config.advertise or own_address(config.address, uri),
        port=port,
        port_range=config.port_range,
        weight=config.weight,
        min_factor=config.min_factor,
        max_factor=config.max_factor,
    )


def control_plane(uri: EjfatUri, config: ControlConfig) -> "ControlPlane":
    """Return a client of the control plane of a URI."""
    # imported here: gRPC is slow to import, and few egresses and ingresses have a control plane
    from ioc.channels.ejfat_control import ControlPlane, ControlSettings

    settings = ControlSettings.of(uri)
    return ControlPlane(replace(settings, verify=config.verify, root_certificate=config.root_certificate, timeout=2.0))


def own_address(listening: str, uri: EjfatUri) -> str:
    """Return the address that a load balancer reaches us by: the one listened on, or the one that faces it."""
    if listening not in ("0.0.0.0", "::"):
        return listening
    facing = uri.data or uri.sync
    host, port = (facing.address, facing.port) if facing else (uri.host, uri.port or 0)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port))  # sends nothing, only looks for the way
        except OSError as error:
            message = mismatch("ingress address", f"a way to {host}", str(error), "set the key 'advertise'")
            raise ConfigError(message) from None
        return probe.getsockname()[0]


def _balancer_uri(spec: ProcessSpec, table: str) -> EjfatUri:
    file = spec.uri_file(table)
    try:
        return ejfat_uri.parse(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        raise ConfigError(mismatch(f"balancers.{table}", f"its URI in {file}", str(error))) from None


def _data(uri: EjfatUri) -> Sequence[Endpoint]:
    return uri.all_data or [endpoint for endpoint in (uri.data_v4, uri.data_v6) if endpoint is not None]


def _nth(found: Sequence[Endpoint], number: int) -> tuple[str, int]:
    endpoint = found[number % len(found)]
    ports = endpoint.last_port - endpoint.port + 1
    return endpoint.address, endpoint.port + number // len(found) % ports


def _name(text: str) -> str:
    """Return a text as a worker's name: labels of letters, digits and - _ : /, a letter or digit at both ends."""
    labels = (re.sub(r"[^A-Za-z0-9_:/-]", "-", label).strip("-_:/")[:MOST_NAME] for label in text.split("."))
    return ".".join(label.strip("-_:/") for label in labels if label)
