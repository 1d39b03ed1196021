"""PvaPy's clients as members of a distributor group of a running appliance, by the channels of its members."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.appliance import RunningAppliance, appliance
from tests.support.clients import User, user_of

ROOT = Path(__file__).parents[2]
CONFIG = """
[detector]
frame_rate = 200
size = [32, 32]
image_mode = "Multiple"
num_images = 200
acquire_at_start = false
[groups.away]
count = 2
placement = "remote"
[groups.here]
count = 2
"""
CHANNEL = "Dist1:Set{}:Member1:Image"


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    folder = tmp_path_factory.mktemp("pvapy")
    (folder / "rayfan.toml").write_text(CONFIG)
    with appliance(folder, "rayfan.toml") as run:
        with user_of(run) as user:
            run.wait_running("detector", "Cons1", "Cons2")
            user.wait("Dist2:Members_RBV", 2)
            yield user
        report = run.stop()
    published = report["published"]
    by_name = {stage["name"]: stage for stage in report["stages"]}
    assert by_name["Cons1"]["processed"] + by_name["Cons2"]["processed"] == published
    remote = [by_name["Set1Member1"], by_name["Set2Member1"]]
    dealt = sum(stage["received"] + sum(stage["dropped"].values()) for stage in remote)
    assert dealt == published, remote


class Member:
    """One PvaPy process; its lines go to a file."""

    def __init__(self, process: subprocess.Popen[str], lines: Path) -> None:
        self._process = process
        self._lines = lines

    def ids(self) -> list[int]:
        """Return the ids of the images so far; each is checked to be whole."""
        text = self._lines.read_text().rpartition("\n")[0]
        seen = [json.loads(line) for line in text.splitlines()]
        images = [one for one in seen if one["size"] is not None]
        assert all(one["size"] == [32, 32] for one in images)
        return [one["id"] for one in images]

    def leave(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.communicate("\n", timeout=60)


@contextmanager
def monitor(run: RunningAppliance, member_set: int, name: str) -> Iterator[Member]:
    """Have a pvaccess.Channel monitor the channel of the one member of a set."""
    command = [sys.executable, "-m", "tests.support.pva_pvapy", run.prefix + CHANNEL.format(member_set)]
    path = run.folder / name
    with path.open("w") as lines:
        process = subprocess.Popen(
            command, cwd=ROOT, env=run.environment, stdin=subprocess.PIPE, stdout=lines, text=True
        )
    member = Member(process, path)
    try:
        yield member
    finally:
        member.leave()


def acquire(user: User) -> tuple[int, int]:
    """Acquire 200 frames; return how many of them each of the local consumers processed."""
    before = [user.get(f"Cons{number}:Processed_RBV") for number in (1, 2)]
    user.put("cam1:Acquire", 1)
    total = sum(before) + 200
    user.run.wait_until(
        lambda: sum(user.get(f"Cons{number}:Processed_RBV") for number in (1, 2)) == total, "all is processed here too"
    )
    first, second = (int(user.get(f"Cons{number}:Processed_RBV") - before[number - 1]) for number in (1, 2))
    return first, second


def newest_series(ids: list[int]) -> list[int]:
    """Return the ids from the last one that is not above the one before it."""
    starts = [at for at, (earlier, later) in enumerate(pairwise(ids), 1) if later <= earlier]
    return ids[starts[-1] :] if starts else ids


def test_two_monitors_take_turns_while_a_local_group_processes_everything(user: User) -> None:
    run = user.run
    user.wait("Dist1:Members_RBV", 0)  # those of another test have gone
    with ExitStack() as stack:
        members = [stack.enter_context(monitor(run, number, f"{number}.jsonl")) for number in (1, 2)]
        user.wait("Dist1:Members_RBV", 2)
        assert acquire(user) == (100, 100)
        run.wait_until(lambda: sum(len(member.ids()) for member in members) >= 200, "all frames at the members")
        one, other = (set(member.ids()) for member in members)
        assert one | other == set(range(1, 201))
        assert not one & other
        assert len(one) == len(other) == 100
        assert len({unique_id % 2 for unique_id in one}) == 1


def test_a_member_that_leaves_is_passed_over_and_may_come_again(user: User) -> None:
    run = user.run
    user.wait("Dist1:Members_RBV", 0)  # those of another test have gone
    with monitor(run, 1, "stays.jsonl") as stays:
        with monitor(run, 2, "leaves.jsonl"):
            user.wait("Dist1:Members_RBV", 2)
        user.wait("Dist1:Members_RBV", 1)
        acquire(user)
        run.wait_until(lambda: 200 in newest_series(stays.ids()), "the last frame at the one member")
        assert newest_series(stays.ids())[-200:] == list(range(1, 201))
        with monitor(run, 2, "comes.jsonl") as comes:
            user.wait("Dist1:Members_RBV", 2)
            acquire(user)
            run.wait_until(lambda: {199, 200} <= {*stays.ids()[-1:], *comes.ids()[-1:]}, "the last frame at both")
            assert sorted([*stays.ids()[-100:], *comes.ids()[-100:]]) == list(range(1, 201))
