"""The plug-in API and the processors that come with Rayfan."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from consumers.batch import Batch
from consumers.processor import (
    Metadata,
    Output,
    Processor,
    Setting,
    Statistic,
    Value,
    checked_settings,
    checked_statistics,
    frames_of,
)
from consumers.processors.passthrough import Passthrough
from consumers.processors.statistics import Statistics
from ioc.core.errors import RefusedError, UserError
from ioc.core.frame import DataType, Frame

LEVEL = Setting("Level", 10.0, unit="counts", low=0, high=100, description="Pixels above are hits")
ROUNDS = Setting("Rounds", 3, low=1)
METHOD = Setting("Method", "fast", choices=("fast", "exact"))
INVERT = Setting("Invert", False)
DECLARED = (LEVEL, ROUNDS, METHOD, INVERT)


def frame(data: NDArray, unique_id: int = 1) -> Frame:
    """Return a frame as a channel gives it: its pixels are read-only."""
    data = np.ascontiguousarray(data).view()
    data.flags.writeable = False
    return Frame(series=7, unique_id=unique_id, timestamp_ns=123, data=data, attributes={"Energy": 12.4})


class Hits(Processor):
    """As short as a user's processor may be."""

    declared_settings = (LEVEL,)
    declared_statistics = (Statistic("Hits", int),)

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        self.report(Hits=int((frame.data > self.settings["Level"]).sum()))
        return frame


class Forgetful(Processor):
    """Has an `__init__` of its own that does not call the base's."""

    declared_settings = (LEVEL,)

    def __init__(self) -> None:
        self.count = 0

    def process(self, frame: Frame, metadata: Metadata) -> Output:
        self.count += 1
        return [frame, frame] if self.count > 1 else None


def test_a_short_processor_has_everything_else() -> None:
    hits = Hits()
    assert hits.settings == {"Level": 10.0}
    assert (hits.batch_size, hits.batch_timeout) == (1, None)
    assert hits.statistics() == {}
    given = frame(np.array([[9, 10, 11, 12]]))
    assert hits.process(given, {}) is given
    assert hits.statistics() == {"Hits": 2}
    hits.configure(checked_settings(Hits.declared_settings, {"Level": 11}))
    hits.process(given, {})
    assert hits.statistics() == {"Hits": 1}
    assert hits.flush() is None
    hits.reset()
    assert hits.statistics() == {}
    hits.stop()


def test_an_init_that_does_not_call_the_base_is_fine() -> None:
    forgetful = Forgetful()
    assert forgetful.settings == {"Level": 10.0}
    forgetful.report(Anything=1)
    assert forgetful.statistics() == {"Anything": 1}


def test_the_default_batch_gives_the_frames_one_by_one() -> None:
    first, second = frame(np.zeros((1, 1)), 1), frame(np.zeros((1, 1)), 2)
    assert Forgetful().process_batch(Batch([first, second]), [{}, {}]) == [second, second]


def test_a_batch_processor_need_not_have_process() -> None:
    class Mean(Processor):
        batch_size = 8
        batch_timeout = 0.5

        def process_batch(self, frames: Sequence[Frame], metadata: Sequence[Metadata]) -> Output:
            return frames[0]

    assert len(frames_of(Mean().process_batch([frame(np.zeros((1, 1)))], [{}]))) == 1


def test_no_process_at_all_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Processor overrides neither process nor process_batch"):
        Processor().process(frame(np.zeros((1, 1))), {})


def test_frames_of_takes_what_a_processor_may_return() -> None:
    one = frame(np.zeros((1, 1)))
    assert frames_of(None) == []
    assert frames_of(one) == [one]
    assert frames_of([one, one]) == [one, one]


@pytest.mark.parametrize("wrong", [np.zeros((2, 2)), "frame", [1], True])
def test_frames_of_refuses_anything_else(wrong: object) -> None:
    with pytest.raises(UserError, match="result of process: expected a Frame, a list of Frames or None, found"):
        frames_of(wrong)  # type: ignore[arg-type]


def test_settings_are_given_ones_over_present_ones_over_defaults() -> None:
    defaults: Mapping[str, Value] = {"Level": 10.0, "Rounds": 3, "Method": "fast", "Invert": False}
    assert checked_settings(DECLARED, {}) == defaults
    assert checked_settings(DECLARED, {"Rounds": 5}, {"Rounds": 4, "Level": 2.0}) == {
        **defaults,
        "Rounds": 5,
        "Level": 2.0,
    }


