"""Compares the doctor's prediction of the sustainable rate with the knee that the benchmark finds, case by case.

    python -m tests.campaigns.prediction [--seconds 5] [--repeats 3]

The two take turns, and each prediction is compared with the knee that was found just before it: on a machine that
others use, what is left changes from minute to minute. The verdict asks for a median within 25 % of the knee.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from ioc.bench.appliance import run
from ioc.bench.case import PROCESSOR, Case, processor_text, toml
from ioc.core.config import load
from ioc.core.frame import DataType
from ioc.doctor.trial import sustained

CASES = (
    Case(),
    Case(consumers=4),
    Case(size=2048, fresh=True, read=True),
    Case(size=128, dtype=DataType.UINT16, read=True),
)
MOST_OFF = 0.25
"""Part of the knee by which the prediction may be off."""


def knee(case: Case, seconds: float) -> float:
    """Return the rate of an unpaced run, frames/s."""
    with tempfile.TemporaryDirectory(prefix="rayfan-knee-") as folder:
        return run(Path(folder), case, None, seconds).reached


def predicted(case: Case, seconds: float) -> float:
    """Return what the doctor says of the case's configuration, frames/s."""
    with tempfile.TemporaryDirectory(prefix="rayfan-doctor-") as folder:
        text = toml(case, 1000.0)
        if case.own_processor:
            file = Path(folder) / PROCESSOR
            file.write_text(processor_text(case))
            text = text.replace(PROCESSOR, str(file))
        return sustained(load(text, "case", []), seconds)


def _told(pairs: Sequence[tuple[float, float]]) -> str:
    return ", ".join(f"knee {found:.0f} predicted {told:.0f}" for found, told in pairs) + " frames/s"


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    off = []
    for case in CASES:
        pairs = [(knee(case, options.seconds), predicted(case, options.seconds)) for _ in range(options.repeats)]
        off.append(abs(median(told / found for found, told in pairs) - 1.0))
        print(f"{case.title}: {_told(pairs)}: off by {100 * off[-1]:.0f} %, load {os.getloadavg()[0]:.1f}", flush=True)
    return 0 if max(off) <= MOST_OFF else 1


if __name__ == "__main__":
    sys.exit(main())
