"""Groups that PVA clients join by request, as the image server asks for them."""

import logging
from concurrent.futures import Future

from detector_sim.flow import Flow
from ioc.channels.acknowledged import AcknowledgedLink
from ioc.channels.base import ImageLink
from ioc.channels.pva_wire_request import DistributorRequest
from ioc.distributor.requests import RequestBook, Wish
from ioc.distributor.seat import Seat

log = logging.getLogger(__name__)


class Requested:
    """Lets PVA clients join groups by request; implements pva_images_members.Groups, on the image server's thread."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._book = RequestBook()

    def check(self, request: DistributorRequest) -> None:
        """Look whether a client may join; raises RefusedError."""
        self._book.check(_wish(request), self._flow.snapshot.groups)

    def joined(self, request: DistributorRequest, link: ImageLink) -> None:
        """Hand the client to the flow; if that has to refuse it after all, its channel is closed."""
        wish = _wish(request)
        self._book.enter(wish)
        outer = AcknowledgedLink(link, self._flow.wake)

        def refused(joining: "Future[Seat]") -> None:
            if joining.exception() is not None:
                log.warning("a client of group %s may not join: %s", wish.group, joining.exception())
                link.close(drain=False)

        self._flow.submit(lambda: self._flow.distributor.join_by_request(wish, outer)).add_done_callback(refused)

    def left(self, request: DistributorRequest, link: ImageLink) -> None:
        """Note it; the flow sees that the link is not alive."""
        self._book.leave(_wish(request))


def _wish(request: DistributorRequest) -> Wish:
    return Wish(request.group, request.set, request.updates, request.trigger, request.mode)
