"""Clients that drive areaDetector IOCs, unmodified, at detector, writer and plug-ins: they notice no difference."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.appliance import RunningAppliance, appliance
from tests.support.bluesky_client import FLOWN, FRAMES_A_POINT
from tests.support.clients import user_of
from tests.support.plugin_client import FRAMES

CONFIG = """
[detector]
frame_rate = 100
size = [64, 48]
acquire_at_start = false
[writers.files]
[plugins]
names = ["image1", "Stats1", "Stats2", "ROI1", "Proc1", "Trans1", "Codec1", "CB1"]
"""
CLIENT_SECONDS = 100.0
SWEPT = 20
"""Frames of the sweep over read-backs."""
FOLLOWING = (
    *("ArrayCounter_RBV", "UniqueId_RBV", "TimeStamp_RBV", "EpicsTSSec_RBV", "EpicsTSNsec_RBV", "NDimensions_RBV"),
    *("ArraySize0_RBV", "ArraySize1_RBV", "ArraySizeX_RBV", "ArraySizeY_RBV", "ArraySize_RBV", "CompressedSize_RBV"),
)
"""What every driver and plug-in shows of the frames that came."""
OWN = {
    "cam1": ("NumImagesCounter_RBV", "NumExposuresCounter_RBV"),
    "Pva1": ("QueueFree",),
    "HDF1": ("NumCaptured_RBV", "RunTime", "IOSpeed", "ExecutionTime_RBV", "QueueFree"),
    "Stats1": ("Total_RBV", "MaxValue_RBV", "MeanValue_RBV", "Sigma_RBV", "ExecutionTime_RBV", "QueueFree"),
    "image1": ("ExecutionTime_RBV",),
    "ROI1": ("MaxSizeX_RBV", "ExecutionTime_RBV"),
    "Proc1": ("ExecutionTime_RBV",),
    "Trans1": ("ExecutionTime_RBV",),
    "Codec1": ("CompFactor_RBV", "ExecutionTime_RBV"),
}
"""What they show besides."""
COUNT = 3
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAppliance]:
    folder: Path = tmp_path_factory.mktemp("bluesky")
    (folder / "rayfan.toml").write_text(CONFIG)
    (folder / "data").mkdir()
    with appliance(folder, "rayfan.toml") as run:
        run.wait_running("detector", "HDF1", "Plug1")
        yield run
        report = run.stop()
    for name in ("HDF1", "Plug1"):
        (stage,) = (stage for stage in report["stages"] if stage["name"] == name)
        assert stage["received"] == stage["processed"] == report["published"] > 0


def client(run: RunningAppliance, name: str, number: int) -> dict[str, Any]:
    """Return what a client of another process saw."""
    return asked(run, "tests.support.bluesky_client", name, run.prefix, str(run.folder / "data"), str(number))


def asked(run: RunningAppliance, module: str, *arguments: str) -> dict[str, Any]:
    """Return what a module of clients printed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=run.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{module} {arguments[0]}: {done.stderr[-4000:]}\n{run.logs()}"
    return json.loads(done.stdout)


def test_classic_ophyd_counts_into_files(run: RunningAppliance) -> None:
    seen = client(run, "classic", COUNT)
    assert seen["names"] == ["start", "descriptor", "resource", *["datum", "event"] * COUNT, "stop"]
    assert (seen["shapes"], seen["acquire"]) == ([[COUNT * FRAMES_A_POINT, 48, 64]], 0)


@pytest.mark.parametrize("scheme", ["ca", "pva"])
def test_ophyd_async_counts_and_flies_into_files(run: RunningAppliance, scheme: str) -> None:
    seen = client(run, scheme, COUNT)
    documents = seen["documents"]
    arrays, total = seen["total"]
    assert arrays == COUNT + FLOWN and total > 0, "Stats2 has seen every frame"
    assert seen["idle"][0] is False and seen["idle"][1].endswith("Idle")
    resources = {one["uid"]: one for name, one in documents if name == "stream_resource"}
    datums = [one for name, one in documents if name == "stream_datum"]
    frames = dict.fromkeys(resources, 0)
    for datum, readable in zip(datums, seen["readable"], strict=True):
        resource, indices = datum["stream_resource"], datum["indices"]
        assert indices["start"] == frames[resource], "indices go on from document to document"
        assert readable >= indices["stop"], "a reader finds at once what the document announces"
        frames[resource] = indices["stop"]
    assert sorted(frames.values()) == sorted([COUNT, FLOWN])
    for uid, number in frames.items():
        assert resources[uid]["parameters"]["chunk_shape"] == [1, 48, 64]
        found = seen["files"][uid]
        assert (found["shape"], found["dtype"], found["chunks"]) == ([number, 48, 64], "|u1", [1, 48, 64])
        assert found["distinct"] == number, "no frame is like another"
    assert [one["exit_status"] for name, one in documents if name == "stop"] == ["success", "success"]


