"""Processors that do everything wrong, each in a running appliance: the stream goes on, a PV says why, residue 0.

    python -m tests.campaigns.processors [--only raises,hangs,...] [--frames 150]

Each processor misbehaves at frame 30, or from there on, in a group of its own (Lossless) beside a healthy one and with
another one behind it. The series must come to its end everywhere, what was lost must be booked with its id, the error
must stand on a PV of the consumer or of its slot at the supervisor, and logs and quarantine must keep to their bounds.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p4p.client.thread import Context

from tests.support.appliance import RunningAppliance, appliance

BAD = 30
PROCESSORS = f'''
"""Processors that misbehave at frame {BAD}, or from there on."""

import ctypes
import os
import resource
import sys
import threading

import numpy as np

from dataclasses import replace
from consumers.processor import Processor


class Bad(Processor):
    def process(self, frame, metadata):
        return self.act(frame) if frame.unique_id == {BAD} else frame


class Raises(Bad):
    def act(self, frame):
        raise ValueError("not this one")


class RaisesAlways(Processor):
    def process(self, frame, metadata):
        raise ValueError("none of them")


class Text(Bad):
    def act(self, frame):
        return "a text"


class Objects(Bad):
    def act(self, frame):
        return replace(frame, data=np.array([[object()]]))


class Complex(Bad):
    def act(self, frame):
        return replace(frame, data=frame.data.astype(complex))


class Huge(Bad):
    def act(self, frame):
        return replace(frame, data=np.zeros((4000, 4000)))


class Attributes(Bad):
    def act(self, frame):
        return replace(frame, attributes={{"x": "y" * 100000}})


class SysExit(Bad):
    def act(self, frame):
        sys.exit("enough")


class OsExit(Bad):
    def act(self, frame):
        os._exit(7)


class Segfault(Bad):
    def act(self, frame):
        ctypes.string_at(0)


class SegfaultInBatch(Processor):
    batch_size = 8
    batch_timeout = 0.5

    def process_batch(self, frames, metadata):
        if any(frame.unique_id == {BAD} for frame in frames):
            ctypes.string_at(0)
        return list(frames)


class Hangs(Bad):
    def act(self, frame):
        threading.Event().wait()


class BusyLoop(Bad):
    def act(self, frame):
        while True:
            pass


class HoldsTheLock(Bad):
    def act(self, frame):
        ctypes.PyDLL(None).sleep(600)


class HangsInFlush(Processor):
    """Once: what hangs at the end of a series is killed, its frames are done already."""

    def start(self, context):
        self.mark = context.folder / "hung"

    def process(self, frame, metadata):
        return frame

    def flush(self):
        if not self.mark.exists():
            self.mark.touch()
            threading.Event().wait()


class Leaks(Processor):
    def start(self, context):
        self.kept = []

    def process(self, frame, metadata):
        self.kept.append(np.ones(4 << 20, np.uint8))
        return frame


class KeepsFrames(Processor):
    def start(self, context):
        self.kept = []

    def process(self, frame, metadata):
        self.kept.append(frame)
        return frame


class Writes(Bad):
    def act(self, frame):
        frame.data[0] = 1


class WritesAnyway(Bad):
    def act(self, frame):
        ctypes.memset(frame.data.ctypes.data, 0, 8)
        return frame


class Prints(Processor):
    def process(self, frame, metadata):
        print("x" * 1_000_000)
        return frame


class Threads(Processor):
    def process(self, frame, metadata):
        threading.Thread(target=lambda: 1 // 0).start()
        return frame


class FillsDisk(Processor):
    def start(self, context):
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))
        self.out = (context.folder / "data").open("ab", buffering=0)

    def process(self, frame, metadata):
        self.out.write(bytes(1 << 20))
        return frame


class SillyStatistics(Processor):
    def process(self, frame, metadata):
        return frame

    def statistics(self):
        return {{"Nothing": object()}}
'''
CONFIG = """
[detector]
frame_rate = 300.0
size = [64, 64]
image_mode = "Multiple"
[groups.bad]
processor = "processors.py:{kind}"
time_limit = 1.0
memory_limit = 400000000
[groups.behind]
input = "groups.bad"
processor = "passthrough"
[groups.well]
processor = "statistics"
"""
MOST_LOG = 9 << 20
"""Bytes of a log and of what is kept of the one before, with what may be written between two looks."""
SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Expected:
    """What is to come of a processor: a part of its error on a PV, frames failed (None: some) and set aside."""

    error: str
    failed: int | None = 0
    aside: int = 0
    restarts: int | None = 0


CASES = {
    "Raises": Expected("ValueError: not this one", 1),
    "RaisesAlways": Expected("ValueError: none of them", None),
    "Text": Expected("expected a Frame", 1),
    "Objects": Expected("found 'object'", 1),
    "Complex": Expected("found 'complex128'", 1),
    "Huge": Expected("expected at most", 1),
    "Attributes": Expected("frame, attribute 'x'", 1),
    "SysExit": Expected("SystemExit: enough", 1),
    "OsExit": Expected("ended with exit code 7", 0, 1, 2),
    "Segfault": Expected("SIGSEGV", 0, 1, 2),
    "SegfaultInBatch": Expected("SIGSEGV", 0, 1, 3),
    "Hangs": Expected("time_limit", 0, 1, 2),
    "BusyLoop": Expected("time_limit", 0, 1, 2),
    "HoldsTheLock": Expected("no sign of life", 0, 1, 2),
    "HangsInFlush": Expected("time_limit", 0, 0, 1),
    "Leaks": Expected("memory_limit", 0, 0, None),
    "KeepsFrames": Expected(""),
    "Writes": Expected("read-only", 1),
    "WritesAnyway": Expected("SIGSEGV", 0, 1, 2),
    "Prints": Expected(""),
    "Threads": Expected(""),
    "FillsDisk": Expected("File too large", None),
    "SillyStatistics": Expected("statistics: expected", 0),
}


@contextmanager
def client(run: RunningAppliance) -> Iterator[Context]:
    """Yield a PVA client of an appliance."""
    conf = {name: value for name, value in run.environment.items() if name.startswith("EPICS_PVA")}
    with Context("pva", conf=conf, useenv=False) as context:
        yield context


def words(run: RunningAppliance, context: Any) -> str:
    """Return the errors that stand on the PVs of the consumer and of its slot, empty if there is none."""
    names = [f"{run.prefix}Process{slot}:Name_RBV" for slot in range(1, 6)]
    slot = next(at for at, name in enumerate(names, 1) if context.get(name, timeout=10.0).raw.value == "Cons1")
    told = [f"{run.prefix}Cons1:LastError_RBV", f"{run.prefix}Process{slot}:LastError_RBV"]
    found = context.get(told, timeout=10.0, throw=False)
    texts = [str(one.raw.value) for one in found if not isinstance(one, Exception)]
    return " | ".join(filter(None, texts))


def finished(run: RunningAppliance, name: str) -> int:
    """Return the frames that a consumer has finished with."""
    stage = run.status(name).get("stage", {})
    return stage.get("processed", 0) + stage.get("failed", 0)


def restarts(run: RunningAppliance) -> int:
    """Return how often the consumer was started again."""
    view = json.loads((run.run_dir / "appliance.json").read_text())
    return next(one["restarts"] for one in view["processes"] if one["name"] == "Cons1")


def case(kind: str, expected: Expected, frames: int) -> tuple[bool, str]:
    """Run one processor; return whether all came as it should, and a line of the table."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rayfan-") as name:
        folder = Path(name)
        (folder / "processors.py").write_text(PROCESSORS)
        (folder / "rayfan.toml").write_text(CONFIG.format(kind=kind))
        with appliance(folder, "rayfan.toml", "--set", f"detector.num_images={frames}") as run:
            run.wait_until(
                lambda: finished(run, "Cons1") == frames - expected.aside and finished(run, "Cons3") == frames,
                f"{kind}: the stream goes on to its end",
                SECONDS,
            )
            fewest = 1 if expected.restarts is None else expected.restarts
            run.wait_until(lambda: restarts(run) >= fewest, f"{kind}: it was started again {fewest} times", SECONDS)
            run.wait_until(lambda: run.runs("Cons1"), "it runs again", SECONDS)
            with client(run) as context:
                error = wait_words(run, context, expected.error)
            report = run.stop()
            logs = sum(path.stat().st_size for path in run.run_dir.glob("Cons1.log*"))
            aside = len(list((run.run_dir / "quarantine").glob("*.quarantine")))
    return judge(kind, expected, report, (error, logs, aside, time.monotonic() - begun))


