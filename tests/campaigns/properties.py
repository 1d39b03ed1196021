"""Draw the examples of all properties anew, again and again: the test run draws the same ones each time.

    python -m tests.campaigns.properties [--seconds 600] [PYTEST ARGUMENTS]

Each round has a seed of its own, which is printed; `pytest --hypothesis-profile "drawn anew" --hypothesis-seed N`
repeats it. The first round that fails ends the campaign.
"""

import argparse
import secrets
import subprocess
import sys
import time

WHERE = ("tests/property", "tests/unit")


def drawn(seed: int, more: list[str]) -> int:
    """Run all properties with examples of a seed; return pytest's exit code."""
    words = ["--hypothesis-profile", "drawn anew", "--hypothesis-seed", str(seed), "-m", "hypothesis"]
    return subprocess.run([sys.executable, "-m", "pytest", "-q", *words, *WHERE, *more], check=False).returncode


def main() -> int:
    """Run the campaign and say what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="no round begins later")
    options, more = parser.parse_known_args()
    end, rounds = time.monotonic() + options.seconds, 0
    while rounds == 0 or time.monotonic() < end:
        seed = secrets.randbelow(1 << 32)
        print(f"seed {seed}", flush=True)
        if code := drawn(seed, more):
            return code
        rounds += 1
    print(f"{rounds} rounds, and no property failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
