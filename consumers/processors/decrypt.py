"""Processor `decrypt`: opens frames that `encrypt` sealed and refuses every other one."""

from collections.abc import Mapping

from consumers.key_ring import KeyRing
from consumers.processor import Metadata, Processor, Setting, Statistic, Value
from consumers.sealed_frame import open_frame
from consumers.sealing import Opener, UnknownKeyError
from ioc.core.errors import ProtocolError, RefusedError
from ioc.core.frame import Frame


class Decrypt(Processor):
    """Returns frames as they were before they were sealed. One that was altered, or is not sealed, counts as failed.

    A frame under an unknown key makes it read its key file again, so keys can be added while frames flow.
    """

    declared_settings = (Setting("KeyFile", "", description="Keys, mode 0600; empty: RAYFAN_KEYS"),)
    declared_statistics = (
        Statistic("Opened", int, unit="frame", description="Frames opened"),
        Statistic("Refused", int, unit="frame", description="Frames altered, or of unknown key"),
        Statistic("KeyFault", str, description="Why a changed key file is not used"),
    )

    def __init__(self) -> None:
        self.reset()

    def configure(self, settings: Mapping[str, Value]) -> None:
        self._ring = KeyRing.named(str(settings["KeyFile"]))
        self._take_all()
        self.settings = settings

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        try:
            found = self._open(frame)
        except ProtocolError:
            self._refused += 1
            self.report(Refused=self._refused)
            raise
        self._opened += 1
        self.report(Opened=self._opened)
        return found

    def _open(self, frame: Frame) -> Frame:
        try:
            return open_frame(frame, self._opener)
        except UnknownKeyError:
            if not self._look():
                raise
        return open_frame(frame, self._opener)

    def _look(self) -> bool:
        try:
            changed = self._ring.look()
        except RefusedError as error:  # the keys that are in use stay good
            self.report(KeyFault=str(error))
            return False
        if changed:
            self._take_all()
        return changed

    def _take_all(self) -> None:
        self._opener = Opener({key.id: key for key in self._ring.keys})
        self.report(KeyFault="")

    def reset(self) -> None:
        self._opened = self._refused = 0
        self.report(Opened=0, Refused=0)
