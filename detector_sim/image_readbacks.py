"""What the read-backs of the image parameters show: from what is served, so they are right before the first frame."""

from collections.abc import Mapping

from detector_sim.flow import Flow
from detector_sim.simulation_records import OTHER_SOURCE, PATTERNS, simulation_values
from ioc.core.config_detector import DetectorConfig
from ioc.core.frame import DataType
from ioc.records.areadetector import DIMENSIONS
from ioc.records.table import Value

LARGEST_INT = (1 << 31) - 1
MIRRORED = (
    *(f"ArraySize{axis}_RBV" for axis in ("0", "1", "2", "X", "Y", "Z", "")),
    *("NDimensions_RBV", "DataType_RBV", "ColorMode_RBV"),
)
"""Read-backs of the detector that the image channel repeats."""

Values = dict[str, Value]


def image(flow: Flow, config: DetectorConfig) -> Values:
    """Return size, type and place of what is served, with the demands that they differ from."""
    pairs = _pairs(flow, config)
    reads = _reads(flow, config)
    values = {f"cam1:{name}": value for name, value in pairs.items()}
    values |= {f"cam1:{name}_RBV": value for name, value in (pairs | reads).items()}
    values |= {f"Pva1:{name}": values[f"cam1:{name}"] for name in MIRRORED}
    for device in ("cam1", "Pva1"):
        values |= {f"{device}:ArraySize{axis}": values[f"cam1:ArraySize{axis}_RBV"] for axis in range(DIMENSIONS)}
    return values


def labels(put: Mapping[str, Value]) -> Values:
    """Return the read-backs of what was put and has no effect but to be shown, by the names of the demands."""
    values = {f"{name}_RBV": value for name, value in put.items()}
    if "cam1:Temperature" in put:
        values["cam1:TemperatureActual"] = put["cam1:Temperature"]
    if "cam1:ShutterControl" in put:
        values["cam1:ShutterStatus_RBV"] = put["cam1:ShutterControl"]
    return values


def _pairs(flow: Flow, config: DetectorConfig) -> Values:
    readout, shape = flow.store.readout, flow.store.shape
    values: Values = {
        "DataType": DataType.of(flow.store.dtype).value,
        "ColorMode": "RGB1" if len(shape) == 3 else "Mono",
        "SimMode": PATTERNS[config.source.pattern] if config.source.kind == "generated" else OTHER_SOURCE,
        "Reset": 0,
    }
    for letter, axis in (("X", readout.x), ("Y", readout.y)):
        values |= {
            f"Min{letter}": axis.first,
            f"Size{letter}": axis.size,
            f"Bin{letter}": axis.binning,
            f"Reverse{letter}": axis.reverse,
        }
    return values | simulation_values(config.simulation)


def _reads(flow: Flow, config: DetectorConfig) -> Values:
    shape, sensor = flow.store.shape, flow.store.readout.sensor
    planes = shape[2] if len(shape) == 3 else 0
    sizes = (planes, shape[1], shape[0]) if planes else (shape[1], shape[0], 0)
    codec, sent_bytes = flow.store.packed
    size_bytes = min(shape[0] * shape[1] * max(planes, 1) * flow.store.dtype.itemsize, LARGEST_INT)
    return {
        "MaxSizeX": sensor[1],
        "MaxSizeY": sensor[0],
        "NDimensions": len(shape),
        "ArraySizeX": shape[1],
        "ArraySizeY": shape[0],
        "ArraySizeZ": 0,  # simDetector's, also for RGB1: clients add the colours by themselves
        "ArraySize0": sizes[0],
        "ArraySize1": sizes[1],
        "ArraySize2": sizes[2],
        "ArraySize": size_bytes,
        "Codec": codec,
        "CompressedSize": min(sent_bytes, LARGEST_INT),
        "SourceKind": config.source.kind,
        "SourcePath": str(config.source.path or config.source.channel or ""),
    }
