"""simDetector's images, against its documented formulas."""

from typing import Any

import numpy as np
import pytest

from detector_sim.image_controls import CHANGES
from detector_sim.simulation import wrapped
from detector_sim.simulation_records import PATTERNS, PLACES, SIMULATION, changed_simulation, simulation_values
from detector_sim.source import open_source
from ioc.core.camera_config import SimulationConfig
from ioc.core.config_detector import DetectorConfig

WIDTH, HEIGHT = 24, 20
X, Y = np.arange(WIDTH), np.arange(HEIGHT)[:, None]


def image(
    pattern: str, index: int = 0, data_type: str = "Float64", color: str = "Mono", **simulation: Any
) -> np.ndarray:
    config = {"size": [WIDTH, HEIGHT], "data_type": data_type, "color_mode": color, "simulation": simulation}
    source = open_source(DetectorConfig.model_validate({**config, "source": {"pattern": pattern}}))
    out = np.full(source.shape, 99, source.dtype)
    source.fill(index, out)
    return out


def test_a_ramp_has_its_slopes_and_grows_by_the_gain() -> None:
    ramp: dict[str, Any] = {"gain": 2.0, "gain_xy": [3.0, 5.0]}
    np.testing.assert_array_equal(image("sim_ramp", **ramp), 2 * (3 * X + 5 * Y))
    np.testing.assert_array_equal(image("sim_ramp", 7, **ramp), 2 * (3 * X + 5 * Y) + 14)


def test_a_ramp_of_small_integers_wraps_around() -> None:
    expected = (3 * X + 5 * Y + 1000).astype(np.uint8)
    np.testing.assert_array_equal(image("sim_ramp", 1000, "UInt8", gain_xy=[3.0, 5.0]), expected)


def test_a_ramp_has_a_gain_a_colour() -> None:
    found = image("sim_ramp", 2, "UInt16", "RGB1", gain_rgb=[1.0, 2.0, 3.0])
    for at in range(3):
        np.testing.assert_array_equal(found[..., at], (at + 1) * (X + Y) + 2 * (at + 1))


def test_peaks_are_gaussians_on_a_grid() -> None:
    peaks: dict[str, Any] = {"peak_start": [6, 5], "peak_number": [2, 1], "peak_step": [12, 9], "peak_width": [2, 3]}
    found = image("sim_peaks", gain=100.0, **peaks)
    assert found[5, 6] == pytest.approx(100.0, abs=0.01)
    assert found[5, 18] == pytest.approx(100.0, abs=0.01)
    assert found[5, 8] == pytest.approx(100 * np.exp(-0.5), abs=0.01)
    assert found[8, 6] == pytest.approx(100 * np.exp(-0.5), abs=0.01)
    assert found[19, 23] == 0.0, "farther than four sigmas"


def test_peaks_differ_by_their_variation() -> None:
    peaks: dict[str, Any] = {"peak_start": [6, 5], "peak_number": [2, 1], "peak_step": [12, 9], "peak_width": [2, 3]}
    found = image("sim_peaks", gain=100.0, peak_variation=50, **peaks)
    assert 101 <= found[5, 6] <= 150.1 and 101 <= found[5, 18] <= 150.1


@pytest.mark.parametrize(("operation", "index"), [("Add", 0), ("Multiply", 0), ("Add", 3)])
def test_sines_go_on_from_image_to_image(operation: str, index: int) -> None:
    waves = [
        {"amplitude": 2.0, "frequency": 1.5, "phase": 30.0},
        {"amplitude": 3.0, "frequency": 0.25, "phase": 0.0},
    ]
    found = image("sim_sine", index, gain=2.0, x_sines=waves, y_sines=waves, x_operation=operation)

    def wave(one: dict, pixel: np.ndarray, length: int) -> np.ndarray:
        cycles = (index * length + pixel) / length * one["frequency"] + one["phase"] / 360
        return one["amplitude"] * np.sin(2 * np.pi * cycles)

    along_x, along_y = ([wave(one, *axis) for one in waves] for axis in ((X, WIDTH), (Y, HEIGHT)))
    x = along_x[0] + along_x[1] if operation == "Add" else along_x[0] * along_x[1]
    np.testing.assert_allclose(found, 2 * (x + along_y[0] + along_y[1]))


@pytest.mark.parametrize("pattern", ["sim_ramp", "sim_peaks", "sim_sine", "sim_noise"])
def test_every_mode_has_the_background(pattern: str) -> None:
    plain, raised = image(pattern), image(pattern, offset=7.0)
    np.testing.assert_allclose(raised, plain + 7)
    noisy = image(pattern, offset=7.0, noise=5.0) - plain
    assert noisy.min() >= 7 and noisy.max() <= 12 and len(np.unique(noisy.round(6))) > WIDTH


def test_noise_is_read_from_another_start_in_each_image() -> None:
    config = DetectorConfig.model_validate({"source": {"pattern": "sim_noise"}, "simulation": {"noise": 100.0}})
    source = open_source(config)
    first, second = (np.empty(source.shape, source.dtype) for _ in range(2))
    source.fill(0, first)
    source.fill(1, second)
    assert (first != second).any()
    np.testing.assert_array_equal(np.sort(first.ravel()), np.sort(second.ravel()))


def test_numbers_are_cut_towards_zero_and_wrap_around_in_integers() -> None:
    numbers = np.array([-1.0, -0.9, 1.9, 256.0, -257.5, 2.0**63, 2.0**64 + 4096])
    np.testing.assert_array_equal(wrapped(numbers, np.dtype(np.uint8)), [255, 0, 1, 0, 255, 0, 0])
    assert wrapped(np.array([2.0**63]), np.dtype(np.uint64))[0] == 2**63


def test_every_parameter_has_a_record_and_every_record_a_parameter() -> None:
    names = {one.name for one in SIMULATION} - {"SimMode", "Reset"}
    assert names == set(PLACES) == set(simulation_values(SimulationConfig()))
    assert names | {"SimMode", "Reset"} <= set(CHANGES)
    assert list(PATTERNS.values())[:4] == ["LinearRamp", "Peaks", "Sine", "Offset&Noise"]


@pytest.mark.parametrize("name", sorted(PLACES))
def test_a_parameter_is_changed_alone(name: str) -> None:
    before = simulation_values(SimulationConfig())
    value = "Multiply" if name.endswith("Operation") else 17
    after = simulation_values(changed_simulation(SimulationConfig(), name, value))
    assert after == before | {name: value}
