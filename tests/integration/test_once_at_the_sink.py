"""Local and PVA members of an acknowledged group are killed at random: the sink holds every frame exactly once."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.test_faults import missed, pid, stage, wait_flowing
from tests.support.appliance import RunningAppliance, appliance
from tests.support.clients import user_of
from tests.support.sink import FORWARDER, sink

ROOT = Path(__file__).parents[2]
CONFIG = """
[detector]
frame_rate = 200.0
size = [32, 24]
acquire_at_start = false
source.pattern = "counter"
[groups.work]
count = 2
policy = "acknowledged"
ack_timeout = 2.0
processor = "forwarder.py:Forwarder"
settings.Port = {port}
"""
LOCAL, REMOTE = ("Cons1", "Cons2"), ("Set3Member1", "Set4Member1")
SEED = 11


class Remotes:
    """The PVA members, each a process; one that was killed is replaced."""

    def __init__(self, run: RunningAppliance, port: int) -> None:
        self._run = run
        self._port = port
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start the process of a member."""
        channel = f"{self._run.prefix}Dist1:{name.replace('Member', ':Member')}:Image"
        command = [sys.executable, "-m", "tests.support.remote_forwarder", channel, str(self._port)]
        self._processes[name] = subprocess.Popen(
            command, cwd=ROOT, env=self._run.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self, name: str) -> None:
        """Kill the process of a member."""
        process = self._processes[name]
        process.kill()
        process.wait(40)

    def close(self) -> None:
        """Kill all that run."""
        for name in self._processes:
            self.kill(name)


@contextmanager
def remotes(run: RunningAppliance, port: int) -> Iterator[Remotes]:
    """Yield the PVA members, not started yet; what runs is killed at the end."""
    made = Remotes(run, port)
    try:
        yield made
    finally:
        made.close()


def test_every_frame_is_in_the_sink_once_whoever_is_killed(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    (tmp_path / "forwarder.py").write_text(FORWARDER)
    with sink() as there:
        (tmp_path / "rayfan.toml").write_text(CONFIG.format(port=there.port))
        with appliance(tmp_path, "rayfan.toml") as run, remotes(run, there.port) as away, user_of(run) as user:
            run.wait_running("detector", *LOCAL)
            for name in REMOTE:
                away.start(name)
            user.wait("Dist1:Members_RBV", 4)
            user.put_plain("cam1:Acquire", 1)
            for name in dice.sample([*LOCAL, *REMOTE], 4):
                wait_flowing(run)
                if name in LOCAL:
                    os.kill(pid(run, name), signal.SIGKILL)
                else:
                    away.kill(name)
                    away.start(name)
            user.wait("Dist1:Members_RBV", 4)
            wait_flowing(run)
            report = run.stop()
    (series,) = report["series"]
    aside = sorted(unique_id for _, unique_id in missed(report, *LOCAL, *REMOTE))
    print(f"{report['published']} frames, {there.once.duplicates} came twice, set aside: {aside}")
    holes = [i for first, last in there.once.missing(series["id"], series["published"]) for i in range(first, last + 1)]
    assert set(holes) <= set(aside), "a frame is missing that no stage says it missed"
    assert there.once.passed >= report["published"] - len(aside)
    assert there.once.late == 0
    for name in (*LOCAL, *REMOTE):
        assert set(stage(report, name)["dropped"]) <= {"quarantined"}, stage(report, name)
        assert stage(report, name)["processed"] > 0
