"""The disk under the run folder is full while frames flow, and a process is killed meanwhile: what becomes of it all.

python -m tests.campaigns.full_disk      needs root: it makes a small file system in memory
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.appliance import RunningAppliance, appliance
from tests.support.clients import User, user_of

ROOM = "96m"
MORE = 300
"""Frames that have to flow while there is no room."""
CONFIG = """
[detector]
frame_rate = 100.0
size = [64, 64]
[groups.first]
count = 2
processor = "passthrough"
[groups.second]
input = "groups.first"
processor = "statistics"
[collectors.all]
input = "groups.first"
[egress.out]
input = "groups.second"
ingress = "in"
[ingress.in]
[writers.disk]
"""
NAMES = ("detector", "Cons1", "Cons2", "Cons3", "Coll1", "HDF1", "Ejfat1", "EjfatIn1")


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """Yield while a small file system is at `path`."""
    path.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM},mode=0700", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path) -> None:
    """Leave no room at all."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


def run() -> str:
    """Run it once; return what was wrong, empty: nothing."""
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name) / "run"):
        folder = Path(name)
        (folder / "rayfan.toml").write_text(CONFIG)
        with appliance(folder, "rayfan.toml") as run, user_of(run) as user:
            run.wait_running(*NAMES)
            wait(user, "Health_RBV", "OK")
            report = live_through(run, user)
    stages = {stage["name"]: stage for stage in report["stages"]}
    print(f"published {report['published']}, residue {report['residue']}, restarts {stages['Cons2']['restarts']}")
    return "" if stages["Cons2"]["restarts"] == 1 else "Cons2 was not started again once"


def live_through(run: RunningAppliance, user: User) -> dict:
    """Fill the disk, kill one process, make room again, stop; return the report, which is checked."""
    killed = run.status("Cons2")["pid"]
    fill(run.run_dir / "filler")
    wait(user, "Health_RBV", "Degraded")
    print(f"full: {user.get('StatusMessage_RBV')}")
    before = user.get("cam1:ArrayCounter_RBV")
    user.wait_until("cam1:ArrayCounter_RBV", lambda now: now > before + MORE, f"above {before + MORE}")
    os.kill(killed, signal.SIGKILL)
    before = user.get("Coll1:Published_RBV")
    user.put("cam1:AcquireTime", 0.0002)  # is logged, and kept
    time.sleep(3.0)  # longer than a process may be silent: nobody is taken for dead
    print(f"still: {user.get('StatusMessage_RBV')}, collected {user.get('Coll1:Published_RBV')} (was {before})")
    (run.run_dir / "filler").unlink()
    run.wait_running(*NAMES)
    wait(user, "Health_RBV", "OK")
    run.wait_until(lambda: run.status("Cons2")["pid"] != killed, "Cons2 lives again")
    before = user.get("Coll1:Published_RBV")
    user.wait_until("Coll1:Published_RBV", lambda now: now > before + MORE, "frames flow to the end of the chain")
    restarts = [run.status(one).get("pid") for one in NAMES]
    assert all(restarts), "each tells its status"
    report = run.stop()
    others = {stage["name"]: stage.get("restarts", 0) for stage in report["stages"] if stage["name"] != "Cons2"}
    assert not any(others.values()), f"nothing else was started again: {others}"
    return report


def wait(user: User, name: str, value: str) -> None:
    """Wait until a record of the appliance has a value."""
    user.wait(name, value)


def main() -> int:
    """Run it; return 1 if something was wrong."""
    if os.geteuid() != 0:
        print("not run: a file system of its own needs root")
        return 1
    wrong = run()
    print(wrong or "whole: frames flowed without room, the ledger was closed, nothing else was started again")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
