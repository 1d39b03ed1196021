"""A sink where the outputs of many members meet over EJFAT: it keeps every frame once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ioc.channels.ejfat import EjfatReceiver, ReceiverSettings
from ioc.core.frame import Frame
from ioc.core.once import Once

FORWARDER = '''
"""Sends every frame over EJFAT to a sink, before it counts as processed."""

import os

from consumers.processor import Processor, Setting
from ioc.channels.ejfat import EjfatPublisher, PublisherSettings


class Forwarder(Processor):
    declared_settings = (Setting("Port", 1, low=1, high=65535),)

    def start(self, context):
        settings = PublisherSettings("127.0.0.1", self.settings["Port"], data_id=os.getpid() & 0xFFFF)
        self.publisher = EjfatPublisher.open(settings)

    def process(self, frame, metadata):
        self.publisher.publish([frame])
'''
"""A processor, as the text of its file."""


class Sink:
    """Takes what arrives on a UDP port and de-duplicates it."""

    def __init__(self) -> None:
        self.once = Once()
        self._receiver = EjfatReceiver.open(ReceiverSettings(receive_buffer=8 << 20, queue_size=20_000))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sink", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The UDP port."""
        return self._receiver.port

    def close(self) -> None:
        """Take what has arrived, and end."""
        self._stopping.set()
        self._thread.join(40.0)
        assert not self._thread.is_alive(), "the sink did not end"

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._take(0.1)
        self._receiver.close(drain=True)
        while self._take(0.0):
            pass

    def _take(self, timeout: float) -> int:
        items = self._receiver.receive(64, timeout)
        for item in items:
            if isinstance(item, Frame):
                self.once.passes(item.series, item.unique_id)
        self._receiver.release(len(items))
        return len(items)


@contextmanager
def sink() -> Iterator[Sink]:
    """Yield a sink; it is closed at the end."""
    made = Sink()
    try:
        yield made
    finally:
        made.close()
