"""Six metadata channels, each updated with every frame, at 1 kHz: none unmatched, residue 0.

`python -m tests.campaigns.metadata --seconds 20` runs a whole appliance with channels over pvAccess, matched by time
stamp, and says what it found; the exit code is 0 if the rate was kept and every frame had all its values.
"""

import argparse
import sys

from ioc.bench.appliance import run
from ioc.bench.case import Case
from ioc.bench.workplace import workplace

RATE = 1000.0
KEPT = 0.97
"""Part of the rate that is to be reached; the machine is to have nothing else to do."""


def main() -> int:
    """Run the campaign; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--channels", type=int, default=6)
    options = parser.parse_args()
    with workplace() as folder:
        trial = run(folder, Case(size=256, metadata=options.channels), RATE, options.seconds)
    print(
        f"{trial.reached:.1f} frames/s with {options.channels} channels each, unmatched or lost {trial.lost}, residue 0"
    )
    return 0 if trial.lost == 0 and trial.reached >= KEPT * RATE else 1


if __name__ == "__main__":
    sys.exit(main())
