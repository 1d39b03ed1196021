"""The image channels of a running appliance, by p4p, and its ledger after changes while frames flowed."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.appliance import appliance
from tests.support.clients import Seen, User, user_of

CONFIG = """
[detector]
frame_rate = 150
size = [32, 24]
acquire_at_start = false
[groups.stats]
count = 2
policy = "lossless"
"""
IMAGE = "Pva1:Image"
ENDED = ("Cons2", "Cons3", "Cons4")
"""Consumers that are stopped when Count goes to 1."""


@contextmanager
def started(folder: Path) -> Iterator[User]:
    """Yield somebody at an appliance of a detector and two consumers, not acquiring."""
    (folder / "rayfan.toml").write_text(CONFIG)
    with appliance(folder, "rayfan.toml") as run, user_of(run) as user:
        run.wait_running("detector", "Cons1", "Cons2")
        user.wait("Dist1:Members_RBV", 2)
        yield user


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """Somebody at an appliance; at the end nothing was lost or doubled."""
    with started(tmp_path_factory.mktemp("images")) as user:
        assert_sizes_before_the_first_frame(user)
        yield user
        published = user.get("cam1:ArrayCounter_RBV")
        report = user.run.stop()
    assert report["published"] == published == sum(one["published"] for one in report["series"])
    consumers = [stage for stage in report["stages"] if stage["name"].startswith("Cons")]
    assert sum(stage["processed"] for stage in consumers) == published, consumers
    for stage in consumers:
        lost = stage["dropped"], stage["missed_ranges"], stage["failed"], stage["queued"]
        assert lost == ({}, [], 0, 0), stage


def acquire(user: User, frames: int) -> None:
    """Acquire so many frames, and return when that is done."""
    user.put("cam1:ImageMode", "Multiple")
    user.put("cam1:NumImages", frames)
    user.put("cam1:Acquire", 1)


def stop(user: User) -> None:
    """End the acquisition, and return when that is seen: then the counters are final."""
    user.put_plain("cam1:Acquire", 0)
    user.wait("cam1:Acquire_RBV", "Done")


def of_series(seen: list[Seen], series: int) -> list[int]:
    """Return the ids of the frames of a series."""
    return [one.unique_id for one in seen if one.series == series]


def assert_sizes_before_the_first_frame(user: User) -> None:
    """Check that sizes and type are shown before there is a frame."""
    assert user.get("cam1:ArrayCounter_RBV") == 0
    shown = {name: user.get(f"cam1:{name}_RBV") for name in ("ArraySizeX", "ArraySizeY", "ArraySize", "DataType")}
    assert shown == {"ArraySizeX": 32, "ArraySizeY": 24, "ArraySize": 32 * 24, "DataType": "UInt8"}


def test_sizes_are_right_after_a_put(user: User) -> None:
    user.put("cam1:SizeX", 40)
    user.put("cam1:DataType", "UInt16")
    for name, value in (("ArraySizeX", 40), ("ArraySizeY", 24), ("ArraySize", 40 * 24 * 2), ("DataType", "UInt16")):
        user.wait(f"cam1:{name}_RBV", value)
    user.watch(IMAGE)
    before = len(user.images(IMAGE, 0))
    acquire(user, 1)
    image = user.images(IMAGE, before + 1)[before]
    assert (image.unique_id, image.shape, image.dtype) == (1, (24, 40), "uint16")
    user.put("cam1:ColorMode", "RGB1")
    user.wait("cam1:ArraySize0_RBV", 3)
    assert [user.get(f"cam1:ArraySize{axis}_RBV") for axis in range(3)] == [3, 40, 24]
    acquire(user, 1)
    assert user.images(IMAGE, before + 2)[before + 1].shape == (24, 40, 3)
    user.ask("pva_close", IMAGE)
    for name, value in (("SizeX", 32), ("DataType", "UInt8"), ("ColorMode", "Mono")):
        user.put(f"cam1:{name}", value)


def test_an_image_is_an_ntndarray(user: User) -> None:
    acquire(user, 1)
    user.wait("Pva1:ArrayCounter_RBV", user.get("cam1:ArrayCounter_RBV"))
    image = user.ask("image_fields", IMAGE)
    assert image["id"] == "epics:nt/NTNDArray:1.0"
    assert [one["size"] for one in image["dimension"]] == [32, 24]  # fastest first
    assert (image["uniqueId"], image["compressedSize"], image["uncompressedSize"]) == (1, 32 * 24, 32 * 24)
    assert image["attribute"]["ColorMode"] == 0
    assert image["codec"]["name"] == ""
    assert image["timeStamp"]["secondsPastEpoch"] > 0


def test_the_image_channel_is_disabled_slowed_down_and_counted_as_a_plugin(user: User) -> None:
    user.put("Pva1:ArrayCounter", 0)
    user.put("Pva1:EnableCallbacks", 0)
    assert user.get("Pva1:EnableCallbacks_RBV") == "Disable"
    acquire(user, 3)
    user.put("Pva1:EnableCallbacks", 1)
    user.put("Pva1:MinCallbackTime", 1000)
    acquire(user, 5)
    user.wait("Pva1:UniqueId_RBV", 1)
    user.wait("Pva1:ArrayCounter_RBV", 1)
    user.put("Pva1:MinCallbackTime", 0)
    acquire(user, 2)
    user.wait("Pva1:UniqueId_RBV", 2)
    user.wait("Pva1:ArrayCounter_RBV", 3)
    user.put("Pva1:QueueSize", 32)
    assert user.get("Pva1:QueueSize_RBV") == 32
    user.wait("Pva1:QueueUse.HIGH", 24)
    user.put("Pva1:NDArrayPort", "ROI1")
    assert user.get("Pva1:NDArrayPort_RBV") == "SIM1", "the channels of plug-ins are others"


def test_ids_count_from_1_by_1_within_each_series(user: User) -> None:
    user.watch(IMAGE)
    before = user.images(IMAGE, 0)
    for frames in (150, 30):
        acquire(user, frames)
    seen = user.images(IMAGE, len(before) + 180)[len(before) :]
    user.ask("pva_close", IMAGE)
    first, second = sorted({one.series for one in seen})
    assert of_series(seen, first) == list(range(1, 151))
    assert of_series(seen, second) == list(range(1, 31))


def test_a_consumer_puts_out_its_frames_with_what_it_found(user: User) -> None:
    user.watch("Cons1:Image")
    before = len(user.images("Cons1:Image", 0))
    acquire(user, 40)
    seen = user.images("Cons1:Image", before + 20)[before:]
    user.ask("pva_close", "Cons1:Image")
    ids = [one.unique_id for one in seen]
    assert len(ids) == 20 and all(later - earlier == 2 for earlier, later in pairwise(ids))
    attributes = user.ask("image_fields", "Cons1:Image")["attribute"]
    assert attributes["MinValue"] <= attributes["MeanValue"] <= attributes["MaxValue"]


def test_nothing_is_lost_or_doubled_while_everything_is_changed(user: User) -> None:
    before = user.get("cam1:ArrayCounter_RBV")
    user.ask("monitor", "Ledger:Residue_RBV")
    flow(user)
    change_images(user)
    change_group(user)
    change_count(user)
    stop(user)
    user.wait("Ledger:Complete_RBV", "Yes")
    published = user.get("cam1:ArrayCounter_RBV")
    user.wait("Dist1:Turns_RBV", published)
    residues = user.ask("events", "Ledger:Residue_RBV", 0)
    assert set(residues) <= {0}, residues
    user.run.wait_until(lambda: of_newest_series(user) == published - before, f"one series of {published - before}")


def of_newest_series(user: User) -> int:
    """Return the frames of the newest series, as the detector told last; their ids grow with time."""
    series = user.run.status("detector").get("series", [])
    return max(series, key=lambda one: one["id"], default={"published": 0})["published"]


def flow(user: User) -> None:
    """Acquire without end."""
    user.put("cam1:ImageMode", "Continuous")
    user.put_plain("cam1:Acquire", 1)
    user.wait("cam1:Acquire_RBV", "Acquiring")


def flow_on(user: User, frames: int = 10) -> None:
    """Wait until so many more frames were processed by every consumer that is here."""
    name = "cam1:ArrayCounter_RBV"
    before = user.get(name)
    user.wait_until(name, lambda count: count >= before + frames, f"at least {before + frames}")


def change_images(user: User) -> None:
    """Change size, type, colours and rate of the frames that flow."""
    for name, value in (
        *(("SizeX", 64), ("DataType", "Float32"), ("SizeY", 48), ("FrameRate", 300.0), ("ColorMode", "RGB1")),
        *(("DataType", "UInt8"), ("ColorMode", "Mono"), ("AcquirePeriod", 0.005)),
    ):
        user.put(f"cam1:{name}", value)
        user.wait(f"cam1:{name}_RBV", value)
        flow_on(user)


def change_group(user: User) -> None:
    """Change how frames are dealt out; the members are quicker than the frames, so that Bounded drops none."""
    for name, value in (
        *(("QueueSize", 8), ("Updates", 3), ("QueueBytes", 1_000_000), ("Policy", "Bounded")),
        *(("Policy", "Acknowledged"), ("Policy", "Lossless"), ("Updates", 1), ("QueueSize", 64)),
    ):
        user.put(f"Dist1:{name}", value)
        user.wait(f"Dist1:{name}_RBV", value)
        flow_on(user)


def change_count(user: User) -> None:
    """Have four consumers, then one: the others are started and stopped."""
    user.put("Dist1:Count", 4)
    user.wait("Dist1:Members_RBV", 4)
    for name in ("Cons3", "Cons4"):
        user.wait_until(f"{name}:Processed_RBV", lambda count: count > 5, "above 5")
    user.put("Dist1:Count", 1)
    user.wait("Dist1:Members_RBV", 1)
    user.wait("Dist1:Member1:Present_RBV", "Yes")
    states = {f"Process{slot}:State_RBV" for slot in range(1, 17) if user.get(f"Process{slot}:Name_RBV") in ENDED}
    assert len(states) == len(ENDED)
    for name in states:
        user.wait(name, "Stopped")
    flow_on(user)


def test_members_are_dealt_into_other_sets_while_frames_flow(tmp_path: Path) -> None:
    """In an appliance of its own: what two saw is in the ledger twice, and one that closes counts each frame once."""
    with started(tmp_path) as user:
        flow(user)
        for sets in (1, 2, 1, 0):  # one set of two members: each of them gets every frame
            flow_on(user)
            user.put("Dist1:Sets", sets)
            user.wait("Dist1:Sets_RBV", sets or 2)
        stop(user)
        published = user.get("cam1:ArrayCounter_RBV")
        user.wait("Dist1:Lag_RBV", 0)
        user.wait("Ledger:Complete_RBV", "Yes")
        done = [f"Cons{number}:Processed_RBV" for number in (1, 2)]  # each process shows its own, in its own time
        user.wait_until("Dist1:Turns_RBV", lambda turns: turns == sum(map(user.get, done)), "what both processed")
        turns = user.get("Dist1:Turns_RBV")
        processed = [user.get(name) for name in done]
        dropped = [user.get(f"{name}:Dropped_RBV") for name in ("Dist1", "Cons1", "Cons2")]
        user.wait("Ledger:Residue_RBV", 0)
    assert sum(processed) == turns > published > max(processed)
    assert dropped == [0, 0, 0]
