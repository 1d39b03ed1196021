"""How the memory budget of an appliance is divided among the places where frames wait.

Rule: a quarter is for copies that wait in the image channels of all consumers and ingresses together, whoever comes
first; a quarter, if there are ingresses, for what they put together and what waits there, in equal parts. The rest is
the detector's pool, where the frames of all members lie; each set of images takes at most half of it, so that another
one fits in while the frames of the last one are still on their way.
"""

from dataclasses import dataclass

CHANNELS_PART = NETWORK_PART = 4
"""One part in so many."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The shares, bytes: of the detector's pool, of one ingress, of the image channels of all processes."""

    pool: int
    ingress: int
    channels: int

    @property
    def images(self) -> int:
        """Bytes that one set of images may take."""
        return self.pool // 2


def divide(total: int, ingresses: int) -> Budget:
    """Return the shares of `total` bytes for an appliance with so many ingresses."""
    channels = total // CHANNELS_PART
    network = total // NETWORK_PART if ingresses else 0
    return Budget(total - channels - network, network // max(ingresses, 1), channels)