def test_a_whole_number_is_good_for_a_float_setting() -> None:
    level = checked_settings(DECLARED, {"Level": 5})["Level"]
    assert level == 5.0
    assert type(level) is float


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("Level", -0.1, "setting Level: expected at least 0 and at most 100 counts, found -0.1"),
        ("Level", 100.5, "setting Level: expected at least 0 and at most 100 counts, found 100.5"),
        ("Level", float("nan"), "setting Level: expected at least 0 and at most 100 counts, found nan"),
        ("Level", "5", "setting Level: expected float, at least 0 and at most 100 counts, found '5'"),
        ("Level", True, "setting Level: expected float, at least 0 and at most 100 counts, found True"),
        ("Rounds", 0, "setting Rounds: expected at least 1, found 0"),
        ("Rounds", 2.0, "setting Rounds: expected int, at least 1, found 2.0"),
        ("Rounds", True, "setting Rounds: expected int, at least 1, found True"),
        ("Rounds", None, "setting Rounds: expected int, at least 1, found None"),
        ("Method", "slow", "setting Method: expected one of fast, exact, found 'slow'"),
        ("Invert", 1, "setting Invert: expected bool, any value, found 1"),
        ("level", 1, "settings: expected one of Level, Rounds, Method, Invert, found 'level'"),
    ],
)
def test_a_wrong_setting_is_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(RefusedError) as caught:
        checked_settings(DECLARED, {name: value})
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_setting_without_limits_is_still_finite(value: float) -> None:
    with pytest.raises(RefusedError, match="setting Offset: expected any finite value, found"):
        checked_settings((Setting("Offset", 0.0),), {"Offset": value})


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(RefusedError) as caught:
        checked_settings(DECLARED, {"Level": -1, "Rounds": 5, "Nothing": 1, "Method": ""})
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "setting Level",
        "settings",
        "setting Method",
    ]


