"""What a service manager is told of an appliance: that it is ready, alive, what it does, that it ends.

The protocol is that of sd_notify(3): datagrams of `NAME=value` lines to the Unix socket that `NOTIFY_SOCKET` names, an
abstract one if it begins with `@`. `WATCHDOG_USEC` is within how many us a sign of life must come. Without the variable
nothing is told. The supervisor tells it, not the command that started it: what has to be alive is the supervisor.
"""

import logging
import os
import socket
from collections.abc import Mapping, MutableMapping

from ioc.core.status import State
from ioc.supervisor.appliance import Appliance

log = logging.getLogger(__name__)

SOCKET, WATCHDOG, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
SIGNS_OF_LIFE = 3
"""Signs of life that are sent within the time in which one is expected."""
DRAINED = (State.DRAINING, State.STOPPED, State.FAILED)


class ServiceManager:
    """Tells the service manager of `environment` what it sees of the appliance."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        name = environment.get(SOCKET, "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if name else None
        expected = environment.get(WATCHDOG, "")
        self._period_ns = int(expected) * 1000 // SIGNS_OF_LIFE if expected.isdecimal() else None
        self._alive_ns: int | None = None
        self._told: set[str] = set()
        self._reached = True

    @classmethod
    def of_process(cls, environment: MutableMapping[str, str] = os.environ) -> "ServiceManager":
        """Return that of this process, and hide it from the processes that this one starts."""
        found = cls(environment)
        for name in (SOCKET, WATCHDOG, WATCHDOG_PID):
            environment.pop(name, None)
        return found

    def show(self, view: Appliance) -> None:
        """Tell what is new about the appliance, and that its supervisor lives; to be called several times a second."""
        if self._socket is None:
            return
        said = _lines(view)
        lines = [line for line in said if line not in self._told]
        self._told = set(said)
        if self._period_ns is not None and (
            self._alive_ns is None or view.heartbeat_ns - self._alive_ns >= self._period_ns
        ):
            self._alive_ns = view.heartbeat_ns
            lines.append("WATCHDOG=1")
        if lines and not self._send("\n".join(lines)):
            self._told = set()  # to be said again

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()

    def _send(self, text: str) -> bool:
        """Return whether the message went out; the supervisor's loop never waits for it."""
        assert self._socket is not None
        try:
            self._socket.sendto(text.encode(), socket.MSG_DONTWAIT, self._address)
        except OSError as error:
            if self._reached:
                log.warning("the service manager at %r cannot be told %r: %s", self._address, text, error)
            self._reached = False
            return False
        self._reached = True
        return True


def _lines(view: Appliance) -> list[str]:
    """Return what there is to say; what was said before is said once."""
    lines = [f"STATUS={_status(view)}"]
    if view.running_since_ns is not None:
        lines.append("READY=1")
    if view.state in DRAINED:
        lines.append("STOPPING=1")
    return lines


def _status(view: Appliance) -> str:
    """Return one line on the state, without what changes with every frame: each new line is a message."""
    said = view.last_error or view.message
    text = f"{view.prefix} {view.state.value}, {view.health}" + (f": {said}" if said else "")
    return " ".join(text.split())
