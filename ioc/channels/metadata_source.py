"""Channels whose values go with frames: every update is used, not only the newest. What PVA and CA have in common."""

from collections.abc import Sequence
from typing import Protocol

from ioc.core.config_metadata import ChannelConfig
from ioc.core.metadata import Update

QUEUE_SIZE = 2000
"""Updates that may wait at either end of a channel before the oldest are merged or dropped."""


class MetadataSource(Protocol):
    """One channel; comes back by itself. Any thread may call, one at a time."""

    errors: int
    """Updates that could not be used, or were dropped."""

    @property
    def connected(self) -> bool:
        """Whether updates can come."""
        ...

    @property
    def last_error(self) -> str:
        """What went wrong last, empty: nothing."""
        ...

    def poll(self) -> Sequence[Update]:
        """Return the updates that have come since the last call, in order; never waits."""
        ...

    def close(self) -> None:
        """Let go of the channel."""
        ...


class SourceProvider(Protocol):
    """Opens channels of one protocol."""

    def open(self, config: ChannelConfig) -> MetadataSource:
        """Return a channel that is being connected."""
        ...

    def filenos(self) -> Sequence[int]:
        """Return descriptors that are readable when there is something to poll; none if there are no such."""
        ...

    def search(self) -> None:
        """Look anew, at once, for the channels that are not there; clients take ever longer pauses by themselves."""
        ...

    def close(self) -> None:
        """Let go of the channels and of what they share."""
        ...
