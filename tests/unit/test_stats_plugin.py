"""`Stats1:` against ADCore's formulas, pixel by pixel as its source has them (NDPluginStats.cpp)."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn
from numpy.typing import NDArray

from consumers.plugins.histogram import histogram
from consumers.plugins.stats import LARGEST_HISTOGRAM, PARAMETERS, background
from tests.support.frames import noise
from tests.support.plugin_rig import Rig, image

TYPES = ["uint8", "int16", "uint16", "int32", "float32", "float64"]


def seen_for(data: NDArray, **chosen: Any) -> dict[str, Any]:
    """Return what the records show for one image with everything computed."""
    rig = Rig()
    all_on = {f"Compute{what}": True for what in ("Centroid", "Profiles", "Histogram")}
    rig.add("Stats1", **(all_on | chosen))
    rig.feed(image(data))
    return dict(rig.see("Stats1"))


def raw_moments(data: NDArray, threshold: float) -> dict[tuple[int, int], float]:
    """Return the sums of pixel * x^i * y^j over the pixels that are not below a threshold."""
    kept = np.where(data >= threshold, data, 0).astype(np.longdouble)
    y, x = np.mgrid[: data.shape[0], : data.shape[1]].astype(np.longdouble)
    orders = [(i, j) for i in range(5) for j in range(5) if i * j == 0 or i == j == 1]
    return {(i, j): float((kept * x**i * y**j).sum()) for i, j in orders}


@pytest.mark.parametrize("dtype", TYPES)
def test_figures(dtype: str) -> None:
    data = noise((13, 17), dtype, seed=3)
    seen = seen_for(data, BgdWidth=2)
    exact = data.astype(np.float64)
    assert (seen["MinValue_RBV"], seen["MaxValue_RBV"]) == (exact.min(), exact.max())
    assert (seen["MinY_RBV"], seen["MinX_RBV"]) == np.unravel_index(exact.argmin(), exact.shape)
    assert (seen["MaxY_RBV"], seen["MaxX_RBV"]) == np.unravel_index(exact.argmax(), exact.shape)
    assert seen["Total_RBV"] == pytest.approx(math.fsum(exact.flat), rel=1e-12, abs=1e-6)
    assert seen["MeanValue_RBV"] == pytest.approx(exact.mean(), rel=1e-12, abs=1e-9)
    assert seen["Sigma_RBV"] == pytest.approx(exact.std(), rel=1e-9)
    border = [exact[:2], exact[-2:], exact[:, :2], exact[:, -2:]]
    mean = sum(edge.sum() for edge in border) / sum(edge.size for edge in border)
    assert seen["Net_RBV"] == pytest.approx(exact.sum() - mean * exact.size, rel=1e-9, abs=1e-3)


def test_a_background_wider_than_the_frame_is_all_of_it() -> None:
    data = noise((3, 4), "uint8")
    assert background(data, 100) == pytest.approx(data.mean())
    assert background(data, 0) == 0.0


@settings(max_examples=40)
@given(
    hn.arrays(np.uint16, hn.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)),
    st.floats(0, 70_000),
)
def test_moments_are_those_of_adcore(data: NDArray, threshold: float) -> None:
    seen = seen_for(data, CentroidThreshold=threshold)
    raw = raw_moments(data, threshold)
    total = raw[0, 0]
    assert seen["CentroidTotal_RBV"] == pytest.approx(total)
    if not total:
        assert all(seen[f"{name}_RBV"] == 0 for name in ("CentroidX", "SigmaX", "SkewY", "KurtosisX", "Eccentricity"))
        return
    x, y = raw[1, 0] / total, raw[0, 1] / total
    var_x, var_y, mixed = raw[2, 0] / total - x * x, raw[0, 2] / total - y * y, raw[1, 1] / total - x * y
    assert (seen["CentroidX_RBV"], seen["CentroidY_RBV"]) == (pytest.approx(x), pytest.approx(y))
    assert seen["SigmaX_RBV"] ** 2 == pytest.approx(var_x, rel=1e-6, abs=1e-6)
    assert seen["SigmaY_RBV"] ** 2 == pytest.approx(var_y, rel=1e-6, abs=1e-6)
    if var_x > 1e-3 and var_y > 1e-3:
        assert seen["SigmaXY_RBV"] == pytest.approx(mixed / math.sqrt(var_x * var_y), rel=1e-5, abs=1e-5)
        mu30 = raw[3, 0] - 3 * raw[1, 0] * raw[2, 0] / total + 2 * raw[1, 0] ** 3 / total**2
        assert seen["SkewX_RBV"] == pytest.approx(mu30 / (total * var_x**1.5), rel=1e-4, abs=1e-4)
        four = raw[0, 4] - 4 * raw[0, 3] * raw[0, 1] / total + 6 * raw[0, 2] * raw[0, 1] ** 2 / total**2
        mu04 = four - 3 * raw[0, 1] ** 4 / total**3
        assert seen["KurtosisY_RBV"] == pytest.approx(mu04 / (total * var_y**2) - 3, rel=1e-4, abs=1e-3)
        mu20, mu02, mu11 = var_x * total, var_y * total, mixed * total
        eccentricity = ((mu20 - mu02) ** 2 - 4 * mu11**2) / (mu20 + mu02) ** 2
        assert seen["Eccentricity_RBV"] == pytest.approx(eccentricity, abs=1e-5)
        if abs(mixed) + abs(var_x - var_y) > 1e-3:
            angle = math.degrees(0.5 * math.atan2(2 * mixed, var_x - var_y))
            assert abs(math.remainder(seen["Orientation_RBV"] - angle, 180)) < 1e-2


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float64"])
def test_profiles(dtype: str) -> None:
    data = np.abs(noise((9, 6), dtype).astype(np.float64) / 2).astype(dtype)
    threshold = float(np.median(data))
    seen = seen_for(data, CentroidThreshold=threshold, CursorX=2, CursorY=77)
    exact = data.astype(np.float64)
    kept = np.where(exact >= threshold, exact, 0)
    np.testing.assert_allclose(seen["ProfileAverageX_RBV"], exact.mean(axis=0))
    np.testing.assert_allclose(seen["ProfileAverageY_RBV"], exact.mean(axis=1))
    np.testing.assert_allclose(seen["ProfileThresholdX_RBV"], kept.mean(axis=0))
    np.testing.assert_allclose(seen["ProfileThresholdY_RBV"], kept.mean(axis=1))
    np.testing.assert_array_equal(seen["ProfileCursorX_RBV"], exact[8])  # the cursor is held within the frame
    np.testing.assert_array_equal(seen["ProfileCursorY_RBV"], exact[:, 2])
    x, y = int(seen["CentroidX_RBV"] + 0.5), int(seen["CentroidY_RBV"] + 0.5)
    np.testing.assert_array_equal(seen["ProfileCentroidX_RBV"], exact[y])
    np.testing.assert_array_equal(seen["ProfileCentroidY_RBV"], exact[:, x])
    assert (seen["ProfileSizeX_RBV"], seen["ProfileSizeY_RBV"], seen["CursorVal"]) == (6, 9, exact[8, 2])


def plain_histogram(data: NDArray, low: float, high: float, steps: int) -> tuple[list[float], int, int, float]:
    """Return histogram, below, above and entropy, pixel by pixel (doComputeHistogramT)."""
    counts, below, above = [0.0] * steps, 0, 0
    scale = (steps - 1) / (high - low)
    for value in data.astype(np.float64).flat:
        if value < low:
            below += 1
        elif value > high:
            above += 1
        else:
            counts[int((value - low) * scale + 0.5)] += 1
    entropy = -sum(max(count, 1) * math.log(max(count, 1)) for count in counts) / data.size
    return counts, below, above, entropy


@settings(max_examples=40)
@given(
    st.sampled_from(TYPES).flatmap(lambda dtype: hn.arrays(dtype, (4, 5), elements={"min_value": 0, "max_value": 255})),
    st.floats(-10, 200),
    st.floats(1, 300),
    st.integers(1, 300),
)
def test_histogram(data: NDArray, low: float, width: float, steps: int) -> None:
    high = low + width
    counts, figures = histogram(data, (low, high), steps)
    expected, below, above, entropy = plain_histogram(data, low, high, steps)
    assert (counts.tolist(), figures["HistBelow"], figures["HistAbove"]) == (expected, below, above)
    assert figures["HistEntropy"] == pytest.approx(entropy)


def test_the_histogram_on_the_records() -> None:
    data = noise((8, 8), "uint8")
    seen = seen_for(data, HistSize=16, HistMin=10.0, HistMax=240.0)
    expected, below, above, _ = plain_histogram(data, 10.0, 240.0, 16)
    assert (seen["Histogram_RBV"].tolist(), seen["HistBelow_RBV"], seen["HistAbove_RBV"]) == (expected, below, above)
    np.testing.assert_allclose(seen["HistogramX_RBV"], 10.0 + np.arange(16) * 230.0 / 16)
    reversed_ends = seen_for(data, HistMin=100.0, HistMax=50.0)
    assert reversed_ends["HistBelow_RBV"] == int((data < 100).sum())
    assert reversed_ends["HistAbove_RBV"] == int((data > 101).sum())


def test_a_histogram_that_is_too_long_is_refused() -> None:
    rig = Rig()
    rig.add("Stats1")
    assert "expected 1 to 4096" in rig.refused("Stats1", "HistSize", LARGEST_HISTOGRAM + 1)


def test_colours_count_for_figures_and_have_no_centroid() -> None:
    data = noise((4, 5, 3), "uint8")
    seen = seen_for(data)
    assert seen["Total_RBV"] == data.sum()
    assert (seen["MaxY_RBV"], seen["MaxX_RBV"]) == np.unravel_index(data.argmax(), data.shape)[:2]
    assert seen["CentroidTotal_RBV"] == 0 and "ProfileAverageX_RBV" not in seen


def test_what_is_not_asked_for_is_not_computed_and_reset_sets_all_to_0() -> None:
    rig = Rig()
    rig.add("Stats1", ComputeStatistics=False)
    rig.feed(image([[1, 2]]))
    assert rig.see("Stats1")["Total_RBV"] == 0
    rig.put("Stats1", "ComputeStatistics", True)
    rig.feed(image([[1, 2]]))
    assert rig.see("Stats1")["Total_RBV"] == 3
    rig.put("Stats1", "Reset", True)
    assert rig.see("Stats1")["Total_RBV"] == 0
    rig.put("Stats1", "SigmaValue", 4.0)
    assert rig.see("Stats1")["Sigma_RBV"] == 4.0


def test_not_a_number_gives_none() -> None:
    seen = seen_for(np.array([[1.0, np.nan], [np.inf, 3.0]]))
    assert math.isnan(seen["Total_RBV"]) and math.isnan(seen["Sigma_RBV"])
    assert seen["Histogram_RBV"].sum() == 2 and seen["HistAbove_RBV"] == 1


def test_every_parameter_of_adcore_is_a_figure() -> None:
    rig = Rig()
    plugin = rig.add("Stats1")
    rig.feed(image([[1, 2]]))
    assert plugin.parameter("MAX_VALUE") == 2.0
    assert all(plugin.parameter(name) is not None for name in PARAMETERS)
