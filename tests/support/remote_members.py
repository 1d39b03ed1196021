"""A PVA member in a thread, beside a flow in the same process, and the image channels of that flow."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from detector_sim.app import Remote
from detector_sim.flow import Flow
from ioc.channels.images import Images, open_images
from ioc.channels.pva import MemberAddress, PvaServer
from ioc.channels.pva_member import AcknowledgeChannels
from ioc.channels.pva_membership import MemberReceiver
from ioc.core.config import ImageBackend
from ioc.core.frame import Frame


class RemoteMember(threading.Thread):
    """A member that acknowledges what it noted; while `gate` is cleared it holds its frames and says nothing."""

    def __init__(self, prefix: str, address: MemberAddress, window: int = 16) -> None:
        super().__init__(name=f"remote member {address.set}", daemon=True)
        self.receiver = MemberReceiver(address.channel(prefix), window)
        self.gate = threading.Event()
        self.gate.set()
        self.ids: list[int] = []
        self.arrived = threading.Condition()
        self._leaving = threading.Event()

    def run(self) -> None:
        while not self._leaving.is_set():
            for item in self.receiver.receive(16, 0.05):
                self.gate.wait()
                with self.arrived:
                    self.ids += [item.unique_id] if isinstance(item, Frame) else []
                    self.arrived.notify_all()
                self.receiver.release(1)

    def wait_for(self, frames: int, seconds: float = 40.0) -> None:
        with self.arrived:
            done = self.arrived.wait_for(lambda: len(self.ids) >= frames, seconds)
            assert done, f"{self.name}: {len(self.ids)} frames in {seconds} s, expected {frames}"

    def leave(self, politely: bool = True) -> None:
        """End the thread and disconnect."""
        self._leaving.set()
        if politely:
            self.gate.set()
            self.join(40.0)
        self.receiver.close(drain=politely)
        self.gate.set()
        self.join(40.0)
        assert not self.is_alive(), f"{self.name} did not end"


@contextmanager
def member_channels(flow: Flow, prefix: str, backend: ImageBackend = ImageBackend.OWN) -> Iterator[Images]:
    """Serve the member channels of a flow's groups."""
    images = open_images(backend, "test images")
    remote = Remote(flow)
    images.members(prefix, remote)
    acknowledgements = AcknowledgeChannels(prefix, remote.admits, remote.link)
    server = PvaServer(images.beside_acknowledgements(acknowledgements))
    images.start()
    server.start()
    try:
        yield images
    finally:
        server.stop()
        images.close()
