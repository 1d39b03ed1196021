"""Who a client of an image server is, what it has had so far, and the rules that say what it may see."""

import logging
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Visitor:
    """A client: its address and port are the connection's, the rest is what it says of itself."""

    address: str
    port: int
    method: str = "anonymous"
    account: str = ""
    host: str = ""

    @property
    def peer(self) -> str:
        """Address and port as one word."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Visit:
    """What a client monitors, and its account: updates sent, replaced in its queue and waiting in it.

    `unacknowledged`: bytes that were handed to the kernel and have not reached the client's host.
    """

    visitor: Visitor
    channels: tuple[str, ...] = ()
    sent: int = 0
    overruns: int = 0
    waiting: int = 0
    unacknowledged: int = 0


class Rules(Protocol):
    """Who may see images; every call must return at once, on the server's thread."""

    def may_read(self, visitor: Visitor) -> bool:
        """Return whether a client may get and monitor images now."""
        ...

    def refused(self, visitor: Visitor, channel: str, why: str) -> None:
        """Take notice that a client tried to change a channel, and was refused."""
        ...


class Everybody:
    """The rules of a process that has none."""

    def may_read(self, visitor: Visitor) -> bool:
        return True

    def refused(self, visitor: Visitor, channel: str, why: str) -> None:
        log.info("%s: %s: refused: %s", visitor.peer, channel, why)
