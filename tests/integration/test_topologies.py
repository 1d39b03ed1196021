"""The example configurations of ops/examples, as they are, with real frames: what goes in comes out, in order."""

import os
import signal
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.support.appliance import RunningAppliance, appliance
from tests.support.clients import user_of

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "ops" / "examples"
K11 = ROOT.parent / "shared" / "data" / "k11_detector.h5"
PROCESSORS = '''
"""A processor that writes down which frames it saw, and one that swallows every tenth."""

import zlib

import numpy as np

from consumers.processor import Processor


class Recorder(Processor):
    def start(self, context):
        self.out = (context.folder / "frames").open("ab", buffering=0)

    def process(self, frame, metadata):
        crc = zlib.crc32(np.ascontiguousarray(frame.data))
        self.out.write(f"{frame.series} {frame.unique_id} {crc} {frame.data.shape}\\n".encode())
        return frame

    def flush(self):
        self.out.write(b"end\\n")


class Tenth(Processor):
    def process(self, frame, metadata):
        return None if frame.unique_id % 10 == 0 else frame
'''
RECORDER = "processors.py:Recorder"


def example(folder: Path, name: str, *settings: str) -> list[str]:
    """Return the arguments that run an example with some settings changed, and with the processors above at hand."""
    (folder / "processors.py").write_text(PROCESSORS)
    return [str(EXAMPLES / f"{name}.toml"), *(word for setting in settings for word in ("--set", setting))]


def frames_of(count: int, rate: float = 2000.0) -> list[str]:
    """Return the settings of one acquisition of so many frames."""
    return ["detector.image_mode=Multiple", f"detector.num_images={count}", f"detector.frame_rate={rate}"]


def seen(run: RunningAppliance, name: str) -> list[str]:
    """Return the lines that a recorder wrote."""
    path = run.run_dir / "files" / name / "frames"
    return path.read_text().splitlines() if path.exists() else []


