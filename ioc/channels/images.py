"""Which server serves the image channels of a process: Rayfan's own, or p4p's as the fallback; one face for both."""

from collections.abc import Sequence
from typing import Any, Protocol

from p4p.server import DynamicProvider
from p4p.server.raw import SharedPV

from ioc.channels.base import Link
from ioc.channels.pva import ImageChannel, ImageChannels, Membership
from ioc.channels.pva_images import ImageServer
from ioc.channels.pva_images_members import Groups, Members
from ioc.channels.pva_member import AcknowledgeChannel
from ioc.core.config import ImageBackend


class ImageLink(Link, Protocol):
    """The publisher to all clients of an image channel."""

    @property
    def watched(self) -> bool:
        """Whether somebody looks at the channel now."""
        ...


class ImageMembers(Protocol):
    """The channels of members."""

    def links(self) -> Sequence[ImageLink]:
        """Return the links of the members that are there."""
        ...


class Images(Protocol):
    """The image channels of a process."""

    @property
    def providers(self) -> Sequence[Any]:
        """What p4p's server of the process has to serve for it."""
        ...

    def add(self, name: str, groups: Groups | None = None) -> ImageLink:
        """Serve a channel of this name, before the start; with `groups`, clients may ask for turns of it."""
        ...

    def members(self, prefix: str, membership: Membership) -> "ImageMembers":
        """Serve the channels of members, while they are admitted."""
        ...

    def start(self) -> None:
        """Serve from now on."""
        ...

    def stop(self) -> None:
        """Cut off all clients and serve no more."""
        ...

    def close(self, drain: bool = False) -> None:
        """Close all channels and end all threads; with `drain`, what was accepted is sent first."""
        ...


class P4pImages(ImageChannels):
    """Image channels that p4p's server of the process serves."""

    @property
    def providers(self) -> Sequence[Any]:
        return (self.provider,)

    def add(self, name: str, groups: Groups | None = None) -> ImageChannel:
        """Serve a channel of this name; p4p refuses clients that ask for turns by itself."""
        return super().add(name)

    def start(self) -> None:
        """Do nothing: the server of the process is started by its owner."""

    def stop(self) -> None:
        """Do nothing: the server of the process is stopped by its owner."""


class OwnImages(ImageServer):
    """Image channels with a server of their own; p4p's serves only the channels on which members acknowledge."""

    def __init__(self, name: str = "images", window: int = 16) -> None:
        super().__init__(name, window)
        self._acknowledgements: list[_Acknowledgements] = []

    @property
    def providers(self) -> Sequence[Any]:
        return tuple(one.provider for one in self._acknowledgements)

    def members(self, prefix: str, membership: Membership) -> Members:
        """Serve the channels of members, and those on which they acknowledge, while they are admitted."""
        members = super().members(prefix, membership)
        self._acknowledgements.append(_Acknowledgements(f"{self.name} acknowledgements {prefix}", members))
        return members


class _Acknowledgements:
    """The channels `...:Ack` of members, as p4p's server serves them."""

    def __init__(self, name: str, members: Members) -> None:
        self._members = members
        self._served: set[SharedPV] = set()
        self.provider = DynamicProvider(name, self)  # p4p keeps no reference: without this one nothing is served

    def testChannel(self, name: str) -> bool | bytes:  # noqa: N802 - p4p's name
        """Say whether a name is served; p4p remembers a plain no, so a member that may come later gets another one."""
        address = self._members.acknowledges(name)
        return address is not None and (self._members.membership.admits(address) or DynamicProvider.NotYet)

    def makeChannel(self, name: str, _peer: str) -> SharedPV:  # noqa: N802 - p4p's name
        """Return the channel for one client."""
        address = self._members.acknowledges(name)
        assert address is not None, "testChannel was asked before"
        return AcknowledgeChannel(name, lambda: self._members.link(address), self._served).serve()


def open_images(backend: ImageBackend, name: str, window: int = 16) -> Images:
    """Return the image channels of a process; `window` is how many frames each may have on their way."""
    return OwnImages(name, window) if backend is ImageBackend.OWN else P4pImages(name, window)
