"""Each sub-command of `rayfan bench` gives one whole JSON object with sane values; no rate is asserted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ioc.bench import appliance, pvapy
from ioc.bench.case import Case, toml

RAYFAN = Path(sys.executable).with_name("rayfan")
LONGEST = 200
SHORT = ("--seconds", "0.3", "--repeats", "1")
STAGE = "RAYFAN_BENCH_STAGE"
in_a_campaign = pytest.mark.skipif(
    STAGE not in os.environ, reason=f"takes long: 'make bench' runs it ({STAGE} is not set)"
)


def bench(folder: Path, *words: str) -> dict[str, Any]:
    """Return what `rayfan bench` printed, and see that it left nothing in its temporary folder."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = [str(RAYFAN), "bench", *words, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(folder.glob("rf-bench-*"))
    return json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))


def test_limits(tmp_path: Path) -> None:
    result = bench(tmp_path, "limits", "--seconds", "0.2")
    assert result["memcpy_gbps"] > 0
    assert result["tcp_loopback_gbps"] > 0
    assert set(result["udp_bare_gbps"]) == set(result["sendmsg_gbps"]) == {"1500", "9000"}
    assert result["conditions"]["cpus"] >= 1
    assert result["conditions"]["versions"]["rayfan"]


@in_a_campaign
def test_knee_with_the_peer(tmp_path: Path) -> None:
    if why := pvapy.missing():
        pytest.skip(why)
    out = tmp_path / "out"
    result = bench(tmp_path, "knee", "--size", "64", *SHORT, "--out", str(out))
    assert result["knee_fps"] > 0
    assert result["peer_absent"] is None
    assert result["ratio"] == pytest.approx(result["knee_fps"] / result["peer_knee_fps"])
    assert result["lost"] == 0
    assert result["cpu_seconds_per_frame"] >= 0
    assert len(result["runs"]) == len(result["peer_runs"]) == 1
    assert json.loads((out / "knee.json").read_text()) == result


def test_ejfat(tmp_path: Path) -> None:
    result = bench(tmp_path, "ejfat", "--size", "65536", "--mtu", "9000", *SHORT)
    assert result["gbytes_per_s"] > 0
    assert result["lost"] == 0
    assert result["ratio_to_bare"] == pytest.approx(result["gbytes_per_s"] / result["bare_gbytes_per_s"])


@in_a_campaign
def test_clients_that_watch_are_counted_in_and_are_gone_afterwards(tmp_path: Path) -> None:
    result = bench(tmp_path, "watched", "--clients", "2", *SHORT)
    assert result["ratio"] == pytest.approx(result["watched_fps"] / result["unwatched_fps"])
    # p4p may lose the first event of a monitor, which of a record that does not change is the only one
    assert 2 * 600 < 0.99 * result["channels_wanted"] <= result["channels"] <= result["channels_wanted"]
    assert result["clients_cpu_per_s"] >= 0


@in_a_campaign
def test_series_before_the_measurement_are_in_the_ledger(tmp_path: Path) -> None:
    with appliance.Appliance(tmp_path, toml(Case(64, past_series=3), None), 10.0) as running:
        appliance.make_series(running, tmp_path, 3)
        running.wait_for_frames(["Cons1"])
        report = running.stop()
    assert [one["published"] for one in report["series"]][:3] == [1, 1, 1]
    assert report["series"][3]["published"] > 1


@in_a_campaign
def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [str(RAYFAN), "bench", "knee", "--size", "64", "--peer", "none", "--seconds", "60", "--repeats", "1"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        pids = _pids_of_members(tmp_path, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 1
    finally:
        process.kill()
        process.wait()
    assert pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not list(tmp_path.glob("rf-bench-*"))


def _pids_of_members(folder: Path, process: subprocess.Popen[bytes]) -> list[int]:
    limit = time.monotonic() + 90
    while not (found := list(folder.glob("rf-bench-*/one/run/Cons1.status"))):
        assert process.poll() is None, "the benchmark ended by itself"
        assert time.monotonic() < limit, "no consumer within 90 s"
        time.sleep(0.02)  # polled: the file is made by another process
    return [json.loads(path.read_text())["pid"] for path in found[0].parent.glob("*.status")]
