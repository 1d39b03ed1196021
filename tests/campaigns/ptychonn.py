"""PtychoNN in an appliance, inference then save, against the bare network in one process: rate per core, and loss.

    python -m tests.campaigns.ptychonn [--model ptychonn_8.onnx] [--seconds 10] [--consumers 1]

The bare network and each consumer run on one thread. What is compared is frames a second of processor time, so that
what else the machine does falls out; rates by the clock are told beside it. At the end: residue 0, every frame saved.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import psutil

from tests.support.appliance import RunningAppliance, appliance

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "ops" / "examples" / "ptychonn.toml"
SIZE, BATCH, PATTERNS = 128, 8, 64
WARM_UP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Frames in `wall` s by the clock and `cpu` s of processor time."""

    frames: int
    wall: float
    cpu: float

    def words(self) -> str:
        """Return the rates for a person."""
        return f"{self.frames / self.wall:8.1f} frames/s  {self.frames / self.cpu:8.1f} frames/s of a core's time"


def bare(model: Path, patterns: np.ndarray, seconds: float) -> Rate:
    """Return what the network does alone, with the same conversion of its input."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    given = np.zeros((BATCH, 1, SIZE, SIZE), np.float32)

    def run(until: float) -> int:
        frames = 0
        while time.monotonic() < until:
            first = frames % PATTERNS
            given[:, 0] = patterns[first : first + BATCH]
            session.run(None, {name: given})
            frames += BATCH
        return frames

    run(time.monotonic() + WARM_UP_SECONDS)
    begun, cpu = time.monotonic(), time.process_time()
    frames = run(begun + seconds)
    return Rate(frames, time.monotonic() - begun, time.process_time() - cpu)


def measured(run: RunningAppliance, names: Sequence[str], seconds: float) -> Rate:
    """Return what the consumers of the network do while frames flow."""
    processes = [psutil.Process(run.status(name)["pid"]) for name in names]

    def now() -> tuple[int, float, float]:
        frames = sum(run.status(name)["stage"]["processed"] for name in names)
        return frames, time.monotonic(), sum(sum(one.cpu_times()[:2]) for one in processes)

    run.wait_until(lambda: now()[0] > 2 * BATCH * len(names), "the network is warm")
    frames, begun, cpu = now()
    run.wait_until(lambda: time.monotonic() - begun > seconds, "the time is over", seconds + 10)
    later = now()
    return Rate(later[0] - frames, later[1] - begun, later[2] - cpu)


def main(arguments: Sequence[str]) -> int:
    """Measure both and tell; return 1 if a frame is lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, default=os.environ.get("RAYFAN_PTYCHONN"), help="or RAYFAN_PTYCHONN")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--consumers", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.model is None or not options.model.is_file():
        parser.error("--model: the trained network, input [8, 1, 128, 128]")
    with tempfile.TemporaryDirectory(prefix="rayfan-") as name:
        return _compare(Path(name), options)


def _compare(folder: Path, options: argparse.Namespace) -> int:
    patterns = np.random.default_rng(1).poisson(20, (PATTERNS, SIZE, SIZE)).astype(np.int16)
    np.save(folder / "patterns.npy", patterns)
    alone = bare(options.model, patterns, options.seconds / 2)
    names = [f"Cons{number}" for number in range(1, options.consumers + 1)]
    settings = {
        "detector.source.path": folder / "patterns.npy",
        "groups.network.settings.Model": options.model.resolve(),
        "groups.network.count": options.consumers,
        "groups.saved.settings.Folder": folder / "saved",
    }
    given = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    with appliance(folder, str(EXAMPLE), *given) as run:
        run.wait_running("detector", *names)
        served = measured(run, names, options.seconds)
        report = run.stop()
    again = bare(options.model, patterns, options.seconds / 2)
    alone = Rate(alone.frames + again.frames, alone.wall + again.wall, alone.cpu + again.cpu)
    ratio = served.frames / served.cpu / (alone.frames / alone.cpu)
    saved = sum(1 for _ in (folder / "saved").rglob("*.npy"))
    print(
        f"bare network  {alone.words()}\nappliance     {served.words()}\nper core      {ratio:.2f} of the bare network"
    )
    print(f"{report['published']} frames published, {saved} saved, residue {report['residue']}")
    return 0 if saved == report["published"] and report["residue"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
