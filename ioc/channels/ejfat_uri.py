"""EJFAT URIs: `ejfat[s]://[token@]host[:port][/lb/id][?sync=ip:port][&data=ip[:port[-port]]][&sessionid=text]`.

Read liberally: a missing control-plane port, port ranges in `data` and `sync`, IPv6 with or without brackets or percent
encoding, and unknown keys are accepted. Of several `data` of one IP version the last one is `data_v4` or `data_v6`, as
in E2SAR, and `all_data` has them all. Written plainly, as E2SAR reads it: one port, bracketed IPv6 percent-encoded.
"""

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NoReturn
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from ioc.core.errors import ConfigError, mismatch

DATA_PORT = 19522
"""Where load balancers take data if the URI does not say (E2SAR, ESnet udplbd2)."""

_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_EXAMPLE = "for example ejfat://token@10.0.0.1:18347/lb/1?sync=10.0.0.1:19010&data=10.0.0.2:19522"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IP address with a UDP port, or with all ports up to `last_port`."""

    address: str
    port: int
    last_port: int

    @property
    def version(self) -> int:
        """4 or 6."""
        return ip_address(self.address).version


@dataclass(frozen=True, slots=True)
class EjfatUri:
    """What an EJFAT URI says; `port` None: the control plane has none, as in a direct link."""

    host: str
    port: int | None = None
    tls: bool = False
    token: str | None = field(default=None, repr=False)
    lb_id: str | None = None
    sync: Endpoint | None = None
    data_v4: Endpoint | None = None
    data_v6: Endpoint | None = None
    session_id: str | None = None
    all_data: tuple[Endpoint, ...] = field(default=(), compare=False)

    @property
    def data(self) -> Endpoint | None:
        """Where data goes, IPv4 first."""
        return self.data_v4 or self.data_v6


def parse(text: str, where: str = "EJFAT URI") -> EjfatUri:
    """Return what the URI says; `where` names it in messages, which never show its token.

    Raises:
        ConfigError: names the part, what was expected and what was found.
    """
    split = _split(text.strip(), where)
    token, _, authority = split.netloc.rpartition("@")
    host, port = _host_and_port(authority, where)
    fields: dict[str, str] = {}
    data: list[Endpoint] = []
    for key, value in parse_qsl(split.query.replace("+", "%2B"), keep_blank_values=True):
        if key == "data":
            data.append(_endpoint(value, DATA_PORT, f"{where}, data"))
        else:
            fields[key] = value
    newest = {endpoint.version: endpoint for endpoint in data}
    return EjfatUri(
        host=host,
        port=port,
        tls=split.scheme == "ejfats",
        token=unquote(token) or None,
        lb_id=unquote(split.path.rpartition("/")[2]) or None,
        sync=_endpoint(fields["sync"], None, f"{where}, sync") if "sync" in fields else None,
        data_v4=newest.get(4),
        data_v6=newest.get(6),
        session_id=fields.get("sessionid") or None,
        all_data=tuple(data),
    )


def to_text(uri: EjfatUri, with_token: bool = True) -> str:
    """Return the URI as text; without the token for logs and screens."""
    user = f"{quote(uri.token, safe=':')}@" if uri.token and with_token else ""
    authority = f"[{uri.host}]" if ":" in uri.host else uri.host
    port = f":{uri.port}" if uri.port is not None else ""
    path = f"/lb/{quote(uri.lb_id, safe='')}" if uri.lb_id else ""
    named = (("sync", uri.sync), ("data", uri.data_v4), ("data", uri.data_v6))
    query = [f"{key}={_endpoint_text(endpoint)}" for key, endpoint in named if endpoint]
    if uri.session_id:
        query.append(f"sessionid={quote(uri.session_id, safe='')}")
    return f"ejfat{'s' if uri.tls else ''}://{user}{authority}{port}{path}{'?' * bool(query)}{'&'.join(query)}"


def _refuse(where: str, expected: str, found: str) -> NoReturn:
    raise ConfigError(mismatch(where, expected, found[:80], _EXAMPLE))


def _split(text: str, where: str) -> SplitResult:
    try:
        split = urlsplit(text)
    except ValueError:
        _refuse(where, "a URI", text.rpartition("@")[2])
    if split.scheme not in ("ejfat", "ejfats"):
        _refuse(f"{where}, scheme", "ejfat:// or ejfats://", split.scheme)
    return split


def _host_and_port(authority: str, where: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        host, _, rest = authority[1:].partition("]")
        if not _is_ip(host) or (rest and not rest.startswith(":")):
            _refuse(f"{where}, host", "an IPv6 address in brackets", authority)
        port = rest[1:]
    else:
        host, _, port = authority.partition(":")
    if not (_is_ip(host) or _HOST_NAME.fullmatch(host)):
        _refuse(f"{where}, host", "the control plane's host name or IP address", authority)
    return host, _port(port, f"{where}, port") if port else None


def _endpoint(value: str, default_port: int | None, where: str) -> Endpoint:
    text = unquote(value).strip()
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        ports = rest.removeprefix(":")
    elif text.count(":") > 1:  # IPv6 without brackets has no port
        address, ports = text, ""
    else:
        address, _, ports = text.partition(":")
    if not _is_ip(address):
        _refuse(where, "an IP address with a port", value)
    first, dash, last = ports.partition("-")
    if not first and default_port is None:
        _refuse(where, "a port behind the address", value)
    port = _port(first, where) if first else default_port or 0
    last_port = _port(last, where) if dash else port
    if last_port < port:
        _refuse(where, "a range of ports, the lower one first", value)
    return Endpoint(_ip(address), port, last_port)


def _endpoint_text(endpoint: Endpoint) -> str:
    if endpoint.version == 6:
        return f"%5B{endpoint.address}%5D:{endpoint.port}"
    return f"{endpoint.address}:{endpoint.port}"


def _port(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        _refuse(where, "a port of 1 to 65535", text)
    return int(text)


def _is_ip(text: str) -> bool:
    try:
        _ip(text)
    except ValueError:
        return False
    return True


def _ip(text: str) -> str:
    address: IPv4Address | IPv6Address = ip_address(text)
    return str(address)
