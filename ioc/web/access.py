"""Who may ask: which hosts and pages a browser may come by, and who may write; no I/O.

A page of somebody else must not reach this server through a visitor's browser. Its own host name could be made to lead
here (DNS rebinding), so a browser must have asked for this host by one of its names or by an IP address. And it may
open a WebSocket to anywhere, but the browser says from which page (Origin), which must be ours.
"""

import hmac
import ipaddress
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ioc.core.config_web import WebConfig
from ioc.core.errors import ProtocolError, RefusedError, mismatch

LOCAL = "localhost"


@dataclass(frozen=True, slots=True)
class Access:
    """Names by which this host is called, pages that may ask besides our own, and the token for writing."""

    hosts: frozenset[str]
    origins: frozenset[str] = frozenset()
    token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, config: WebConfig) -> "Access":
        """Return what the configuration allows."""
        own = socket.gethostname().lower()
        return cls(frozenset({LOCAL, own, *config.hosts}), frozenset(config.origins), config.token)

    def check_host(self, host: str | None) -> None:
        """See that a request is meant for this host.

        Raises:
            ProtocolError: it says no host, or one that we are not.
        """
        name = _name_of(host or "")
        if name is None or not (name in self.hosts or _is_address(name)):
            raise ProtocolError(mismatch("Host", "a name of this host", (host or "")[:80], "see the key web.hosts"))

    def check_origin(self, origin: str | None, host: str | None) -> None:
        """See that a page which asks is one of ours; what is no browser says none.

        Raises:
            ProtocolError: it is another one.
        """
        if origin is None or origin.lower() in self.origins:
            return
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not host or parts.netloc.lower() != host.lower():
            raise ProtocolError(mismatch("Origin", "a page of this host", origin[:80], "see the key web.origins"))

    def check_token(self, given: str) -> None:
        """See that a token opens writing.

        Raises:
            RefusedError: it is another one, or writing is off.
        """
        if self.token is None:
            raise RefusedError("this page is for looking only: the configuration has no key web.token")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            raise RefusedError("that is not the token")


def bearer(authorization: str | None) -> str | None:
    """Return the token of an Authorization header; None if there is none."""
    kind, _, token = (authorization or "").partition(" ")
    return token.strip() if kind.lower() == "bearer" and token.strip() else None


def _name_of(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname if host and not set(host) & set("/@?#\\") else None
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
