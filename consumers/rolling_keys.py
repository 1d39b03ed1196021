"""The keys of a key ring in use: a sealer of the first one, an opener of all; both follow a file that changes.

A new first key is taken within `LOOK_NS`. A message under an unknown key makes the opener read its file again. While
a changed file cannot be read, the keys that are in use stay good, and `fault` says why.
"""

from consumers.key_ring import KeyRing
from consumers.sealing import Opener, Sealer, UnknownKeyError
from ioc.core.clock import Clock
from ioc.core.errors import RefusedError

LOOK_NS = 1_000_000_000


class SealingKeys:
    """The sealer of the first key of a ring."""

    def __init__(self, ring: KeyRing, clock: Clock) -> None:
        self._ring = ring
        self._clock = clock
        self._looked_ns = clock.monotonic_ns()
        self._sealer = Sealer(ring.keys[0])
        self.fault = ""

    @property
    def name(self) -> str:
        """Name of the key that seals."""
        return self._sealer.key.name

    def sealer(self) -> Sealer:
        """Return the sealer to use now."""
        now = self._clock.monotonic_ns()
        if now - self._looked_ns >= LOOK_NS:
            self._looked_ns = now
            self._look()
        return self._sealer

    def _look(self) -> None:
        try:
            if self._ring.look():
                self._sealer = Sealer(self._ring.keys[0])
            self.fault = ""
        except RefusedError as error:
            self.fault = str(error)


class OpeningKeys:
    """The opener of all keys of a ring."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._opener = self._made()
        self.fault = ""

    def open_into(self, sealed: memoryview, context: bytes, room: memoryview) -> int:
        """Open as `Opener.open_into` does, with the keys that are in the file now.

        Raises:
            UnknownKeyError, ProtocolError: as there.
        """
        try:
            return self._opener.open_into(sealed, context, room)
        except UnknownKeyError:
            if not self._look():
                raise
        return self._opener.open_into(sealed, context, room)

    def _look(self) -> bool:
        try:
            changed = self._ring.look()
            self.fault = ""
        except RefusedError as error:
            self.fault = str(error)
            return False
        if changed:
            self._opener = self._made()
        return changed

    def _made(self) -> Opener:
        return Opener({key.id: key for key in self._ring.keys})
