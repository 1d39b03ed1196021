"""Reads what requests of the control plane ask for; what cannot be used is refused with a sentence."""

import math
import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from ioc.balancer.reservation import Strategy
from ioc.channels.ejfat_control_model import MOST_PORT_RANGE, Grant, Permission, Registration, Resource
from ioc.core.errors import RefusedError, mismatch

LONGEST_NAME = 253
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_:/-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def registration(request: Any) -> Registration:
    """Return what a worker asks for.

    Raises:
        RefusedError: a name, address, port or factor that cannot be used.
    """
    if len(request.name) > LONGEST_NAME or _NAME.fullmatch(request.name) is None:
        raise RefusedError(mismatch("worker name", "labels of 1 to 63 letters, digits and - _ : /", request.name[:80]))
    try:
        address = str(ip_address(request.ipAddress))
    except ValueError:
        raise RefusedError(mismatch("worker address", "an IP address", request.ipAddress[:80])) from None
    last = request.udpPort + (1 << request.portRange) - 1 if 0 <= request.portRange <= MOST_PORT_RANGE else 0
    if not 1 <= request.udpPort <= last <= 65535:
        found = (request.udpPort, request.portRange)
        raise RefusedError(mismatch("worker ports", "a port and a range within 1 to 65535", found))
    factors = (request.weight, request.minFactor, request.maxFactor)
    if not all(math.isfinite(factor) and 0 <= factor <= 1e6 for factor in factors):
        raise RefusedError(mismatch("worker weight and factors", "finite numbers from 0 on", factors))
    return Registration(
        request.name,
        address,
        request.udpPort,
        request.portRange,
        request.weight or 1.0,
        request.minFactor,
        request.maxFactor,
        request.keepLbHeader,
    )


def strategy(text: str) -> Strategy:
    """Return the strategy of a name; empty: dynamic.

    Raises:
        RefusedError: there is none of this name.
    """
    try:
        return Strategy(text or "dynamic")
    except ValueError:
        raise RefusedError(mismatch("strategy", "dynamic, static or explicit", text[:80])) from None


def grant(entry: Any) -> Grant:
    """Return a permission as a grant.

    Raises:
        RefusedError: its resource or permission is unknown.
    """
    try:
        return Grant(Resource(entry.resourceType), Permission(entry.permission), entry.resourceId)
    except ValueError as error:
        raise RefusedError(f"permission: {error}") from None


def senders(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return sender addresses as packets show them.

    Raises:
        RefusedError: one of them is no IP address.
    """
    try:
        return tuple(str(ip_address(address)) for address in addresses)
    except ValueError as error:
        raise RefusedError(mismatch("sender address", "an IP address", str(error)[:120])) from None
