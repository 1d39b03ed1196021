"""A served image channel that is also seen in shared memory, by viewers on the same host."""

from collections.abc import Sequence
from typing import Self

from ioc.channels.base import Accepted
from ioc.channels.local_views import Views
from ioc.channels.pva_images_channel import ServedChannel
from ioc.core.frame import Item


class ShownChannel(ServedChannel):
    """Gives every frame to its viewers, too, on the thread that publishes; `seen_by` says who they are."""

    views: Views

    def seen_by(self, views: Views) -> Self:
        """Show the channel to viewers from now on; before the first frame."""
        self.views = views
        return self

    @property
    def watched(self) -> bool:
        """Return whether a client monitors this channel, or views it."""
        return bool(self._subscriptions) or self.views.watched

    def publish(self, items: Sequence[Item]) -> Accepted:
        accepted = super().publish(items)
        self.views.give(items[: accepted.count])
        return accepted
