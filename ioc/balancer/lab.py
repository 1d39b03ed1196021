"""The lab load balancer as a whole: control plane, data planes, and the thread that begins epochs."""

import logging
import socket
import threading
from dataclasses import dataclass, field

from ioc.balancer.faults import Faults
from ioc.balancer.forwarder import Forwarder
from ioc.balancer.registry import Registry, Reserved, Wanted
from ioc.balancer.replies import Control, uri
from ioc.balancer.reservation import Pace
from ioc.balancer.service import Certificate, Server
from ioc.balancer.tokens import Tokens
from ioc.channels import ejfat_socket
from ioc.channels.ejfat_uri import DATA_PORT, EjfatUri
from ioc.core.clock import SystemClock
from ioc.core.errors import ConfigError, mismatch

log = logging.getLogger(__name__)

CONTROL_PORT = 18347
"""Where JLab's control planes listen."""
DATA_PORTS = range(DATA_PORT, 32768)
"""Load balancers know EJFAT by UDP ports 16384 to 32767; 19522 is the usual first one."""
LOOK_SECONDS = 0.02
JOIN_SECONDS = 5.0
RECEIVE_BUFFER = 64 << 20


@dataclass(frozen=True, slots=True)
class LabSettings:
    """Where it listens, who may do everything (`admin_token`), how fast it deals anew and what it does to packets."""

    address: str = "127.0.0.1"
    port: int = CONTROL_PORT
    admin_token: str = field(default="", repr=False)
    certificate: Certificate | None = None
    pace: Pace = field(default_factory=Pace)
    faults: Faults = field(default_factory=Faults)
    receive_buffer: int = RECEIVE_BUFFER


class Lab:
    """A load balancer for tests, labs and single hosts; not for a facility. `start` it, `close` it."""

    def __init__(self, settings: LabSettings) -> None:
        """Bind the control plane's port.

        Raises:
            ConfigError: the port is taken, or the certificate cannot be used.
        """
        self._settings = settings
        clock = SystemClock()
        tokens = Tokens(settings.admin_token, clock.wall_ns())
        self.registry = Registry(settings.address, tokens, self._open_plane, settings.pace, clock)
        self._server = Server(self.registry, settings.address, settings.port, settings.certificate)
        self._stopping = threading.Event()
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="ejfat-lb-epochs", daemon=True)

    @property
    def port(self) -> int:
        """The TCP port of the control plane."""
        return self._server.port

    def start(self) -> None:
        """Begin to answer and to deal."""
        self._thread.start()
        self._server.start()

    def admin_uri(self) -> EjfatUri:
        """Return the URI that reservations are made with."""
        settings = self._settings
        return EjfatUri(settings.address, self.port, settings.certificate is not None, settings.admin_token)

    def reserve(self, wanted: Wanted) -> EjfatUri:
        """Make a reservation as the administrator and return its URI, with its token."""
        return self.uri(self.registry.reserve(wanted))

    def uri(self, reserved: Reserved) -> EjfatUri:
        """Return the URI of a reservation, with its token."""
        settings = self._settings
        control = Control(settings.address, self.port, settings.certificate is not None)
        return uri(self.registry.view(reserved, with_token=True), control)

    def close(self) -> None:
        """Send on what has arrived and stop."""
        self._stopping.set()
        self._thread.join(JOIN_SECONDS)
        self.registry.close()
        self._server.close()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                self.registry.advance()
            except Exception as error:  # thread boundary: the owner looks at `failure`
                log.exception("the epochs of the load balancer ended with an error")
                self.failure = error
                return

    def _open_plane(self, data_port: int, sync_port: int) -> Forwarder:
        settings = self._settings
        address, size = settings.address, settings.receive_buffer
        sync = ejfat_socket.listen(address, sync_port, 1 << 20)
        try:
            data = ejfat_socket.listen(address, data_port, size) if data_port else _first_free(address, size)
        except ConfigError:
            sync.close()
            raise
        plane = Forwarder(data, sync, settings.faults)
        plane.start()
        return plane


def _first_free(address: str, size: int) -> socket.socket:
    for port in DATA_PORTS:
        try:
            return ejfat_socket.listen(address, port, size)
        except ConfigError:
            continue
    expected = f"a free UDP port of {DATA_PORTS.start} to {DATA_PORTS.stop - 1}"
    raise ConfigError(mismatch(f"EJFAT load balancer {address}", expected, "none"))
