"""`Codec1:`, areaDetector's NDPluginCodec: compresses or decompresses each frame.

A frame that cannot be is put out as it came, and `CodecStatus` and `CodecError` say why (ADCore, NDPluginCodec.cpp).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from consumers.plugins.plugin import Outputs, Plugin, Surroundings
from ioc.core.compressed import codec_of, packed, unpacked
from ioc.core.errors import ProtocolError, RefusedError, mismatch
from ioc.core.frame import Frame
from ioc.records.areadetector import PATH_SIZE
from ioc.records.table import Access, Kind, Limits, Record, Severity, Value

PAIR, INT, ENUM = Access.PAIR, Kind.INT, Kind.ENUM
COMPRESSORS: Mapping[str, str | None] = {
    "None": "",
    "JPEG": None,
    "Zlib": "zlib",
    "Blosc": "blosc",
    "LZ4": "lz4",
    "LZ4HDF5": "lz4hdf5",
    "BSLZ4": "bslz4",
}
"""Rayfan's codec for each choice of Compressor; None: it is refused."""
BLOSC: Mapping[str, str | None] = {
    "BloscLZ": "blosclz",
    "LZ4": "lz4",
    "LZ4HC": "lz4hc",
    "SNAPPY": None,
    "ZLIB": "zlib",
    "ZSTD": "zstd",
}
"""Blosc's own name for each choice of BloscCompressor; None: it is refused."""
STATES = ("Success", "Warning", "Error")
LEVEL = Limits(0, 9)
CODEC_RECORDS = (
    Record("Mode", ENUM, "What is done with frames", PAIR, choices=("Compress", "Decompress")),
    Record("Compressor", ENUM, "How frames are compressed", PAIR, choices=tuple(COMPRESSORS)),
    Record("CompFactor", Kind.FLOAT, "Bytes of pixels over bytes compressed", precision=2, initial=1.0),
    Record("JPEGQuality", INT, "Of JPEG, which is not served", PAIR, accepted=Limits(1, 100), initial=85),
    Record("ZlibCLevel", INT, "Level of zlib", PAIR, accepted=LEVEL, initial=6),
    Record("BloscCompressor", ENUM, "Compressor of Blosc", PAIR, choices=tuple(BLOSC)),
    Record("BloscCLevel", INT, "Level of Blosc", PAIR, accepted=LEVEL, initial=3),
    Record("BloscShuffle", ENUM, "Shuffle of Blosc", PAIR, choices=("None", "Byte", "Bit")),
    Record("BloscNumThreads", INT, "Threads of Blosc", PAIR, accepted=Limits(1, 1), initial=1),
    Record("LZ4HDF5BlockSize", INT, "Bytes of a block of LZ4HDF5, 0: one", PAIR, "byte", accepted=Limits(0)),
    Record(
        "CodecStatus",
        ENUM,
        "What became of the newest frame",
        Access.SHOWN,
        choices=STATES,
        severities=(Severity.NO_ALARM, Severity.MINOR, Severity.MAJOR),
    ),
    Record("CodecError", Kind.STRING, "Why, empty: all went well", Access.SHOWN, size=PATH_SIZE),
)


class CodecPlugin(Plugin):
    """Puts out the frame compressed, or with its pixels again."""

    kind = "NDPluginCodec"
    takes_compressed = True

    def __init__(self, name: str, table: Sequence[Record], around: Surroundings) -> None:
        super().__init__(name, table, around)
        self._status: dict[str, Value] = {"CodecStatus": "Success", "CodecError": "", "CompFactor_RBV": 1.0}

    def work(self, frame: Frame) -> Outputs:
        try:
            found = self._compressed(frame) if self.chosen["Mode"] == "Compress" else self._pixels(frame)
        except (ProtocolError, RefusedError) as error:
            self._say("Error", str(error))
            return (frame,)
        return (found,)

    def accept(self, field: str, value: Value) -> Outputs:
        served = {"Compressor": COMPRESSORS, "BloscCompressor": BLOSC}.get(field)
        if served is not None and served[str(value)] is None:
            choices = ", ".join(name for name, codec in served.items() if codec is not None)
            raise RefusedError(
                mismatch(f"{self.name}:{field}", f"one of {choices}", value, "the others are not served")
            )
        if field in ("Mode", "Compressor") and value != "None":
            _check_installed()
        return super().accept(field, value)

    def values(self) -> dict[str, Value]:
        return {**super().values(), **self._status}

    def _compressed(self, frame: Frame) -> Frame:
        from ioc.channels.compression import Options, compress

        codec = codec_of(frame)
        if codec is not None:
            self._say("Warning", f"the frame is compressed already, with {codec.name}")
            return frame
        name = COMPRESSORS[str(self.chosen["Compressor"])]
        if not name or not frame.data.size:
            self._say("Success")
            return frame
        inner = BLOSC[str(self.chosen["BloscCompressor"])] or ""
        level = int(self.chosen["ZlibCLevel" if name == "zlib" else "BloscCLevel"])
        shuffle, block = str(self.chosen["BloscShuffle"]).lower(), int(self.chosen["LZ4HDF5BlockSize"])
        options = Options(level, inner, shuffle, block)
        found = packed(frame, name, compress(name, np.ascontiguousarray(frame.data), options))
        self._say("Success", factor=frame.data.nbytes / found.data.nbytes)
        return found

    def _pixels(self, frame: Frame) -> Frame:
        from ioc.channels.compression import decompress

        codec = codec_of(frame)
        if codec is None:
            self._say("Success")
            return frame
        found = unpacked(frame, decompress(codec, frame.data.reshape(-1)))
        self._say("Success", factor=found.data.nbytes / frame.data.nbytes)
        return found

    def _say(self, status: str, error: str = "", factor: float = 1.0) -> None:
        self._status = {"CodecStatus": status, "CodecError": error, "CompFactor_RBV": factor}


def _check_installed() -> None:
    try:
        import ioc.channels.compression  # noqa: F401 - what it needs is an extra, which may not be installed
    except ImportError as error:
        raise RefusedError(
            mismatch("Compressor", "the codecs' libraries", f"{error}", "pip install 'rayfan[compress]'")
        ) from None
