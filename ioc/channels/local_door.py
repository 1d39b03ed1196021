"""The door of an image server for viewers on the same host and of the same user: lets them in, and hears them.

All of it runs on the thread of the image server, but `Views.give`.
"""

import logging
import os
import pwd
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ioc.channels import local_view_wire as words
from ioc.channels.local import LONGEST_SOCKET_PATH
from ioc.channels.local_views import Viewer, Views
from ioc.channels.memory_book import MemoryBook
from ioc.channels.pva_images_service import Service
from ioc.channels.pva_images_visitor import Rules, Visitor
from ioc.core.errors import PeerError, RefusedError

log = logging.getLogger(__name__)

MOST_WAITING = 16
"""Connections that have not said yet what they want."""
BACKLOG = 16
METHOD = "ca"
"""What rules by account apply to; unlike a client's own word, this one is the kernel's."""
_CREDENTIALS = struct.Struct("=iII")
"""`struct ucred`: process, user, group (unix(7))."""
Find = Callable[[str], Views | None]


@dataclass(frozen=True, slots=True)
class Doorway:
    """Where the door is, and what the memory of those who come in is booked in."""

    path: Path
    memory: MemoryBook


class LocalDoor:
    """Listens at a path; whoever comes in is told every frame of the channel that it wishes to see."""

    def __init__(self, path: Path, find: Find, rules: Rules, service: Service) -> None:
        """Listen, before the service starts; `find` returns the viewers of a channel by name."""
        self.denied = 0
        self._find = find
        self._rules = rules
        self._service = service
        self._path = path
        self._waiting: dict[int, socket.socket] = {}
        self._viewers: dict[int, tuple[Views, Viewer]] = {}
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(os.fspath(path))
        path.chmod(0o600)
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        service.watch(self._listener.fileno(), self._accept)

    def look_at_rules(self) -> None:
        """Dismiss viewers who may not see images any more."""
        for views, viewer in list(self._viewers.values()):
            if not self._rules.may_read(viewer.visitor):
                self._dismiss(views, viewer, "access security: may not read images any more")

    def close(self) -> None:
        """Dismiss everybody and listen no more."""
        for views, viewer in list(self._viewers.values()):
            self._dismiss(views, viewer, "the server ends")
        for waiting in (self._listener, *self._waiting.values()):
            waiting.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            log.warning("a viewer was not accepted: %s", error)
            return
        user = user_of(connection)
        if user != os.getuid() or len(self._waiting) >= MOST_WAITING:
            log.warning("a viewer of user %d is not let in; %d wait", user, len(self._waiting))
            connection.close()
            return
        connection.setblocking(False)
        self._waiting[connection.fileno()] = connection
        self._service.watch(connection.fileno(), partial(self._greet, connection))

    def _greet(self, connection: socket.socket) -> None:
        """Hear what a viewer wants, and let it in."""
        del self._waiting[connection.fileno()]
        self._service.unwatch(connection.fileno())
        try:
            views, viewer = self._recognized(connection, connection.recv(words.LARGEST_WORD + 1))
            views.admit(viewer)
        except (OSError, PeerError, RefusedError) as error:
            log.info("a viewer was not let in: %s", error)
            try:
                connection.send(words.bye(str(error)))
            except OSError:
                log.debug("and did not wait for the reason")
            connection.close()
            return
        self._viewers[viewer.fileno()] = views, viewer
        self._service.watch(viewer.fileno(), partial(self._hear, views, viewer))
        log.info("%s views %s in shared memory", viewer.visitor.peer, views.name)

    def _recognized(self, connection: socket.socket, message: bytes) -> tuple[Views, Viewer]:
        wish = words.parse_hello(message)
        views = self._find(wish.channel)
        if views is None:
            raise RefusedError(f"{wish.channel}: no such channel here")
        process, user, _ = _credentials(connection)
        visitor = Visitor("127.0.0.1", process, METHOD, _name_of(user), socket.gethostname())
        if not self._rules.may_read(visitor):
            self.denied += 1
            raise RefusedError(f"{visitor.account} may not read it: access security")
        return views, Viewer(connection, visitor, wish)

    def _hear(self, views: Views, viewer: Viewer) -> None:
        try:
            views.hear(viewer)
        except PeerError as error:
            log.info("%s: views %s no more: %s", viewer.visitor.peer, views.name, error)
            self._dismiss(views, viewer, str(error))

    def _dismiss(self, views: Views, viewer: Viewer, reason: str) -> None:
        if self._viewers.pop(viewer.fileno(), None) is not None:
            self._service.unwatch(viewer.fileno())
            views.dismiss(viewer, reason)
            viewer.connection.close()


def fits(path: Path) -> bool:
    """Return whether a path is short enough for a socket."""
    return len(os.fsencode(path)) <= LONGEST_SOCKET_PATH


def user_of(connection: socket.socket) -> int:
    """Return the user id of the process at the other end of a Unix socket."""
    return _credentials(connection)[1]


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(told)


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
