"""Puts and gets of four clients while frames flow: none fails, no frame is lost, and puts are not slowed.

    python -m tests.campaigns.puts [--operations 10000] [--rate 2000]

Two clients by Channel Access (pyepics), two by pvAccess (p4p), each a process, put to a demand and read it back in
turns. First nothing is acquired, then 512x512 frames flow at the rate. The verdict asks that the 99th percentile of a
put's time with frames is at most that without, plus one frame period, plus 10 ms.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.support.appliance import RunningAppliance, appliance

CLIENTS = (("ca", "cam1:NumImages"), ("ca", "Dist1:QueueSize"), ("pva", "Dist1:Updates"), ("pva", "Dist1:QueueBytes"))
"""Protocol and the demand that each has for itself."""
LEAST = {"Dist1:QueueBytes": 10**9, "Dist1:QueueSize": 400}
"""What is added to a value, so that no queue becomes too small for the frames."""
ALLOWANCE = 0.010
"""s that a put may take longer with frames than without, besides one frame period."""
TIMEOUT = 10.0
SECONDS = 400.0

CONFIG = """
[detector]
frame_rate = {rate}
size = [512, 512]
acquire_at_start = false
source = {{ kind = "generated", pattern = "peaks" }}
[groups.stats]
count = 1
policy = "lossless"
queue_size = 512
processor = "passthrough"
"""


def least(name: str) -> int:
    """Return what is added to the values of a PV."""
    return next((number for end, number in LEAST.items() if name.endswith(end)), 0)


def ca_client(name: str, operations: int) -> list[float]:
    """Put and get by pyepics; return the seconds of each put."""
    import epics

    pv = epics.PV(name, auto_monitor=False)
    assert pv.wait_for_connection(TIMEOUT), name
    took = []
    for number in range(operations // 2):
        value = least(name) + 1 + number % 100
        begun = time.perf_counter()
        assert pv.put(value, wait=True, timeout=TIMEOUT) == 1, f"{name}: put {value}"
        took.append(time.perf_counter() - begun)
        found = pv.get(use_monitor=False, timeout=TIMEOUT)
        assert found == value, f"{name}: put {value}, got {found}"
    return took


def pva_client(name: str, operations: int) -> list[float]:
    """Put, to completion, and get by p4p; return the seconds of each put."""
    from p4p.client.thread import Context

    took = []
    with Context("pva") as context:
        for number in range(operations // 2):
            value = least(name) + 1 + number % 100
            begun = time.perf_counter()
            context.put(name, value, wait=True, timeout=TIMEOUT)
            took.append(time.perf_counter() - begun)
            found = context.get(name, timeout=TIMEOUT)
            assert found == value, f"{name}: put {value}, got {found}"
    return took


def client(protocol: str, name: str, operations: int) -> None:
    """Be one client; print the seconds as JSON."""
    print(json.dumps((ca_client if protocol == "ca" else pva_client)(name, operations)))


def round_of_clients(run: RunningAppliance, operations: int) -> np.ndarray:
    """Let all clients do their part at the same time; return the seconds of all puts.

    Raises:
        AssertionError: one of them failed.
    """
    each = operations // len(CLIENTS)
    command = [sys.executable, "-m", "tests.campaigns.puts", "--operations", str(each), "--client"]
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen(
            [*command, protocol, run.prefix + name], cwd=root, env=run.environment, stdout=subprocess.PIPE, text=True
        )
        for protocol, name in CLIENTS
    ]
    took: list[float] = []
    for process in processes:
        output, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, f"a client failed with {process.returncode}; its traceback is above"
        took += json.loads(output.splitlines()[-1])
    return np.array(took)


def acquire(run: RunningAppliance, on: int) -> None:
    """Start or stop the acquisition."""
    command = [sys.executable, "-m", "caproto.commandline.put", "--no-repeater", f"{run.prefix}cam1:Acquire", str(on)]
    subprocess.run(command, env=run.environment, check=True, capture_output=True, timeout=30)


def campaign(operations: int, rate: float) -> int:
    """Run it; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="rayfan-puts-") as name:
        folder = Path(name)
        (folder / "rayfan.toml").write_text(CONFIG.format(rate=rate))
        with appliance(folder, "rayfan.toml") as run:
            run.wait_running("detector", "Cons1")
            still = round_of_clients(run, operations)
            acquire(run, 1)
            run.wait_until(lambda: run.published() > rate, "frames flow")
            before, begun = run.published(), time.monotonic()
            flowing = round_of_clients(run, operations)
            seconds = time.monotonic() - begun
            frames = run.published() - before
            report = run.stop()
    return verdict(still, flowing, rate, (frames, seconds, report))


def verdict(still: np.ndarray, flowing: np.ndarray, rate: float, told: tuple[int, float, dict]) -> int:
    """Print what came of it; return the exit code."""
    frames, seconds, report = told
    for name, took in (("without frames", still), (f"frames at {rate:g} Hz", flowing)):
        p50, p99 = np.percentile(took, [50, 99])
        print(
            f"{name:20s} {took.size} puts, {took.size} gets: median {1e3 * p50:.2f} ms, 99 % within {1e3 * p99:.2f} ms"
        )
    lost = sum(sum(stage["dropped"].values()) for stage in report["stages"])
    print(f"{frames} frames in {seconds:.1f} s, {frames / seconds:.0f} Hz; lost {lost}, residue {report['residue']}")
    limit = np.percentile(still, 99) + 1.0 / rate + ALLOWANCE
    kept = np.percentile(flowing, 99) <= limit
    print(f"99 % of the puts within {1e3 * limit:.2f} ms: {'yes' if kept else 'NO'}")
    return 0 if kept and lost == 0 and report["residue"] == 0 else 1


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=10_000, help="puts and gets, of all clients together")
    parser.add_argument("--rate", type=float, default=2000.0, help="Hz")
    parser.add_argument("--client", nargs=2, metavar=("PROTOCOL", "PV"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        protocol, name = options.client
        client(protocol, name, options.operations)
        return 0
    return campaign(options.operations, options.rate)


if __name__ == "__main__":
    sys.exit(main())
