"""Image channels over pvAccess, served by p4p: named channels, channels of members, and the server for both.

p4p tears and doubles frames when one SharedPV has a fast and a slow client, so every client is given a SharedPV of its
own. What p4p calls back on its threads only hands over to the poster's thread.
"""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from p4p.server import DynamicProvider, Server
from p4p.server.raw import SharedPV

from ioc.channels.base import ImageLink
from ioc.channels.pva_channel import ImageChannel
from ioc.channels.pva_poster import Poster
from ioc.channels.pva_receiver import PvaReceiver
from ioc.core.errors import RayfanBug, UserError, mismatch

__all__ = ["ImageChannel", "ImageChannels", "MemberAddress", "Membership", "Members", "PvaReceiver", "PvaServer"]

log = logging.getLogger(__name__)

TCP_PORTS = ("EPICS_PVAS_SERVER_PORT", "EPICS_PVA_SERVER_PORT")
SEARCH_PORTS = ("EPICS_PVAS_BROADCAST_PORT", "EPICS_PVA_BROADCAST_PORT")
"""Variables that name the ports which p4p is to listen at, and to be searched for at; the first one counts."""


@dataclass(frozen=True, slots=True)
class MemberAddress:
    """Where a member sits: slot of the distributor, set of the group, member of the set; each counts from 1."""

    slot: int
    set: int
    member: int

    def channel(self, prefix: str) -> str:
        """Return the name of the member's channel."""
        return f"{prefix}Dist{self.slot}:Set{self.set}:Member{self.member}:Image"

    def acknowledgement(self, prefix: str) -> str:
        """Return the name of the channel on which the member acknowledges."""
        return self.channel(prefix).removesuffix("Image") + "Ack"


class Membership(Protocol):
    """The owner of the groups, as the channels of members see it; every call must return at once."""

    def admits(self, address: MemberAddress) -> bool:
        """Return whether such a member may exist now; called on p4p's thread."""
        ...

    def joined(self, address: MemberAddress, link: ImageLink) -> None:
        """Take a member whose first client has connected; called on the poster's thread."""
        ...

    def left(self, address: MemberAddress, link: ImageLink) -> None:
        """Take notice that the last client of a member has gone, and its link with it; on the poster's thread."""
        ...


class Beside(Protocol):
    """Other channels of the same provider: p4p has the first dynamic provider of a server make every channel."""

    def serves(self, name: str) -> bool:
        """Return whether a name is one of these."""
        ...

    def testChannel(self, name: str) -> bool | bytes:  # noqa: N802 - p4p's name
        """Say whether a name is served now."""
        ...

    def makeChannel(self, name: str, peer: str) -> SharedPV:  # noqa: N802 - p4p's name
        """Return the SharedPV for one client."""
        ...


class _Client:
    """What p4p calls about the SharedPV of one client; it only hands over."""

    def __init__(self, images: "ImageChannels", name: str) -> None:
        self._images = images
        self._name = name

    def onFirstConnect(self, pv: SharedPV) -> None:  # noqa: N802 - p4p's name
        self._images.poster.put(partial(self._images.connected, self._name, pv))

    def onLastDisconnect(self, pv: SharedPV) -> None:  # noqa: N802 - p4p's name
        self._images.poster.put(partial(self._images.disconnected, pv))


class ImageChannels:
    """A provider of NTNDArray channels with one thread that posts for all of them.

    Add channels before the server starts: p4p remembers for a while that a name was not there.
    """

    def __init__(self, name: str = "images", window: int = 16) -> None:
        """Prepare; `window` is how many frames each channel may have queued while somebody watches."""
        if window < 1:
            raise RayfanBug(mismatch(f"window of {name}", "1 or more", window))
        self.window = window
        self.poster = Poster(f"{name} poster")
        self.provider = DynamicProvider(name, self)  # p4p keeps no reference: without this one nothing is served
        self._channels: dict[str, ImageChannel] = {}
        self._members: list[Members] = []
        self.beside: Beside | None = None
        self._open: dict[int, ImageChannel] = {}  # by SharedPV, only for the poster's thread
        self.poster.start()

    def add(self, name: str) -> ImageChannel:
        """Serve a channel of this name."""
        if name in self._channels:
            raise RayfanBug(f"image channel {name}: added twice")
        channel = ImageChannel(name, self.window, self.poster)
        self._channels[name] = channel
        return channel

    def members(self, prefix: str, membership: Membership) -> "Members":
        """Serve `<prefix>Dist<slot>:Set<set>:Member<member>:Image` for every member that is admitted, while it is."""
        members = Members(prefix, membership, self)
        self._members.append(members)
        return members

    def close(self, drain: bool = False) -> None:
        """Close all channels and end the thread; with `drain`, what was accepted is posted first."""
        links = [link for members in self._members for link in members.links()]
        for channel in (*self._channels.values(), *links):
            channel.close(drain)
        self.poster.stop()

    def testChannel(self, name: str) -> bool | bytes:  # noqa: N802 - p4p's name
        """Say whether a name is served; p4p remembers a plain no, so a member that may come later gets another one."""
        channel = self._channels.get(name)
        if channel is not None:
            return channel.alive()
        if self.beside is not None and self.beside.serves(name):
            return self.beside.testChannel(name)
        for members in self._members:
            address = members.address(name)
            if address is not None:
                return members.membership.admits(address) or DynamicProvider.NotYet
        return False

    def makeChannel(self, name: str, peer: str) -> SharedPV:  # noqa: N802 - p4p's name
        """Return a closed SharedPV for one client; it is opened when the poster has the newest frame for it."""
        log.debug("%s opens %s", peer, name)
        if self.beside is not None and self.beside.serves(name):
            return self.beside.makeChannel(name, peer)
        return SharedPV(handler=_Client(self, name))

    def connected(self, name: str, pv: SharedPV) -> None:
        """Attach a client to its channel; on the poster's thread."""
        channel = self._channels.get(name) or self._member(name)
        if channel is None:  # no longer admitted; cut off, the client searches again
            pv.close(destroy=True)
            return
        self._open[id(pv)] = channel
        channel.attach(pv)

    def disconnected(self, pv: SharedPV) -> None:
        """Detach a client that has gone; on the poster's thread."""
        channel = self._open.pop(id(pv), None)
        if channel is None:
            return
        channel.detach(pv)
        if not channel.watched:
            for members in self._members:
                members.emptied(channel)

    def _member(self, name: str) -> ImageChannel | None:
        for members in self._members:
            address = members.address(name)
            if address is not None:
                return members.join(address, name)
        return None


