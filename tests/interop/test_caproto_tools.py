"""caproto's command-line tools, an implementation of Channel Access of its own, at a running appliance."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.appliance import RunningAppliance, appliance
from tests.support.clients import caproto

CONFIG = """
[detector]
frame_rate = 100
size = [32, 32]
acquire_at_start = false
[groups.stats]
"""
PUT_FAILED = "ECA_PUTFAIL"
LONG = "x" * 300


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAppliance]:
    folder: Path = tmp_path_factory.mktemp("caproto")
    (folder / "rayfan.toml").write_text(CONFIG)
    with appliance(folder, "rayfan.toml") as run:
        run.wait_running("detector", "Cons1")
        run.wait_until(lambda: get(run, "Dist1:Members_RBV") == ["1"], "the consumer is a member")
        yield run
        run.stop()


def get(run: RunningAppliance, *names: str) -> list[str]:
    """Return the values that `caproto-get` prints, a line a PV."""
    return caproto(run, "get", "-t", *(run.prefix + name for name in names)).splitlines()


def get_text(run: RunningAppliance, name: str) -> str:
    """Return an array of characters as the text that `caproto-get -S` prints."""
    return caproto(run, "get", "-t", "-S", run.prefix + name).rstrip("\0 ")


def put(run: RunningAppliance, name: str, value: str, *options: str) -> str:
    """Put and return what `caproto-put` prints."""
    return caproto(run, "put", *options, run.prefix + name, value)


def test_a_notified_put_of_acquire_returns_when_the_acquisition_has_ended(run: RunningAppliance) -> None:
    put(run, "cam1:ImageMode", "Multiple", "-c")
    put(run, "cam1:NumImages", "50", "-c")
    assert "Acquire" in put(run, "cam1:Acquire", "1", "-c", "-w", "20")
    names = ("NumImagesCounter_RBV", "ArrayCounter_RBV", "Acquire_RBV", "DetectorState_RBV", "ImageMode_RBV")
    assert get(run, *(f"cam1:{name}" for name in names)) == ["50", "50", "Done", "Idle", "Multiple"]


def test_units_and_digits_come_with_the_value(run: RunningAppliance) -> None:
    shown = caproto(run, "get", "-d", "control", "--format", "{response.metadata}", f"{run.prefix}cam1:AcquireTime_RBV")
    assert "units=b's'" in shown and "precision=6" in shown, shown


def test_a_text_that_is_no_choice_is_an_error(run: RunningAppliance) -> None:
    before = get(run, "cam1:DataType", "Dist1:Policy")
    assert PUT_FAILED in put(run, "cam1:DataType", "Float99")
    put(run, "Dist1:Policy", "Sometimes", "-c")  # the tool does not tell of a notified put that failed
    assert get(run, "cam1:DataType", "Dist1:Policy") == before == ["UInt8", "Lossless"]


def test_a_number_out_of_its_limits_is_refused_with_the_reason(run: RunningAppliance) -> None:
    before = get(run, "cam1:FrameRate_RBV")
    assert PUT_FAILED in put(run, "cam1:FrameRate", "-5")
    assert get(run, "cam1:FrameRate", "cam1:FrameRate_RBV") == before * 2
    message = get_text(run, "cam1:StatusMessage_RBV")
    assert all(word in message for word in ("cam1:FrameRate", "expected", "found -5")), message


def test_a_read_back_cannot_be_put(run: RunningAppliance) -> None:
    assert "ECA_NOWTACCESS" in put(run, "cam1:FrameRate_RBV", "5")


def test_a_long_text_is_an_array_of_characters(run: RunningAppliance) -> None:
    put(run, "Cons1:Configure", '{"CentroidThreshold": 2.5}', "-S", "-c")
    assert get_text(run, "Cons1:Configure_RBV") == '{"CentroidThreshold": 2.5}'
    assert get(run, "Cons1:Set:CentroidThreshold_RBV") == ["2.5"]
    put(run, "Cons1:Configure", f'{{"{LONG}": 1}}', "-S", "-c")
    message = get_text(run, "Cons1:ConfigureMessage_RBV")
    assert "expected one of CentroidThreshold" in message
    assert get(run, "Cons1:Set:CentroidThreshold_RBV") == ["2.5"]
