"""Stock PvaPy consumers that ask `$(P)Pva1:Image` for their turns: unmodified, by `--distributor-group`."""

import getpass
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ioc.channels.pva_wire_framing import Command
from tests.support.appliance import RunningAppliance, appliance
from tests.support.clients import User, user_of
from tests.support.pva_client import Sender
from tests.support.pva_raw import RawClient

ROOT = Path(__file__).parents[2]
FRAMES = 200
RULES = f"""
UAG(us) {{ "{getpass.getuser()}" }}
ASG(DEFAULT) {{ RULE(1, READ) RULE(1, WRITE, TRAPWRITE) }}
ASG(READONLY) {{ RULE(1, READ) }}
ASG(IMAGES) {{ RULE(1, READ) {{ UAG(us) }} }}
"""
CONFIG = f"""
access_security = "images.acf"
[detector]
frame_rate = 200
size = [32, 32]
image_mode = "Multiple"
num_images = {FRAMES}
acquire_at_start = false
[groups.here]
count = 1
"""


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    folder = tmp_path_factory.mktemp("distributor")
    (folder / "rayfan.toml").write_text(CONFIG)
    (folder / "images.acf").write_text(RULES)
    with appliance(folder, "rayfan.toml") as run:
        with user_of(run) as user:
            run.wait_running("detector", "Cons1")
            user.wait("Dist1:Members_RBV", 1)
            yield user
        report = run.stop()
    assert report["residue"] == 0


@contextmanager
def consumers(run: RunningAppliance, *options: str) -> Iterator[None]:
    """Have two pvapy-hpc-consumers; what each gets is in `<id>.jsonl`."""
    started = []
    for number in (1, 2):
        arguments = [
            *("--input-channel", f"{run.prefix}Pva1:Image", "--consumer-id", str(number), *options),
            *("--processor-file", str(ROOT / "tests/support/pva_pvapy.py"), "--processor-class", "ImageNotes"),
            *("--processor-args", json.dumps({"folder": str(run.folder)}), "--oid-offset", "2"),
            *("--server-queue-size", "64", "--disable-curses", "--runtime", "60"),
        ]
        command = [str(Path(sys.executable).parent / "pvapy-hpc-consumer"), *arguments]
        environment = {**run.environment, "EPICS_PVAS_SERVER_PORT": "0"}
        with (run.folder / f"{number}.log").open("wb") as log:
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def ids_of(run: RunningAppliance, number: int) -> list[int]:
    """Return the ids of the images that a consumer was given so far."""
    path = run.folder / f"{number}.jsonl"
    text = path.read_text() if path.exists() else ""
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [line["id"] for line in lines if line["size"] is not None]


def test_consumers_of_a_group_take_turns(user: User) -> None:
    run = user.run
    options = ("--distributor-group", "pvapy", "--distributor-trigger", "uniqueId", "--distributor-updates", "2")
    with consumers(run, *options):
        user.wait("Dist2:Members_RBV", 2)
        rows = user.ask("rows", "cam1:ImageClients")
        found = [row["account"] for row in rows if row["channels"] == f"{run.prefix}Pva1:Image"]
        assert found == [getpass.getuser()] * 2, rows
        assert user.get("Pva1:Clients_RBV") >= 2
        assert user.get("Dist2:Name_RBV") == "pvapy"
        assert user.get("Dist2:Updates_RBV") == 2
        user.put("cam1:Acquire", 1)
        run.wait_until(lambda: sum(len(ids_of(run, number)) for number in (1, 2)) >= FRAMES, "all frames at the two")
        one, other = (ids_of(run, number) for number in (1, 2))
    assert sorted(one + other) == list(range(1, FRAMES + 1))
    assert len(one) == len(other) == FRAMES // 2
    assert {(unique_id - 1) // 2 % 2 for unique_id in one} in ({0}, {1})  # two in sequence to each
    user.wait("Dist2:Members_RBV", 0)
    assert user.get("Dist2:Dropped_RBV") == user.get("Dist2:Nobody_RBV") == 0


def test_a_client_is_told_what_is_wrong_with_its_request(user: User) -> None:
    code = (
        "import sys, pvaccess\n"
        "channel = pvaccess.Channel(sys.argv[1])\n"
        "channel.monitor(lambda image: None, 'field(_[pydistributor=group:x;trigger:colour])')\n"
        "sys.stdin.readline()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, f"{user.run.prefix}Pva1:Image"],
        env=user.run.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        user.run.wait_until(
            lambda: "expected one of uniqueId" in logs_of(user.run), "the refusal in the detector's log"
        )
    finally:
        process.communicate("\n", timeout=60)
    assert user.get("Dist3:Name_RBV") == ""


def test_who_may_not_see_images_is_denied_and_a_put_is_in_the_log(user: User) -> None:
    name = f"{user.run.prefix}Pva1:Image"
    with RawClient(port_of(name, int(user.run.environment["EPICS_PVA_BROADCAST_PORT"]))) as client:
        client.open(name)  # anonymous
        client.say(client.sender.operation(Command.MONITOR, (1, 5), {"field": {"uniqueId": {}}}))
        assert b"anonymous may not read it" in client.hear(Command.MONITOR).take(50)
        client.say(client.sender.operation(Command.PUT, (1, 6), {"field": {"uniqueId": {}}}))
        client.hear(Command.PUT)
        user.wait("Pva1:Denied_RBV", 1)
    log = user.run.run_dir / "puts"
    user.run.wait_until(lambda: log.exists() and f"{name} refused: Put not supported" in log.read_text(), "the log")


def port_of(name: str, udp: int) -> int:
    """Return the TCP port of the server that has a channel."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(30.0)
        asker.sendto(Sender().search([(1, name)]), ("127.0.0.1", udp))
        answer = asker.recv(1 << 16)
    return int.from_bytes(answer[40:42], "little")  # behind header, guid, number and address


def logs_of(run: RunningAppliance) -> str:
    """Return what the processes of the appliance logged."""
    return "".join(path.read_text(errors="replace") for path in run.folder.rglob("*.log"))
