"""Clients that drive areaDetector IOCs, unmodified, at the detector and its file writer: they notice no difference."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.appliance import RunningAppliance, appliance
from tests.support.bluesky_client import FRAMES_A_POINT

CONFIG = """
[detector]
frame_rate = 100
size = [64, 48]
acquire_at_start = false
[writers.files]
"""
CLIENT_SECONDS = 100.0
COUNT, FLOWN = 3, 5
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAppliance]:
    folder: Path = tmp_path_factory.mktemp("bluesky")
    (folder / "rayfan.toml").write_text(CONFIG)
    (folder / "data").mkdir()
    with appliance(folder, "rayfan.toml") as run:
        run.wait_running("detector", "HDF1")
        yield run
        report = run.stop()
    (stage,) = (stage for stage in report["stages"] if stage["name"] == "HDF1")
    assert stage["received"] == stage["processed"] == report["published"] > 0


def client(run: RunningAppliance, name: str, number: int) -> dict[str, Any]:
    """Return what a client of another process saw."""
    command = [sys.executable, "-m", "tests.support.bluesky_client", name, run.prefix, str(run.folder / "data")]
    done = subprocess.run(
        [*command, str(number)],
        env=run.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{name}: {done.stderr[-4000:]}\n{run.logs()}"
    return json.loads(done.stdout)


def test_classic_ophyd_counts_into_files(run: RunningAppliance) -> None:
    seen = client(run, "classic", COUNT)
    assert seen["names"] == ["start", "descriptor", "resource", *["datum", "event"] * COUNT, "stop"]
    assert (seen["shapes"], seen["acquire"]) == ([[COUNT * FRAMES_A_POINT, 48, 64]], 0)


@pytest.mark.parametrize("scheme", ["ca", "pva"])
def test_ophyd_async_counts_and_flies_into_files(run: RunningAppliance, scheme: str) -> None:
    seen = client(run, scheme, COUNT)
    documents = seen["documents"]
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
