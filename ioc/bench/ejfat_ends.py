"""An EJFAT publisher, receivers and a load balancer, each a process of its own, with nothing around the channel.

Settings and answers as in `raw_ends`. Every frame's pixels carry a checksum, which the receiver verifies.
"""

import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ioc.balancer.lab import Lab, LabSettings
from ioc.balancer.registry import Reserved, Wanted
from ioc.balancer.reservation import Pace
from ioc.bench.raw_ends import EVENTS, cpu_used, settings_given, tell
from ioc.channels import ejfat_uri
from ioc.channels.ejfat import EjfatPublisher, EjfatReceiver, PublisherSettings, ReceiverSettings
from ioc.channels.ejfat_control import ControlPlane, ControlSettings
from ioc.channels.ejfat_control_model import Registration, WorkerState
from ioc.channels.ejfat_sender import SenderLink, SyncSettings
from ioc.channels.ejfat_uri import EjfatUri
from ioc.channels.ejfat_worker import WorkerLink
from ioc.core.frame import EndOfSeries, Frame

HOST = "127.0.0.1"
EPOCH_SECONDS, LEAD_SECONDS, WARM_SECONDS = 0.2, 0.1, 0.3
SERIES = 1
ROW_BYTES = 1024
BATCH = 64
LOOK_SECONDS = 0.1
FIRST_SECONDS = 20.0
"""s that a receiver waits for the first frame."""
QUIET_SECONDS = 2.0
"""s without a frame after which it takes the stream for finished; the event time-out is shorter."""

Settings = Mapping[str, Any]


def publish(settings: Settings) -> None:
    """Send frames of `frame_bytes` to `port` for `seconds`, then the end marker; tell how many.

    With `uri` the load balancer of that URI deals them out; without `offload` the kernel is not asked to cut packets.
    """
    uri = _uri(settings)
    port = settings["port"] if uri is None or uri.data is None else uri.data.port
    publisher = EjfatPublisher.open(
        PublisherSettings(
            HOST,
            port,
            mtu=settings["mtu"],
            rate_gbps=settings["rate_gbps"],
            offload=settings["offload"],
            balanced=uri is not None,
        )
    )
    link = _announced(uri, publisher)
    images = _images(settings["frame_bytes"])
    begun, cpu = time.monotonic(), cpu_used()
    limit = begun + settings["seconds"]
    sent = 0
    while time.monotonic() < limit:
        frame = Frame(SERIES, sent + 1, time.time_ns(), images[sent % EVENTS])
        sent += publisher.publish([frame]).count
    seconds, cpu = time.monotonic() - begun, cpu_used() - cpu
    publisher.publish([EndOfSeries(SERIES, sent)])
    if link is not None:
        link.leave()
    figures = publisher.figures()
    publisher.close(drain=True)
    tell(frames=sent, seconds=seconds, cpu=cpu, figures=asdict(figures))


def receive(settings: Settings) -> None:
    """Take frames until the end marker; tell how many came, in which time, and what went wrong.

    With `uri` as a worker of that load balancer.
    """
    uri = _uri(settings)
    receiver = EjfatReceiver.open(ReceiverSettings(shared=uri is not None))
    link = _registered(uri, receiver)
    tell(port=receiver.port)
    taken = _take(receiver)
    figures = receiver.figures()
    if link is not None:
        link.leave()
    receiver.close(drain=False)
    tell(**asdict(taken), figures=asdict(figures))


def balance(_settings: Settings) -> None:
    """Be a lab's load balancer until standard input ends; tell its URI, and at the end what became of packets.

    Its CPU s count from the last question on.
    """
    lab = Lab(LabSettings(port=0, admin_token=secrets.token_urlsafe(), pace=Pace(EPOCH_SECONDS, LEAD_SECONDS)))
    lab.start()
    uri = lab.reserve(Wanted("bench"))
    tell(uri=ejfat_uri.to_text(uri))
    reserved = lab.registry.all()[0]
    before = 0.0
    while sys.stdin.readline():  # each line asks how many workers have slots
        tell(ready=_dealt(reserved))
        before = cpu_used()
    figures = reserved.plane.figures()
    lab.close()
    tell(cpu=cpu_used() - before, received=figures.received, kernel_drops=figures.kernel_drops, nobody=figures.nobody)


def _dealt(reserved: Reserved) -> int:
    """Return how many workers the slots of the newest epoch are dealt to."""
    newest = reserved.balancer.epochs.newest
    return 0 if newest is None else len(set(newest.calendar) - {None})


@dataclass(slots=True)
class Taken:
    """What a receiver took: frames, bytes of pixels, s and CPU s from the first frame to the last, and how many frames
    came out of order.
    """

    frames: int = 0
    bytes: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    disordered: int = 0


def _take(receiver: EjfatReceiver) -> Taken:
    taken = Taken()
    last_id = 0
    first, begun = 0.0, 0.0
    limit = time.monotonic() + FIRST_SECONDS
    while time.monotonic() < limit:
        items = receiver.receive(BATCH, LOOK_SECONDS)
        if not items:
            continue
        last = time.monotonic()
        if not first:
            first, begun = last, cpu_used()
        limit = last + QUIET_SECONDS
        frames = [item for item in items if isinstance(item, Frame)]
        for frame in frames:
            taken.disordered += frame.unique_id < last_id
            last_id = frame.unique_id
            taken.bytes += frame.data.nbytes
        taken.frames += len(frames)
        taken.seconds, taken.cpu = last - first, cpu_used() - begun
        receiver.release(len(items))
        if len(frames) < len(items):
            break
    return taken


def _uri(settings: Settings) -> EjfatUri | None:
    text = settings.get("uri")
    return ejfat_uri.parse(text) if text else None


def _announced(uri: EjfatUri | None, publisher: EjfatPublisher) -> SenderLink | None:
    """Return the link to the load balancer, warmed up."""
    if uri is None:
        return None
    calls = ControlPlane(ControlSettings.of(uri))
    link = SenderLink(calls, uri.lb_id or "", publisher.addresses, SyncSettings(uri.sync, warm_up=WARM_SECONDS))
    link.start()
    link.warm(FIRST_SECONDS)
    return link


def _registered(uri: EjfatUri | None, receiver: EjfatReceiver) -> WorkerLink | None:
    if uri is None:
        return None
    worker = Registration(f"bench-{receiver.port}", HOST, receiver.port, 0, 1.0, 0.5, 2.0)
    calls = ControlPlane(ControlSettings.of(uri))
    link = WorkerLink(calls, uri.lb_id or "", worker, lambda: WorkerState(receiver.fill(), 0.0, True))
    link.start()
    return link


def _images(size: int) -> list[np.ndarray]:
    shape = (size // ROW_BYTES, ROW_BYTES) if size % ROW_BYTES == 0 else (1, size)
    random = np.random.default_rng(1)
    return [random.integers(0, 256, shape, np.uint8) for _ in range(EVENTS)]


ROLES: dict[str, Callable[[Settings], None]] = {"publish": publish, "receive": receive, "balance": balance}

if __name__ == "__main__":
    given = settings_given()
    ROLES[given["role"]](given)
