"""An appliance that takes a file, and puts, from outside: behind it group, egress, writer, a far end that is not there,
and behind the ingress of that egress a group and a collector."""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.support.appliance import RunningAppliance, appliance

FRAMES = 60
CONFIG = """
[detector]
acquire_at_start = false
size = [16, 16]
[intake.file]
url = "file://{0}/images.h5"
frame_rate = 150
[groups.first]
input = "intake.file"
processor = "passthrough"
outputs = ["put://{1}:In"]
[groups.second]
input = "put://{1}:In"
processor = "passthrough"
outputs = ["rpc://{1}:Nobody"]
policy = "bounded"
output_timeout = 0.2
[egress.out]
input = "groups.first"
ingress = "in"
[ingress.in]
[groups.third]
input = "ingress.in"
processor = "passthrough"
[collectors.end]
input = "groups.third"
[writers.disk]
input = "groups.first"
"""


def test_frames_from_outside_are_accounted_for_to_the_end_of_the_chain(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["data"] = np.arange(FRAMES * 64, dtype=np.uint16).reshape(FRAMES, 8, 8)
    (tmp_path / "rayfan.toml").write_text(CONFIG.format(tmp_path, f"X{os.getpid()}"))
    with appliance(tmp_path, "rayfan.toml") as run:
        run.wait_until(lambda: taken(run, "In1") == FRAMES, "the file was read from its beginning", 60.0)
        run.wait_until(lambda: settled(run), "all was put into the other intake", 60.0)
        report = run.stop()
    stages: dict[str, dict[str, Any]] = {stage["name"]: stage for stage in report["stages"]}
    assert stages["In1"]["received"] == stages["Cons1"]["published"] == FRAMES
    far = next(stage for name, stage in stages.items() if name.startswith("put://"))
    assert (far["received"], far["dropped"]) == (stages["Cons1"]["published"], {}), "each put was answered"
    assert stages["In2"]["received"] == far["received"]
    assert stages["HDF1"]["received"] == stages["Ejfat1"]["processed"] == stages["Cons1"]["published"]
    assert stages["EjfatIn1"]["received"] == stages["Cons3"]["received"] == stages["Coll1"]["published"] > 0
    assert {hop["name"] for hop in report["hops"]} >= {"Ejfat1 -> EjfatIn1", "EjfatIn1 -> third"}
    assert {row["stage"] for row in report["accounts"]} >= {"Ejfat1", "EjfatIn1", "Cons3", "Coll1", far["name"]}
    nobody = next(stage for name, stage in stages.items() if name.startswith("rpc://"))
    assert nobody["received"] == 0
    assert nobody["dropped"] == {"lost": stages["Cons2"]["published"]}, "each frame is named as lost there"
    lost_here = sum(stages["Cons2"]["dropped"].values())
    assert stages["Cons2"]["received"] + lost_here == stages["In2"]["received"]


def taken(run: RunningAppliance, name: str) -> int:
    """Return how many frames the present life of an intake has taken in."""
    return run.status(name).get("figures", {}).get("Frames", 0)


def settled(run: RunningAppliance) -> bool:
    """Return whether the first group has put out all that it was given."""
    members = [member for group in run.status("In1")["groups"] for member in group["members"]]
    return all(one["assigned"] == one["completed"] + sum(one["dropped"].values()) for one in members)
