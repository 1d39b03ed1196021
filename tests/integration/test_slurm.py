"""Groups whose workers are jobs of a real Slurm, started for this on one machine; `make slurm` runs this stage."""

import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.appliance import RunningAppliance
from tests.support.clients import user_of
from tests.support.epics import isolated_environment, random_prefix
from tests.support.slurm_cluster import SlurmCluster, missing

STAGE = "RAYFAN_SLURM_STAGE"
REASON = missing() or f"Slurm is installed here: 'make slurm' runs this stage ({STAGE} is not set)"

pytestmark = [
    pytest.mark.skipif(STAGE not in os.environ, reason=REASON),
    pytest.mark.timeout(300),
]

TABLE = """
[detector]
frame_rate = 200.0
size = [64, 64]
[groups.away]
count = 2
placement = "slurm"
policy = "acknowledged"
ack_timeout = 10.0
processor = "statistics"
[groups.away.jobs]
queue = "short"
time_limit = {time_limit}
folder = "shared"
poll = 1
patience = {patience}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    assert not missing(), missing()
    with tempfile.TemporaryDirectory(prefix="rf-slurm-") as folder:
        made = SlurmCluster(Path(folder))
        try:
            made.start()
            yield made
        finally:
            made.stop()


class Site:
    """A folder, a prefix and an environment in which appliances come and go."""

    def __init__(self, folder: Path, cluster: SlurmCluster, **changes: float) -> None:
        self.folder = folder
        self.cluster = cluster
        self.prefix = random_prefix()
        self.environment = {**isolated_environment(), **cluster.environment}
        (folder / "a.toml").write_text(TABLE.format(**{"time_limit": 3600, "patience": 30, **changes}))

    def start(self) -> RunningAppliance:
        """Start an appliance, always with the same prefix and run folder."""
        return RunningAppliance(self.folder, ["a.toml"], self.environment, self.prefix)

    def logs(self) -> str:
        """Return what the workers wrote, in the order of their jobs."""
        paths = sorted((self.folder / "shared").glob("*.log"), key=lambda path: path.stat().st_mtime)
        return "\n".join(f"== {path.name}\n{path.read_text()}" for path in paths)

    def wait_jobs(self, run: RunningAppliance, expected: dict[str, str], seconds: float = 60.0) -> None:
        """Wait until Slurm has these jobs, by id and state."""
        run.wait_until(lambda: self.cluster.jobs() == expected, f"jobs {expected}", seconds)


@pytest.fixture
def site(tmp_path: Path, cluster: SlurmCluster) -> Iterator[Site]:
    yield Site(tmp_path, cluster)
    assert settled(cluster) == {}, "jobs are left over"


def settled(cluster: SlurmCluster) -> dict[str, str]:
    """Return the jobs once none is about to end."""
    limit = time.monotonic() + 20
    while "COMPLETING" in cluster.jobs().values() and time.monotonic() < limit:
        time.sleep(0.2)  # polled: Slurm tells only who asks
    return cluster.jobs()


def members(run: RunningAppliance) -> dict[str, dict[str, Any]]:
    groups = run.status("detector").get("groups", [])
    return {member["name"]: member for group in groups if group["name"] == "away" for member in group["members"]}


def view(run: RunningAppliance, name: str) -> dict[str, Any]:
    """Return what the supervisor sees of a process."""
    processes = json.loads((run.run_dir / "appliance.json").read_text())["processes"]
    return next((one for one in processes if one["name"] == name), {})


def wait_present(run: RunningAppliance, *names: str) -> None:
    run.wait_until(
        lambda: {name for name, one in members(run).items() if one["present"]} == set(names), f"{names} present", 90.0
    )


def wait_done(run: RunningAppliance, *names: str) -> None:
    """Wait until these members have each completed 50 frames more."""
    for name in names:
        target = members(run)[name]["completed"] + 50
        run.wait_until(lambda name=name, target=target: members(run)[name]["completed"] >= target, f"{name} works")


def ids(cluster: SlurmCluster) -> list[str]:
    return sorted(cluster.jobs(), key=int)


def dropped(report: dict[str, Any]) -> list[dict[str, int]]:
    return [stage["dropped"] for stage in report["stages"] if stage["group"] == "away" and stage["dropped"]]


def test_jobs_come_and_go(site: Site) -> None:
    run = site.start()
    try:
        wait_present(run, "Cons1", "Cons2")
        first, second = ids(site.cluster)
        wait_done(run, "Cons1", "Cons2")
        with user_of(run) as user:
            shown = {user.get(f"Process{slot}:Name_RBV"): user.get(f"Process{slot}:Job_RBV") for slot in (2, 3)}
            assert sorted(shown) == ["Cons1", "Cons2"] and sorted(shown.values(), key=int) == [first, second]
            assert user.get("Process2:JobState_RBV") == "ACTIVE"

            site.cluster.run("scancel", first)  # somebody cancels a job: another one takes its seat
            run.wait_until(lambda: first not in site.cluster.jobs(), "the job is over", 30.0)
            wait_done(run, "Cons2" if shown["Cons1"] == first else "Cons1")
            run.wait_until(lambda: len(site.cluster.jobs()) == 2, "a new job", 30.0)
            wait_present(run, "Cons1", "Cons2")
            wait_done(run, "Cons1", "Cons2")

            site.cluster.run("scontrol", "requeue", second)  # the same job leaves, and comes back
            run.wait_until(lambda: site.cluster.jobs().get(second) == "PENDING", "it is queued again", 30.0)
            run.wait_until(lambda: site.cluster.jobs().get(second) == "RUNNING", "it runs again", 60.0)
            wait_present(run, "Cons1", "Cons2")
            wait_done(run, "Cons1", "Cons2")

            user.put("Dist1:Count", 3)
            run.wait_until(lambda: len(site.cluster.jobs()) == 3, "a third job", 30.0)
            wait_present(run, "Cons1", "Cons2", "Cons3")
            wait_done(run, "Cons3")
            user.put("Dist1:Count", 1)
            run.wait_until(lambda: len(settled(site.cluster)) == 1, "one job is left", 60.0)
            wait_present(run, "Cons1")
            wait_done(run, "Cons1")

        jobs, supervisor = site.cluster.jobs(), run.status("supervisor")["pid"]
        os.kill(supervisor, signal.SIGKILL)  # the command starts another one, which finds the job again
        run.wait_until(
            lambda: run.runs("supervisor") and run.status("supervisor")["pid"] != supervisor, "another supervisor", 60.0
        )
        run.wait_until(lambda: view(run, "Cons1").get("job_state") == "ACTIVE", "the job is known again")
        assert site.cluster.jobs() == jobs
        wait_done(run, "Cons1")
        report = run.stop()
    finally:
        run.kill_everything()
    assert settled(site.cluster) == {}
    assert dropped(report) == [], "under Acknowledged nothing is lost by a job's end"
    assert site.logs().count("ended with exit code 0") == 4, f"every worker has left in order\n{site.logs()}"


def kill_everything_but_jobs(run: RunningAppliance) -> None:
    """End the appliance as a power failure of its host would."""
    run.process.kill()
    run.process.wait(10)
    for name in ("supervisor", "detector"):
        os.kill(run.status(name)["pid"], signal.SIGKILL)


def test_the_next_start_cancels_what_a_killed_appliance_left(site: Site) -> None:
    run = site.start()
    try:
        wait_present(run, "Cons1", "Cons2")
        wait_done(run, "Cons1")
        left = ids(site.cluster)
        kill_everything_but_jobs(run)
        assert len(site.cluster.jobs()) == 2, "its jobs go on"
        run.output.close()
        run = site.start()
        run.wait_until(lambda: not set(left) & set(site.cluster.jobs()), "they are cancelled", 60.0)
        wait_present(run, "Cons1", "Cons2")
        wait_done(run, "Cons1", "Cons2")
        run.stop()
    finally:
        run.kill_everything()


def test_workers_end_when_the_appliance_is_gone(tmp_path: Path, cluster: SlurmCluster) -> None:
    site = Site(tmp_path, cluster, patience=5)
    run = site.start()
    try:
        wait_present(run, "Cons1", "Cons2")
        kill_everything_but_jobs(run)
        limit = time.monotonic() + 60
        while cluster.jobs():
            assert time.monotonic() < limit, f"the jobs do not end: {cluster.jobs()}\n{site.logs()}"
            time.sleep(0.2)  # polled: Slurm tells only who asks
    finally:
        run.kill_everything()
    assert site.logs().count("has not answered for") == 2, site.logs()


def test_a_worker_whose_time_is_up_leaves_and_another_one_comes(tmp_path: Path, cluster: SlurmCluster) -> None:
    site = Site(tmp_path, cluster, time_limit=60)
    run = site.start()
    try:
        wait_present(run, "Cons1", "Cons2")
        first = ids(cluster)
        run.wait_until(lambda: not set(first) & set(cluster.jobs()), "their time is up", 150.0)
        wait_present(run, "Cons1", "Cons2")
        wait_done(run, "Cons1", "Cons2")
        report = run.stop()
    finally:
        run.kill_everything()
    assert dropped(report) == []
    assert settled(cluster) == {}
    assert "CANCELLED AT" in site.logs() and "DUE TO TIME LIMIT" in site.logs(), site.logs()
    assert site.logs().count("ended with exit code 0") >= 4, site.logs()
