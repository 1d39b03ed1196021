"""The file writer in an appliance: a kill, a full disk, a file that is followed; every frame is accounted for."""

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters that reading needs
import numpy as np
import pytest

from ioc.channels import hdf5_layout as layout
from tests.support.appliance import RAYFAN, RunningAppliance, appliance
from tests.support.clients import User, user_of

CONFIG = """
[detector]
frame_rate = 200
size = [64, 48]
acquire_at_start = false
source = { pattern = "counter" }
[writers.files]
policy = "lossless"
[plugins]
names = ["ROI1", "Codec1"]
"""
REGION_FRAMES = 10
DISK = 2_000_000
"""Bytes; the limit of the size of a file stands for a full disk: the system refuses the write in the same way."""


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    folder = tmp_path_factory.mktemp("writer")
    (folder / "rayfan.toml").write_text(CONFIG)
    with appliance(folder, "rayfan.toml") as run:
        run.wait_running("detector", "HDF1", "Plug1")
        with user_of(run) as user:
            user.put("HDF1:FilePath", str(folder))
            user.put("HDF1:FileTemplate", "%s%s.h5")
            user.put("HDF1:FileWriteMode", "Stream")
            user.put("HDF1:EnableCallbacks", 1)
            yield user
        account(run, run.stop())


def account(run: RunningAppliance, report: dict[str, Any]) -> None:
    """Check that every frame of the writer is somewhere."""
    (stage,) = (stage for stage in report["stages"] if stage["name"] == "HDF1")
    assert stage["received"] == report["published"] > 0
    assert stage["received"] == stage["processed"] + stage["failed"]
    (tap,) = (stage for stage in report["stages"] if stage["name"] == "Plug1.HDF1")
    assert tap["received"] == 2 * REGION_FRAMES and not tap["dropped"]


def capture(user: User, name: str, frames: int = 0) -> Path:
    """Begin to capture into a file of that name."""
    user.put("HDF1:FileName", name)
    user.put("HDF1:NumCapture", frames)
    user.put_plain("HDF1:Capture", 1)
    user.wait("HDF1:Capture_RBV", "Capturing")
    return user.run.folder / f"{name}.h5"


def acquire(user: User, frames: int) -> None:
    """Take a number of frames and return when they are out."""
    user.put("cam1:ImageMode", "Multiple")
    user.put("cam1:NumImages", frames)
    user.put("cam1:Acquire", 1)


def ids(path: Path, **options: Any) -> list[int]:
    with h5py.File(path, "r", **options) as file:
        found: Any = file[f"{layout.ATTRIBUTES}/{layout.UNIQUE_ID}"]
        return found[:].tolist()


def test_a_capture_of_so_many_frames_ends_by_itself_with_a_whole_file(user: User) -> None:
    path = capture(user, "whole", 30)
    acquire(user, 40)
    user.wait("HDF1:Capture_RBV", "Done")
    assert (user.get("HDF1:NumCaptured_RBV"), user.get("HDF1:WriteStatus")) == (30, "Write OK")
    assert ids(path) == list(range(1, 31))
    with h5py.File(path) as file:
        ledger: Any = file[layout.SERIES]
        assert ledger[0]["frames"] == 30 and ledger[0]["last"] == 30
    assert user.get("HDF1:ArraySizeX_RBV") == 64


def test_a_file_gets_the_frames_of_the_plugin_that_ndarrayport_names_compressed_ones_as_they_are(user: User) -> None:
    for name, value in (("ROI1:MinX", 8), ("ROI1:SizeX", 16), ("Codec1:NDArrayPort", "ROI1")):
        user.put(name, value)
    user.put("Codec1:Compressor", "BSLZ4")
    for name in ("ROI1", "Codec1"):
        user.put(f"{name}:EnableCallbacks", 1)
    found = []
    for port in ("ROI1", "CODEC1", "SIM1"):
        user.put("HDF1:NDArrayPort", port)
        path = capture(user, f"from{port}", REGION_FRAMES)
        acquire(user, REGION_FRAMES)
        user.wait("HDF1:Capture_RBV", "Done")
        assert ids(path) == list(range(1, REGION_FRAMES + 1)), port
        with h5py.File(path) as file:
            data: Any = file[layout.DATA]
            found.append((data.shape, list(data._filters), data[:]))
    region, packed, whole = found
    assert (region[0], packed[0], whole[0]) == ((10, 48, 16), (10, 48, 16), (10, 48, 64))
    assert (region[1], packed[1]) == ([], ["32008"])
    for _, _, pixels in (region, packed):
        np.testing.assert_array_equal(pixels, whole[2][:, :, 8:24])
    for name in ("ROI1", "Codec1"):
        user.put(f"{name}:EnableCallbacks", 0)


def test_what_does_not_fit_on_the_disk_is_an_error_and_the_stream_goes_on(user: User) -> None:
    pid = user.run.status("HDF1")["pid"]
    path = capture(user, "full")
    failed = user.get("HDF1:Failed_RBV")
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE, (DISK, resource.RLIM_INFINITY))
    try:
        acquire(user, 1000)
        user.wait("HDF1:WriteStatus", "Write error")
        message = user.get("HDF1:WriteMessage")
        assert "ERROR" in message and str(path) in message, message
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    user.wait_until("HDF1:Failed_RBV", lambda count: count > failed, f"above {failed}")
    user.put("HDF1:Capture", 0)
    user.wait("HDF1:Capture_RBV", "Done")
    again = capture(user, "after", 3)
    acquire(user, 3)
    user.wait("HDF1:Capture_RBV", "Done")
    assert ids(again) == [1, 2, 3]
    assert user.get("HDF1:WriteStatus") == "Write OK"
    assert user.run.status("HDF1")["pid"] == pid, "the process has lived through it"


def test_a_killed_writer_leaves_what_was_flushed_and_its_successor_says_which_file(user: User) -> None:
    pid = user.run.status("HDF1")["pid"]
    path = capture(user, "killed")
    acquire(user, 25)
    user.wait("HDF1:NumCaptured_RBV", 25)
    user.put("HDF1:FlushNow", 1)
    assert ids(path, swmr=True, libver="latest") == list(range(1, 26)), "readable while it grows"
    subprocess.run(["kill", "-9", str(pid)], check=True)
    user.run.wait_until(lambda: user.run.runs("HDF1") and user.run.status("HDF1")["pid"] != pid, "HDF1 is back")
    assert ids(path, swmr=True, libver="latest") == list(range(1, 26))
    user.wait("HDF1:WriteStatus", "Write error")
    assert f"rayfan repair {path}" in user.get("HDF1:WriteMessage")
    done = subprocess.run([RAYFAN, "repair", path], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"{path}: finished, 25 frames, ids 1 to 25\n"
    assert ids(path) == list(range(1, 26))
