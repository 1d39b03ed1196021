"""Processor `encrypt`: seals every frame, pixels and attributes, with AES-256-GCM."""

from collections.abc import Mapping

from consumers.key_ring import KeyRing
from consumers.processor import Metadata, Processor, Setting, Statistic, Value
from consumers.sealed_frame import seal_frame
from consumers.sealing import Sealer
from ioc.core.clock import Clock, SystemClock
from ioc.core.errors import RefusedError
from ioc.core.frame import Frame

LOOK_NS = 1_000_000_000
"""How often the key file is looked at for a new first key."""


class Encrypt(Processor):
    """Returns sealed frames under the first key of the ring; a new first key is taken within a second."""

    declared_settings = (Setting("KeyFile", "", description="Keys, mode 0600; empty: RAYFAN_KEYS"),)
    declared_statistics = (
        Statistic("Sealed", int, unit="frame", description="Frames sealed"),
        Statistic("Key", str, description="Name of the key in use"),
        Statistic("KeyFault", str, description="Why a changed key file is not used"),
    )
    clock: Clock = SystemClock()

    def __init__(self) -> None:
        self._looked_ns = 0
        self.reset()

    def configure(self, settings: Mapping[str, Value]) -> None:
        self._ring = KeyRing.named(str(settings["KeyFile"]))
        self._take_first()
        self.settings = settings

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        now = self.clock.monotonic_ns()
        if now - self._looked_ns >= LOOK_NS:
            self._looked_ns = now
            self._look()
        found = seal_frame(frame, self._sealer)
        self._sealed += 1
        self.report(Sealed=self._sealed)
        return found

    def _look(self) -> None:
        try:
            if self._ring.look():
                self._take_first()
        except RefusedError as error:  # the keys that are in use stay good
            self.report(KeyFault=str(error))

    def _take_first(self) -> None:
        self._sealer = Sealer(self._ring.keys[0])
        self.report(Key=self._sealer.key.name, KeyFault="")

    def reset(self) -> None:
        self._sealed = 0
        self.report(Sealed=0)
