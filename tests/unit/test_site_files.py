"""The files of ops/ for other services of a site: fresh, whole, and true to what Rayfan serves and takes."""

import configparser
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from ioc.cli import command_line
from ioc.console import read_config
from ioc.core.config import load
from ioc.pvlist_command import alarms, archiver, rows
from ioc.records.archive_list import CHANGES, FIGURES
from ioc.supervisor.draining import drain_steps
from ioc.supervisor.rules import Rules
from tests.support.site_files import COMMAND, FILES, OPS

ROOT = OPS.parent


@pytest.mark.parametrize(("name", "make"), FILES.items(), ids=FILES)
def test_file_is_what_the_code_says(name: str, make: Callable[[], str]) -> None:
    assert (OPS / name).read_text(encoding="utf-8") == make(), f"ops/{name} is stale; run: {COMMAND}"


def alarmed(config: str) -> dict[str, str]:
    """Return the PVs of the alarm tree of an example, with the component that has each."""
    root = ElementTree.fromstring(alarms(read_config(OPS / "examples" / config, [])))
    assert (root.tag, root.get("name")) == ("config", "Rayfan")
    found: dict[str, str] = {}
    for component in root.iterfind("component/component"):
        for pv in component.iterfind("pv"):
            assert [child.tag for child in pv] == ["description", "enabled", "latching", "annunciating"]
            assert str(pv.get("name")) not in found, "a PV has one place in the tree"
            found[str(pv.get("name"))] = str(component.get("name"))
    return found


@pytest.mark.parametrize("config", ["chain.toml", "ejfat-lab.toml"])
def test_the_alarm_tree_has_pvs_that_are_served_and_can_be_in_alarm(config: str) -> None:
    found = alarmed(config)
    listed = {row.name for row in rows(read_config(OPS / "examples" / config, []))}
    assert set(found) <= listed
    assert {"RF:Ledger:Residue_RBV", "RF:Health_RBV", "RF:Heartbeat_RBV", "RF:Process1:State_RBV"} <= set(found)
    assert not any(name.startswith("RF:Process16:") for name in found), "nothing is there"
    assert not any(name.endswith((":Acquire_RBV", ":EnableCallbacks_RBV", "Rate_RBV")) for name in found)


def test_the_alarm_tree_follows_the_configuration() -> None:
    assert alarmed("chain.toml")["RF:Cons1:Failed_RBV"] == "Cons1"
    assert alarmed("ejfat-lab.toml")["RF:EjfatIn3:Corrupt_RBV"] == "EjfatIn3"


def test_the_archive_list_has_figures_and_states_no_texts_and_no_arrays() -> None:
    config = read_config(None, [])
    found = {one["pv"]: one for one in json.loads(archiver(config))}
    kinds = {row.name: row.kind for row in rows(config)}
    assert {kinds[name] for name in found} == {"int32", "int64", "float", "bool", "enum"}
    assert found["RF:Ledger:Published_RBV"] == {
        "pv": "RF:Ledger:Published_RBV",
        "samplingmethod": "SCAN",
        "samplingperiod": "5.0",
        "policy": FIGURES,
    }
    assert found["RF:cam1:FrameRate_RBV"]["policy"] == found["RF:cam1:DetectorState_RBV"]["policy"] == CHANGES


def policies() -> dict[str, Any]:
    """Return what the Archiver Appliance would find in its policies file."""
    space: dict[str, Any] = {}
    exec(compile((OPS / "archiver" / "policies.py").read_text(), "policies.py", "exec"), space)
    return space


@pytest.mark.parametrize(
    ("asked", "record", "name", "method"),
    [
        (FIGURES, "ai", FIGURES, "SCAN"),
        (CHANGES, "mbbi", CHANGES, "MONITOR"),
        (None, "mbbi", CHANGES, "MONITOR"),
        (None, "ai", "Default", "MONITOR"),
        ("unknown", "ai", "Default", "MONITOR"),
    ],
)
def test_the_archivers_policies(asked: str | None, record: str, name: str, method: str) -> None:
    space = policies()
    found = space["determinePolicy"]({"pvName": "RF:X", "RTYP": record, "policyName": asked})
    assert (found["policyName"], found["samplingMethod"]) == (name, method)
    assert name in space["getPolicyList"]() and len(found["dataStores"]) == 3


