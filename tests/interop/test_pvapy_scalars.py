"""Stamped scalars between Rayfan and PvaPy, either way: every update comes, in order, with its stamp and id."""

import subprocess
import sys
from pathlib import Path

import pytest

from ioc.channels.metadata_pva import PvaSources
from ioc.core.config_metadata import ChannelConfig
from ioc.core.metadata import Update
from tests.support.epics import isolated_environment, random_prefix
from tests.support.pva_images import wait_until

ROOT = Path(__file__).parents[2]
COUNT = 200


def test_our_client_gets_every_update_of_pvapys_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolated_environment().items():
        if name.startswith("EPICS_"):
            monkeypatch.setenv(name, value)
    name, sources = f"{random_prefix()}Scalar", PvaSources()
    command = [sys.executable, "-m", "tests.support.pvapy_scalar", name]
    found: list[Update] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            source = sources.open(ChannelConfig(channel=f"pva://{name}", match="id"))

            def more(count: int) -> bool:
                found.extend(source.poll())
                return len(found) >= count

            wait_until(lambda: more(1), "the first value")
            process.stdin.write(f"{COUNT}\n")
            process.stdin.flush()
            wait_until(lambda: more(COUNT + 1), "all updates")
            assert source.own
        finally:
            process.stdin.close()
            sources.close()
    assert found == [Update(number / 2, number * 1_000_000_000 + 5, number) for number in range(COUNT + 1)]
