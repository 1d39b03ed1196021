"""The newest frame of an image channel, when somebody wants to see it: by a get, which its owner hardly feels.

A monitor would make its server queue and send every frame, and count those that we are too slow for; a get is answered
from the newest one alone, and no account changes.
"""

from dataclasses import dataclass

from p4p import Value
from p4p.client.raw import RemoteError
from p4p.client.thread import Context

from ioc.channels.ntndarray import from_value, is_empty
from ioc.core.errors import PeerError
from ioc.core.frame import Frame

IDENTITY = "field(uniqueId,timeStamp)"
"""A request for what tells one frame from another, without its pixels."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which frame it is: `stamp_ns` since 1970."""

    unique_id: int
    stamp_ns: int


class Snapshots:
    """Gets frames by name; may be used by several threads."""

    def __init__(self, timeout: float = 2.0) -> None:
        """Prepare; `timeout` is the s that a server has to answer."""
        self._timeout = timeout
        self._context = Context("pva", nt=False)

    def identity(self, name: str) -> Identity:
        """Return which frame is the newest.

        Raises:
            PeerError: nobody answers in time, or with something else than an image.
        """
        value = self._get(name, IDENTITY)
        try:
            seconds, nanoseconds = value["timeStamp.secondsPastEpoch"], value["timeStamp.nanoseconds"]
            return Identity(value["uniqueId"], seconds * 1_000_000_000 + nanoseconds)
        except (KeyError, TypeError) as error:
            raise PeerError(f"{name}: expected an image, found a structure without {error}") from None

    def fetch(self, name: str) -> Frame | None:
        """Return the newest frame, packed if a codec packed it; None before the first one.

        Raises:
            PeerError: nobody answers in time, or with an image that cannot be shown.
        """
        value = self._get(name, None)
        return None if is_empty(value) else from_value(value, compressed=True)

    def close(self) -> None:
        """Let go of the connections."""
        self._context.close()

    def _get(self, name: str, request: str | None) -> Value:
        try:
            found = self._context.get(name, request=request, timeout=self._timeout)
        except TimeoutError:
            raise PeerError(f"{name}: no answer within {self._timeout:g} s") from None
        except RemoteError as error:
            raise PeerError(f"{name}: {error}") from None
        assert isinstance(found, Value)  # one name was asked for, without conversion
        return found
