"""The example whose consumers take what came by EJFAT: every frame by id on both sides, its metadata in the file."""

from pathlib import Path
from typing import Any

import h5py

from tests.support.appliance import RunningAppliance, appliance
from tests.support.clients import User, user_of

EXAMPLE = Path(__file__).parents[2] / "ops" / "examples" / "ejfat-input.toml"
FRAMES = 200
CAPTURE = {
    "EnableCallbacks": 1,
    "FileName": "beam",
    "FileTemplate": "%s%s.h5",
    "NumCapture": FRAMES + 1,
    "FileWriteMode": "Stream",
}
SEEING = """
from dataclasses import replace
from consumers.processor import Processor

class Seeing(Processor):
    def process(self, frame, metadata):
        seen = metadata["Energy"] if metadata.quality["Energy"].found else float("nan")
        return replace(frame, attributes={**frame.attributes, "SeenEnergy": seen})
"""
"""A processor of the consumers behind the hop: puts the metadata that it gets by name among the attributes."""
NAMES = ("detector", "EjfatIn1", "Ejfat1", "HDF1", "Coll1", "Cons1", "Cons2", "Cons3", "Cons4")


def test_what_came_by_ejfat_is_processed_put_in_order_and_written(tmp_path: Path) -> None:
    settings = ["detector.image_mode=Multiple", f"detector.num_images={FRAMES}", "detector.frame_rate=200"]
    settings += ["egress.beam.metadata.channels.Energy.wait=20", "writers.files.metadata.channels.Current.wait=20"]
    settings += ["detector.size=[32,24]", f"writers.files.path={tmp_path}"]
    (tmp_path / "seeing.py").write_text(SEEING)
    settings += [f"groups.far.processor={tmp_path}/seeing.py:Seeing"]
    arguments = [str(EXAMPLE), *(word for setting in settings for word in ("--set", setting))]
    with appliance(tmp_path, *arguments) as run, user_of(run) as user:
        run.wait_running(*NAMES)
        run.wait_until(lambda: connected(run), "both channels are connected", 60.0)
        for field, value in CAPTURE.items():
            user.put(f"HDF1:{field}", value)
        user.put_plain("HDF1:Capture", 1)
        user.wait("HDF1:Capture_RBV", "Capturing")
        user.put_plain("cam1:Acquire", 1)
        run.wait_until(lambda: run.status("Coll1")["figures"].get("Complete") == 1 or over(run), "the end came through")
        run.wait_until(lambda: written(run) == run.status("Coll1")["stage"]["published"] > 0, "all is written")
        check_records(user, run)
        user.put("HDF1:Capture", 0)
        report = run.stop()
    stages: dict[str, dict[str, Any]] = {stage["name"]: stage for stage in report["stages"]}
    assert stages["Ejfat1"]["processed"] == report["published"] == FRAMES
    arrived = stages["EjfatIn1"]["received"]
    assert arrived + sum(stages["EjfatIn1"]["dropped"].values()) == FRAMES
    assert stages["Cons3"]["received"] + stages["Cons4"]["received"] == arrived == stages["HDF1"]["received"]
    with h5py.File(tmp_path / "beam.h5") as file:
        attributes: Any = file["/entry/instrument/NDAttributes"]
        ids = attributes["NDArrayUniqueId"][:].tolist()
        assert ids == sorted(set(ids)) and len(ids) == arrived
        assert attributes["Energy"][:].tolist() == ids, "it went along in the events"
        assert attributes["SeenEnergy"][:].tolist() == ids, "consumers behind the hop have it by name"
        assert attributes["Current"][:].tolist() == ids, "it was matched before the file"


def connected(run: RunningAppliance) -> bool:
    """Return whether both channels are there."""
    beam, files = run.status("Ejfat1")["figures"], run.status("HDF1")["figures"]
    return beam.get("Meta:Energy:Connected") == files.get("Meta:Current:Connected") == 1


def over(run: RunningAppliance) -> bool:
    """Return whether the collector has passed on the last frame that arrived."""
    return run.status("Coll1")["figures"].get("UniqueId") == FRAMES


def written(run: RunningAppliance) -> int:
    """Return how many frames the writer has finished with."""
    return run.status("HDF1").get("stage", {}).get("processed", 0)


def check_records(user: User, run: RunningAppliance) -> None:
    """Look at the records of the metadata channels, and change one."""
    user.wait("Ejfat1:Meta:Energy:Matched_RBV", FRAMES)
    user.wait("HDF1:Meta:Current:Matched_RBV", written(run))
    user.put("HDF1:Meta:Current:Window", 0.5)
    user.wait("HDF1:Meta:Current:Window_RBV", 0.5)
