"""All reservations of a load balancer, their data planes, and who may do what with them; one lock around everything.

A reservation ends when it is freed or its time is up; its sockets close, its tokens become invalid.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from ioc.balancer.faults import Faults
from ioc.balancer.forwarder import ForwardFigures
from ioc.balancer.history import History
from ioc.balancer.reservation import LoadBalancer, Pace, Strategy
from ioc.balancer.routes import Routes
from ioc.balancer.tokens import Subject, Token, Tokens, allows
from ioc.channels.ejfat_control_model import Grant, Permission, Reservation, Resource
from ioc.channels.ejfat_uri import Endpoint
from ioc.channels.ejfat_wire import SyncMessage
from ioc.core.clock import Clock, SystemClock
from ioc.core.errors import RefusedError, mismatch

log = logging.getLogger(__name__)

MOST_RESERVATIONS = 64
LONGEST_SECONDS = 366 * 86_400
"""s; a reservation without an end has this one, as udplbd2's have a year."""


class UnknownError(RefusedError):
    """What a call is about is not there."""


class ForbiddenError(RefusedError):
    """The token does not allow the call; `known`: the token itself is valid."""

    def __init__(self, message: str, known: bool) -> None:
        super().__init__(message)
        self.known = known


class DataPlane(Protocol):
    """What moves the packets of one reservation."""

    port: int
    sync_port: int
    receive_buffer: int

    def route(self, routes: Routes) -> None: ...

    def syncs(self) -> list[SyncMessage]: ...

    def figures(self) -> ForwardFigures: ...

    @property
    def faults(self) -> Faults: ...

    def hurt(self, faults: Faults) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A reservation as it is asked for; `seconds` None: as long as possible. `secret` empty: a random token.

    Ports of 0 are free ones.
    """

    name: str
    seconds: float | None = None
    senders: tuple[str, ...] = ()
    strategy: Strategy = Strategy.DYNAMIC
    secret: str = field(default="", repr=False)
    data_port: int = 0
    sync_port: int = 0


@dataclass(slots=True)
class Reserved:
    """One reservation: what was asked for, what deals the slots, what moves the packets, and when it ends."""

    id: str
    wanted: Wanted
    balancer: LoadBalancer
    plane: DataPlane
    token: Token
    expires_ns: int
    session_tokens: dict[int, Token] = field(default_factory=dict)


class Registry:
    """The reservations; `open_plane(data port, sync port)` makes a data plane that runs, on `address`."""

    def __init__(
        self,
        address: str,
        tokens: Tokens,
        open_plane: Callable[[int, int], DataPlane],
        pace: Pace | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.address = address
        self.tokens = tokens
        self.history = History()
        self.clock = clock or SystemClock()
        self._pace = pace or Pace()
        self._open_plane = open_plane
        self._lock = threading.RLock()
        self._reserved: dict[str, Reserved] = {}
        self._count = 0

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Hold everything still; calls and epochs take turns."""
        with self._lock:
            yield

    def reserve(self, wanted: Wanted, parent: Token | None = None) -> Reserved:
        """Make a reservation.

        Raises:
            RefusedError: there are too many.
            ConfigError: no socket is to be had.
        """
        with self._lock:
            if len(self._reserved) >= MOST_RESERVATIONS:
                raise RefusedError(mismatch("load balancer", f"at most {MOST_RESERVATIONS} reservations", "one more"))
            plane = self._open_plane(wanted.data_port, wanted.sync_port)
            self._count += 1
            lb_id = str(self._count)
            grant = Grant(Resource.RESERVATION, Permission.UPDATE, lb_id)
            now = self.clock.wall_ns()
            token = self.tokens.issue(parent or self.tokens.admin, wanted.name, (grant,), now, wanted.secret)
            balancer = LoadBalancer(wanted.strategy, self._pace, self.clock)
            balancer.add_senders(wanted.senders)
            expires = now + round(min(wanted.seconds or LONGEST_SECONDS, LONGEST_SECONDS) * 1e9)
            reserved = self._reserved[lb_id] = Reserved(lb_id, wanted, balancer, plane, token, expires)
            plane.route(Routes.of(balancer))
            log.info("load balancer %s reserved as %r, data port %d", lb_id, wanted.name, plane.port)
            return reserved

    def find(self, lb_id: str) -> Reserved:
        """Return a reservation.

        Raises:
            UnknownError: there is none with this id.
        """
        reserved = self._reserved.get(lb_id)
        if reserved is None:
            raise UnknownError(mismatch("load balancer", "the id of a reservation", lb_id[:80]))
        return reserved

    def all(self) -> list[Reserved]:
        """Return all reservations."""
        with self._lock:
            return list(self._reserved.values())

    def free(self, reserved: Reserved) -> None:
        """End a reservation; what has arrived is still sent on."""
        with self._lock:
            self._reserved.pop(reserved.id, None)
            self.tokens.revoke(reserved.token)
            self.history.forget(reserved.id)
        reserved.plane.close()
        log.info("load balancer %s freed", reserved.id)

    def extend(self, reserved: Reserved, until_ns: int) -> int:
        """Set the end of a reservation and return it, ns since 1970."""
        latest = self.clock.wall_ns() + LONGEST_SECONDS * 1_000_000_000
        reserved.expires_ns = min(until_ns, latest) if until_ns else latest
        return reserved.expires_ns

    def permit(self, secret: str | None, permission: Permission, subject: Subject) -> Token:
        """Return the token with this secret if it allows something.

        Raises:
            ForbiddenError: it is unknown, or does not.
        """
        token = self.tokens.find(secret) if secret else None
        if token is None:
            raise ForbiddenError("token: not known here", known=False)
        if not allows(token, permission, subject):
            expected = f"permission {permission.name} for {subject.session or subject.reservation or 'all'}"
            raise ForbiddenError(mismatch("token", expected, "none"), known=True)
        return token

    def advance(self) -> None:
        """Take sync messages in, begin the epochs that are due, end the reservations whose time is up."""
        now = self.clock.wall_ns()
        for reserved in self.all():
            if reserved.expires_ns <= now:
                self.free(reserved)
                continue
            with self._lock:
                balancer = reserved.balancer
                for message in reserved.plane.syncs():
                    balancer.synced(message)
                began = balancer.advance()
                self.forget_sessions(reserved)
                if began:
                    workers = [(one, _slots(balancer, one.number)) for one in balancer.workers.values()]
                    self.history.sample(reserved.id, workers, now)
                    reserved.plane.route(Routes.of(balancer))

    def forget_sessions(self, reserved: Reserved) -> None:
        """Make the tokens of sessions that are over invalid."""
        for number in reserved.session_tokens.keys() - reserved.balancer.workers.keys():
            self.tokens.revoke(reserved.session_tokens.pop(number))

    def reroute(self, reserved: Reserved) -> None:
        """Let the data plane know of changes that do not wait for an epoch: senders."""
        reserved.plane.route(Routes.of(reserved.balancer))

    def view(self, reserved: Reserved, with_token: bool = False) -> Reservation:
        """Return a reservation as its clients see it."""
        data = Endpoint(self.address, reserved.plane.port, reserved.plane.port)
        sync = Endpoint(self.address, reserved.plane.sync_port, reserved.plane.sync_port)
        view = Reservation(reserved.id, reserved.token.secret if with_token else None)
        view = replace(view, strategy=reserved.balancer.strategy.value)
        if data.version == 6:
            return replace(view, data_v6=data, sync_v6=sync)
        return replace(view, data_v4=data, sync_v4=sync)

    def close(self) -> None:
        """End all reservations."""
        for reserved in self.all():
            self.free(reserved)


def _slots(balancer: LoadBalancer, worker: int) -> int:
    return sum(length for _, length in balancer.slots(worker))
