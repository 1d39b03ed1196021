"""One way to a destination: a socket that is opened when there is a route, and again when there was none.

What cannot be sent is counted and never raised: a destination that is away must not stop the stream.
"""

import logging
from dataclasses import dataclass

from ioc.channels import ejfat_mmsg, ejfat_socket
from ioc.channels.ejfat_gather import Laid
from ioc.channels.ejfat_socket import NoRouteError, PacketSender
from ioc.core.clock import Clock

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class PathSettings:
    """Bytes of an IP packet, whether the kernel is to cut them, and bytes of buffer asked of it."""

    mtu: int
    offload: bool
    send_buffer: int


class DataPath:
    """A destination and the socket towards it, if there is one now."""

    def __init__(self, host: str, port: int, open_with: PathSettings, clock: Clock) -> None:
        """Open the socket if there is a route.

        Raises:
            ConfigError: the host is unknown, or packets of the MTU do not fit the way there.
        """
        self.host = host
        self.port = port
        self.address: str | None = None
        """Our own address on this way; None before there was one."""
        self._settings = open_with
        self._clock = clock
        self._sender: PacketSender | None = None
        self._unsent = 0
        self._retry_ns = 0
        self._error = ""
        self._open()

    @property
    def packets(self) -> int:
        """Packets handed to the kernel."""
        return self._sender.packets if self._sender else 0

    @property
    def errors(self) -> int:
        """Packets that could not be handed over."""
        return self._unsent + (self._sender.errors if self._sender else 0)

    @property
    def offload(self) -> bool:
        """Whether the kernel cuts the packets."""
        return self._sender.offload if self._sender else self._settings.offload

    @property
    def granted(self) -> int:
        """Bytes of the send buffer that the kernel gave; 0 without a socket."""
        return self._sender.granted if self._sender else 0

    @property
    def last_error(self) -> str:
        """Why the last packet that could not be sent was not."""
        return (self._sender.last_error if self._sender else "") or self._error

    def batch_bytes(self, packet: int) -> int:
        """Return how many bytes one call takes of packets of `packet` bytes."""
        return ejfat_socket.batch_bytes(packet)

    def send(self, batch: memoryview, packet: int) -> None:
        """Send at most `batch_bytes` of packets that lie back to back, `packet` bytes each but the last."""
        if self._sender is None and self._clock.monotonic_ns() >= self._retry_ns:
            self._open()
        if self._sender is None:
            self._unsent += -(-len(batch) // packet)
            return
        self._sender.send(batch, packet)

    @property
    def gathers(self) -> bool:
        """Whether whole events can be sent by `send_laid` now."""
        return ejfat_mmsg.AVAILABLE and self._sender is not None

    def send_laid(self, laid: Laid, first: int, count: int) -> bool:
        """Send `count` messages of an event from `first` on; return False if the kernel does not cut packets."""
        assert self._sender is not None
        return self._sender.send_messages(laid, first, count)

    def close(self) -> None:
        """Close the socket."""
        if self._sender is not None:
            self._sender.close()

    def _open(self) -> None:
        settings = self._settings
        try:
            sock, _ = ejfat_socket.connect(self.host, self.port, settings.mtu, settings.send_buffer)
        except NoRouteError as error:
            if str(error) != self._error:
                log.warning("%s: packets are counted as errors until there is one", error)
            self._error = str(error)
            self._retry_ns = self._clock.monotonic_ns() + round(RETRY_SECONDS * 1e9)
            return
        self._error = ""
        self._sender = PacketSender(sock, settings.offload)
        self.address = sock.getsockname()[0]