def stage(report: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one stage of a report."""
    return next(one for one in report["stages"] if one["name"] == name)


def ids(lines: Iterable[str]) -> list[int]:
    """Return the ids of recorded frames."""
    return [int(line.split()[1]) for line in lines if line != "end"]


def test_parallel_members_take_turns_and_groups_see_everything(tmp_path: Path) -> None:
    settings = ["groups.stats.processor=" + RECORDER, "groups.monitor.processor=" + RECORDER, *frames_of(200)]
    with appliance(tmp_path, *example(tmp_path, "parallel", *settings)) as run:
        run.wait_until(lambda: all(seen(run, name)[-1:] == ["end"] for name in ("Cons1", "Cons2", "Cons3")), "the end")
        report = run.stop()
    assert (ids(seen(run, "Cons1")), ids(seen(run, "Cons2"))) == (list(range(1, 201, 2)), list(range(2, 201, 2)))
    latest = stage(report, "Cons3")
    assert latest["received"] + latest["dropped"].get("replaced", 0) == 200


def test_members_of_a_set_see_the_same_frames(tmp_path: Path) -> None:
    settings = ["groups.stats.processor=" + RECORDER, *frames_of(100)]
    with appliance(tmp_path, *example(tmp_path, "sets", *settings)) as run:
        members = ("Cons1", "Cons2", "Cons3", "Cons4")
        run.wait_until(lambda: all(seen(run, name)[-1:] == ["end"] for name in members), "the end of the series")
        run.stop()
    odd = [unique_id for unique_id in range(1, 101) if (unique_id - 1) // 10 % 2 == 0]
    even = [unique_id for unique_id in range(1, 101) if unique_id not in odd]
    assert [ids(seen(run, name)) for name in members] == [odd, even, odd, even]


def test_a_chain_survives_the_death_of_every_stage(tmp_path: Path) -> None:
    settings = ["groups.first.processor=processors.py:Tenth", "groups.second.processor=" + RECORDER]
    with appliance(tmp_path, *example(tmp_path, "chain", *settings)) as run:
        names = ("Cons1", "Cons3")
        run.wait_running("detector", "Cons1", "Cons2", "Cons3")
        run.wait_until(lambda: len(seen(run, "Cons3")) > 100, "frames come through the chain")
        before = {name: run.status(name)["pid"] for name in names}
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        run.wait_until(
            lambda: all(run.runs(name) and run.status(name)["pid"] != before[name] for name in names), "both run again"
        )
        count = len(seen(run, "Cons3"))
        run.wait_until(lambda: len(seen(run, "Cons3")) > count + 100, "frames come through again")
        report = run.stop()
    assert [stage(report, name)["restarts"] for name in ("Cons1", "Cons2", "Cons3")] == [1, 0, 1]
    last = stage(report, "Cons3")
    done = {(int(line.split()[0]), int(line.split()[1])) for line in seen(run, "Cons3") if line != "end"}
    (series,) = report["series"]
    swallowed = {(series["id"], unique_id) for unique_id in range(10, series["published"] + 1, 10)}
    assert stage(report, "Cons2")["withheld"]["filtered"] > 0
    assert not done & swallowed
    published = {(series["id"], unique_id) for unique_id in range(1, series["published"] + 1)}
    missing = published - done - swallowed
    assert len(missing) <= last["dropped"].get("lost", 0), "what died with Cons1 is counted as lost"
    assert seen(run, "Cons3")[-1] == "end", "the end of the series came through"


def test_a_collector_puts_real_frames_back_in_order_bit_for_bit(tmp_path: Path) -> None:
    if not K11.exists():
        pytest.skip(f"{K11} is not there")
    source = ["detector.source.kind=replay", f"detector.source.path={K11}", "detector.source.loop=false"]
    settings = ["groups.save.processor=" + RECORDER, "detector.frame_rate=4000", *source]
    with appliance(tmp_path, *example(tmp_path, "collector", *settings)) as run:
        run.wait_until(lambda: seen(run, "Cons4")[-1:] == ["end"], "the end of the series")
        run.wait_until(lambda: run.status("Coll1")["figures"]["Complete"] == 1, "the collector says it is complete")
        report = run.stop()
    with h5py.File(K11) as file:
        images = np.asarray(file["/entry/detector/detector"])
    lines = seen(run, "Cons4")[:-1]
    assert ids(lines) == list(range(1, len(images) + 1)), "all frames, in order"
    assert [int(line.split()[2]) for line in lines] == [zlib.crc32(image) for image in images], "bit for bit"
    gathered = stage(report, "Coll1")
    assert (gathered["received"], gathered["published"], gathered["withheld"]) == (len(images), len(images), {})


def test_what_is_split_and_stitched_is_what_went_in(tmp_path: Path) -> None:
    recorders = ["groups.direct.processor=" + RECORDER, "groups.save.processor=" + RECORDER]
    settings = [
        *recorders,
        "groups.save.input=collectors.whole",
        "detector.source.pattern=rings",
        "detector.size=[61,47]",
    ]
    with appliance(tmp_path, *example(tmp_path, "split-stitch", *settings, *frames_of(200, 500.0))) as run:
        names = ("Cons6", "Cons7")
        run.wait_until(lambda: all(seen(run, name)[-1:] == ["end"] for name in names), "the end of the series")
        with user_of(run) as user:
            user.watch("Coll1:Image")
            assert user.images("Coll1:Image", 1)[0].shape == (47, 61), "whoever looks sees what was gathered"
        report = run.stop()
    direct, stitched = (seen(run, name) for name in names)
    assert len(direct) == 201
    assert stitched == direct, "in order, and bit for bit"
    whole = stage(report, "Coll1")
    assert (whole["received"], whole["published"], whole["withheld"]) == (800, 200, {"stitched": 800})
    assert [stage(report, f"Cons{member}")["received"] for member in (2, 3, 4, 5)] == [200] * 4, "a tile of each frame"
