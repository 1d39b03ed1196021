"""Which server serves the image channels of a process: Rayfan's own, or p4p's as the fallback; one face for both."""

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from ioc.channels.base import ImageLink
from ioc.channels.local_door import Doorway
from ioc.channels.pva import ImageChannel, ImageChannels, Membership
from ioc.channels.pva_images import ImageServer
from ioc.channels.pva_images_members import Groups
from ioc.channels.pva_images_visitor import Rules, Visit
from ioc.channels.pva_member import AcknowledgeChannels
from ioc.core.config import ImageBackend

log = logging.getLogger(__name__)


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

    def beside_acknowledgements(self, channels: AcknowledgeChannels) -> Sequence[Any]:
        """Return what p4p's server of the process has to serve for the images and for the members' answers."""
        ...

    def add(self, name: str, groups: Groups | None = None) -> ImageLink:
        """Serve a channel of this name, before the start; with `groups`, clients may ask for turns of it."""
        ...

    def members(self, prefix: str, membership: Membership) -> "ImageMembers":
        """Serve the channels of members, while they are admitted."""
        ...

    def guard(self, rules: Rules) -> None:
        """Let rules decide who may read; before the start."""
        ...

    def visits(self) -> Sequence[Visit]:
        """Return who is connected; p4p's server does not tell."""
        ...

    @property
    def denied(self) -> int:
        """How often a client was denied to read since the start."""
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
    """Image channels that p4p's server of the process serves; everybody may read them, whatever the rules are."""

    denied = 0

    def guard(self, rules: Rules) -> None:
        """Tell that the rules have no effect: p4p does not say who it is that monitors."""
        log.warning('image_server = "p4p": access security does not apply to images; everybody may read them')

    def visits(self) -> Sequence[Visit]:
        return ()

    @property
    def providers(self) -> Sequence[Any]:
        return (self.provider,)

    def add(self, name: str, groups: Groups | None = None) -> ImageChannel:
        """Serve a channel of this name; p4p refuses clients that ask for turns by itself."""
        return super().add(name)

    def beside_acknowledgements(self, channels: AcknowledgeChannels) -> Sequence[Any]:
        self.beside = channels
        return self.providers

    def start(self) -> None:
        """Do nothing: the server of the process is started by its owner."""

    def stop(self) -> None:
        """Do nothing: the server of the process is stopped by its owner."""


class OwnImages(ImageServer):
    """Image channels with a server of their own."""

    @property
    def providers(self) -> Sequence[Any]:
        return ()

    def beside_acknowledgements(self, channels: AcknowledgeChannels) -> Sequence[Any]:
        return (channels.provider,)


def open_images(backend: ImageBackend, name: str, window: int = 16, doorway: Doorway | None = None) -> Images:
    """Return the image channels of a process; `window` is how many frames each may have on their way.

    `doorway`: where receivers on the same host are let in to see them in shared memory, None: nowhere. p4p's have none.
    """
    if backend is ImageBackend.OWN:
        return OwnImages(name, window, doorway=doorway)
    return P4pImages(name, window)