class Members:
    """The channels of members: there while a client is, one link a name.

    Every client of one name gets all frames of the member. Whoever opens the channel is a member, so a `pvget` is one
    for a moment: what is given to the link meanwhile is gone with it. A new client sees an empty image first, or the
    member's newest frame if the member was there before. p4p does not tell when a client's monitor is set up, a moment
    after it has connected: of frames given before that the client sees the newest only.
    """

    def __init__(self, prefix: str, membership: Membership, images: ImageChannels) -> None:
        self.membership = membership
        self._images = images
        self._pattern = re.compile(re.escape(prefix) + r"Dist([1-9]\d?):Set([1-9]\d?):Member([1-9]\d?):Image", re.ASCII)
        self._links: dict[MemberAddress, ImageChannel] = {}

    def address(self, name: str) -> MemberAddress | None:
        """Return the member that a channel name stands for, None if it is no member's."""
        match = self._pattern.fullmatch(name)
        return MemberAddress(*map(int, match.groups())) if match else None

    def links(self) -> list[ImageChannel]:
        """Return the links of the members that are there."""
        return list(self._links.values())

    def join(self, address: MemberAddress, name: str) -> ImageChannel | None:
        """Return the link of a member, new for its first client; None if it is not admitted."""
        link = self._links.get(address)
        if link is not None and link.alive():
            return link
        if not self.membership.admits(address):
            return None
        link = ImageChannel(name, self._images.window, self._images.poster)
        self._links[address] = link
        self.membership.joined(address, link)
        return link

    def emptied(self, link: ImageChannel) -> None:
        """End a member whose last client has gone."""
        for address, known in list(self._links.items()):
            if known is link:
                del self._links[address]
                link.lose()
                self.membership.left(address, link)


class PvaServer:
    """One pvAccess server of this process for all its providers; the address comes from EPICS_PVAS_* as usual.

    Beside another server of the same process or host (softioc's) it takes a free TCP port; clients find both.
    Dynamic providers are asked last: p4p has the first one make every channel, whoever answered the search for it.
    """

    def __init__(self, providers: Sequence[object]) -> None:
        """Prepare; providers are what p4p's Server takes, for example `ImageChannels.provider`."""
        self._providers = tuple(providers)  # p4p keeps no reference
        self._server: Server | None = None

    def start(self) -> None:
        """Serve from now on.

        Raises:
            UserError: p4p cannot listen; names the ports that it was to have.
        """
        if self._server is None:
            ordered = [(provider, int(isinstance(provider, DynamicProvider))) for provider in self._providers]
            self._server = _listening(ordered)

    @property
    def port(self) -> int | None:
        """Return the TCP port, None while not started."""
        return int(self._server.conf()["EPICS_PVAS_SERVER_PORT"]) if self._server is not None else None

    def stop(self) -> None:
        """Cut off all clients and serve no more."""
        if self._server is not None:
            self._server.stop()
            self._server = None


def _listening(providers: list[tuple[object, int]]) -> Server:
    """Return a server that listens at the port that is configured, or at a free one.

    p4p binds the configured port and looks for another one only if that fails. Of two processes that start at the same
    moment both can bind it, as both may use it again (SO_REUSEADDR), and then only one can listen.
    """
    environment = {name: value for name, value in os.environ.items() if name.startswith("EPICS_PVA")}
    try:
        return Server(providers=providers)
    except RuntimeError as error:
        log.info("pvAccess: the configured TCP port cannot be listened at (%s): a free one is used", error)
    try:
        return Server(providers=providers, conf={**environment, **dict.fromkeys(TCP_PORTS, "0")}, useenv=False)
    except RuntimeError as error:
        names = (*TCP_PORTS, *SEARCH_PORTS)
        given = ", ".join(f"{name}={environment[name]}" for name in names if name in environment) or "the usual ports"
        where, todo = f"to listen and to be searched for at {given}", f"set {SEARCH_PORTS[0]}"
        raise UserError(mismatch("pvAccess server", where, str(error), todo)) from None
