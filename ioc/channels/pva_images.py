"""A pvAccess server for images: NTNDArray channels sent from the frames' own memory, and the channels of members.

service thread      accepts, reads, answers searches, sends beacons; clients, channels and members change only here
writer, a client    sends answers and updates
poster              moves frames that are in the way
caller's thread     `publish`: lays out the update once, puts it into queues, wakes writers
"""

import logging
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from functools import partial

from ioc.channels.local_door import Doorway, LocalDoor, fits
from ioc.channels.local_views import Views
from ioc.channels.pva import Membership
from ioc.channels.pva_images_addresses import Addresses, from_environment
from ioc.channels.pva_images_channel import ServedChannel
from ioc.channels.pva_images_client import Client, Source
from ioc.channels.pva_images_discovery import Discovery
from ioc.channels.pva_images_listeners import accept, listeners
from ioc.channels.pva_images_members import Groups, Members, Viewing
from ioc.channels.pva_images_service import Service
from ioc.channels.pva_images_shown import ShownChannel
from ioc.channels.pva_images_visitor import Everybody, Rules, Visit
from ioc.channels.pva_poster import Poster
from ioc.channels.pva_standing import here, told
from ioc.channels.pva_wire_search import ANY, GUID_BYTES, Place, Search, address_of, found
from ioc.core.errors import PeerError, RayfanBug, mismatch

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""Between two looks for clients that are silent."""
RULES_SECONDS = 1.0
"""Between two looks whether clients may still read what they monitor."""


class ImageServer:
    """Image channels and their server; add channels at any time, `start` it, `stop` it, `close` it for good."""

    def __init__(
        self,
        name: str = "images",
        window: int = 16,
        environment: Mapping[str, str] | None = None,
        doorway: Doorway | None = None,
    ) -> None:
        """Prepare; `window` is how many frames each channel may have outstanding while somebody watches.

        `environment` says where to listen (pva_images_addresses), None: this process's own, read at the start.
        `doorway`: where viewers on the same host are let in, None: nowhere.
        """
        if window < 1:
            raise RayfanBug(mismatch(f"window of {name}", "1 or more", window))
        self.name = name
        self.window = window
        self.poster = Poster(f"{name} poster")
        self.poster.start()
        self.doorway = doorway if doorway is not None and fits(doorway.path) else None
        self._environment = environment
        self._channels: dict[str, Viewing] = {}
        self._members: list[Members] = []
        self._running: _Running | None = None
        self._rules: Rules = Everybody()

    def guard(self, rules: Rules) -> None:
        """Let rules decide who may read; before the start."""
        self._rules = rules

    def visits(self) -> Sequence[Visit]:
        """Return who is connected, and their accounts; any thread may call it."""
        return self._running.visits() if self._running is not None else ()

    @property
    def denied(self) -> int:
        """How often a client was denied to read since the start."""
        return self._running.refusals() if self._running is not None else 0

    def add(self, name: str, groups: Groups | None = None) -> ServedChannel:
        """Serve a channel of this name; with `groups`, clients may ask for turns of it."""
        if name in self._channels:
            raise RayfanBug(f"image channel {name}: added twice")
        channel = self._channel(name)
        self._channels[name] = Viewing(channel, groups, self._make)
        if self._running is not None:
            self._running.changed()
        return channel

    def members(self, prefix: str, membership: Membership) -> Members:
        """Serve `<prefix>Dist<slot>:Set<set>:Member<member>:Image` for every member that is admitted, while it is."""
        members = Members(prefix, membership, self._make)
        self._members.append(members)
        return members

    @property
    def port(self) -> int | None:
        """Return the TCP port, None while not started."""
        return self._running.place.port if self._running is not None else None

    def start(self) -> None:
        """Serve from now on.

        Raises:
            UserError: the environment names an interface that is not there.
        """
        if self._running is None:
            addresses = from_environment(os.environ if self._environment is None else self._environment)
            self._running = _Running(self, addresses, self._rules)

    def stop(self) -> None:
        """Cut off all clients and serve no more."""
        if self._running is not None:
            self._running.stop()
            self._running = None

    def close(self, drain: bool = False) -> None:
        """Close all channels, stop, and end all threads; with `drain`, what was accepted is sent first."""
        for owner in (*self._channels.values(), *self._members):
            owner.close(drain)
        self.stop()
        self.poster.stop()

    def find(self, name: str) -> Source | None:
        """Return a channel by name, None if there is none."""
        viewing = self._channels.get(name)
        if viewing is not None:
            return viewing if viewing.channel.alive() else None
        return next((member for members in self._members if (member := members.find(name)) is not None), None)

    def views(self) -> dict[str, Views]:
        """Return the viewers of each channel that may have some."""
        channels = {name: viewing.channel for name, viewing in self._channels.items()}
        return {name: channel.views for name, channel in channels.items() if isinstance(channel, ShownChannel)}

    def _channel(self, name: str) -> ServedChannel:
        if self.doorway is None:
            return ServedChannel(name, self.window, self.poster, on_close=self._closed)
        views = Views(name, self.doorway.memory)
        return ShownChannel(name, self.window, self.poster, on_close=self._closed).seen_by(views)

    def _make(self, name: str) -> ServedChannel:
        return ServedChannel(name, self.window, self.poster, member=True, on_close=self._closed)

    def _closed(self, channel: ServedChannel) -> None:
        running = self._running
        if running is not None:
            running.forget(channel)


class _Running:
    """The server from a start to a stop: sockets, clients and the service thread."""

    def __init__(self, server: ImageServer, addresses: Addresses, rules: Rules) -> None:
        self.rules = rules
        self.denied = 0
        self._server = server
        self._longest_silence = addresses.longest_silence
        self._listeners = listeners(addresses)
        address, port = self._listeners[0].getsockname()[:2]
        tells = len(self._listeners) == 1
        self.place = Place(secrets.token_bytes(GUID_BYTES), address_of(address) if tells else ANY, port)
        self._discovery = Discovery(addresses, self.place, self.answer)
        self._clients: dict[int, Client] = {}
        self._writers: list[Client] = []
        self._service = Service(f"{server.name} service")
        for listener in self._listeners:
            self._service.watch(listener.fileno(), partial(self._accept, listener))
        for one in self._discovery.sockets():
            self._service.watch(one.fileno(), partial(self._discovery.readable, one))
        self._service.every(self._discovery.beacon_period, self._discovery.send_beacons)
        self._service.every(lambda: LOOK_SECONDS, self._look_for_silent)
        self._service.every(lambda: RULES_SECONDS, self._look_at_rules)
        self._door: LocalDoor | None = None
        if server.doorway is not None:
            self._door = LocalDoor(server.doorway.path, lambda name: server.views().get(name), rules, self._service)
        self._service.start()

    def find(self, name: str) -> Source | None:
        """Return a channel by name, None if there is none."""
        return self._server.find(name)

    def answer(self, search: Search) -> bytes | None:
        """Return the answer to a search, None if there is none to give."""
        if not search.for_tcp:
            return None
        here = [number for number, name in search.names if self.find(name) is not None]
        return found(self.place, search, here) if here or search.must_reply else None

    def standing(self, name: str) -> str:
        """Return what the server says of itself to who asks a channel."""
        door = self._server.doorway if name in self._server.views() else None
        return told(here(None if door is None else door.path))

    def visits(self) -> list[Visit]:
        """Return the clients' accounts; any thread may call it."""
        viewers = [visit for views in self._server.views().values() for visit in views.visits()]
        return [client.visit() for client in list(self._clients.values())] + viewers

    def refusals(self) -> int:
        """Return how often somebody was denied to read, at the door too."""
        return self.denied + (self._door.denied if self._door is not None else 0)

    def changed(self) -> None:
        """Take notice that there is another channel."""
        self._discovery.changes += 1

    def forget(self, channel: ServedChannel) -> None:
        """Tell its clients that a channel is over; any thread may call it."""

        def tell() -> None:
            for client in self._clients.values():
                client.close_channel(channel)

        self._service.tell(tell)

    def stop(self) -> None:
        """Cut off all clients, close the sockets and end the threads."""
        self._service.stop(self._shut)
        for client in self._writers:
            client.writer.join()

    def _shut(self) -> None:
        for listener in self._listeners:
            listener.close()
        if self._door is not None:
            self._door.close()
        self._discovery.close()
        for client in list(self._clients.values()):
            client.close()
        self._clients.clear()

    def _accept(self, listener: socket.socket) -> None:
        accepted = accept(listener, len(self._clients))
        if accepted is None:
            return
        client = Client(*accepted, self, self._lost)
        self._clients[client.fileno] = client
        self._writers = [other for other in self._writers if other.writer.running] + [client]
        self._service.watch(client.fileno, partial(self._read, client))

    def _read(self, client: Client) -> None:
        try:
            client.readable()
        except PeerError as error:
            log.info("%s", error)
            self._drop(client)
        except Exception:  # the stage boundary of one client: the others go on
            log.exception("%s: cut off", client.peer)
            self._drop(client)

    def _drop(self, client: Client) -> None:
        if self._clients.get(client.fileno) is client:
            del self._clients[client.fileno]
            self._service.unwatch(client.fileno)
            client.close()

    def _lost(self, client: Client) -> None:
        """Take notice that a client cannot be written to; on its writer's thread."""
        self._service.tell(lambda: self._drop(client))

    def _look_at_rules(self) -> None:
        for client in list(self._clients.values()):
            client.look_at_rules()
        if self._door is not None:
            self._door.look_at_rules()

    def _look_for_silent(self) -> None:
        for client in [client for client in self._clients.values() if client.silent(self._longest_silence)]:
            log.warning("%s: cut off: nothing was heard of it for long", client.peer)
            self._drop(client)
