"""What puts to the image parameters change: a detector's configuration in, the changed one out. Pure.

A region is in pixels of the sensor. The sensor of generated images is as large as it is asked to be: a `SizeX` beyond
it makes it larger. Of all others, as much as there is is read out, and the read-back says so.
"""

from collections.abc import Callable, Mapping
from functools import partial

from detector_sim.simulation_records import OTHER_SOURCE, PATTERN_OF, PLACES, changed_simulation
from ioc.core.config_detector import DetectorConfig
from ioc.core.errors import RefusedError, mismatch
from ioc.core.frame import DataType
from ioc.records.table import Value

Change = Callable[[DetectorConfig, Value], DetectorConfig]
DEVICE = "cam1:"


def change_of(name: str) -> Change | None:
    """Return what a put to the record `name` changes; None if it is no parameter of the images."""
    return CHANGES.get(name.removeprefix(DEVICE)) if name.startswith(DEVICE) else None


def _size(axis: int, config: DetectorConfig, value: Value) -> DetectorConfig:
    size = int(value)
    sensor = config.size
    if config.source.kind == "generated" and size > sensor[axis]:
        sensor = _put(sensor, axis, size)
        config = config.model_copy(update={"size": sensor})
    region = config.readout.size or (65536, 65536)
    return _readout(config, size=_put(region, axis, size))


def _offset(axis: int, config: DetectorConfig, value: Value) -> DetectorConfig:
    return _readout(config, offset=_put(config.readout.offset, axis, int(value)))


def _binning(axis: int, config: DetectorConfig, value: Value) -> DetectorConfig:
    return _readout(config, binning=_put(config.readout.binning, axis, int(value)))


def _reverse(axis: int, config: DetectorConfig, value: Value) -> DetectorConfig:
    return _readout(config, reverse=_put(config.readout.reverse, axis, bool(value)))


def _data_type(config: DetectorConfig, value: Value) -> DetectorConfig:
    return _generated(config, "DataType", value).model_copy(update={"data_type": DataType(value)})


def _color_mode(config: DetectorConfig, value: Value) -> DetectorConfig:
    if value not in ("Mono", "RGB1"):
        raise RefusedError(mismatch("cam1:ColorMode", "Mono or RGB1", value))
    return _generated(config, "ColorMode", value).model_copy(update={"color_mode": str(value)})


def _sim_mode(config: DetectorConfig, value: Value) -> DetectorConfig:
    if value == OTHER_SOURCE:
        raise RefusedError(mismatch("cam1:SimMode", "one of simDetector's modes or Rayfan's patterns", value))
    source = _generated(config, "SimMode", value).source.model_copy(update={"pattern": PATTERN_OF[str(value)]})
    return config.model_copy(update={"source": source})


def _simulation(name: str, config: DetectorConfig, value: Value) -> DetectorConfig:
    return config.model_copy(update={"simulation": changed_simulation(config.simulation, name, value)})


def _reset(config: DetectorConfig, _value: Value) -> DetectorConfig:
    return config


def _generated(config: DetectorConfig, name: str, value: Value) -> DetectorConfig:
    if config.source.kind != "generated":
        raise RefusedError(mismatch(DEVICE + name, f"what the {config.source.kind} source has", value))
    return config


def _readout(config: DetectorConfig, **changes: object) -> DetectorConfig:
    if config.source.kind == "pva":
        name, value = next(iter(changes.items()))
        raise RefusedError(mismatch(f"{DEVICE}{name}", "what the pva source has", value, "put to the foreign detector"))
    return config.model_copy(update={"readout": config.readout.model_copy(update=changes)})


def _put(pair: tuple, at: int, value: object) -> tuple:
    return (value, pair[1]) if at == 0 else (pair[0], value)


CHANGES: Mapping[str, Change] = {
    **{f"Min{axis}": partial(_offset, at) for at, axis in enumerate("XY")},
    **{f"Size{axis}": partial(_size, at) for at, axis in enumerate("XY")},
    **{f"Bin{axis}": partial(_binning, at) for at, axis in enumerate("XY")},
    **{f"Reverse{axis}": partial(_reverse, at) for at, axis in enumerate("XY")},
    "DataType": _data_type,
    "ColorMode": _color_mode,
    "SimMode": _sim_mode,
    "Reset": _reset,
    **{name: partial(_simulation, name) for name in PLACES},
}
