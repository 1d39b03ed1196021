"""What the EJFAT control plane is told and tells, as plain values; its messages are read and checked here.

Addresses and ports are checked before anybody sends there. Times are integer nanoseconds since 1970.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from typing import Any, Self

from ioc.channels.ejfat_uri import Endpoint
from ioc.core.errors import ControlError, mismatch

MOST_PORT_RANGE = 14
"""The greatest log2 of a worker's number of ports (E2SAR, udplbd2)."""


class Resource(Enum):
    """What a token is for; the values are those of the wire."""

    ALL = 0
    LOAD_BALANCER = 1
    RESERVATION = 2
    SESSION = 3


class Permission(Enum):
    """What a token allows, each including the ones before; the values are those of the wire."""

    READ_ONLY = 0
    REGISTER = 1
    RESERVE = 2
    UPDATE = 3


@dataclass(frozen=True, slots=True)
class Grant:
    """One permission of a token; an empty `resource_id` stands for all of its kind."""

    resource: Resource
    permission: Permission
    resource_id: str = ""


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token without the token itself."""

    id: int
    name: str
    created_at: str
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class Reservation:
    """A load balancer that was reserved: where sync messages and data go; `token` only when it was made just now."""

    lb_id: str
    token: str | None = field(default=None, repr=False)
    sync_v4: Endpoint | None = None
    sync_v6: Endpoint | None = None
    data_v4: Endpoint | None = None
    data_v6: Endpoint | None = None
    strategy: str = ""


@dataclass(frozen=True, slots=True)
class Registration:
    """How a worker registers: its address, first port and log2 of its number of ports, and its share of the slots.

    `min_factor` and `max_factor` times the even share bound the slots it gets; a `max_factor` of 0 does not.
    """

    name: str
    address: str
    port: int
    port_range: int = 0
    weight: float = 1.0
    min_factor: float = 0.5
    max_factor: float = 2.0
    keep_lb_header: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A registered worker's session and the token that its calls take."""

    id: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WorkerTotals:
    """What a worker counted since it registered: events, bytes and packets."""

    received: int = 0
    reassembled: int = 0
    reassembly_errors: int = 0
    dequeued: int = 0
    enqueue_errors: int = 0
    bytes: int = 0
    packets: int = 0


TOTALS = (
    ("received", "totalEventsRecv"),
    ("reassembled", "totalEventsReassembled"),
    ("reassembly_errors", "totalEventsReassemblyErr"),
    ("dequeued", "totalEventsDequeued"),
    ("enqueue_errors", "totalEventEnqueueErr"),
    ("bytes", "totalBytesRecv"),
    ("packets", "totalPacketsRecv"),
)
"""The names here and on the wire."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a worker reports: fill of its queue (0 to 1), its control signal (an increment; 1000 is the average)."""

    fill: float
    control_signal: float
    ready: bool
    totals: WorkerTotals = WorkerTotals()


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as the control plane sees it."""

    name: str
    session_id: str
    address: str
    port: int
    port_range: int
    slots: int
    state: WorkerState
    updated_ns: int


@dataclass(frozen=True, slots=True)
class LbStatus:
    """A load balancer as its control plane sees it; `expires_ns` None: never."""

    time_ns: int
    epoch: int
    predicted_tick: int
    slots: int
    workers: tuple[WorkerView, ...]
    senders: tuple[str, ...]
    expires_ns: int | None


@dataclass(frozen=True, slots=True)
class Timeseries:
    """A quantity over time: milliseconds since 1970, and value."""

    name: str
    unit: str
    samples: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class LbView:
    """One line of the overview."""

    name: str
    reservation: Reservation
    status: LbStatus


@dataclass(frozen=True, slots=True)
class VersionView:
    """What the control plane says of itself."""

    commit: str
    build: str
    compatible: str

    @classmethod
    def read(cls, reply: Any) -> Self:
        return cls(reply.commit, reply.build, reply.compatTag)


def reservation(reply: Any) -> Reservation:
    """Return what a reply says.

    Raises:
        ControlError: no reservation is named, or an address or port is none.
    """
    if not reply.lbId:
        raise ControlError(mismatch("control plane, reservation", "the id of a load balancer", "none"))
    ports = reply.dataMinPort, max(reply.dataMinPort, reply.dataMaxPort)
    sync = reply.syncUdpPort, reply.syncUdpPort
    return Reservation(
        lb_id=reply.lbId,
        token=reply.token or None,
        sync_v4=_endpoint(reply.syncIpv4Address, *sync),
        sync_v6=_endpoint(reply.syncIpv6Address, *sync),
        data_v4=_endpoint(reply.dataIpv4Address, *ports),
        data_v6=_endpoint(reply.dataIpv6Address, *ports),
        strategy=reply.strategy,
    )


def status(reply: Any) -> LbStatus:
    """Return what a status reply says."""
    return LbStatus(
        time_ns=reply.timestamp.ToNanoseconds(),
        epoch=reply.currentEpoch,
        predicted_tick=reply.currentPredictedEventNumber,
        slots=reply.slotResolution,
        workers=tuple(map(_worker, reply.workers)),
        senders=tuple(reply.senderAddresses),
        expires_ns=reply.expiresAt.ToNanoseconds() or None if reply.HasField("expiresAt") else None,
    )


def overview(reply: Any) -> list[LbView]:
    """Return what an overview says."""
    return [LbView(one.name, reservation(one.reservation), status(one.status)) for one in reply.loadBalancers]


def timeseries(reply: Any) -> list[Timeseries]:
    """Return the series of a reply."""
    return [
        Timeseries(
            one.name,
            one.unit,
            tuple((sample.timestamp, sample.value) for sample in one.integerSamples.data)
            or tuple((sample.timestamp, sample.value) for sample in one.floatSamples.data),
        )
        for one in reply.timeseries
    ]


def token_view(details: Any) -> TokenView:
    """Return what a reply says of a token.

    Raises:
        ControlError: it has a permission that is not known here.
    """
    try:
        grants = tuple(
            Grant(Resource(one.resourceType), Permission(one.permission), one.resourceId) for one in details.permissions
        )
    except ValueError as error:
        raise ControlError(f"control plane, token {details.id}: {error}") from None
    return TokenView(details.id, details.name, details.created_at, grants)


def grant_fields(grants: Iterable[Grant]) -> list[dict[str, Any]]:
    """Return grants as the fields of TokenPermission."""
    return [
        {"resourceType": one.resource.value, "resourceId": one.resource_id, "permission": one.permission.value}
        for one in grants
    ]


def _worker(entry: Any) -> WorkerView:
    totals = WorkerTotals(**{ours: getattr(entry, theirs) for ours, theirs in TOTALS})
    return WorkerView(
        name=entry.name,
        session_id=entry.sessionId,
        address=entry.ipAddress,
        port=entry.udpPort,
        port_range=entry.portRange,
        slots=entry.slotsAssigned,
        state=WorkerState(entry.fillPercent, entry.controlSignal, True, totals),
        updated_ns=entry.lastUpdated.ToNanoseconds(),
    )


def _endpoint(address: str, port: int, last_port: int) -> Endpoint | None:
    """Return an endpoint; None without an address, or without a port (a load balancer that takes no data there)."""
    if not address or not port:
        return None
    try:
        checked = ip_address(address)
    except ValueError:
        raise ControlError(mismatch("control plane, address", "an IP address", address[:80])) from None
    if last_port > 65535:
        raise ControlError(mismatch("control plane, port", "1 to 65535", last_port))
    return None if checked.is_unspecified else Endpoint(str(checked), port, last_port)
