"""The two protocols that every channel implements: Receiver and Publisher, in batches.

A channel never decides to drop: `publish` says how many items it took and why not the rest, and the caller's policy
decides. A received frame's memory is valid until it is released; whoever keeps it, copies it. The end marker of a
series travels in the sequence, in order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ioc.core.frame import Item


class Refusal(Enum):
    """Why a channel did not take all items."""

    FULL = "full"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Accepted:
    """How many items, counted from the first, a channel took; and why not the rest, None if it took all."""

    count: int
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """What a channel moved since it was opened; cheap to make, no lock is held while frames move.

    `errors` counts items or packets that could not be used; what they were is in the log and in the status.
    """

    items: int = 0
    bytes: int = 0
    errors: int = 0


class Receiver(Protocol):
    """Takes items from somewhere."""

    def receive(self, max_items: int, timeout: float) -> Sequence[Item]:
        """Return up to `max_items` items in order; empty if none came within `timeout` seconds.

        Frames stay valid until `release` has counted past them; more may be received meanwhile, as far as the other
        side's window goes.

        Raises:
            PeerError: the other side is gone and this channel does not come back by itself.
        """
        ...

    def release(self, count: int) -> None:
        """Say that the next `count` items of the batch are finished with, in order."""
        ...

    def counters(self) -> Counters:
        """Return what was moved so far."""
        ...

    def close(self, drain: bool) -> None:
        """Stop; with `drain`, what is already here can still be received until `receive` returns nothing."""
        ...


class Publisher(Protocol):
    """Gives items to somewhere."""

    def publish(self, items: Sequence[Item]) -> Accepted:
        """Hand items over, in order; the caller may drop or offer the rest again.

        Waits for nothing but a rate that the channel was told to keep.
        """
        ...

    def counters(self) -> Counters:
        """Return what was moved so far."""
        ...

    def close(self, drain: bool) -> None:
        """Stop; with `drain`, what was accepted is delivered first."""
        ...


class Link(Publisher, Protocol):
    """A publisher to one member of a group, as the distributor holds it.

    `publish` takes as many items as the link's window allows. Frames given to a link may lie in memory that is used
    again as soon as `done` has counted past them. `missed`, set by the distributor, is how many frames it dropped for
    this member so far; a way that can carry it tells the member.
    """

    missed: int

    @property
    def name(self) -> str:
        """The member's name, for example `Cons1`."""
        ...

    @property
    def ready(self) -> bool:
        """Whether the member may be dealt frames: under Acknowledged not before it says that it acknowledges."""
        ...

    def expect_acknowledgement(self, within: float | None) -> None:
        """Count frames as done only when the member says so, and it as gone if it says so of none `within` seconds.

        None: what the way itself knows is enough. Ways on which every member tells its progress need not do anything.
        """
        ...

    @property
    def leaving(self) -> bool:
        """Whether the member asked for no more frames."""
        ...

    def done(self) -> int:
        """Return how many of the items taken so far the member has finished with; never goes back."""
        ...

    def alive(self) -> bool:
        """Return whether the member is still there; once False, `done` says what it finished with."""
        ...

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when `done` or `alive` may have changed."""
        ...

    def refresh(self) -> None:
        """Take notice of what made `fileno` readable; never waits."""
        ...

    def ring_at(self, done: int) -> None:
        """Ask that `fileno` become readable when the member has finished with `done` items."""
        ...


class ImageLink(Link, Protocol):
    """The publisher to all clients of an image channel."""

    @property
    def watched(self) -> bool:
        """Whether somebody looks at the channel now."""
        ...
