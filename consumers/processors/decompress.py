"""Processor `decompress`: gives frames their pixels back, whichever codec packed them."""

from consumers.processor import Metadata, Processor, Statistic
from ioc.channels.compression import decompress
from ioc.core.compressed import codec_of, unpacked
from ioc.core.errors import ProtocolError
from ioc.core.frame import Frame


class Decompress(Processor):
    """Returns frames with pixels; those that were not compressed as they came. A damaged one counts as failed."""

    declared_statistics = (
        Statistic("Unpacked", int, unit="frame", description="Frames that were compressed"),
        Statistic("Damaged", int, unit="frame", description="Frames that could not be unpacked"),
    )

    def __init__(self) -> None:
        self.reset()

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        try:
            codec = codec_of(frame)
            if codec is None:
                return frame
            pixels = decompress(codec, frame.data.reshape(-1))
        except ProtocolError:
            self._damaged += 1
            self.report(Damaged=self._damaged)
            raise
        self._unpacked += 1
        self.report(Unpacked=self._unpacked)
        return unpacked(frame, pixels)

    def reset(self) -> None:
        self._unpacked = self._damaged = 0
        self.report(Unpacked=0, Damaged=0)
