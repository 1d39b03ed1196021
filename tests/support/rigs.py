"""One way of putting a sender and a receiver of each channel together, for the suite that all channels pass."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from ioc.channels.base import Publisher, Receiver
from ioc.channels.book import Book
from ioc.channels.ejfat import EjfatPublisher, EjfatReceiver, PublisherSettings, ReceiverSettings
from ioc.channels.images import ImageLink, open_images
from ioc.channels.local import LocalLink, LocalServer
from ioc.channels.local_pool import PooledFrame, Segment
from ioc.channels.local_receiver import LocalReceiver
from ioc.channels.local_wire import Hello
from ioc.channels.pva import PvaReceiver, PvaServer
from ioc.core.config import ImageBackend
from ioc.core.frame import Frame, Item
from tests.support.epics import random_prefix

DEADLINE = 40.0


class Rig(Protocol):
    """A sender and a receiver that are connected."""

    @property
    def carries_ends(self) -> bool:
        """Whether end markers travel on this channel."""
        ...

    @property
    def receiver(self) -> Receiver:
        """The end that receives."""
        ...

    @property
    def sender(self) -> Publisher:
        """The end that sends."""
        ...

    def prepared(self, frame: Frame) -> Frame:
        """Return the frame as this channel wants it, for example in shared memory."""
        ...

    def renew_sender(self) -> None:
        """End the sender as a restart would, and bring up another one in the same place."""
        ...


class LocalRig:
    """The local channel, both ends in one process."""

    carries_ends = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = LocalServer(folder / "frames")
        self._book = Book(folder / "Cons1.book")
        self.receiver: LocalReceiver = LocalReceiver(folder / "frames", Hello("Cons1", "g", 0), self._book)
        self.sender: LocalLink = self._meet()
        self._segments: list[Segment] = []

    def prepared(self, frame: Frame) -> Frame:
        segment = Segment(frame.data.shape, frame.data.dtype, 1)
        self._segments.append(segment)
        slot = segment.take()
        assert slot is not None
        slot.array[...] = frame.data
        return PooledFrame(frame.series, frame.unique_id, frame.timestamp_ns, slot.array, frame.attributes, slot)

    def renew_sender(self) -> None:
        self.sender.close(drain=False)
        self._server.close()
        self._server = LocalServer(self._folder / "frames")
        self.sender = self._meet()

    def close(self) -> None:
        self.receiver.close(drain=False)
        self.sender.close(drain=False)
        self._server.close()
        self._book.close()
        for segment in self._segments:
            segment.close()

    def _meet(self) -> LocalLink:
        limit = time.monotonic() + DEADLINE
        found: list[LocalLink] = []
        while not (found and self.receiver.connected):
            found += self._server.accept()
            assert not self.receiver.poll(1), "it joins; nothing was sent yet"
            assert time.monotonic() < limit, f"the receiver did not join within {DEADLINE} s"
            time.sleep(0.001)  # polled, as the flow does
        return found[-1]


class PvaRig:
    """An image channel of one of the servers and our receiver."""

    carries_ends = False

    def __init__(self, backend: ImageBackend) -> None:
        self._backend = backend
        self._name = f"{random_prefix()}Image"
        self._serve()
        self.receiver: PvaReceiver = PvaReceiver(self._name, queue_size=64)
        self._watched()

    def prepared(self, frame: Frame) -> Frame:
        return frame

    def renew_sender(self) -> None:
        self._end()
        self._serve()
        self._watched()

    def close(self) -> None:
        self.receiver.close(drain=False)
        self._end()

    def _serve(self) -> None:
        self._images = open_images(self._backend, "images", window=64)
        self.sender: ImageLink = self._images.add(self._name)
        self._server = PvaServer(self._images.providers)
        self._images.start()
        if self._images.providers:
            self._server.start()

    def _end(self) -> None:
        self._server.stop()
        self._images.close()

    def _watched(self) -> None:
        wait_for(lambda: self.sender.watched, "the client connects")
        # a client's monitor begins a moment after it has connected, which p4p does not tell: show it one image first
        marker = Frame(0, 1, 1, np.zeros((1, 1), np.uint8))
        self.sender.publish([marker])
        wait_for(lambda: bool(self.receiver.receive(1, 0.05)), "the client sees the first image")


class EjfatRig:
    """EJFAT straight from sender to receiver on loopback."""

    carries_ends = True

    def __init__(self) -> None:
        self.receiver: EjfatReceiver = EjfatReceiver.open(ReceiverSettings(memory=64 << 20))
        self.sender: EjfatPublisher = self._open()

    def prepared(self, frame: Frame) -> Frame:
        return frame

    def renew_sender(self) -> None:
        self.sender.close(drain=True)
        self.sender = self._open()

    def close(self) -> None:
        self.sender.close(drain=True)
        self.receiver.close(drain=False)

    def _open(self) -> EjfatPublisher:
        return EjfatPublisher.open(PublisherSettings("127.0.0.1", self.receiver.port, rate_gbps=4.0))


RIGS: dict[str, Callable[[Path], LocalRig | PvaRig | EjfatRig]] = {
    "local": LocalRig,
    "pva": lambda _: PvaRig(ImageBackend.OWN),
    "p4p": lambda _: PvaRig(ImageBackend.P4P),
    "ejfat": lambda _: EjfatRig(),
}


@contextmanager
def rig(kind: str, folder: Path) -> Iterator[LocalRig | PvaRig | EjfatRig]:
    """Yield a connected pair of a kind of channel."""
    made = RIGS[kind](folder)
    try:
        yield made
    finally:
        made.close()


def send_all(one: Rig, items: Sequence[Item]) -> None:
    """Hand over all items, waiting for room."""
    ready = [one.prepared(item) if isinstance(item, Frame) else item for item in items]
    limit = time.monotonic() + DEADLINE
    while ready:
        taken = one.sender.publish(ready).count
        ready = ready[taken:]
        assert time.monotonic() < limit, f"{len(ready)} items were not taken within {DEADLINE} s"
        if not taken:
            time.sleep(0.001)  # full: a publisher does not wait, its caller does


def receive_all(one: Rig, count: int, release: bool = True) -> list[Item]:
    """Return `count` items; with `release`, each is copied and released at once."""
    got: list[Item] = []
    limit = time.monotonic() + DEADLINE
    while len(got) < count:
        items = one.receiver.receive(16, 0.1)
        if release:
            got += [_copy(item) for item in items]
            one.receiver.release(len(items))
        else:
            got += items
        assert time.monotonic() < limit, f"{len(got)} of {count} items within {DEADLINE} s"
    return got


def wait_for(true: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    limit = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < limit, f"{what}: not within {DEADLINE} s"
        time.sleep(0.005)  # polled: the other side is another thread


def _copy(item: Item) -> Item:
    if not isinstance(item, Frame):
        return item
    return Frame(item.series, item.unique_id, item.timestamp_ns, item.data.copy(), dict(item.attributes))
