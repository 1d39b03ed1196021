"""A long run at 80 % of the knee: nothing is lost, the ledger closes, and no process grows.

    python -m tests.campaigns.soak [--seconds 600]

The knee is measured just before. Memory is each process's proportional share of what it has in RAM (PSS, proc(5): a
page of the pool of frames that three map counts a third for each), looked at every 10 s; a line through what was seen
after the warm-up tells how much a process grew over the rest of the run.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from ioc.bench.appliance import WARM_SECONDS, Appliance, Books, lost_frames, run
from ioc.bench.case import Case, toml

CASE = Case()
PART_OF_KNEE = 0.8
KNEE_SECONDS = 5.0
KNEE_RUNS = 3
LOOK_SECONDS = 10.0
FEWEST_LOOKS = 12
WARM_PART = 0.2
LEAST_RATE = 0.98
"""Part of the asked rate that must be kept over the whole run."""
MOST_GROWTH = 0.02
"""Part of its memory by which a process may grow between the warm-up and the end."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What became of one process's memory: bytes on average, and the part of it by which it grew (or shrank)."""

    name: str
    mean_bytes: float
    part: float

    @property
    def flat(self) -> bool:
        """Whether it kept to the limit."""
        return self.part <= MOST_GROWTH


def growth(name: str, times: Sequence[float], sizes: Sequence[int]) -> Growth:
    """Return the growth over `times` (s), by the straight line that fits `sizes` (bytes) best."""
    slope = float(np.polyfit(times, sizes, 1)[0])
    mean = float(np.mean(sizes))
    return Growth(name, mean, slope * (times[-1] - times[0]) / mean)


def proportional_bytes(pid: int) -> int:
    """Return a process's share of RAM: what is its own, and of each shared page its part."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    line = next(line for line in text.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) * 1024  # "Pss:     1234 kB" (proc(5))


def knee_fps(folder: Path) -> float:
    """Return the median rate of a few short unpaced runs, frames/s."""
    rates = []
    for number in range(KNEE_RUNS):
        place = folder / f"knee{number}"
        place.mkdir()
        rates.append(run(place, CASE, None, KNEE_SECONDS).reached)
    return median(rates)


def soak(folder: Path, rate: float, seconds: float) -> int:
    """Run at `rate` Hz; return the exit code."""
    pause = min(LOOK_SECONDS, seconds / FEWEST_LOOKS)
    times: list[float] = []
    sizes: dict[str, list[int]] = {}
    with Appliance(folder, toml(CASE, rate), seconds) as running:
        running.wait_for_frames(CASE.members())
        running.wait(WARM_SECONDS)
        pids = {path.stem: running.status(path.stem)["pid"] for path in sorted(running.run_dir.glob("*.status"))}
        with Books(running, CASE.members()) as books:
            first = last = books.read()
            while last.at - first.at < seconds:
                running.wait(pause)
                last = books.read()
                times.append(last.at - first.at)
                for name, pid in pids.items():
                    sizes.setdefault(name, []).append(proportional_bytes(pid))
                told = "  ".join(f"{name} {seen[-1] / 1e6:.2f} MB" for name, seen in sizes.items())
                print(f"{times[-1]:6.0f} s  {last.frames - first.frames:10d} frames  {told}", flush=True)
        report = running.stop()
    reached = (last.frames - first.frames) / (last.at - first.at)
    warm = sum(at < WARM_PART * seconds for at in times)
    grown = [growth(name, times[warm:], seen[warm:]) for name, seen in sizes.items()]
    return verdict(report, reached / rate, grown)


def verdict(report: dict, part_reached: float, grown: Sequence[Growth]) -> int:
    """Print what came of it; return the exit code."""
    lost = lost_frames(report)
    for one in grown:
        print(
            f"{one.name:10s} {one.mean_bytes / 1e6:8.2f} MB  {100 * one.part:+.2f} %  {'flat' if one.flat else 'GROWS'}"
        )
    print(f"published {report['published']}, lost {lost}, residue {report['residue']}, rate kept {part_reached:.3f}")
    held = lost == 0 and report["residue"] == 0 and part_reached >= LEAST_RATE
    return 0 if held and all(one.flat for one in grown) else 1


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="rayfan-soak-") as folder:
        knee = knee_fps(Path(folder))
        rate = PART_OF_KNEE * knee
        print(f"knee {knee:.0f} frames/s; {seconds:g} s at {rate:.0f} Hz", flush=True)
        return soak(Path(folder), rate, seconds)


if __name__ == "__main__":
    sys.exit(main())
