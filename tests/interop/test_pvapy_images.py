"""PvaPy reads our image channels: by get and monitor, and as pvapy-hpc-consumer on channels of members."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ioc.channels.base import Link
from ioc.channels.pva import MemberAddress
from tests.support.epics import isolated_environment, random_prefix
from tests.support.pva_images import Roster, numbered, publish_all, serving, wait_done, wait_until

ROOT = Path(__file__).parents[2]
ENDS = (0, -signal.SIGABRT)
"""Exit codes of a client that has answered: PvaPy aborts now and then when its interpreter ends, its work done."""
FEW = 20
"""Frames that a consumer must get, one after the other."""


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolated_environment().items():
        if name.startswith("EPICS_"):
            monkeypatch.setenv(name, value)


@pytest.fixture
def prefix() -> str:
    return random_prefix()


@pytest.fixture
def consumers(prefix: str, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two pvapy-hpc-consumers on the channels of members 1 and 2; what they get is in `<id>.jsonl`."""
    environment = {**os.environ, "EPICS_PVAS_SERVER_PORT": "0"}
    started = []
    for number in (1, 2):
        arguments = [
            *("--input-channel", f"{prefix}Dist1:Set1:Member*:Image", "--consumer-id", str(number)),
            *("--processor-file", str(ROOT / "tests/support/pva_pvapy.py"), "--processor-class", "ImageNotes"),
            *("--processor-args", json.dumps({"folder": str(tmp_path)}), "--oid-offset", "2"),
            *("--server-queue-size", "64", "--disable-curses", "--runtime", "60"),
        ]
        command = [str(Path(sys.executable).parent / "pvapy-hpc-consumer"), *arguments]
        with (tmp_path / f"{number}.log").open("wb") as log:
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
    yield started
    for process in started:
        process.kill()
        process.wait()


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a file that is being written."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def test_get_and_monitor_with_pvapy(prefix: str) -> None:
    name = f"{prefix}Pva1:Image"
    with serving(name) as (_, channel):
        publish_all(channel, [numbered(1, (48, 64))])
        command = [sys.executable, "-m", "tests.support.pva_pvapy", name]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            got = json.loads(process.stdout.readline())
            assert got == {"id": 1, "size": [64, 48], "low": 1, "high": 1, "field": "longValue"}
            assert json.loads(process.stdout.readline()) == got  # the monitor's first
            for unique_id in range(2, 52):
                publish_all(channel, [numbered(unique_id, (48, 64))])
                expected = {**got, "id": unique_id, "low": unique_id, "high": unique_id}
                assert json.loads(process.stdout.readline()) == expected
        finally:
            process.communicate("\n", timeout=60)
        assert process.returncode in ENDS


def test_an_empty_channel_with_pvapy(prefix: str) -> None:
    name = f"{prefix}Pva1:Image"
    with serving(name):
        command = [sys.executable, "-m", "tests.support.pva_pvapy", name]
        done = subprocess.run(command, cwd=ROOT, input="\n", capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in ENDS, done.stderr
        assert json.loads(done.stdout.splitlines()[0]) == {"id": 0, "size": None}


def test_consumers_of_pvapy_are_members_and_get_their_own_frames(
    prefix: str, tmp_path: Path, consumers: list[subprocess.Popen[bytes]]
) -> None:
    places = {1: MemberAddress(1, 1, 1), 2: MemberAddress(1, 1, 2)}
    roster = Roster(*places.values())
    links: dict[MemberAddress, Link] = {}
    unique_id = 0

    def enough() -> bool:
        nonlocal unique_id
        assert all(process.poll() is None for process in consumers), (tmp_path / "1.log").read_text()
        while not roster.events.empty():
            event, address, link = roster.next()
            if event == "joined":
                links[address] = link
        for number, address in places.items():
            link = links.get(address)
            if link is not None and link.alive():
                unique_id += 1
                frame = numbered(unique_id * 2 + number)
                publish_all(link, [frame])
                wait_done(link, link.done())
        return all(len(lines_of(tmp_path / f"{number}.jsonl")) >= FEW for number in places)

    with serving(f"{prefix}Pva1:Image") as (images, _):
        images.members(prefix, roster)
        wait_until(enough, f"{FEW} frames at both consumers")
    for number in places:
        lines = [line for line in lines_of(tmp_path / f"{number}.jsonl") if line["size"] is not None]
        assert all(line["low"] == line["high"] == line["id"] for line in lines)
        assert {line["id"] % 2 for line in lines} == {number % 2}
        assert len({line["id"] for line in lines}) == len(lines)
