"""The client of the EJFAT control plane: every call that a sender, a worker or an administrator makes, over gRPC.

A call has a deadline, carries the token as `authorization: Bearer ...`, and ends in a value or in a ControlError. The
connection is made when first needed and made again by gRPC whenever it breaks, with back-off. Tokens appear in no
message.
"""

import logging
import ssl
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import grpc
from cryptography import x509

from ioc.channels import ejfat_control_model as model
from ioc.channels.ejfat_control_model import (
    Grant,
    LbStatus,
    LbView,
    Registration,
    Reservation,
    Session,
    Timeseries,
    TokenView,
    VersionView,
    WorkerState,
)
from ioc.channels.ejfat_messages import CALLS
from ioc.channels.ejfat_uri import EjfatUri
from ioc.core.errors import ConfigError, ControlError, mismatch

log = logging.getLogger(__name__)

CALL_SECONDS = 5.0
MOST_REPLY_BYTES = 4 << 20
BACKOFF_MS = (100, 2000)
"""ms until a broken connection is tried again, first and at most; gRPC's own are 1 s and 2 minutes."""

KNOWN_NO_MORE = frozenset(
    {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
)


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """Where a control plane is and how it is trusted; `timeout` is s for one call.

    With `tls`, its certificate is verified against `root_certificate` (PEM), or against the system's if that is None.
    `verify` False trusts whatever certificate it shows when the connection is made: for test set-ups only.
    """

    host: str
    port: int
    token: str | None = field(default=None, repr=False)
    tls: bool = False
    verify: bool = True
    root_certificate: Path | None = None
    timeout: float = CALL_SECONDS

    @classmethod
    def of(cls, uri: EjfatUri, where: str = "EJFAT URI") -> Self:
        """Return the settings that a URI says.

        Raises:
            ConfigError: it names no port of a control plane.
        """
        if uri.port is None:
            expected = "the control plane's port behind its host, ejfat://token@host:port/..."
            raise ConfigError(mismatch(where, expected, "none"))
        return cls(uri.host, uri.port, uri.token, uri.tls)


class ControlPlane:
    """The calls, each with the token of the settings; safe between threads. `close` ends the connection."""

    def __init__(self, settings: ControlSettings) -> None:
        self._settings = settings
        self._channel: grpc.Channel | None = None

    def with_token(self, token: str) -> "ControlPlane":
        """Return a client of the same control plane that uses another token."""
        return ControlPlane(replace(self._settings, token=token))

    def reserve(self, name: str, seconds: float | None, senders: Sequence[str] = (), strategy: str = "") -> Reservation:
        """Reserve a load balancer for `seconds` (None: without an end) and return where it is, with its token."""
        fields: dict[str, Any] = {"name": name, "senderAddresses": list(senders), "strategy": strategy}
        return model.reservation(self._call("ReserveLoadBalancer", **fields, **_until(seconds)))

    def get(self, lb_id: str) -> Reservation:
        """Return a reservation, without its token."""
        return model.reservation(self._call("GetLoadBalancer", lbId=lb_id))

    def status(self, lb_id: str) -> LbStatus:
        """Return epoch, workers and senders of a load balancer."""
        return model.status(self._call("LoadBalancerStatus", lbId=lb_id))

    def free(self, lb_id: str) -> None:
        """End a reservation."""
        self._call("FreeLoadBalancer", lbId=lb_id)

    def extend(self, lb_id: str, seconds: float) -> int:
        """Let a reservation end `seconds` from now; return its end in ns since 1970."""
        return self._call("ExtendReservation", lbId=lb_id, **_until(seconds)).until.ToNanoseconds()

    def reset(self, lb_id: str, parts: Iterable[str]) -> None:
        """Clear `parts` of a load balancer: sync, epochs, senders, workers. Events under way are lost."""
        self._call("ResetLoadBalancer", lbId=lb_id, **dict.fromkeys(parts, True))

    def add_senders(self, lb_id: str, addresses: Sequence[str]) -> None:
        """Let packets of these source addresses in."""
        self._call("AddSenders", lbId=lb_id, senderAddresses=list(addresses))

    def remove_senders(self, lb_id: str, addresses: Sequence[str]) -> None:
        """Shut packets of these source addresses out."""
        self._call("RemoveSenders", lbId=lb_id, senderAddresses=list(addresses))

    def register(self, lb_id: str, worker: Registration) -> Session:
        """Register a worker and return its session.

        Raises:
            ControlError: it was refused, or the reply has no session.
        """
        reply = self._call(
            "Register",
            lbId=lb_id,
            name=worker.name,
            weight=worker.weight,
            ipAddress=worker.address,
            udpPort=worker.port,
            portRange=worker.port_range,
            minFactor=worker.min_factor,
            maxFactor=worker.max_factor,
            keepLbHeader=worker.keep_lb_header,
        )
        if not reply.token or not reply.sessionId:
            raise ControlError(mismatch("control plane, Register", "a session with its token", "none"))
        return Session(reply.sessionId, reply.token)

    def send_state(self, lb_id: str, session_id: str, state: WorkerState) -> None:
        """Report the state of a worker; needs its session's token. Fill is clipped to 0 to 1."""
        totals = {theirs: getattr(state.totals, ours) for ours, theirs in model.TOTALS}
        self._call(
            "SendState",
            lbId=lb_id,
            sessionId=session_id,
            timestamp=_stamp(time.time_ns()),
            fillPercent=min(max(state.fill, 0.0), 1.0),
            controlSignal=state.control_signal,
            isReady=state.ready,
            **totals,
        )

    def deregister(self, lb_id: str, session_id: str) -> None:
        """End the session of a worker; needs its session's token."""
        self._call("Deregister", lbId=lb_id, sessionId=session_id)

    def set_slot_demands(self, lb_id: str, demands: dict[str, Sequence[tuple[int, int]]]) -> None:
        """Replace the slots that sessions demand, as (first, count) ranges by session id."""
        ranges = [
            {"sessionId": session, "slots": [{"index": first, "length": count} for first, count in slots]}
            for session, slots in demands.items()
        ]
        self._call("SetSlotDemands", lbId=lb_id, slotConstraints=ranges)

    def overview(self) -> list[LbView]:
        """Return all load balancers that the token may see."""
        return model.overview(self._call("Overview"))

    def timeseries(self, selectors: Sequence[str], since_ns: int) -> list[Timeseries]:
        """Return the series whose paths fit, for example `/lb/1/*`."""
        return model.timeseries(self._call("Timeseries", seriesSelector=list(selectors), since=_stamp(since_ns)))

    def version(self) -> VersionView:
        """Return what the control plane says of itself."""
        return VersionView.read(self._call("Version"))

    def create_token(self, name: str, grants: Iterable[Grant]) -> str:
        """Return a new token, a child of the one of this client."""
        return self._call("CreateToken", name=name, permissions=model.grant_fields(grants)).token

    def token(self, token_id: int | None = None) -> TokenView:
        """Return the permissions of a token; None: of this client's own."""
        return model.token_view(self._call("ListTokenPermissions", target={"id": token_id or 0}).token)

    def child_tokens(self, token_id: int | None = None) -> list[TokenView]:
        """Return the children of a token; None: of this client's own."""
        return [model.token_view(one) for one in self._call("ListChildTokens", target={"id": token_id or 0}).tokens]

    def revoke_token(self, token_id: int | None = None) -> None:
        """Revoke a token and its children; None: this client's own."""
        self._call("RevokeToken", target={"id": token_id or 0})

    def close(self) -> None:
        """End the connection."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _call(self, method_name: str, /, **fields: Any) -> Any:
        call, settings = CALLS[method_name], self._settings
        where = f"control plane {settings.host}:{settings.port}, {method_name}"
        if self._channel is None:
            self._channel = connect(settings)
        method = self._channel.unary_unary(
            call.path,
            request_serializer=call.request.SerializeToString,
            response_deserializer=call.reply.FromString,
        )
        metadata = (("authorization", f"Bearer {settings.token}"),) if settings.token else ()
        try:
            return method(call.request(**fields), timeout=settings.timeout, metadata=metadata)
        except grpc.RpcError as error:
            raise _explained(error, where) from None
        except (ValueError, TypeError) as error:  # a field that the message cannot hold
            raise ControlError(f"{where}: {error}") from None


def connect(settings: ControlSettings) -> grpc.Channel:
    """Return a channel, connected when first used.

    Raises:
        ControlError: without verification: the certificate could not be fetched.
        ConfigError: the root certificate cannot be read.
    """
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    target = f"{host}:{settings.port}"
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", MOST_REPLY_BYTES),
        ("grpc.initial_reconnect_backoff_ms", BACKOFF_MS[0]),
        ("grpc.min_reconnect_backoff_ms", BACKOFF_MS[0]),
        ("grpc.max_reconnect_backoff_ms", BACKOFF_MS[1]),
        ("grpc.enable_http_proxy", 0),  # control planes are reached directly; a proxy variable is for web browsers
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if not settings.tls:
        return grpc.insecure_channel(target, options)
    if settings.verify:
        roots = _read(settings.root_certificate) if settings.root_certificate else None
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(roots), options)
    shown = _shown_certificate(settings)
    log.warning("control plane %s: its certificate is not verified, as asked for", target)
    options.append(("grpc.ssl_target_name_override", _name_in(shown) or settings.host))
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(shown), options)


def _explained(error: grpc.RpcError, where: str) -> ControlError:
    code = error.code() if isinstance(error, grpc.Call) else None
    details = (error.details() or "" if isinstance(error, grpc.Call) else str(error))[:200]
    if code is grpc.StatusCode.UNAVAILABLE:
        return ControlError(f"{where}: not reachable: {details}; see that it runs and that host and port are right")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ControlError(f"{where}: no answer in time")
    name = code.name if code is not None else "error"
    hint = "; is the token the one for this call?" if code in KNOWN_NO_MORE - {grpc.StatusCode.NOT_FOUND} else ""
    return ControlError(f"{where}: refused ({name}): {details}{hint}", unknown=code in KNOWN_NO_MORE)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(mismatch(f"root certificate {path}", "a PEM file", error.strerror or str(error))) from None


def _shown_certificate(settings: ControlSettings) -> bytes:
    try:
        return ssl.get_server_certificate((settings.host, settings.port), timeout=settings.timeout).encode()
    except (OSError, ValueError) as error:
        where = f"control plane {settings.host}:{settings.port}"
        raise ControlError(f"{where}: no certificate to be had: {error}") from None


def _name_in(pem: bytes) -> str | None:
    """Return a name that a certificate is for, because gRPC always compares it."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return None
    dns = names.get_values_for_type(x509.DNSName)
    addresses = names.get_values_for_type(x509.IPAddress)
    return dns[0] if dns else str(addresses[0]) if addresses else None


def _until(seconds: float | None) -> dict[str, Any]:
    return {} if seconds is None else {"until": _stamp(time.time_ns() + round(seconds * 1e9))}


def _stamp(ns: int) -> dict[str, int]:
    return {"seconds": ns // 1_000_000_000, "nanos": ns % 1_000_000_000}
