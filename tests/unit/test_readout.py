"""What is read out of a sensor: region, binning, reversal."""

import numpy as np
import pytest

from detector_sim.image_controls import change_of
from detector_sim.readout import Readout, read_out
from detector_sim.source import open_source
from ioc.core.camera_config import ReadoutConfig
from ioc.core.config_detector import DetectorConfig
from ioc.core.errors import RefusedError

SENSOR = (6, 8)
IMAGE = np.arange(48, dtype=np.uint8).reshape(SENSOR)


def shown(**config: object) -> np.ndarray:
    readout = Readout.of(ReadoutConfig.model_validate(config), SENSOR)
    out = np.empty((readout.y.pixels, readout.x.pixels), np.uint8)
    readout.apply(IMAGE, out)
    return out


def detector(**config: object) -> DetectorConfig:
    return DetectorConfig.model_validate({"size": [8, 6], "source": {"pattern": "counter"}} | config)


def put(config: DetectorConfig, name: str, value: object) -> DetectorConfig:
    change = change_of(f"cam1:{name}")
    assert change is not None
    return change(config, value)  # type: ignore[arg-type]


def test_a_region_is_cut_out_in_pixels_of_the_sensor() -> None:
    np.testing.assert_array_equal(shown(offset=[2, 1], size=[3, 4]), IMAGE[1:5, 2:5])


def test_binned_pixels_are_summed_in_their_own_type_and_a_rest_is_left_out() -> None:
    expected = IMAGE[:6, :6].reshape(2, 3, 2, 3).sum(axis=(1, 3), dtype=np.uint8)
    np.testing.assert_array_equal(shown(binning=[3, 3]), expected)
    assert int(IMAGE[3:6, 3:6].sum()) > 255, "one of them wraps around"


def test_reversal_comes_last() -> None:
    found = shown(offset=[1, 0], size=[6, 6], binning=[2, 1], reverse=[True, True])
    expected = IMAGE[:, 1:7].reshape(6, 3, 2).sum(axis=2, dtype=np.uint8)[::-1, ::-1]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("config", "x", "y"),
    [
        ({"offset": [5, 0], "size": [8, 6]}, (5, 3, 1), (0, 6, 1)),
        ({"offset": [100, 100], "size": [4, 4]}, (7, 1, 1), (5, 1, 1)),
        ({"size": [2, 6], "binning": [3, 2]}, (0, 2, 2), (0, 6, 2)),
        ({}, (0, 8, 1), (0, 6, 1)),
    ],
)
def test_a_region_is_clamped_to_the_sensor(config: dict, x: tuple, y: tuple) -> None:
    readout = Readout.of(ReadoutConfig.model_validate(config), SENSOR)
    assert (readout.x.first, readout.x.size, readout.x.binning) == x
    assert (readout.y.first, readout.y.size, readout.y.binning) == y


def test_colours_stay_together() -> None:
    image = np.arange(6 * 8 * 3, dtype=np.uint16).reshape(6, 8, 3)
    out = np.empty((3, 4, 3), np.uint16)
    Readout.of(ReadoutConfig(binning=(2, 2)), SENSOR).apply(image, out)
    np.testing.assert_array_equal(out[..., 1], image[..., 1].reshape(3, 2, 4, 2).sum(axis=(1, 3)))


def test_a_source_behind_a_readout_has_its_shape_and_all_of_it_is_passed_on_as_it_is() -> None:
    config = detector(readout={"offset": [2, 1], "size": [4, 2]})
    region, readout = read_out(open_source(config), config.readout)
    assert (region.shape, readout.sensor) == ((2, 4), SENSOR)
    whole = open_source(detector())
    assert read_out(whole, ReadoutConfig())[0] is whole


def test_puts_change_one_thing_and_the_sensor_of_generated_images_grows() -> None:
    config = put(put(put(detector(), "MinX", 2), "SizeX", 4), "BinY", 2)
    assert (config.readout.offset, config.readout.binning, config.size) == ((2, 0), (1, 2), (8, 6))
    assert Readout.of(config.readout, SENSOR).x.size == 4
    assert Readout.of(config.readout, SENSOR).y.size == 6
    assert put(config, "SizeY", 20).size == (8, 20)


@pytest.mark.parametrize("name", ["SizeX", "BinX", "MinY", "ReverseX", "DataType", "SimMode"])
def test_a_foreign_detector_is_read_out_by_its_own_records(name: str) -> None:
    config = detector(source={"kind": "pva", "channel": "other:Pva1:Image"})
    value = {"DataType": "UInt8", "SimMode": "Peaks"}.get(name, 1)
    with pytest.raises(RefusedError, match="what the pva source has"):
        put(config, name, value)
