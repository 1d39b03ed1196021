"""Generated images: what each pattern promises, in every data type and both colour modes."""

import numpy as np
import pytest
from numpy.typing import NDArray

import detector_sim.generated
from detector_sim.counter import counter_of
from detector_sim.source import Source, open_source
from ioc.core.config_detector import DetectorConfig
from ioc.core.errors import ConfigError, RayfanBug
from ioc.core.frame import DataType

WIDTH, HEIGHT = 60, 40
ALL_TYPES = [member.value for member in DataType]
PATTERNS = ["peaks", "rings", "ramp", "counter"]


def make(pattern: str, data_type: str = "UInt8", **more: object) -> Source:
    """Open a small source of `pattern`."""
    settings = {"size": (WIDTH, HEIGHT), "data_type": data_type, **more}
    prepared = settings.pop("prepared", 4)
    source = {"pattern": pattern, "prepared": prepared}
    return open_source(DetectorConfig.model_validate({**settings, "source": source}))


def image(source: Source, index: int) -> NDArray:
    """Return one image in a fresh array."""
    out = np.empty(source.shape, source.dtype)
    source.fill(index, out)
    return out


@pytest.mark.parametrize("data_type", ALL_TYPES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_shape_and_type_are_those_asked_for(pattern: str, data_type: str) -> None:
    mono, rgb = make(pattern, data_type), make(pattern, data_type, color_mode="RGB1")
    assert (mono.shape, rgb.shape) == ((HEIGHT, WIDTH), (HEIGHT, WIDTH, 3))
    assert mono.dtype == rgb.dtype == np.dtype(data_type.lower())
    assert mono.count is None
    assert pattern in mono.describe()
    assert np.isfinite(image(mono, 0)).all()
    assert np.isfinite(image(rgb, 0)).all()


@pytest.mark.parametrize("data_type", ALL_TYPES)
@pytest.mark.parametrize("pattern", ["peaks", "rings"])
def test_prepared_images_differ_and_come_in_turn(pattern: str, data_type: str) -> None:
    source = make(pattern, data_type)
    assert source.period == 4
    images = [image(source, index) for index in range(8)]
    for index in range(4):
        np.testing.assert_array_equal(images[index], images[index + 4])
        for other in range(index):
            assert not np.array_equal(images[index], images[other])


@pytest.mark.parametrize("pattern", ["peaks", "rings"])
def test_the_same_configuration_makes_the_same_images(pattern: str) -> None:
    np.testing.assert_array_equal(image(make(pattern), 3), image(make(pattern), 3))


@pytest.mark.parametrize("data_type", ALL_TYPES)
@pytest.mark.parametrize("pattern", ["peaks", "rings"])
def test_counts_use_the_range_of_the_type_and_are_not_clipped(pattern: str, data_type: str) -> None:
    scale = detector_sim.generated.FULL_SCALE.get(DataType(data_type), detector_sim.generated.WIDE_FULL_SCALE)
    pixels = image(make(pattern, data_type), 0).astype(float)
    assert pixels.min() >= 0
    assert pixels.max() > 0.5 * scale
    highest = np.iinfo(data_type.lower()).max if "Int" in data_type else np.inf
    assert np.mean(pixels >= highest) < 0.01


def test_noise_is_that_of_counts() -> None:
    many = make("peaks", "UInt16", prepared=64, size=(64, 64))
    corner = np.array([image(many, index)[0, 0] for index in range(64)], float)  # background only
    assert 0.6 < corner.std() / np.sqrt(corner.mean()) < 1.5


def test_peaks_stand_on_a_grid_and_vary_in_height() -> None:
    source = make("peaks", "UInt16", size=(128, 64))
    first, second = image(source, 0).astype(float), image(source, 1).astype(float)
    centre, between = first[7:9, 7:9].mean(), first[0, 0]
    assert centre > 3 * between
    assert abs(centre - second[7:9, 7:9].mean()) > 5 * np.sqrt(centre)


def test_rings_have_a_dark_beamstop_and_look_the_same_in_all_directions() -> None:
    pixels = image(make("rings", "UInt16", size=(200, 200)), 0).astype(float)
    y, x = round(0.53 * 200), round(0.48 * 200)
    assert (pixels[y - 5 : y + 6, x - 5 : x + 6] == 0).all()
    right, left = pixels[y, x + 10 : x + 80], pixels[y, x - 79 : x - 9][::-1]
    down, up = pixels[y + 10 : y + 80, x], pixels[y - 79 : y - 9, x][::-1]
    brightest = [int(np.argmax(line)) for line in (right, left, down, up)]
    assert max(brightest) - min(brightest) <= 3


def test_rgb_channels_can_be_told_apart() -> None:
    red, green, blue = (image(make("peaks", "UInt16", color_mode="RGB1"), 0)[..., c].mean() for c in range(3))
    assert red > 1.2 * green > 1.2 * 1.2 * blue


@pytest.mark.parametrize("data_type", ALL_TYPES)
@pytest.mark.parametrize("index", [0, 1, 255, 256, 70_000])
def test_ramp_is_column_plus_row_plus_one_an_image(data_type: str, index: int) -> None:
    source = make("ramp", data_type)
    assert source.period is None
    y, x = np.indices((HEIGHT, WIDTH))
    expected = (x + y + index).astype(data_type.lower())  # NumPy wraps around, as areaDetector's simDetector does
    np.testing.assert_array_equal(image(source, index), expected)
    rgb = image(make("ramp", data_type, color_mode="RGB1"), index)
    for colour in range(3):
        np.testing.assert_array_equal(rgb[..., colour], expected)


@pytest.mark.parametrize("data_type", ALL_TYPES)
@pytest.mark.parametrize("index", [0, 1, 126, 254, 255, 2**16, 2**24, 2**53, 2**64 - 2])
def test_counter_carries_its_number_exactly(data_type: str, index: int) -> None:
    assert counter_of(image(make("counter", data_type), index)) == index + 1
    assert counter_of(image(make("counter", data_type, color_mode="RGB1"), index)) == index + 1


def test_counter_shows_its_number_in_every_pixel() -> None:
    pixels = image(make("counter", "UInt8"), 299)
    assert (pixels.reshape(-1)[8:] == 300 % 256).all()
    assert int.from_bytes(pixels.tobytes()[:8], "little") == 300


def test_counter_finds_a_torn_frame() -> None:
    pixels = image(make("counter"), 41)
    pixels[HEIGHT // 2 :] = image(make("counter"), 42)[HEIGHT // 2 :]
    with pytest.raises(ValueError, match=f"pixel {HEIGHT // 2 * WIDTH}: expected 42, found 43"):
        counter_of(pixels)


def test_counter_of_an_image_smaller_than_its_digits() -> None:
    assert counter_of(image(make("counter", size=(1, 1)), 299)) == 300 % 256


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 500), (65536, 3)])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_odd_sizes(pattern: str, size: tuple[int, int]) -> None:
    source = make(pattern, size=size)
    assert image(source, 5).shape == (size[1], size[0])


def test_images_that_do_not_fit_into_memory_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"detector\.source\.prepared: expected at most \d+ images of .* found 1024"):
        make("peaks", "Float64", size=(65536, 65536), prepared=1024)


def test_fill_after_close_is_a_bug() -> None:
    source = make("peaks")
    source.close()
    with pytest.raises(RayfanBug, match="image 7 after it was closed"):
        source.fill(7, np.empty(source.shape, source.dtype))
