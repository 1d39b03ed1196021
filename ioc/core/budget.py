"""How the memory budget of an appliance is divided among the places where frames wait.

Rule: a quarter is for copies that wait in the image channels of all consumers and ingresses together, whoever comes
first; a quarter, if there are ingresses, for what they put together and what waits there, in equal parts. A third
of what is left, if there is a chain, is for what its processes put out, in equal parts. The rest is the detector's
pool, where the frames of all members lie; each set of images takes at most half of it, so that another
one fits in while the frames of the last one are still on their way.
"""

from dataclasses import dataclass

CHANNELS_PART = NETWORK_PART = 4
"""One part in so many."""
CHAIN_PART = 3
"""One part in so many of what the image channels and the network leave."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The shares, bytes: of the detector's pool, of one ingress, of all image channels, of one giver in a chain."""

    pool: int
    ingress: int
    channels: int
    chain: int = 0

    @property
    def images(self) -> int:
        """Bytes that one set of images may take."""
        return self.pool // 2


def divide(total: int, ingresses: int, givers: int = 0) -> Budget:
    """Return the shares of `total` bytes for an appliance with so many ingresses and giving processes in chains."""
    channels = total // CHANNELS_PART
    network = total // NETWORK_PART if ingresses else 0
    left = total - channels - network
    chain = left // CHAIN_PART if givers else 0
    return Budget(left - chain, network // max(ingresses, 1), channels, chain // max(givers, 1))