def unit(name: str) -> configparser.SectionProxy:
    """Return the service section of a unit, with its continued lines joined."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(re.sub(r"\\\n\s*", " ", (OPS / "systemd" / name).read_text()))
    return parser["Service"]


@pytest.mark.parametrize("name", ["rayfan@.service", "rayfan-work@.service"])
def test_a_unit_runs_a_command_that_there_is_and_lets_it_drain(name: str) -> None:
    service = unit(name)
    words = shlex.split(service["ExecStart"])
    assert words[0].endswith("/bin/rayfan")
    command_line().parse_args(words[1:])
    assert service["KillMode"] == "mixed", "only the command is told: it lets the others finish in flow order"
    assert "MemoryDenyWriteExecute" not in service, "compiled processors need memory that is written and executed"
    assert {"AF_UNIX", "AF_INET", "AF_INET6"} <= set(service["RestrictAddressFamilies"].split())


def test_the_time_outs_of_the_unit_fit_those_of_the_supervisor() -> None:
    service, config = unit("rayfan@.service"), read_config(OPS / "examples" / "chain.toml", [])
    longest = Rules.of(config).drain * drain_steps(config)
    assert float(service["TimeoutStopSec"]) >= longest
    assert float(service["WatchdogSec"]) >= 10 * config.supervision.hang
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "all")
    assert service["RestartPreventExitStatus"] == "2"


def test_the_container_is_built_from_what_there_is_and_runs_commands_that_there_are() -> None:
    text = (OPS / "container" / "Containerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
    services = yaml.safe_load((OPS / "container" / "compose.yaml").read_text())["services"]
    for service in services.values():
        command_line().parse_args(service["command"])
    example = services["appliance"]["command"][1]
    assert (OPS / "examples" / Path(example).name).exists()
    split = load((OPS / "container" / "split.toml").read_text(), "split.toml")
    assert split.groups[services["worker"]["command"][4]].placement == "remote"


def test_the_values_for_epics_containers_run_a_configuration_that_is_accepted() -> None:
    folder = OPS / "epics-containers"
    values = yaml.safe_load((folder / "values.yaml").read_text())["ioc-instance"]
    command_line().parse_args(values["args"])
    command_line().parse_args(values["livenessProbe"]["exec"]["command"][1:])
    config = load((folder / "config" / "rayfan.toml").read_text(), "rayfan.toml")
    limit = values["resources"]["limits"]["memory"]
    assert config.memory_budget < int(limit.removesuffix("Gi")) << 30
    assert config.writers["files"].path == values["dataVolume"]["hostPath"]


def test_prometheus_is_told_the_port_that_the_configuration_has_by_default() -> None:
    scrape = yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text())["scrape_configs"][0]
    metrics = load("[metrics]", "test").metrics
    assert metrics is not None
    assert scrape["static_configs"][0]["targets"] == [f"{metrics.address}:{metrics.port}"]
    rules = yaml.safe_load((OPS / "prometheus" / "rules.yml").read_text())["groups"][0]["rules"]
    assert all({"alert", "expr", "annotations"} <= set(rule) for rule in rules)


def test_the_gateway_lets_nobody_drain_and_only_named_users_put() -> None:
    from p4p.asLib.pvlist import PVList

    listed = PVList((OPS / "gateway" / "pvagw.pvlist").read_text())
    groups = {name: listed.compute(name.encode(), "127.0.0.1")[1] for name in ("RF:cam1:Acquire", "RF:Dist1:Count")}
    assert groups == {"RF:cam1:Acquire": "CONTROL", "RF:Dist1:Count": "EXPERT"}
    assert listed.compute(b"RF:cam1:Acquire_RBV", "127.0.0.1")[1] == "DEFAULT"
    assert listed.compute(b"RF:Drain", "127.0.0.1")[0] is None
    assert listed.compute(b"OTHER:cam1:Acquire", "127.0.0.1")[0] is None
