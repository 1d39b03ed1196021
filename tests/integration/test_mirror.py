"""A second Rayfan as the detector behind: its frames are served as ours, and puts handed on to it as far as told."""

from pathlib import Path
from typing import Any

from tests.support.appliance import RunningAppliance, appliance
from tests.support.clients import user_of

FRAMES = 40
BEHIND = f"""
[detector]
frame_rate = 100
size = [16, 12]
image_mode = "Multiple"
num_images = {FRAMES}
acquire_at_start = false
source = {{ pattern = "counter" }}
"""
FORWARDED = ("Acquire", "AcquireTime", "ImageMode")


def test_a_mirror_serves_frames_and_hands_on_what_it_is_told_to(tmp_path: Path) -> None:
    for name in ("behind", "mirror"):
        (tmp_path / name).mkdir()
    (tmp_path / "behind" / "rayfan.toml").write_text(BEHIND)
    (tmp_path / "mirror" / "rayfan.toml").write_text("[detector]\nacquire_at_start = false\n")
    with appliance(tmp_path / "behind", "rayfan.toml") as behind, user_of(behind) as there:
        epics = {name: value for name, value in behind.environment.items() if name.startswith("EPICS_")}
        told = [word for name in FORWARDED for word in ("--forward", name)]
        command = ["mirror", f"{behind.prefix}Pva1:Image", "rayfan.toml", *told]
        with appliance(tmp_path / "mirror", *command, **epics) as mirror, user_of(mirror) as here:
            behind.wait_running("detector")
            mirror.wait_running("detector")
            mirror.wait_until(
                lambda: mirror.status("detector")["figures"].get("ControlsKnown") == 2, "it knows the other"
            )
            mirror.wait_until(
                lambda: here.get("cam1:ImageMode_RBV") == "Multiple", "cam1:ImageMode_RBV is Multiple", 90.0
            )
            here.put("cam1:AcquireTime", 0.004)
            assert there.get("cam1:AcquireTime_RBV") == 0.004
            mirror.wait_until(lambda: here.get("cam1:AcquireTime_RBV") == 0.004, "cam1:AcquireTime_RBV is 0.004", 90.0)
            here.put("cam1:NumImages", 7)
            assert (there.get("cam1:NumImages_RBV"), here.get("cam1:NumImages_RBV")) == (FRAMES, 7), "not told to"
            here.put("cam1:Acquire", 1)
            assert there.get("cam1:NumImagesCounter_RBV") == FRAMES, "complete when the other has finished"
            mirror.wait_until(lambda: here.get("cam1:Acquire_RBV") == "Done", "cam1:Acquire_RBV is Done", 90.0)
            mirror.wait_until(
                lambda: figures_of(mirror).get("SourceWay") == "shared memory", "the other is on this host", 90.0
            )
            mirrored = mirror.stop()
            figures = figures_of(mirror)
        report = behind.stop()
    assert report["published"] == FRAMES
    assert mirrored["published"] + figures["SourceMissed"] == FRAMES
    assert figures["SourceWay"] == "shared memory"
    assert len(mirrored["series"]) == 1


def figures_of(run: RunningAppliance) -> dict[str, Any]:
    """Return what a detector says of itself."""
    return run.status("detector").get("figures", {})
