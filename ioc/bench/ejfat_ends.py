"""An EJFAT publisher and a receiver, each a process of its own, with nothing around the channel.

Settings and answers as in `raw_ends`. Every frame's pixels carry a checksum, which the receiver verifies.
"""

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ioc.bench.case import PREPARED
from ioc.bench.raw_ends import settings_given, tell
from ioc.channels.ejfat import EjfatPublisher, EjfatReceiver, PublisherSettings, ReceiverSettings
from ioc.core.frame import EndOfSeries, Frame

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
    """Send frames of `frame_bytes` to `port` for `seconds`, then the end marker; tell how many."""
    publisher = EjfatPublisher.open(
        PublisherSettings("127.0.0.1", settings["port"], mtu=settings["mtu"], rate_gbps=settings["rate_gbps"])
    )
    images = _images(settings["frame_bytes"])
    begun = time.monotonic()
    limit = begun + settings["seconds"]
    sent = 0
    while time.monotonic() < limit:
        frame = Frame(SERIES, sent + 1, time.time_ns(), images[sent % PREPARED])
        sent += publisher.publish([frame]).count
    seconds = time.monotonic() - begun
    publisher.publish([EndOfSeries(SERIES, sent)])
    figures = publisher.figures()
    publisher.close(drain=True)
    tell(frames=sent, seconds=seconds, cpu=_cpu(), figures=asdict(figures))


def receive(_settings: Settings) -> None:
    """Take frames until the end marker; tell how many came, in which time, and what went wrong."""
    receiver = EjfatReceiver.open(ReceiverSettings())
    tell(port=receiver.port)
    frames, moved, seconds, order = _take(receiver)
    figures = receiver.figures()
    receiver.close(drain=False)
    tell(frames=frames, bytes=moved, seconds=seconds, disordered=order, cpu=_cpu(), figures=asdict(figures))


def _take(receiver: EjfatReceiver) -> tuple[int, int, float, int]:
    """Return frames, bytes, seconds from the first to the last frame, and how many came out of order."""
    frames = moved = disordered = last_id = 0
    first = last = 0.0
    limit = time.monotonic() + FIRST_SECONDS
    while time.monotonic() < limit:
        items = receiver.receive(BATCH, LOOK_SECONDS)
        if not items:
            continue
        last = time.monotonic()
        first = first or last
        limit = last + QUIET_SECONDS
        taken = [item for item in items if isinstance(item, Frame)]
        for frame in taken:
            disordered += frame.unique_id < last_id
            last_id = frame.unique_id
            moved += frame.data.nbytes
        frames += len(taken)
        ended = len(taken) < len(items)
        receiver.release(len(items))
        if ended:
            break
    return frames, moved, last - first, disordered


def _images(size: int) -> list[np.ndarray]:
    shape = (size // ROW_BYTES, ROW_BYTES) if size % ROW_BYTES == 0 else (1, size)
    random = np.random.default_rng(1)
    return [random.integers(0, 256, shape, np.uint8) for _ in range(PREPARED)]


def _cpu() -> float:
    """Return the CPU s of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


ROLES: dict[str, Callable[[Settings], None]] = {"publish": publish, "receive": receive}

if __name__ == "__main__":
    given = settings_given()
    ROLES[given["role"]](given)
