"""What the control plane answers with, made of the registry's values."""

from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version as installed
from typing import Any, NamedTuple

from ioc.balancer.calendar import SLOTS
from ioc.balancer.history import Series
from ioc.balancer.registry import Registry, Reserved
from ioc.balancer.reservation import LoadBalancer, Worker
from ioc.balancer.tokens import Token
from ioc.channels import ejfat_uri
from ioc.channels.ejfat_control_model import TOTALS, Reservation
from ioc.channels.ejfat_messages import CALLS, MESSAGES
from ioc.channels.ejfat_uri import EjfatUri

COMPATIBLE = "rayfan-lab"
"""Says in every version reply that this is no facility's load balancer."""


class Control(NamedTuple):
    """Where the control plane itself is reached."""

    host: str
    port: int
    tls: bool


def stamp(ns: int) -> Any:
    """Return a time as protobuf's Timestamp, as fields."""
    return {"seconds": ns // 1_000_000_000, "nanos": ns % 1_000_000_000}


def uri(view: Reservation, control: Control) -> EjfatUri:
    """Return the EJFAT URI of a reservation."""
    return EjfatUri(
        host=control.host,
        port=control.port,
        tls=control.tls,
        token=view.token,
        lb_id=view.lb_id,
        sync=view.sync_v4 or view.sync_v6,
        data_v4=view.data_v4,
        data_v6=view.data_v6,
    )


def reservation(view: Reservation, control: Control) -> Any:
    """Return the reply to Reserve and Get."""
    sync, data = view.sync_v4 or view.sync_v6, view.data_v4 or view.data_v6
    return MESSAGES["ReserveLoadBalancerReply"](
        token=view.token or "",
        lbId=view.lb_id,
        syncIpv4Address=view.sync_v4.address if view.sync_v4 else "",
        syncIpv6Address=view.sync_v6.address if view.sync_v6 else "",
        syncUdpPort=sync.port if sync else 0,
        dataIpv4Address=view.data_v4.address if view.data_v4 else "",
        dataIpv6Address=view.data_v6.address if view.data_v6 else "",
        dataMinPort=data.port if data else 0,
        dataMaxPort=data.last_port if data else 0,
        strategy=view.strategy,
        ejfatUri=ejfat_uri.to_text(uri(view, control)) if view.token else "",
    )


def shown(reservation: Any) -> Any:
    """Return a reservation as an overview shows it: with the unspecified address where it has none of a family.

    `lbadm --overview` of E2SAR 0.3.2 aborts at an empty one.
    """
    for family, unspecified in (("Ipv4", "0.0.0.0"), ("Ipv6", "::")):
        for field in (f"sync{family}Address", f"data{family}Address"):
            if not getattr(reservation, field):
                setattr(reservation, field, unspecified)
    return reservation


def status(reserved: Reserved, registry: Registry) -> Any:
    """Return the reply to LoadBalancerStatus."""
    balancer = reserved.balancer
    newest = balancer.epochs.newest
    return CALLS["LoadBalancerStatus"].reply(
        timestamp=stamp(registry.clock.wall_ns()),
        currentEpoch=newest.number if newest else 0,
        currentPredictedEventNumber=balancer.tick(),
        workers=[_worker(balancer, worker) for worker in balancer.workers.values()],
        senderAddresses=list(balancer.senders),
        expiresAt=stamp(reserved.expires_ns),
        slotResolution=SLOTS,
    )


def timeseries(found: Iterable[Series], since: Any) -> Any:
    """Return the reply to Timeseries: the samples not older than `since`."""
    first = since.ToNanoseconds() // 1_000_000
    reply = CALLS["Timeseries"].reply(since=since)
    for series in found:
        one = reply.timeseries.add(name=series.path, unit=series.unit)
        data = one.integerSamples.data if series.whole else one.floatSamples.data
        for time_ms, value in series.samples:
            if time_ms >= first:
                data.add(timestamp=time_ms, value=int(value) if series.whole else value)
    return reply


def version() -> Any:
    """Return the reply to Version."""
    return CALLS["Version"].reply(
        commit="", build=f"rayfan {installed('rayfan')} lab load balancer", compatTag=COMPATIBLE
    )


def token(one: Token) -> Any:
    """Return what there is to show of a token."""
    created = datetime.fromtimestamp(one.created_ns / 1e9, UTC).isoformat(timespec="seconds")
    permissions = [
        {"resourceType": grant.resource.value, "resourceId": grant.resource_id, "permission": grant.permission.value}
        for grant in one.grants
    ]
    return MESSAGES["TokenDetails"](name=one.name, permissions=permissions, created_at=created, id=one.id)


def _worker(balancer: LoadBalancer, worker: Worker) -> Any:
    own, state, slots = worker.registration, worker.state, balancer.slots(worker.number)
    return MESSAGES["WorkerStatus"](
        name=own.name,
        fillPercent=state.fill,
        controlSignal=state.control_signal,
        slotsAssigned=sum(length for _, length in slots),
        lastUpdated=stamp(worker.stamp_ns),
        ipAddress=own.address,
        udpPort=own.port,
        portRange=own.port_range,
        minFactor=own.min_factor,
        maxFactor=own.max_factor,
        keepLbHeader=own.keep_lb_header,
        slots=[{"index": first, "length": length} for first, length in slots],
        slotDemands=[{"index": first, "length": length} for first, length in worker.demands],
        sessionId=str(worker.number),
        **{theirs: getattr(state.totals, ours) for ours, theirs in TOTALS},
    )
