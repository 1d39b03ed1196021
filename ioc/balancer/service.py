"""The control plane's API over gRPC: checks token and arguments of each call and lets the registry do it."""

import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from ioc.balancer import replies
from ioc.balancer.registry import ForbiddenError, Registry, Reserved, UnknownError, Wanted
from ioc.balancer.requests import grant, registration, senders, strategy
from ioc.balancer.reservation import Worker
from ioc.balancer.tokens import Subject, Token
from ioc.channels.ejfat_control_model import (
    TOTALS,
    Grant,
    Permission,
    Resource,
    WorkerState,
    WorkerTotals,
)
from ioc.channels.ejfat_messages import CALLS, SERVICE
from ioc.core.errors import ConfigError, RefusedError, mismatch

log = logging.getLogger(__name__)

WORKERS = 8
"""Threads that answer calls."""
MOST_REQUEST_BYTES = 1 << 20
UPDATE, RESERVE, REGISTER, READ = Permission.UPDATE, Permission.RESERVE, Permission.REGISTER, Permission.READ_ONLY


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files of a server's key and certificate chain, PEM."""

    key: Path
    chain: Path


class Service:
    """The methods of the service; each takes a request and a token and returns a reply."""

    def __init__(self, registry: Registry, control_host: str) -> None:
        self._registry = registry
        self._host = control_host
        self.port = 0
        self.tls = False

    def ReserveLoadBalancer(self, request: Any, secret: str | None) -> Any:  # noqa: N802 - the wire's names
        """Reserve."""
        parent = self._registry.permit(secret, RESERVE, Subject())
        seconds = None
        if request.HasField("until") and request.until.seconds:
            seconds = (request.until.ToNanoseconds() - self._registry.clock.wall_ns()) / 1e9
            if seconds <= 0:
                raise RefusedError(mismatch("until", "a time to come", request.until.ToJsonString()))
        wanted = Wanted(request.name[:253], seconds, senders(request.senderAddresses), strategy(request.strategy))
        return self._reservation(self._registry.reserve(wanted, parent), with_token=True)

    def GetLoadBalancer(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """Show a reservation."""
        return self._reservation(self._found(request.lbId, secret, READ))

    def LoadBalancerStatus(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """Show its state."""
        return replies.status(self._found(request.lbId, secret, READ), self._registry)

    def FreeLoadBalancer(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """End it."""
        self._registry.free(self._found(request.lbId, secret, RESERVE))
        return CALLS["FreeLoadBalancer"].reply()

    def ResetLoadBalancer(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """Clear parts of it."""
        reserved = self._found(request.lbId, secret, UPDATE)
        balancer = reserved.balancer
        if request.sync:
            balancer.forecast.clear()
        if request.senders:
            balancer.senders.clear()
        if request.workers:
            balancer.workers.clear()
        if request.epochs:
            balancer.reset_epochs()
        self._registry.reroute(reserved)
        parts = {part: getattr(request, part) for part in ("sync", "epochs", "senders", "workers")}
        return CALLS["ResetLoadBalancer"].reply(**parts)

    def ExtendReservation(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """Move its end."""
        reserved = self._found(request.lbId, secret, RESERVE)
        until = self._registry.extend(reserved, request.until.ToNanoseconds())
        return CALLS["ExtendReservation"].reply(until=replies.stamp(until))

    def AddSenders(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """Let senders in."""
        reserved = self._found(request.lbId, secret, UPDATE)
        reserved.balancer.add_senders(senders(request.senderAddresses))
        self._registry.reroute(reserved)
        return CALLS["AddSenders"].reply()

    def RemoveSenders(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """Shut senders out."""
        reserved = self._found(request.lbId, secret, UPDATE)
        reserved.balancer.remove_senders(senders(request.senderAddresses))
        self._registry.reroute(reserved)
        return CALLS["RemoveSenders"].reply()

    def Register(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """Begin a session."""
        token = self._registry.permit(secret, REGISTER, Subject(request.lbId))
        reserved = self._registry.find(request.lbId)
        demands = [(one.index, one.length) for one in request.slotDemands]
        number = str(reserved.balancer.register(registration(request), demands))
        session = Grant(Resource.SESSION, UPDATE, _session_name(reserved.id, number))
        made = self._registry.tokens.issue(token, request.name, (session,), self._registry.clock.wall_ns())
        reserved.session_tokens[int(number)] = made
        return CALLS["Register"].reply(token=made.secret, sessionId=number)

    def SetSlotDemands(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """Replace the slots that sessions demand."""
        reserved = self._found(request.lbId, secret, UPDATE)
        for one in request.slotConstraints:
            worker = _worker(reserved, one.sessionId)
            reserved.balancer.demand(worker.number, [(slots.index, slots.length) for slots in one.slots])
        return CALLS["SetSlotDemands"].reply()

    def Deregister(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """End a session."""
        reserved, worker = self._session(request, secret)
        reserved.balancer.deregister(worker.number)
        self._registry.forget_sessions(reserved)
        return CALLS["Deregister"].reply()

    def SendState(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """Take the state of a worker."""
        reserved, worker = self._session(request, secret)
        fill, signal = request.fillPercent, request.controlSignal
        if not (0.0 <= fill <= 1.0 and math.isfinite(signal)):
            raise RefusedError(mismatch("state", "a fill of 0 to 1 and a finite signal", (fill, signal)))
        totals = WorkerTotals(**{ours: getattr(request, theirs) for ours, theirs in TOTALS})
        state = WorkerState(fill, signal, request.isReady, totals)
        reserved.balancer.heard(worker.number, state, request.timestamp.ToNanoseconds())
        return CALLS["SendState"].reply()

    def Overview(self, _request: Any, secret: str | None) -> Any:  # noqa: N802
        """Show all reservations that the token may see."""
        reply = CALLS["Overview"].reply()
        for reserved in self._visible(secret):
            one = reply.loadBalancers.add(name=reserved.wanted.name)
            one.reservation.CopyFrom(replies.shown(self._reservation(reserved)))
            one.status.CopyFrom(replies.status(reserved, self._registry))
        return reply

    def Timeseries(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """Show what workers reported over time."""
        roots = tuple(f"/lb/{reserved.id}/" for reserved in self._visible(secret))
        found = [one for one in self._registry.history.find(request.seriesSelector) if one.path.startswith(roots)]
        return replies.timeseries(found, request.since)

    def Version(self, _request: Any, secret: str | None) -> Any:  # noqa: N802
        """Show what this is."""
        if self._registry.tokens.find(secret or "") is None:
            raise ForbiddenError("token: not known here", known=False)
        return replies.version()

    def CreateToken(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """Make a child of the caller's token."""
        parent = self._own(secret)
        grants = [grant(one) for one in request.permissions]
        made = self._registry.tokens.create(parent, request.name[:253], grants, self._registry.clock.wall_ns())
        return CALLS["CreateToken"].reply(token=made.secret)

    def ListTokenPermissions(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """Show what a token may."""
        details = replies.token(self._selected(request.target, secret))
        return CALLS["ListTokenPermissions"].reply(token=details)

    def ListChildTokens(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """Show the children of a token."""
        children = self._registry.tokens.below(self._selected(request.target, secret))
        return CALLS["ListChildTokens"].reply(tokens=[replies.token(one) for one in children])

    def RevokeToken(self, request: Any, secret: str | None) -> Any:  # noqa: N802
        """Make a token and its children invalid."""
        token = self._selected(request.target, secret)
        if token is self._registry.tokens.admin:
            raise RefusedError("token: the administrator's cannot be revoked")
        self._registry.tokens.revoke(token)
        return CALLS["RevokeToken"].reply()

    def _found(self, lb_id: str, secret: str | None, permission: Permission) -> Reserved:
        self._registry.permit(secret, permission, Subject(lb_id))
        return self._registry.find(lb_id)

    def _session(self, request: Any, secret: str | None) -> tuple[Reserved, Worker]:
        self._registry.permit(secret, UPDATE, Subject(request.lbId, _session_name(request.lbId, request.sessionId)))
        reserved = self._registry.find(request.lbId)
        return reserved, _worker(reserved, request.sessionId)

    def _visible(self, secret: str | None) -> list[Reserved]:
        self._own(secret)
        return [one for one in self._registry.all() if self._may_read(secret, one)]

    def _may_read(self, secret: str | None, reserved: Reserved) -> bool:
        try:
            self._registry.permit(secret, READ, Subject(reserved.id))
        except ForbiddenError:
            return False
        return True

    def _own(self, secret: str | None) -> Token:
        token = self._registry.tokens.find(secret or "")
        if token is None:
            raise ForbiddenError("token: not known here", known=False)
        return token

    def _selected(self, target: Any, secret: str | None) -> Token:
        own = self._own(secret)
        tokens = self._registry.tokens
        found = tokens.find(target.token) if target.token else tokens.by_id(target.id) if target.id else own
        if found is None or not tokens.is_below(found, own):
            raise UnknownError(mismatch("token", "the caller's or one that descends from it", "another"))
        return found

    def _reservation(self, reserved: Reserved, with_token: bool = False) -> Any:
        view = self._registry.view(reserved, with_token)
        return replies.reservation(view, replies.Control(self._host, self.port, self.tls))


class Server:
    """A gRPC server around a service. Make it, `start` it, `close` it."""

    def __init__(self, registry: Registry, host: str, port: int, certificate: Certificate | None = None) -> None:
        """Bind the port; 0: a free one.

        Raises:
            ConfigError: the port is taken, or the certificate cannot be used.
        """
        service = Service(registry, host)
        options = (("grpc.max_receive_message_length", MOST_REQUEST_BYTES), ("grpc.so_reuseport", 0))
        self._server = grpc.server(ThreadPoolExecutor(WORKERS, "ejfat-lb-call"), options=options)
        self._server.add_generic_rpc_handlers([_handlers(service, registry)])
        self.port = service.port = _bind(self._server, host, port, certificate)
        service.tls = certificate is not None

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()

    def close(self) -> None:
        """Finish the calls that are being answered and stop."""
        self._server.stop(1.0).wait(2.0)


def _handlers(service: Service, registry: Registry) -> grpc.GenericRpcHandler:
    methods = {
        name: grpc.unary_unary_rpc_method_handler(
            _guarded(getattr(service, name), registry),
            request_deserializer=call.request.FromString,
            response_serializer=call.reply.SerializeToString,
        )
        for name, call in CALLS.items()
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def _guarded(method: Callable[[Any, str | None], Any], registry: Registry) -> Callable[[Any, Any], Any]:
    def answer(request: Any, context: Any) -> Any:
        try:
            with registry.at_rest():
                return method(request, _secret(context.invocation_metadata()))
        except ForbiddenError as error:
            code = grpc.StatusCode.PERMISSION_DENIED if error.known else grpc.StatusCode.UNAUTHENTICATED
            context.abort(code, str(error))
        except UnknownError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except (RefusedError, ConfigError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    return answer


def _secret(metadata: Sequence[tuple[str, str]]) -> str | None:
    for key, value in metadata:
        if key == "authorization" and value.startswith("Bearer "):
            return value.removeprefix("Bearer ")
    return None


def _bind(server: grpc.Server, host: str, port: int, certificate: Certificate | None) -> int:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if certificate is None:
            return server.add_insecure_port(where)
        pair = certificate.key.read_bytes(), certificate.chain.read_bytes()
        return server.add_secure_port(where, grpc.ssl_server_credentials([pair]))
    except (RuntimeError, OSError) as error:
        raise ConfigError(
            mismatch(f"EJFAT control plane {where}", "a free port, readable PEM files", str(error))
        ) from None


def _worker(reserved: Reserved, session: str) -> Worker:
    worker = reserved.balancer.workers.get(int(session)) if session.isascii() and session.isdigit() else None
    if worker is None:
        raise UnknownError(mismatch("session", "a worker that is registered", session[:80]))
    return worker


def _session_name(lb_id: str, session: str) -> str:
    """Return what a session is called in permissions: numbers are given by each load balancer anew."""
    return f"{lb_id}/{session}"
