"""A pvAccess server for stamped channels: small, and made for many updates a second to few clients.

service thread      accepts, reads, answers searches, sends beacons, and sends on what a connection did not take
caller's thread     `post` puts updates into the queues of monitors, `flush` lays them out and sends many in one call

One lock guards channels and clients; nothing waits while it is held.
"""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterable, Mapping
from functools import partial

from ioc.channels.pva_images_addresses import from_environment
from ioc.channels.pva_images_discovery import Discovery
from ioc.channels.pva_images_listeners import accept, listeners
from ioc.channels.pva_images_service import Service
from ioc.channels.pva_stamped import StampedChannel
from ioc.channels.pva_stamped_client import StampedClient
from ioc.channels.pva_wire_search import ANY, GUID_BYTES, Place, Search, address_of, found
from ioc.core.errors import PeerError
from ioc.core.metadata import Update

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""Between two looks for clients that are silent."""
SEND_BUFFER = 1 << 18
"""Bytes of updates that the kernel may hold for a client; by default megabytes, in which stale updates would lie."""


class StampedServer:
    """Channels by name and their server: `start` it, `post` and `flush`, `stop` it for good."""

    def __init__(self, name: str, channels: Iterable[str], environment: Mapping[str, str] | None = None) -> None:
        """Prepare; `environment` says where to listen (pva_images_addresses), None: this process's own."""
        self.name = name
        self._environment = environment
        self._channels = {channel: StampedChannel(channel) for channel in channels}
        self._clients: dict[int, StampedClient] = {}
        self._lock = threading.Lock()
        self._listeners: list[socket.socket] = []
        self._discovery: Discovery | None = None
        self._place: Place | None = None
        self._service: Service
        """Made by `start`."""

    @property
    def channels(self) -> tuple[str, ...]:
        """The names that are served."""
        return tuple(self._channels)

    @property
    def port(self) -> int | None:
        """The TCP port, None while not started."""
        return self._place.port if self._place is not None else None

    @property
    def overruns(self) -> int:
        """How many updates the clients that are there were not sent, because they did not take them in time."""
        with self._lock:
            return sum(channel.overruns for channel in self._channels.values())

    def start(self) -> None:
        """Serve from now on.

        Raises:
            UserError: the environment names an interface that is not there.
        """
        self._service = Service(f"{self.name} service")
        addresses = from_environment(os.environ if self._environment is None else self._environment)
        self._listeners = listeners(addresses)
        address, port = self._listeners[0].getsockname()[:2]
        tells = len(self._listeners) == 1
        self._place = Place(secrets.token_bytes(GUID_BYTES), address_of(address) if tells else ANY, port)
        discovery = self._discovery = Discovery(addresses, self._place, self.answer)
        for listener in self._listeners:
            self._service.watch(listener.fileno(), partial(self._accept, listener))
        for one in discovery.sockets():
            self._service.watch(one.fileno(), partial(discovery.readable, one))
        self._service.every(discovery.beacon_period, discovery.send_beacons)
        self._service.every(lambda: LOOK_SECONDS, self._look_for_silent)
        self._service.start()

    def stop(self) -> None:
        """Cut off all clients, close the sockets and end the thread."""
        if self._place is not None:
            self._service.stop(self._shut)
            self._place = None

    def post(self, name: str, update: Update) -> None:
        """Have an update of a channel sent with the next `flush`; its value is a float."""
        with self._lock:
            self._channels[name].post(update)

    def flush(self) -> None:
        """Send what was posted, as far as connections take it; the rest is sent later."""
        with self._lock:
            for client in self._clients.values():
                client.flush()

    def find(self, name: str) -> StampedChannel | None:
        """Return a channel by name, None if there is none."""
        return self._channels.get(name)

    def answer(self, search: Search) -> bytes | None:
        """Return the answer to a search, None if there is none to give."""
        place = self._place
        if not search.for_tcp or place is None:
            return None
        here = [number for number, name in search.names if name in self._channels]
        return found(place, search, here) if here or search.must_reply else None

    def _accept(self, listener: socket.socket) -> None:
        accepted = accept(listener, len(self._clients))
        if accepted is None:
            return
        connection, visitor = accepted
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        number = connection.fileno()
        client = StampedClient(connection, visitor.peer, self, lambda: self._wait_until_writable(number))
        self._service.watch(number, partial(self._serve, client))
        with self._lock:
            self._clients[number] = client
            client.flush()

    def _serve(self, client: StampedClient) -> None:
        """Take what a client has said and send what waits for it; on the service's thread."""
        try:
            with self._lock:
                client.readable()
                if client.flush():
                    self._service.also_when_writable(client.fileno, False)
        except PeerError as error:
            log.info("%s", error)
            self._drop(client)
        except Exception:  # the stage boundary of one client: the others go on
            log.exception("%s: cut off", client.peer)
            self._drop(client)

    def _wait_until_writable(self, number: int) -> None:
        def wait() -> None:
            if number in self._clients:
                self._service.also_when_writable(number, True)

        self._service.tell(wait)

    def _drop(self, client: StampedClient) -> None:
        with self._lock:
            if self._clients.get(client.fileno) is not client:
                return
            del self._clients[client.fileno]
            self._service.unwatch(client.fileno)
            client.close()

    def _look_for_silent(self) -> None:
        with self._lock:
            silent = [client for client in self._clients.values() if client.silent()]
        for client in silent:
            log.warning("%s: cut off: nothing was heard of it for long", client.peer)
            self._drop(client)

    def _shut(self) -> None:
        for listener in self._listeners:
            listener.close()
        if self._discovery is not None:
            self._discovery.close()
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()
