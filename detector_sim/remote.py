"""PVA clients as members of groups: by the channels that everybody may open, or with a session at the desk."""

import logging
from concurrent.futures import Future

from detector_sim.flow import Flow
from detector_sim.work_desk import WorkDesk
from ioc.channels.acknowledged import AcknowledgedLink
from ioc.channels.base import ImageLink
from ioc.channels.pva import MemberAddress
from ioc.core.config_group import MOST_MEMBERS

log = logging.getLogger(__name__)

IMAGE_SLOT = 0
"""The group of plain PVA clients of the image channel; it has no records, and no members by channels."""


class Remote:
    """Lets PVA clients join groups by the member channels; implements pva.Membership."""

    def __init__(self, flow: Flow, desk: WorkDesk | None = None) -> None:
        """Admit clients to the groups of `flow`; those with a session at the `desk` by an address of their own."""
        self._flow = flow
        self._desk = desk
        self._links: dict[MemberAddress, tuple[ImageLink, AcknowledgedLink]] = {}

    def link(self, address: MemberAddress) -> AcknowledgedLink | None:
        """Return the link of a member, None if it is not there; any thread may call."""
        known = self._links.get(address)
        return known[1] if known is not None else None

    def admits(self, address: MemberAddress) -> bool:
        """Return whether the slot has a group: a client may join any set of it, beside local members too."""
        if address.member > MOST_MEMBERS:
            return self._desk is not None and self._desk.admits(address)
        group = next((group for group in self._flow.snapshot.groups if group.slot == address.slot), None)
        return group is not None and address.slot != IMAGE_SLOT

    def joined(self, address: MemberAddress, link: ImageLink) -> None:
        """Hand the member to the flow."""
        if address.member > MOST_MEMBERS:
            self._joined_with_session(address, link)
            return
        name = f"Set{address.set}Member{address.member}"
        outer = AcknowledgedLink(link, self._flow.wake)
        self._links[address] = (link, outer)
        self._flow.submit(lambda: self._flow.distributor.join_remote(address.slot, address.set, name, outer))

    def left(self, address: MemberAddress, link: ImageLink) -> None:
        """Forget the member; the flow sees that the link is not alive."""
        known = self._links.get(address)
        if known is not None and known[0] is link:
            del self._links[address]

    def _joined_with_session(self, address: MemberAddress, inner: ImageLink) -> None:
        desk = self._desk
        found = desk.link(address, inner) if desk is not None else None
        if desk is None or found is None:
            inner.close(drain=False)
            return
        link, session = found

        def refused(seated: "Future[None]") -> None:
            if seated.exception() is not None:
                log.warning("%s may not join: %s", session.name, seated.exception())
                link.close(drain=False)

        self._flow.submit(lambda: desk.seat(session, link)).add_done_callback(refused)
