"""The doctor: what is found good, what costs, what breaks, and what is tried out."""

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from ioc import doctor_command
from ioc.cli import main
from ioc.console import too_fast
from ioc.core.config import Config, load
from ioc.core.demo import DEMO
from ioc.doctor import host, network, places, rates, trial
from ioc.doctor.finding import Finding, Level
from ioc.doctor.remembered import remember
from ioc.supervisor.prefix_claim import PrefixClaim
from tests.support.epics import random_prefix

REMOTE = """
[detector]
frame_rate = 2000.0
[groups.stats]
policy = "bounded"
[egress.far]
uri = "ejfat://127.0.0.1?data=127.0.0.1:19522"
mtu = 9000
"""


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure with little."""
    monkeypatch.setattr(rates, "COPY_BYTES", 1 << 20)
    monkeypatch.setattr(rates, "DISK_BYTES", rates.DISK_PIECE)
    monkeypatch.setattr(rates, "CODEC_SHAPE", (1, 64, 64))


def config(text: str = "") -> Config:
    return load(text, "test.toml", [])


def of(found: list[Finding], what: str) -> Finding:
    return next(one for one in found if one.what == what)


def test_this_machine_is_looked_at_as_a_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--no-trial", "--json"]) == 0
    found = {one["what"]: one for one in json.loads(capsys.readouterr().out)}
    assert {"Python", "packages", "names", "clock", "memory", "broadcast", "memory copy", "codecs"} <= set(found)
    assert found["names"]["level"] == found["Python"]["level"] == "GOOD"
    assert all(bool(one["advice"]) == (one["level"] != "GOOD") for one in found.values())


def test_without_the_codecs_which_are_an_extra_the_rest_is_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitshuffle", None)
    monkeypatch.delitem(sys.modules, "ioc.channels.compression", raising=False)
    found = of(list(rates.findings(config())), "codecs")
    assert found.level is Level.GOOD
    assert "no bitshuffle; pip install 'rayfan[compress]'" in found.found


def test_what_is_printed_fits_into_80_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = [Finding(Level.BAD, "memory", "1.0 GB free " * 10, "free some " * 20), Finding(Level.GOOD, "names", "fine")]
    monkeypatch.setattr(doctor_command, "findings", lambda *_: iter(told))
    assert main(["doctor"]) == 1, "something would break"
    printed = capsys.readouterr().out
    assert all(len(line) <= 80 for line in printed.splitlines())
    assert "-> free some" in printed


def test_a_package_that_hides_ours_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = of(list(host.findings(config())), "package db")
    assert found.level is Level.BAD and str(tmp_path) in found.found


def test_more_memory_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of(list(host.findings(config(f"memory_budget = {1 << 50}"))), "memory").level is Level.BAD


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        monkeypatch.setenv("EPICS_PVAS_SERVER_PORT", str(taken.getsockname()[1]))
        found = of(list(network.findings(config())), "pvAccess port")
    assert found.level is Level.WARNING and "is taken" in found.found


PLACES = """
prefix = "{prefix}"
[web]
port = {tcp}
[metrics]
port = {tcp}
[ingress.a]
port = {udp}
[balancers.b]
port = {tcp}
"""


def test_ports_of_the_configuration_that_are_taken_and_a_prefix_that_is() -> None:
    prefix = random_prefix()
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for one in (tcp, udp):
            one.bind(("127.0.0.1", 0))
        tcp.listen()
        numbers = {"tcp": tcp.getsockname()[1], "udp": udp.getsockname()[1]}
        wanted = config(PLACES.format(prefix=prefix, **numbers))
        found = {one.what: one for one in places.findings(wanted)}
        assert found["prefix"].level is Level.GOOD
        assert found["web.port"].level is Level.WARNING, "another one is taken"
        for what in ("metrics.port", "ingress.a.port", "balancers.b.port"):
            assert found[what].level is Level.BAD
            assert "Address already in use" in found[what].found and what in found[what].advice
        claim = PrefixClaim(prefix)
        (held,) = places.findings(wanted)
        claim.close()
    assert held.level is Level.WARNING
    assert f"process {os.getpid()}; stop that one" in held.advice
    assert {one.level for one in places.findings(wanted)} == {Level.GOOD}, "all are free again"


def test_a_host_that_does_not_reach_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_heard", lambda *_: False)
    found = of(list(network.findings(config())), "loopback")
    assert found.level is Level.BAD and "ip link set lo up" in found.advice


def test_packets_larger_than_the_way_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = config(REMOTE)
    monkeypatch.setattr(network, "_mtu", lambda name, uri, _mtu: network.bad(name, uri, "set the mtu"))
    assert of(list(network.findings(wide)), "far").level is Level.BAD


def test_tls_variables_without_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPICS_PVAS_TLS_KEYCHAIN", "/keys")
    assert of(list(network.findings(config())), "TLS").level is Level.WARNING


def test_a_disk_that_is_too_slow_and_a_folder_that_is_not_there(tmp_path: Path) -> None:
    asked = "[detector]\nframe_rate = 1e6\nacquire_time = 0.0\nsize = [4096, 4096]\n[writers.files]\npath = "
    found = of(list(rates.findings(config(f'{asked}"{tmp_path}"'))), "writers.files")
    assert found.level is Level.WARNING and "16777.22 GB/s of frames asked for" in found.found
    assert list(tmp_path.iterdir()) == [], "nothing is left"
    missing = of(list(rates.findings(config(f'{asked}"{tmp_path}/none"'))), "writers.files")
    assert "cannot be written" in missing.found


def test_the_trial_is_the_configuration_as_fast_as_it_goes_and_on_this_host() -> None:
    tried = trial.trial_config(config(REMOTE))
    assert tried.detector.frame_rate == trial.FASTEST
    assert [group.policy.value for group in tried.groups.values()] == ["lossless"]
    assert tried.egress == {} and tried.ingress == {}
    text = trial.trial_text(config(DEMO))
    assert "prefix =" not in text and load(text, "trial.toml", []).detector.acquire_time == 0.0


@pytest.mark.parametrize(
    ("rate", "level", "words"),
    [
        (900.0, Level.GOOD, "2000 Hz, 900 Hz asked for"),
        (1900.0, Level.WARNING, "little"),
        (2500.0, Level.WARNING, "lower"),
    ],
)
def test_the_verdict_on_the_rate(monkeypatch: pytest.MonkeyPatch, rate: float, level: Level, words: str) -> None:
    monkeypatch.setattr(trial, "sustained", lambda _config: 2000.0)
    kept: list[float] = []
    found = trial.finding(config(f"[detector]\nframe_rate = {rate}"), lambda _config, rate: kept.append(rate))
    assert found.level is level and words in found.found + found.advice
    assert kept == [2000.0]


def test_a_start_that_asks_for_more_than_was_found_is_warned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fast, slow, other = (config(f"[detector]\n{text}") for text in ("frame_rate = 900", "", "size = [64, 64]"))
    assert too_fast(fast) == ""
    remember(slow, 500.0)
    assert "900 Hz are asked for" in too_fast(fast) and "sustains 500 Hz" in too_fast(fast)
    assert too_fast(other) == "", "nobody has tried that one"
    remember(slow, 2000.0)
    assert too_fast(fast) == ""
    (tmp_path / "rayfan" / "sustained-rates.json").write_text("[1, 2")
    assert too_fast(fast) == "", "a file that is broken is as good as none"
    remember(slow, 800.0)
    assert "sustains 800 Hz" in too_fast(fast)


def test_memory_that_a_container_is_granted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    group = Path("/proc/self/cgroup").read_text().partition("::")[2].strip().lstrip("/")
    folder = tmp_path / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{300 << 20}\n")
    (folder / "memory.current").write_text(f"{100 << 20}\n")
    monkeypatch.setattr(host, "CONTROL_GROUPS", tmp_path)
    assert of(list(host.findings(config(f"memory_budget = {250 << 20}"))), "memory").level is Level.BAD
    (folder / "memory.max").write_text("max\n")
    assert of(list(host.findings(config(f"memory_budget = {1 << 20}"))), "memory").level is Level.GOOD


def test_a_foreign_detector_is_not_predicted() -> None:
    text = '[detector]\nsource = { kind = "pva", channel = "DET:Image" }'
    assert "foreign detector" in trial.finding(config(text), lambda _config, _rate: None).found
