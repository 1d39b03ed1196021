"""`Proc1:` against ADCore's formulas, frame by frame (NDPluginProcess.cpp)."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from consumers.plugins.recursive_filter import NAMES, TYPES, coefficients
from tests.support.frames import noise
from tests.support.plugin_rig import SECONDS, Rig, image

REAL = "Float64"


def started(**chosen: Any) -> Rig:
    """Return a rig with `Proc1` that puts out real numbers."""
    rig = Rig()
    rig.add("Proc1", **({"DataTypeOut": REAL} | chosen))
    return rig


def one(rig: Rig, data: Any) -> NDArray:
    """Return what comes out for an image."""
    before = len(rig.out("Proc1"))
    rig.feed(image(data))
    assert len(rig.out("Proc1")) == before + 1
    return rig.out("Proc1")[-1]


def test_with_nothing_enabled_only_the_type_is_made() -> None:
    data = noise((3, 4), "int32")
    assert one(started(DataTypeOut="Automatic"), data).tolist() == data.tolist()
    found = one(started(DataTypeOut="UInt8"), data)
    assert (found.tolist(), found.dtype) == (data.astype(np.uint8).tolist(), np.uint8)


def test_the_background_is_the_output_that_was_newest_when_it_was_saved() -> None:
    rig = started()
    dark, light = noise((3, 4), "uint8", 1), noise((3, 4), "uint8", 2)
    one(rig, dark)
    rig.put("Proc1", "SaveBackground", True)
    assert rig.see("Proc1")["ValidBackground_RBV"] is True
    np.testing.assert_array_equal(one(rig, light), light)
    rig.put("Proc1", "EnableBackground", True)
    np.testing.assert_array_equal(one(rig, light), light.astype(float) - dark)
    rig.feed(image(np.zeros((5, 5))))
    assert rig.see("Proc1")["ValidBackground_RBV"] is False, "of another size"
    assert rig.out("Proc1")[-1].tolist() == np.zeros((5, 5)).tolist()


def test_the_flat_field_scales_and_leaves_pixels_alone_where_it_is_0() -> None:
    rig = started(ScaleFlatField=100.0)
    one(rig, [[0, 50, 200]])
    rig.put("Proc1", "SaveFlatField", True)
    rig.put("Proc1", "EnableFlatField", True)
    assert one(rig, [[7, 10, 10]]).tolist() == [[7.0, 20.0, 5.0]]
    assert rig.see("Proc1")["ValidFlatField_RBV"] is True


def test_background_and_flat_field_that_were_never_saved_are_not_valid() -> None:
    rig = started(EnableBackground=True, EnableFlatField=True)
    rig.put("Proc1", "SaveBackground", True)  # nothing has been put out yet
    assert one(rig, [[5]]).tolist() == [[5.0]]
    seen = rig.see("Proc1")
    assert (seen["ValidBackground_RBV"], seen["ValidFlatField_RBV"]) == (False, False)


def test_offset_scale_and_clips_in_this_order() -> None:
    clips = {"EnableLowClip": True, "LowClipThresh": 10.0, "LowClipValue": -1.0}
    clips |= {"EnableHighClip": True, "HighClipThresh": 30.0, "HighClipValue": 99.0}
    rig = started(EnableOffsetScale=True, Offset=-5.0, Scale=2.0, **clips)
    assert one(rig, [[5, 9, 10, 15, 20, 21, 100]]).tolist() == [[-1, -1, 10, 20, 30, 99, 99]]
    rig = started(DataTypeOut="UInt8", EnableOffsetScale=True, Scale=0.5)
    assert one(rig, [[5, 200]]).tolist() == [[2, 100]], "fractions are cut off"


def test_auto_offset_scale_fills_the_type_from_the_next_frame_on() -> None:
    rig = started(DataTypeOut="UInt8")
    plugin = rig.plugins["Proc1"]
    plugin.lane.start()
    done = plugin.put("AutoOffsetScale", True)
    assert done is not None
    plugin.lane.submit(lambda: None).result(SECONDS)
    assert not done.done(), "it waits for a frame"
    data = np.array([[100, 150, 355]], np.uint16)
    one(rig, data)
    done.result(SECONDS)
    chosen = {name: rig.shown[f"Proc1:{name}_RBV"] for name in ("Offset", "Scale", "LowClipThresh", "HighClipThresh")}
    assert chosen == {"Offset": -100.0, "Scale": 1.0, "LowClipThresh": 0.0, "HighClipThresh": 255.0}
    assert rig.shown["Proc1:EnableOffsetScale_RBV"] is True and rig.shown["Proc1:EnableHighClip_RBV"] is True
    assert one(rig, data).tolist() == [[0, 50, 255]]
    plugin.close()


def plain_filter(frames: list[NDArray], c: dict[str, float], count: int, auto: bool) -> list[NDArray]:
    """Return what comes out for each frame, as processCallbacks has it."""
    kept: NDArray | None = None
    done, found = 0, []
    for data in frames:
        reset = kept is None or (done >= count and auto)
        kept = data.copy() if kept is None else kept
        if reset:
            kept = c["ROffset"] + c["RC1"] * kept + c["RC2"] * data
            done = 0
        done = min(done + 1, count)
        put_out = c["OOffset"] + c["OScale"] * (
            (c["OC1"] + c["OC2"] / done) * kept + (c["OC3"] + c["OC4"] / done) * data
        )
        kept = c["FOffset"] + c["FScale"] * ((c["FC1"] + c["FC2"] / done) * kept + (c["FC3"] + c["FC4"] / done) * data)
        found.append(put_out)
    return found


@pytest.mark.parametrize("auto", [False, True])
@pytest.mark.parametrize("kind", list(TYPES))
def test_filters(kind: str, auto: bool) -> None:
    frames = [noise((2, 3), "uint8", seed).astype(float) for seed in range(9)]
    rig = started(EnableFilter=True, NumFilter=4, FilterType=kind, AutoResetFilter=auto)
    shown = {name: float(rig.shown[f"Proc1:{name}_RBV"]) for name in NAMES}
    assert shown == coefficients(kind, 4)
    offsets = {"OOffset": 0.0, "FOffset": 0.0, "ROffset": 0.0, "OScale": 1.0, "FScale": 1.0}
    expected = plain_filter(frames, shown | offsets, 4, auto)
    for data, wanted in zip(frames, expected, strict=True):
        np.testing.assert_allclose(one(rig, data), wanted)
    assert rig.see("Proc1")["NumFiltered_RBV"] == (1 if auto else 4)


def test_average_and_sum_are_what_they_are_called() -> None:
    frames = [noise((2, 3), "uint8", seed).astype(float) for seed in range(4)]
    for kind, wanted in (("Average", np.mean(frames, axis=0)), ("Sum", np.sum(frames, axis=0))):
        rig = started(EnableFilter=True, NumFilter=4, FilterType=kind, FilterCallbacks=True)
        rig.feed(*(image(data, number) for number, data in enumerate(frames, 1)))
        (found,) = rig.out("Proc1")  # Array N only
        np.testing.assert_allclose(found, wanted)
    rig = started(EnableFilter=True, NumFilter=4, FilterType="RecursiveAve")
    for number, data in enumerate(frames, 1):
        np.testing.assert_allclose(one(rig, data), np.mean(frames[:number], axis=0))


def test_own_coefficients_and_offsets_are_used() -> None:
    c = {name: float(at) / 7 - 0.5 for at, name in enumerate(NAMES)}
    c |= {"OOffset": 3.0, "FOffset": -2.0, "ROffset": 5.0, "OScale": 1.5, "FScale": 0.5}
    frames = [noise((2, 3), "uint8", seed).astype(float) for seed in range(6)]
    rig = started(EnableFilter=True, NumFilter=3, **c)
    rig.put("Proc1", "RC1", c["RC1"])
    for data, wanted in zip(frames, plain_filter(frames, c, 3, auto=False), strict=True):
        np.testing.assert_allclose(one(rig, data), wanted)


def test_a_reset_begins_anew_and_goes_back_to_no() -> None:
    rig = started(EnableFilter=True, NumFilter=9, FilterType="RecursiveAve")
    one(rig, [[10.0]])
    one(rig, [[30.0]])
    rig.put("Proc1", "ResetFilter", True)
    assert rig.shown["Proc1:ResetFilter_RBV"] is True
    assert one(rig, [[50.0]]).tolist() == [[50.0]]
    assert rig.shown["Proc1:ResetFilter_RBV"] is False
    assert rig.see("Proc1")["NumFiltered_RBV"] == 1
    assert one(rig, [[1.0, 2.0]]).tolist() == [[1.0, 2.0]], "a frame of another size begins anew"


def test_what_is_not_a_number_does_not_come_through_a_factor_of_0() -> None:
    rig = started(EnableFilter=True, NumFilter=4, FilterType="CopyToFilter")
    one(rig, [[np.nan]])
    assert one(rig, [[4.0]]).tolist() == [[4.0]]
