"""The records of areaDetector's simDetector: which images are made, and their parameters; names as there."""

from typing import Any

from ioc.core.camera_config import SimulationConfig
from ioc.records.table import Access, Kind, Limits, Record, Value

PATTERNS = {
    "sim_ramp": "LinearRamp",
    "sim_peaks": "Peaks",
    "sim_sine": "Sine",
    "sim_noise": "Offset&Noise",
    "peaks": "Rayfan peaks",
    "rings": "Rayfan rings",
    "ramp": "Rayfan ramp",
    "counter": "Rayfan counter",
}
"""Choices of SimMode: simDetector's in its order, then Rayfan's own; by pattern of the configuration."""
PATTERN_OF = {mode: pattern for pattern, mode in PATTERNS.items()}
OTHER_SOURCE = "Not simulated"

PAIR = Access.PAIR
OPERATIONS = ("Add", "Multiply")
PIXELS = Limits(1, 65536)
COUNT = Limits(0, 65535)
PEAK = (
    ("PeakStart", "Centre of the first peak in", Limits(), 1),
    ("PeakNum", "Peaks along", COUNT, 1),
    ("PeakStep", "Distance of peaks along", Limits(), 1),
    ("PeakWidth", "Sigma of a peak along", PIXELS, 10),
)
SINE = (
    ("Amplitude", "Amplitude of wave", "count"),
    ("Frequency", "Cycles an image of wave", ""),
    ("Phase", "Phase of wave", "deg"),
)


def _float(name: str, description: str, initial: float, unit: str = "") -> Record:
    return Record(name, Kind.FLOAT, description, PAIR, unit, 2, initial=initial)


SIMULATION = (
    Record("SimMode", Kind.ENUM, "Which images are made", PAIR, choices=(*PATTERNS.values(), OTHER_SOURCE)),
    _float("Gain", "Height of the images", 1.0),
    _float("GainX", "Slope along x", 1.0),
    _float("GainY", "Slope along y", 1.0),
    _float("GainRed", "Part of red in RGB1", 1.0),
    _float("GainGreen", "Part of green in RGB1", 1.0),
    _float("GainBlue", "Part of blue in RGB1", 1.0),
    _float("Offset", "Counts in every pixel", 0.0, "count"),
    _float("Noise", "Most counts that a pixel gets at random", 0.0, "count"),
    *(
        Record(name + axis, Kind.INT, f"{what} {axis.lower()}", PAIR, accepted=limits, initial=initial)
        for name, what, limits, initial in PEAK
        for axis in "XY"
    ),
    Record("PeakVariation", Kind.INT, "How much higher a peak may be", PAIR, "%", accepted=Limits(0, 10_000)),
    *(
        Record(f"{axis}SineOperation", Kind.ENUM, f"How waves along {axis.lower()} add", PAIR, choices=OPERATIONS)
        for axis in "XY"
    ),
    *(
        _float(f"{axis}Sine{number}{name}", f"{what} {number} along {axis.lower()}", 0.0, unit)
        for axis in "XY"
        for number in (1, 2)
        for name, what, unit in SINE
    ),
    Record("Reset", Kind.INT, "1: make the images anew", Access.PAIR, accepted=Limits(0, 1)),
)


Place = tuple[str | int, ...]

PLACES: dict[str, Place] = {
    "Gain": ("gain",),
    "GainX": ("gain_xy", 0),
    "GainY": ("gain_xy", 1),
    "GainRed": ("gain_rgb", 0),
    "GainGreen": ("gain_rgb", 1),
    "GainBlue": ("gain_rgb", 2),
    "Offset": ("offset",),
    "Noise": ("noise",),
    "PeakVariation": ("peak_variation",),
    "XSineOperation": ("x_operation",),
    "YSineOperation": ("y_operation",),
    **{
        f"Peak{name}{axis}": (f"peak_{key}", at)
        for name, key in (("Start", "start"), ("Num", "number"), ("Step", "step"), ("Width", "width"))
        for at, axis in enumerate("XY")
    },
    **{
        f"{axis}Sine{number + 1}{name}": (f"{axis.lower()}_sines", number, name.lower())
        for axis in "XY"
        for number in (0, 1)
        for name, _, _ in SINE
    },
}
"""Where the parameter of a record stands in a dumped SimulationConfig."""


def simulation_values(simulation: SimulationConfig) -> dict[str, Value]:
    """Return what the records of the parameters show, by name without `_RBV`."""
    tree = simulation.model_dump()
    values: dict[str, Value] = {}
    for name, place in PLACES.items():
        found: Any = tree
        for step in place:
            found = found[step]
        values[name] = found
    return values


def changed_simulation(simulation: SimulationConfig, name: str, value: Value) -> SimulationConfig:
    """Return the parameters with that of one record changed.

    Raises:
        KeyError: no parameter has that name.
    """
    return SimulationConfig.model_validate(_put(simulation.model_dump(), PLACES[name], value))


def _put(tree: Any, place: Place, value: Value) -> Any:
    if not place:
        return value
    step, *rest = place
    if isinstance(tree, dict):
        return tree | {step: _put(tree[step], tuple(rest), value)}
    return tuple(_put(one, tuple(rest), value) if at == step else one for at, one in enumerate(tree))
