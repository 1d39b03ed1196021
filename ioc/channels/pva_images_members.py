"""Channels by name, as the clients of an image server see them: for everybody, or of one member of a group.

A client becomes a member when its monitor of a member's channel begins. Its first update is the empty image; then
come the frames of its turns, each of them. Clients of one name share a link: each gets all frames of the member. A get
of such a channel, or only being connected to it, makes no member.
"""

import re
from collections.abc import Callable
from typing import Protocol

from ioc.channels.base import ImageLink
from ioc.channels.pva import MemberAddress, Membership
from ioc.channels.pva_images_channel import ServedChannel, Subscription
from ioc.channels.pva_wire_request import DistributorRequest, PvRequest
from ioc.core.errors import RefusedError

Make = Callable[[str], ServedChannel]
"""Returns a new link of a member of a name."""


class Groups(Protocol):
    """The groups of a channel, as clients that ask for their turns see them; every call must return at once."""

    def check(self, request: DistributorRequest) -> None:
        """Look whether such a client may join.

        Raises:
            RefusedError: it may not; the message is shown to the client.
        """
        ...

    def joined(self, request: DistributorRequest, link: ImageLink) -> None:
        """Take a client that begins to monitor; `check` was asked just before."""
        ...

    def left(self, request: DistributorRequest, link: ImageLink) -> None:
        """Take notice that a client has gone, and its link with it."""
        ...


class Viewing:
    """A channel that everybody may monitor, or ask for turns of, where it has groups."""

    def __init__(self, channel: ServedChannel, groups: Groups | None, make: Make) -> None:
        self.channel = channel
        self._groups = groups
        self._make = make
        self.links: set[ServedChannel] = set()

    def check(self, request: PvRequest) -> None:
        wish = request.distributor
        if wish is None:
            return
        if self._groups is None:
            raise RefusedError(f"channel {self.channel.name}: it has no groups; ask for it without pydistributor")
        self._groups.check(wish)

    def limit(self, request: PvRequest) -> int | None:
        return request.queue_size if request.distributor is None else None

    def join(self, subscription: Subscription, request: PvRequest) -> None:
        wish = request.distributor
        if wish is None or self._groups is None:
            self.channel.join(subscription, request.replay)
            return
        self._groups.check(wish)
        link = self._make(self.channel.name)
        self.links.add(link)
        link.join(subscription)
        self._groups.joined(wish, link)

    def leave(self, subscription: Subscription, request: PvRequest) -> None:
        link = subscription.channel
        if link is None:
            return
        link.leave(subscription)
        if request.distributor is not None and self._groups is not None:
            self.links = {other for other in self.links if other is not link}
            self._groups.left(request.distributor, link)

    def close(self, drain: bool) -> None:
        """Close the channel and the links of its groups."""
        for link in (self.channel, *self.links):
            link.close(drain)

    def image(self) -> ServedChannel:
        return self.channel


class Members:
    """The channels of members under one prefix: there while they are admitted, a link each while it is monitored."""

    def __init__(self, prefix: str, membership: Membership, make: Make) -> None:
        """Prepare; the links of members are made when somebody monitors them."""
        self.membership = membership
        self._prefix = prefix
        self._make = make
        place = re.escape(prefix) + r"Dist([1-9]\d?):Set([1-9]\d?):Member([1-9]\d?)"
        self._pattern = re.compile(place + ":Image", re.ASCII)
        self._links: dict[MemberAddress, ServedChannel] = {}
        self.empty = make(f"{prefix}Dist*")

    def find(self, name: str) -> "Member | None":
        """Return the channel of a member by its full name, None if it is no member's or the member is not admitted."""
        match = self._pattern.fullmatch(name)
        if match is None:
            return None
        address = MemberAddress(*map(int, match.groups()))
        known = address in self._links or self.membership.admits(address)
        return Member(address, self) if known else None

    def links(self) -> list[ServedChannel]:
        """Return the links of the members that are there."""
        return list(self._links.values())

    def join(self, address: MemberAddress, subscription: Subscription) -> None:
        """Let a client share the link of a member, a new one for the first client.

        Raises:
            RefusedError: the member is not admitted.
        """
        link = self._links.get(address)
        if link is not None and link.alive():
            link.join(subscription)
            return
        name = address.channel(self._prefix)
        if not self.membership.admits(address):
            raise RefusedError(f"member channel {name}: there is no group in slot {address.slot}")
        link = self._links[address] = self._make(name)
        link.join(subscription)
        self.membership.joined(address, link)

    def leave(self, address: MemberAddress, subscription: Subscription) -> None:
        """Take a client from its link; the member is gone with its last client."""
        link = subscription.channel
        if link is None:
            return
        link.leave(subscription)
        if not link.watched and self._links.get(address) is link:
            del self._links[address]
            self.membership.left(address, link)

    def close(self, drain: bool) -> None:
        """Close all links."""
        for link in (*self._links.values(), self.empty):
            link.close(drain)
        self._links.clear()


class Member:
    """The channel of one member."""

    def __init__(self, address: MemberAddress, members: Members) -> None:
        self._address = address
        self._members = members

    def check(self, request: PvRequest) -> None:
        if request.distributor is not None:
            name = self._members.empty.name
            raise RefusedError(f"member channel {name}: its name is its place in the group; ask without pydistributor")

    def limit(self, request: PvRequest) -> int | None:
        return None

    def join(self, subscription: Subscription, request: PvRequest) -> None:
        self._members.join(self._address, subscription)

    def leave(self, subscription: Subscription, request: PvRequest) -> None:
        self._members.leave(self._address, subscription)

    def image(self) -> ServedChannel:
        return self._members.empty