def test_pyepics_device_class_acquires(run: RunningAppliance) -> None:
    seen = client(run, "pyepics", COUNT)
    assert (seen["counter"], seen["size"]) == (COUNT, [64, 48])
    assert seen["unconnected"] == ["TriggerSoftware"], "a PV of other cameras that simDetector has not, either"


def test_classic_ophyd_and_pyepics_use_the_plugins(run: RunningAppliance) -> None:
    seen = asked(run, "tests.support.plugin_client", run.prefix)
    look = seen["look"]
    assert look["image"]["shape"] == [48, 64] and look["image"]["total"] == look["first_total"] > 0
    assert look["read"]["det_stats_total"] == look["region"]["total"] > 0
    assert 0 < look["read"]["det_stats_centroid_x"] < 16
    assert look["figures"] == [look["region"]["max"], pytest.approx(look["region"]["sigma"]), FRAMES]
    assert look["histogram"] == 16 * 24 and look["profile"] == pytest.approx(look["profile_expected"])
    assert "det_cam_acquire_time" in look["configuration"], "found along the ports"
    assert look["roi"][:3] == [16, 24, 64] and look["roi"][3][:2] == [16, 24]
    assert look["trans"] == [[0, 24, 16]] * 2, "depth, height and width of what came in"
    assert look["codec"][0] > 0 and look["codec"][1] == "Success"
    assert look["queue"] == [64, 0, 64, 0] and look["blocking"] == ["Yes", "No"]
    assert seen["background"] == {"oc3": 1.0, "background": "Valid"}
    assert seen["buffer"] == {"wrapping": "Buffer Wrapping", "completed": "Acquisition Completed", "after": 1}
    behind: dict[str, str] = dict.fromkeys(("STATS1", "TRANS1"), "ROI1")
    ports = ("CB1", "CODEC1", "Image1", "PROC1", "ROI1", "STATS1", "STATS2", "TRANS1")
    assert seen["graph"]["edges"] == sorted([behind.get(port, "SIM1"), port] for port in ports)
    assert seen["graph"]["pipeline"] == ["SimDetectorCam", "ROIPlugin_V35", "StatsPlugin_V35"]
    assert seen["end"] == {
        "counter": FRAMES,
        "id": FRAMES,
        "dropped": 0,
        "region": [24, 16],
        "series": [FRAMES, True, 0],
    }
    assert seen["pyepics"] == {"missing": ["UniqueId"], "elements": 48 * 64, "width": 64}


def test_every_read_back_follows_the_frames(run: RunningAppliance) -> None:
    with user_of(run) as user:
        for device in OWN.keys() - {"cam1", "Pva1", "HDF1"}:
            user.put(f"{device}:NDArrayPort", "SIM1")
            user.put(f"{device}:EnableCallbacks", 1)
        user.put("Codec1:Compressor", "LZ4")
        for device in OWN:
            user.put(f"{device}:ArrayCounter", 0)
        file = (("FilePath", str(run.folder / "data")), ("FileName", "swept"), ("FileTemplate", "%s%s.h5"))
        how = (("FileWriteMode", "Stream"), ("NumCapture", SWEPT), ("EnableCallbacks", 1), ("NDArrayPort", "SIM1"))
        for name, value in (*file, *how):
            user.put(f"HDF1:{name}", value)
        user.put_plain("HDF1:Capture", 1)
        user.wait("HDF1:Capture_RBV", "Capturing")
        for name, value in (("ImageMode", "Multiple"), ("NumImages", SWEPT), ("WaitForPlugins", 1), ("Acquire", 1)):
            user.put(f"cam1:{name}", value)
        for device in ("Pva1", "HDF1"):  # the others show all before Acquire is done
            user.wait(f"{device}:UniqueId_RBV", SWEPT)
        user.wait_until("HDF1:RunTime", lambda seconds: seconds > 0, "the file is closed")
        user.wait("HDF1:ArrayCounter_RBV", SWEPT)
        names = [f"{device}:{name}" for device, own in OWN.items() for name in (*FOLLOWING, *own)]
        told = user.ask_all("ca_fields", names)
    seen = {name: told[run.prefix + name] for name in names}
    still = [name for name, value in seen.items() if not value and not name.endswith("EpicsTSNsec_RBV")]
    assert not still, "these stay at 0"
    for device in OWN:
        counts = [seen[f"{device}:{name}"] for name in ("ArrayCounter_RBV", "UniqueId_RBV")]
        assert counts == [SWEPT, SWEPT], device