def wait_words(run: RunningAppliance, context: Context, wanted: str) -> str:
    """Return what stands on the PVs, once it is what is wanted, or after a few seconds."""
    limit = time.monotonic() + 10.0
    while wanted not in (found := words(run, context)) and time.monotonic() < limit:
        time.sleep(0.1)  # the supervisor shows it a moment later
    return found


def judge(
    kind: str, expected: Expected, report: dict[str, Any], found: tuple[str, int, int, float]
) -> tuple[bool, str]:
    """Compare with what was expected."""
    error, logs, aside, took = found
    stage = next(one for one in report["stages"] if one["name"] == "Cons1")
    dropped = {"quarantined": expected.aside} if expected.aside else {}
    good = [
        report["residue"] == 0,
        expected.error in error,
        stage["dropped"] == dropped,
        aside == expected.aside,
        stage["failed"] > 0 if expected.failed is None else stage["failed"] == expected.failed,
        stage["restarts"] > 0 if expected.restarts is None else stage["restarts"] == expected.restarts,
        logs < MOST_LOG,
    ]
    line = (
        f"{kind:16s} {'good' if all(good) else f'BAD {good}'}  processed {stage['processed']:4d} failed "
        f"{stage['failed']:3d} aside {aside} restarts {stage['restarts']} residue {report['residue']} "
        f"log {logs / 1e6:4.1f} MB {took:5.1f} s  {error[:110]}"
    )
    return all(good), line


def main() -> int:
    """Run all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES), help="kinds of processors")
    parser.add_argument("--frames", type=int, default=150)
    given = parser.parse_args()
    bad = []
    for kind in given.only.split(","):
        try:
            good, line = case(kind, CASES[kind], given.frames)
        except AssertionError as error:
            good, line = False, f"{kind:16s} BAD  {str(error)[-3000:]}"
        print(line, flush=True)
        bad += [] if good else [kind]
    print(f"{len(given.only.split(','))} kinds of processors, bad: {', '.join(bad) or 'none'}; {os.cpu_count()} cores")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
