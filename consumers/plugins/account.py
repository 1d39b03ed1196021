"""What a plug-in counts, and what its records say of the frames that come in."""

from dataclasses import dataclass

from ioc.core.compressed import Codec, codec_of
from ioc.core.frame import DataType, Frame
from ioc.records.table import Value

EPICS_EPOCH_NS = 631_152_000 * 10**9


@dataclass(slots=True)
class Account:
    """What a plug-in counts; writable by its records, as in areaDetector."""

    arrays: int = 0
    dropped: int = 0
    dropped_outputs: int = 0
    disordered: int = 0
    failed: int = 0


COUNTERS = {
    "ArrayCounter": "arrays",
    "DroppedArrays": "dropped",
    "DroppedOutputArrays": "dropped_outputs",
    "DisorderedArrays": "disordered",
}
"""Records of counters, and their places in an Account."""


def facts(frame: Frame) -> dict[str, Value]:
    """Return what NDArrayBase shows of a frame that came in, by name of the record."""
    codec = codec_of(frame) or Codec("", frame.data.shape, DataType.of(frame.data.dtype))
    shape = codec.shape
    lengths = (*shape[::-1], 0)[:3]
    stamp = max(0, frame.timestamp_ns - EPICS_EPOCH_NS)
    return {
        **{f"ArraySize{axis}": length for axis, length in enumerate(lengths)},
        **{f"ArraySize{axis}_RBV": length for axis, length in enumerate(lengths)},
        "NDimensions_RBV": len(shape),
        "ArraySizeX_RBV": shape[1],
        "ArraySizeY_RBV": shape[0],
        "ArraySizeZ_RBV": shape[2] if len(shape) == 3 else 0,
        "ArraySize_RBV": codec.nbytes,
        "Codec_RBV": codec.name,
        "CompressedSize_RBV": frame.data.nbytes,
        "DataType_RBV": codec.data_type.value,
        "ColorMode_RBV": "RGB1" if len(shape) == 3 else "Mono",
        "UniqueId_RBV": frame.unique_id,
        "TimeStamp_RBV": stamp / 1e9,
        "EpicsTSSec_RBV": stamp // 10**9,
        "EpicsTSNsec_RBV": stamp % 10**9,
    }


def out_of_order(before: Frame, frame: Frame) -> bool:
    """Return whether a frame is neither the one before nor the next one of its series (endProcessCallbacks)."""
    return frame.series == before.series and frame.unique_id - before.unique_id not in (0, 1)
