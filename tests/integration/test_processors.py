"""Processors at work in an appliance: a PvaPy class that crashes, files, compression for a stock client, batches."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from detector_sim.counter import Counter
from ioc.core.frame import DataType
from tests.support.appliance import RunningAppliance, appliance
from tests.support.network import magnitude
from tests.support.watchers import ROOT, put

FRAMES = 40
CRASHES, FAILS = 5, 6
EXAMPLE = ROOT / "ops" / "examples" / "processors.toml"


def settings(folder: Path) -> list[str]:
    """Return the arguments that make the example one whose frames can be told apart, and one class fail."""
    arguments = json.dumps({"crashAt": CRASHES, "failAt": FAILS})
    inverting = f"pvapy:{ROOT}/tests/support/pvapy_processors/inverting.py:InvertingProcessor"
    keys = {
        "detector.size": [16, 8],
        "detector.num_images": FRAMES,
        "detector.source.pattern": "counter",
        "detector.acquire_at_start": False,
        "groups.pvapy.processor": inverting,
        "groups.pvapy.settings": f"{{ ProcessorId = 3, Arguments = '{arguments}' }}",
        "groups.files.settings.Folder": str(folder / "saved"),
        "groups.binned.processor": "ptychonn",
        "groups.binned.settings": f'{{ Model = "{folder}/network.onnx", BatchTimeout = 0.0 }}',
    }
    return [word for key, value in keys.items() for word in ("--set", f"{key}={_toml(value)}")]


def _toml(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def figures(run: RunningAppliance, name: str) -> dict[str, Any]:
    """Return the figures of a consumer."""
    return run.status(name).get("figures", {})


def done(run: RunningAppliance, name: str) -> int:
    """Return the frames that a consumer has finished with."""
    stage = run.status(name).get("stage", {})
    return stage.get("processed", 0) + stage.get("failed", 0)


def image(number: int) -> np.ndarray:
    """Return the image of a frame's number."""
    out = np.empty((8, 16), np.uint8)
    Counter((8, 16), DataType.UINT8).fill(number - 1, out)
    return out


def test_processors_do_their_work_and_every_frame_is_accounted_for(tmp_path: Path) -> None:
    (tmp_path / "network.onnx").write_bytes(magnitude((6, 1, 8, 16)))
    seen = tmp_path / "seen"
    seen.touch()
    consumers = [f"Cons{number}" for number in range(1, 5)]
    with appliance(tmp_path, str(EXAMPLE), *settings(tmp_path)) as run:
        run.wait_running("detector", *consumers)
        client = subprocess.Popen(
            [sys.executable, "-m", "tests.support.pvapy_unpacking", f"{run.prefix}Cons2:Image", str(seen)],
            cwd=ROOT,
            env=run.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert client.stdout is not None
        try:
            assert client.stdout.readline() == "ready\n"
            assert put(f"{run.prefix}cam1:Acquire", "1", run.environment) == ""
            run.wait_until(lambda: all(done(run, name) == FRAMES for name in consumers), "all frames are done")
            run.wait_until(lambda: f"\n{FRAMES} " in seen.read_text(), "the client has the last image")
        finally:
            client.communicate(timeout=60)
        report = run.stop()
        pvapy, files, network = (figures(run, name) for name in ("Cons1", "Cons3", "Cons4"))
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert stages["Cons1"]["failed"] == 2, "the crash and the error, nothing else"
    assert [stages[name]["failed"] for name in consumers[1:]] == [0, 0, 0]
    assert (pvapy["Stat:Restarts"], pvapy["Stat:nFrames"], pvapy["Published"]) == (1, FRAMES - CRASHES - 1, FRAMES - 2)
    check_packed(seen.read_text().splitlines())
    check_files(tmp_path / "saved")
    assert files["Stat:FramesSaved"] == FRAMES
    assert (network["Stat:Inferred"], network["Stat:Padded"], network["Published"]) == (FRAMES, 2, FRAMES)


def check_packed(lines: list[str]) -> None:
    """Check that what a stock client unpacked is what the detector drew."""
    found = [line.split() for line in lines if len(line.split()) == 3]
    assert {codec for _, codec, _ in found} == {"blosc"}
    assert [int(number) for number, *_ in found] == sorted({int(number) for number, *_ in found})
    assert all(bytes.fromhex(pixels) == image(int(number)).tobytes() for number, _, pixels in found)
    assert len(found) > FRAMES // 2


def check_files(folder: Path) -> None:
    """Check that every frame is in the files, in order, and nothing else."""
    names = sorted(path.name for path in folder.iterdir())
    assert [name.split("_")[2] for name in names] == ["000001-000016.h5", "000017-000032.h5", "000033-000040.h5"]
    number = 0
    for name in names:
        with h5py.File(folder / name) as file:
            for data, unique_id in zip(file["entry/data/data"], file["entry/data/unique_id"], strict=True):  # type: ignore[arg-type]
                number += 1
                assert unique_id == number
                np.testing.assert_array_equal(data, image(number))
    assert number == FRAMES


def test_what_is_sealed_is_opened_and_inferred_and_saved(tmp_path: Path) -> None:
    patterns = np.random.default_rng(1).integers(-50, 50, (20, 128, 128), np.int16)
    np.save(tmp_path / "patterns.npy", patterns)
    (tmp_path / "network.onnx").write_bytes(magnitude((8, 1, 128, 128)))
    keys = {
        "detector.source": f'{{ kind = "replay", path = "{tmp_path}/patterns.npy", loop = false }}',
        "groups.sealed.count": 1,
        "groups.network.input": "groups.opened",
        "groups.network.processor": "ptychonn",
        "groups.network.settings.Model": f"{tmp_path}/network.onnx",
        "groups.saved.input": "groups.network",
        "groups.saved.processor": "save",
        "groups.saved.settings": f'{{ Folder = "{tmp_path}/saved", Pattern = "{{series}}/{{id:08}}.npy" }}',
    }
    given = [word for key, value in keys.items() for word in ("--set", f"{key}={_toml(value)}")]
    with appliance(tmp_path, str(EXAMPLE.with_name("sealed.toml")), *given, RAYFAN_KEYS=f"first {'07' * 32}") as run:
        run.wait_until(lambda: done(run, "Cons4") == len(patterns), "all images are saved", 60.0)
        run.stop()
        assert figures(run, "Cons2")["Stat:Refused"] == 0
    names = sorted((tmp_path / "saved").glob("*/*.npy"))
    assert [path.stem for path in names] == [f"{number:08}" for number in range(1, len(patterns) + 1)]
    for path, pattern in zip(names, patterns, strict=True):
        np.testing.assert_array_equal(np.load(path), np.abs(pattern.astype(np.float32)))
