"""Processor `compress`: packs the pixels of every frame, as areaDetector's NDPluginCodec does."""

import numpy as np

from consumers.processor import Metadata, Processor, Setting, Statistic
from ioc.channels.compression import BLOSC_COMPRESSORS, Options, compress
from ioc.core.compressed import CODECS, codec_of, packed
from ioc.core.errors import InputError, mismatch
from ioc.core.frame import Frame


class Compress(Processor):
    """Returns frames whose bytes are those of a codec; their NTNDArray has `codec`, which stock clients unpack."""

    declared_settings = (
        Setting("Codec", "lz4", choices=CODECS, description="How to pack"),
        Setting("Level", 5, low=0, high=9, description="How hard to try (blosc, zlib, zstd)"),
        Setting("Compressor", "lz4", choices=BLOSC_COMPRESSORS, description="What blosc uses inside"),
        Setting("Shuffle", "byte", choices=("none", "byte", "bit"), description="What blosc does before"),
    )
    declared_statistics = (
        Statistic("Ratio", description="Bytes before over bytes after"),
        Statistic("BytesIn", int, unit="byte", description="Bytes of pixels"),
        Statistic("BytesOut", int, unit="byte", description="Bytes after compression"),
    )

    def __init__(self) -> None:
        self._bytes = [0, 0]

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        codec = codec_of(frame)
        if codec is not None:
            raise InputError(mismatch(f"frame {frame.unique_id}", "pixels", f"compressed with {codec.name}"))
        if not frame.data.size:
            return frame  # a frame without a pixel has nothing to pack
        chosen = self.settings
        options = Options(int(chosen["Level"]), str(chosen["Compressor"]), str(chosen["Shuffle"]))
        name = str(chosen["Codec"])
        found = packed(frame, name, compress(name, np.ascontiguousarray(frame.data), options))
        self._bytes[0] += frame.data.nbytes
        self._bytes[1] += found.data.nbytes
        self.report(Ratio=frame.data.nbytes / found.data.nbytes, BytesIn=self._bytes[0], BytesOut=self._bytes[1])
        return found

    def reset(self) -> None:
        self._bytes = [0, 0]
        super().reset()
