"""A file of a synchrotron experiment through the whole appliance: what leaves the ingress is what is in the file.

Another file goes through a collector, in test_topologies.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.support.appliance import RunningAppliance, appliance
from tests.support.watchers import Watcher, digest, put, watching

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def digests(name: str, dataset: str) -> list[str]:
    """Return a digest of every image of a real file, or skip the test."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there: no real input to replay")
    with h5py.File(path) as file:
        return [digest(image) for image in np.asarray(file[dataset])]


def replay(name: str, rate: float, *more: str) -> list[str]:
    """Return the arguments that replay a file at `rate` Hz, once the record Acquire is put."""
    return [
        *("--set", "detector.source.kind=replay", "--set", f"detector.source.path={DATA / name}"),
        *("--set", f"detector.frame_rate={rate}", "--set", "detector.acquire_at_start=false"),
        *(argument for setting in more for argument in ("--set", setting)),
    ]


def watch_whole_file(run: RunningAppliance, expected: list[str]) -> Watcher:
    """Acquire, and watch what leaves the ingress until every image of the file has come, and the file began again."""
    with watching(f"{run.prefix}EjfatIn1:Image", run.folder, run.environment) as watcher:
        run.wait_running("detector", "Cons1", "Cons2", "Ejfat1", "EjfatIn1")
        watcher.wait_connected()
        assert put(f"{run.prefix}cam1:Acquire", "1", run.environment) == ""
        run.wait_until(lambda: is_whole(watcher, len(expected)), "every image of the file has left the ingress", 90.0)
    return watcher


def is_whole(watcher: Watcher, images: int) -> bool:
    """Return whether all images were seen and the file has begun again; a client that was slow takes a second turn."""
    seen = watcher.seen()
    return bool(seen) and seen[-1][0] > images and len({(unique_id - 1) % images for unique_id, _ in seen}) == images


def check(watcher: Watcher, expected: list[str]) -> None:
    """Check that frames came in order, each once, and each was the file's image that it should be."""
    seen = watcher.seen()
    ids = [unique_id for unique_id, _ in seen]
    assert ids[0] == 1
    assert all(later > earlier for earlier, later in pairwise(ids))
    wrong = [unique_id for unique_id, pixels in seen if pixels != expected[(unique_id - 1) % len(expected)]]
    assert not wrong, f"{len(wrong)} frames differ from the file, the first of them {wrong[:5]}"


def check_ledger(report: dict[str, Any], frames: int) -> None:
    """Check that nothing was lost on any way that an image takes."""
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert report["published"] >= frames
    for name in ("Ejfat1", "EjfatIn1"):
        assert stages[name]["processed"] == report["published"]
    assert stages["Cons1"]["processed"] + stages["Cons2"]["processed"] == report["published"]
    for name in ("Cons1", "Cons2", "Ejfat1", "EjfatIn1"):
        assert stages[name]["dropped"] == {} and stages[name]["missed_ranges"] == [] and stages[name]["failed"] == 0


def test_every_frame_that_leaves_the_ingress_is_the_files(tmp_path: Path) -> None:
    name, dataset = "tooth_projections.h5", "/exchange/data"
    expected = digests(name, dataset)
    with appliance(tmp_path, *replay(name, 200.0, f"detector.source.dataset={dataset}")) as run:
        watcher = watch_whole_file(run, expected)
        report = run.stop()
    check(watcher, expected)
    check_ledger(report, len(expected))
