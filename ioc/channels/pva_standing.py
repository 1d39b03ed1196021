"""What Rayfan's image server says of itself when a channel of it is asked, and which way frames come best from there.

    get CHANNEL, field(descriptor)record[standing=1]

Rules. Rayfan answers with a JSON object in `descriptor`; who does not know the option answers with a descriptor of its
own, or an error, and is nobody of ours. Shared memory needs the same host, user and version, and a door to knock at. Of
those behind the network only Rayfan's server is asked for flow control by itself: PvaPy's dies of it, and pvxs's keeps
what a full window left over until the next update comes. The channel of a member has no door: whoever monitors it is
that member, and asking again would be leaving.
"""

import json
import os
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

VERSION = 1
OPTION = "standing"
"""Of `record`, in the request."""
REQUEST = f"field(descriptor)record[{OPTION}=1]"
LARGEST = 1024
_BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")


class Way(Enum):
    """How frames come."""

    SEARCHING = "searching"
    PLAIN = "pvAccess"
    PIPELINED = "pvAccess with flow control"
    SHARED = "shared memory"


@dataclass(frozen=True, slots=True)
class Standing:
    """A server: the run of the kernel and the user id under which it lives; `door` is a path, None: it has none."""

    boot: str
    user: int
    door: str | None = None
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Choice:
    """A way, and why it is not a faster one; empty if there is none."""

    way: Way
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.way.value}: {self.reason}" if self.reason else self.way.value

    def when_taken(self) -> "Choice":
        """Return a choice that nobody has acted on, because nobody takes frames."""
        reason = "once frames are taken"
        return (
            self if self.way is Way.PLAIN else Choice(self.way, f"{reason}; {self.reason}" if self.reason else reason)
        )


def told(standing: Standing) -> str:
    """Return what a server says."""
    said = {"rayfan": standing.version, "boot": standing.boot, "user": standing.user, "door": standing.door}
    return json.dumps(said)


def heard(text: object) -> Standing | None:
    """Return what a server said of itself, None if it is none of ours; the words are from the network."""
    if not isinstance(text, str) or len(text) > LARGEST:
        return None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    boot, door = said.get("boot"), said.get("door")
    numbers = [number for key in ("user", "rayfan") if type(number := said.get(key)) is int]
    if len(numbers) < 2 or not isinstance(boot, str) or not isinstance(door, str | None):
        return None
    return Standing(boot, numbers[0], door, numbers[1])


def here(door: Path | None = None) -> Standing:
    """Return what this process would say of itself."""
    return Standing(_boot(), os.getuid(), None if door is None else os.fspath(door))


def choose(server: Standing | None, own: Standing) -> Choice:
    """Return the fastest safe way from a server to a receiver that is `own`."""
    if server is None:
        return Choice(Way.PLAIN, "the server is not Rayfan's")
    if server.version != VERSION:
        return Choice(Way.PLAIN, f"the server speaks version {server.version}, this is {VERSION}")
    if server.door is None:
        return Choice(Way.PLAIN, "the channel is not for everybody: the server holds back by what its client has")
    if server.boot != own.boot:
        return Choice(Way.PIPELINED, "the server is on another host")
    if server.user != own.user:
        return Choice(Way.PIPELINED, f"the server runs as another user, {server.user}")
    return Choice(Way.SHARED)


@cache
def _boot() -> str:
    return _BOOT_FILE.read_text().strip()
