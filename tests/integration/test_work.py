"""Workers from elsewhere: one that PSI/J started as a job, one that joins by hand; all with real processes.

How Slurm does it is tested by `make slurm`; here PSI/J's `local` executor stands for the scheduler.
"""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.appliance import RAYFAN, RunningAppliance, appliance
from tests.support.clients import user_of

TABLE = """
[detector]
frame_rate = 200.0
size = [64, 64]
acquire_at_start = false
[groups.away]
count = 1
placement = "psij"
policy = "acknowledged"
ack_timeout = 30.0
processor = "shared.py:Picky"
jobs = { executor = "local", folder = "shared", patience = 20.0 }
"""
PROCESSOR = """
from consumers.processor import Processor


class Picky(Processor):
    def process(self, frame, metadata):
        if frame.unique_id == 7:
            raise ValueError("seven is not liked")
        return frame
"""


@contextmanager
def worker(run: RunningAppliance, token: Path, group: str = "away") -> Iterator[subprocess.Popen]:
    """Yield a worker that somebody started by hand."""
    command = [str(RAYFAN), "work", "--join", run.prefix, "--group", group, "--token-file", str(token)]
    with (run.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=run.folder, env=run.environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(40)


def members(run: RunningAppliance) -> dict[str, dict[str, Any]]:
    """Return what the detector says of the group's members, by name."""
    groups = run.status("detector").get("groups", [])
    return {member["name"]: member for group in groups if group["name"] == "away" for member in group["members"]}


def wait_present(run: RunningAppliance, *names: str) -> None:
    """Wait until exactly these members are there."""
    there = "nobody" if not names else " and ".join(names)
    run.wait_until(
        lambda: {name for name, one in members(run).items() if one["present"]} == set(names), f"{there} there", 60.0
    )


def wait_done(run: RunningAppliance, name: str, more: int) -> None:
    """Wait until a member has completed some more frames."""
    target = members(run)[name]["completed"] + more
    run.wait_until(lambda: members(run)[name]["completed"] >= target, f"{more} frames more at {name}")


def test_workers_join_work_and_leave(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(TABLE)
    (tmp_path / "shared.py").write_text(PROCESSOR)
    with appliance(tmp_path, "a.toml") as run:
        run.wait_running("detector")
        token = run.run_dir / "work.token"
        assert token.stat().st_mode & 0o777 == 0o600
        with user_of(run) as user, worker(run, token) as visitor:
            wait_present(run, "Cons1", "Cons1001")
            user.ask("put", "cam1:Acquire", 1, False)  # completed when the acquisition ends
            wait_done(run, "Cons1", 20)
            wait_done(run, "Cons1001", 20)
            assert user.get("Cons1:State_RBV") == user.get("Cons1001:State_RBV") == "Running", "IOCs of their own"
            assert user.get("Process2:Name_RBV") == "Cons1"
            assert user.get("Process2:JobState_RBV") == "ACTIVE"
            assert re.fullmatch(r"\d+", user.get("Process2:Job_RBV"))
            user.put("Dist1:Count", 0)  # the job's worker is asked to leave, and the job ends
            wait_present(run, "Cons1001")
            job = run.status("Cons1")["pid"]
            run.wait_until(lambda: not Path(f"/proc/{job}").exists(), "the job is over")
            wait_done(run, "Cons1001", 20)
            user.put("cam1:Acquire", 0)
            visitor.send_signal(signal.SIGTERM)
            assert visitor.wait(30) == 0, (run.folder / "worker.log").read_text()
        report = run.stop()
    stages = {stage["name"]: stage for stage in report["stages"] if stage["group"] == "away"}
    assert set(stages) == {"Cons1", "Cons1001"}
    assert all(stage["dropped"] == {} for stage in stages.values()), "what a worker had that left went to the other"
    assert sum(stage["received"] for stage in stages.values()) == report["published"]
    failed = [ids for stage in stages.values() for ids in stage["failed_ids"]]
    assert [ids[1:] for ids in failed] == [[7, 7]]
    assert stages["Cons1"]["exit"] == 0
