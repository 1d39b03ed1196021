"""Sources, whatever the size, type and number: what is written into a slot, and nothing beside it."""

import tempfile
from pathlib import Path

import h5py
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from consumers.processors.statistics import Statistics
from detector_sim.counter import counter_of
from detector_sim.source import open_source
from ioc.core.config_detector import DetectorConfig
from ioc.core.frame import DataType, Frame

DATA_TYPES = st.sampled_from(list(DataType))
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
PATTERNS = st.sampled_from(["peaks", "rings", "ramp", "counter"])
COLOURS = st.sampled_from(["Mono", "RGB1"])


@st.composite
def pixels(draw: st.DrawFn, images: bool = False) -> np.ndarray:
    """Return one image, or several, of any type and shape."""
    dtype = draw(DATA_TYPES).dtype
    shape = (*((draw(st.integers(1, 4)),) if images else ()), *draw(SIZES), *draw(st.sampled_from([(), (3,)])))
    if dtype.kind == "f":
        elements = st.floats(-1e6, 1e6, width=32).map(dtype.type)
    else:
        elements = st.integers(np.iinfo(dtype).min, np.iinfo(dtype).max)
    return draw(nps.arrays(dtype, shape, elements=elements))


@given(PATTERNS, DATA_TYPES, SIZES, COLOURS, st.integers(0, 2**40))
@settings(deadline=None, max_examples=60)
def test_fill_writes_all_of_the_slot_and_nothing_else(
    pattern: str, data_type: DataType, size: tuple[int, int], colour: str, index: int
) -> None:
    config = {"size": size, "data_type": data_type, "color_mode": colour}
    source = open_source(DetectorConfig.model_validate({**config, "source": {"pattern": pattern, "prepared": 2}}))
    memory = [np.full((3, *source.shape), guard, source.dtype) for guard in (77, 78)]
    for one in memory:
        source.fill(index, one[1])
    np.testing.assert_array_equal(memory[0][1], memory[1][1])  # whatever was there before is written over
    for guard, one in zip((77, 78), memory, strict=True):
        assert (one[[0, 2]] == guard).all()


@given(DATA_TYPES, st.integers(0, 2**64 - 2))
@settings(deadline=None)
def test_a_counter_is_read_back(data_type: DataType, index: int) -> None:
    source = open_source(
        DetectorConfig.model_validate({"size": (5, 4), "data_type": data_type, "source": {"pattern": "counter"}})
    )
    out = np.empty(source.shape, source.dtype)
    source.fill(index, out)
    assert counter_of(out) == index + 1


@given(pixels(images=True), st.sampled_from([".h5", ".npy"]), st.booleans(), st.integers(0, 100))
@settings(deadline=None, max_examples=60)
def test_what_was_written_is_replayed(frames: np.ndarray, suffix: str, swap: bool, index: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"frames{suffix}"
        ordered = frames.astype(frames.dtype.newbyteorder("S")) if swap else frames
        if suffix == ".npy":
            np.save(path, ordered)
        else:
            with h5py.File(path, "w") as file:
                file["data"] = ordered
        source = open_source(DetectorConfig.model_validate({"source": {"kind": "replay", "path": path}}))
        out = np.empty(source.shape, source.dtype)
        source.fill(index, out)
        source.close()
    assert out.tobytes() == frames[index % len(frames)].tobytes()


@given(pixels())
@settings(deadline=None)
def test_statistics_agree_with_numpy(data: np.ndarray) -> None:
    figures = Statistics().process(Frame(1, 1, 0, data), {}).attributes
    wide = data.astype(np.float64)
    scale = max(1.0, float(np.abs(wide).max()))
    oracle = {"MinValue": wide.min(), "MaxValue": wide.max(), "MeanValue": wide.mean(), "Sigma": wide.std()}
    for name, expected in oracle.items():
        # a spread below 1e-8 of the values is beyond float64 sums of squares when the first row lies apart
        np.testing.assert_allclose(float(figures[name]), expected, rtol=1e-9, atol=1e-9 * scale, err_msg=name)
    np.testing.assert_allclose(float(figures["Total"]), wide.sum(), rtol=1e-9, atol=1e-9 * scale * data.size)
    _check_centroid(wide, float(figures["CentroidX"]), float(figures["CentroidY"]))


def _check_centroid(wide: np.ndarray, found_x: float, found_y: float) -> None:
    weights = np.where(wide >= 0, wide, 0.0)
    weights = weights.reshape(*weights.shape[:2], -1).sum(axis=2)
    if weights.sum() == 0:
        assert np.isnan(found_x)
        assert np.isnan(found_y)
        return
    y, x = np.indices(weights.shape)
    np.testing.assert_allclose(found_x, np.average(x, weights=weights), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found_y, np.average(y, weights=weights), rtol=1e-6, atol=1e-6)
