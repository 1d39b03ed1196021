"""Frames whose pixels tell their id, and what the tests of image channels wait with."""

import os
import queue
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np

from ioc.channels.base import Link
from ioc.channels.images import ImageLink, Images, open_images
from ioc.channels.pva import MemberAddress, PvaReceiver, PvaServer
from ioc.core.config import ImageBackend
from ioc.core.frame import Frame, Item

DEADLINE = 40.0
"""Seconds after which a test gives up."""


def numbered(unique_id: int, shape: tuple[int, int] = (64, 64), series: int = 1) -> Frame:
    """Return a frame whose every pixel (int64) is its id."""
    return Frame(series, unique_id, unique_id * 1_000_000_007, np.full(shape, unique_id, np.int64))


def assert_whole(frames: list[Frame]) -> None:
    """Check that ids only grow and that each frame's pixels are all its own."""
    ids = [frame.unique_id for frame in frames]
    assert all(later > earlier for earlier, later in pairwise(ids)), f"ids {ids}"
    torn = [frame.unique_id for frame in frames if not (frame.data == frame.unique_id).all()]
    assert not torn, f"frames with pixels of others: {torn}"


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: it did not come true in time.
    """
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what} within {DEADLINE} s"
        select.select([], [], [], 0.002)


def wait_done(link: Link, count: int) -> None:
    """Wait on the link's descriptor until it has finished with `count` items, or is gone."""
    deadline = time.monotonic() + DEADLINE
    link.ring_at(count)
    while link.done() < count and link.alive():
        ready, _, _ = select.select([link], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"{link.name}: {count} items done within {DEADLINE} s, found {link.done()}"
        link.refresh()


def cut(descriptor: int) -> None:
    """Cut a TCP connection of this process at both ends; who owns it finds out."""
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def publish_all(link: Link, items: list[Item]) -> None:
    """Publish every item, waiting for room when the queue is full, as long as the link is alive."""
    at = 0
    while at < len(items) and link.alive():
        done = link.done()
        at += link.publish(items[at:]).count
        if at < len(items):
            wait_done(link, done + 1)


def receive(receiver: PvaReceiver, count: int) -> list[Frame]:
    """Return the next `count` frames of a receiver."""
    frames: list[Frame] = []
    deadline = time.monotonic() + DEADLINE
    while len(frames) < count:
        remaining = deadline - time.monotonic()
        assert remaining > 0, f"{count} frames within {DEADLINE} s, found {[f.unique_id for f in frames]}"
        frames += [item for item in receiver.receive(count - len(frames), remaining) if isinstance(item, Frame)]
    return frames


def receive_until(receiver: PvaReceiver, unique_id: int) -> list[Frame]:
    """Return all frames up to the one with an id."""
    frames = receive(receiver, 1)
    while frames[-1].unique_id != unique_id:
        frames += receive(receiver, 1)
    return frames


class Roster:
    """A membership that admits whom it is told to and keeps what happened in a queue."""

    def __init__(self, *admitted: MemberAddress) -> None:
        self.admitted = set(admitted)
        self.events: queue.Queue[tuple[str, MemberAddress, Link]] = queue.Queue()

    def admits(self, address: MemberAddress) -> bool:
        return address in self.admitted

    def joined(self, address: MemberAddress, link: Link) -> None:
        self.events.put(("joined", address, link))

    def left(self, address: MemberAddress, link: Link) -> None:
        self.events.put(("left", address, link))

    def next(self) -> tuple[str, MemberAddress, Link]:
        """Return the next event."""
        return self.events.get(timeout=DEADLINE)


class Chosen:
    """Which server the tests are about now; fixtures set it."""

    backend = ImageBackend.OWN


@contextmanager
def serving(name: str, window: int = 16) -> Iterator[tuple[Images, ImageLink]]:
    """Serve one channel by the server of `Chosen.backend`."""
    images = open_images(Chosen.backend, name, window)
    channel = images.add(name)
    server = PvaServer(images.providers)
    try:
        images.start()
        if images.providers:
            server.start()
        yield images, channel
    finally:
        images.close()
        server.stop()