def test_a_processor_without_settings_says_so() -> None:
    with pytest.raises(RefusedError, match="settings: expected none at all, found 'Level'"):
        checked_settings((), {"Level": 1})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "two words", "default": 1},
            "expected a letter, then letters and digits, at most 20, found 'two words'",
        ),
        ({"name": "A" * 21, "default": 1}, "at most 20"),
        ({"name": "A", "default": None}, "A: expected the type bool, int, float or str, found 'NoneType'"),
        ({"name": "A", "default": 1, "unit": "photons a second"}, "unit of A: expected at most 15 characters"),
        ({"name": "A", "default": 1, "description": "x" * 41}, "description of A: expected at most 40 characters"),
        ({"name": "A", "default": "a", "low": 1}, "A: expected limits only for numbers, found 'str'"),
        ({"name": "A", "default": 1, "low": 2, "high": 1}, "limits of A: expected low <= high"),
        ({"name": "A", "default": 1, "low": 2}, "default of setting A: expected at least 2, found 1"),
        ({"name": "A", "default": "a", "choices": ("b",)}, "default of setting A: expected one of b, found 'a'"),
        ({"name": "A", "default": 1, "choices": ("b",)}, "expected choices only with a str default"),
    ],
)
def test_a_wrong_declaration_is_a_value_error(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Setting(**arguments)
    assert message in str(caught.value)


def test_statistics_become_plain_values() -> None:
    declared = (Statistic("Mean"), Statistic("Hits", int), Statistic("Good", bool), Statistic("Text", str))
    reported = {"Mean": np.float32(0.5), "Hits": np.int64(3), "Good": np.bool_(True), "Text": "yes"}
    values = checked_statistics(declared, reported)
    assert values == {"Mean": 0.5, "Hits": 3, "Good": True, "Text": "yes"}
    assert [type(value) for value in values.values()] == [float, int, bool, str]
    assert type(checked_statistics(declared, {"Mean": 2})["Mean"]) is float


@pytest.mark.parametrize(
    ("reported", "message"),
    [
        ({"mean": 1.0}, "statistics: expected one of Mean, Hits, found 'mean'"),
        ({"Hits": 1.5}, "statistic Hits: expected int, found 1.5"),
        ({"Mean": "high"}, "statistic Mean: expected float, found 'high'"),
        ({"Mean": np.zeros(3)}, "statistic Mean: expected float, found"),
    ],
)
def test_statistics_that_are_not_as_declared(reported: Mapping[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        checked_statistics((Statistic("Mean"), Statistic("Hits", int)), reported)
    assert message in str(caught.value)


def test_passthrough_returns_the_frame_itself() -> None:
    given = frame(np.zeros((2, 2)))
    assert Passthrough().process(given, {}) is given


def figures_of(data: NDArray, threshold: float | None = None) -> Mapping[str, object]:
    """Return what the statistics processor makes of an image."""
    processor = Statistics()
    if threshold is not None:
        processor.configure(checked_settings(Statistics.declared_settings, {"CentroidThreshold": threshold}))
    processor.process(frame(data), {})
    return checked_statistics(Statistics.declared_statistics, processor.statistics())


def oracle(data: NDArray, threshold: float = 0.0) -> dict[str, float]:
    """Return the same figures made by NumPy, in float64, the plain way."""
    wide = data.astype(np.float64)
    weights = np.where(wide >= threshold, wide, 0.0)
    weights = weights.sum(axis=2) if weights.ndim == 3 else weights
    y, x = np.indices(weights.shape)
    return {
        "MinValue": float(wide.min()),
        "MaxValue": float(wide.max()),
        "MeanValue": float(wide.mean()),
        "Sigma": float(wide.std()),
        "Total": float(wide.sum()),
        "CentroidX": float(np.average(x, weights=weights)),
        "CentroidY": float(np.average(y, weights=weights)),
    }


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (300, 500), (129, 513), (40, 30, 3)])
@pytest.mark.parametrize("data_type", [member.value for member in DataType])
def test_statistics_agree_with_numpy(data_type: str, shape: tuple[int, ...]) -> None:
    dtype = np.dtype(data_type.lower())
    random = np.random.default_rng(1)
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind in "ui" else (-1000, 1000)
    pixels = random.uniform(low, high, shape).astype(dtype)
    pixels.flat[0] = 1  # something to weigh, whatever the signs
    figures = figures_of(pixels)
    assert figures == pytest.approx(oracle(pixels), rel=1e-10, abs=1e-10)


def test_sums_of_small_integers_are_exact() -> None:
    pixels = np.full((1000, 1000), 65535, np.uint16)
    pixels[500, 500] = 65534
    figures = figures_of(pixels)
    assert figures["Total"] == 65535 * 1_000_000 - 1
    assert figures["Sigma"] == pytest.approx(np.sqrt((1 - 1e-6) * 1e-6), rel=1e-3)


@pytest.mark.parametrize("data_type", ["Float64", "Int64", "UInt64"])
def test_a_small_spread_on_a_large_offset_is_not_lost(data_type: str) -> None:
    pixels = (1_000_000_000 + np.random.default_rng(2).integers(0, 10, (200, 300))).astype(data_type.lower())
    assert figures_of(pixels)["Sigma"] == pytest.approx(float(pixels.astype(np.float64).std()), rel=1e-9)


def test_pixels_below_the_threshold_do_not_move_the_centroid() -> None:
    pixels = np.full((20, 30), 5, np.uint8)
    pixels[4, 25] = 200
    pixels[6, 27] = 200
    assert figures_of(pixels, 100)["CentroidX"] == 26
    assert figures_of(pixels, 100)["CentroidY"] == 5
    assert figures_of(pixels) == pytest.approx(oracle(pixels))
    assert figures_of(pixels, 100) == pytest.approx(oracle(pixels, 100))


def test_a_dark_frame_has_no_centroid() -> None:
    figures = figures_of(np.zeros((4, 4), np.uint16))
    assert (figures["Total"], figures["Sigma"]) == (0, 0)
    assert np.isnan(figures["CentroidX"])  # type: ignore[call-overload]
    assert np.isnan(figures["CentroidY"])  # type: ignore[call-overload]


def test_not_a_number_and_infinity_show_and_do_not_raise() -> None:
    pixels = np.ones((4, 4), np.float32)
    pixels[0, 0] = np.nan
    assert np.isnan(figures_of(pixels)["MeanValue"])  # type: ignore[call-overload]
    pixels[0, 0] = np.inf
    assert figures_of(pixels)["MeanValue"] == np.inf


def test_statistics_return_the_frame_with_its_pixels_and_the_figures() -> None:
    given = frame(np.arange(12, dtype=np.uint8).reshape(3, 4))
    processor = Statistics()
    found = processor.process(given, {})
    assert found.data is given.data
    assert (found.series, found.unique_id, found.timestamp_ns) == (7, 1, 123)
    assert found.attributes == {"Energy": 12.4, **processor.statistics()}
    assert given.attributes == {"Energy": 12.4}


def test_statistics_follow_a_change_of_size() -> None:
    processor = Statistics()
    for shape in ((4, 5), (50, 70), (4, 5), (5, 4)):
        pixels = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
        assert processor.process(frame(pixels), {}).attributes["Total"] == pixels.sum()
