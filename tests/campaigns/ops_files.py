"""Has the files of `ops/` checked by the tools that they are for, as far as these are installed.

    python -m tests.campaigns.ops_files

Says for each tool that is missing what is not checked without it; that is no failure. Exit code 1 if a tool found
fault.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from ioc.supervisor.metrics_server import Exposition
from tests.support.site_files import OPS
from tests.unit.test_metrics import STATUSES, VIEW

ROOT = OPS.parent
CALLS = ("memfd_create", "pidfd_open", "pidfd_send_signal", "eventfd2", "ftruncate", "mmap", "sendmmsg", "recvmmsg")
"""System calls that an appliance needs beyond what every program does."""
SECONDS = 600.0


class FoundFaultError(Exception):
    """A tool found fault with a file."""


@dataclass(frozen=True, slots=True)
class Check:
    """What is checked, the tool for it, the Debian package that has it, and how."""

    what: str
    tool: str
    package: str
    run: Callable[[Path], None]


def tool(*command: str | Path, given: str = "") -> str:
    """Return what a tool prints.

    Raises:
        FoundFaultError: it did not exit with 0.
    """
    done = subprocess.run(
        [str(word) for word in command],
        input=given,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        raise FoundFaultError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


def units(folder: Path) -> None:
    """Verify the units, with the command that is installed here, and that the calls that are needed are let through."""
    installed = str(Path(sys.executable).with_name("rayfan"))
    for source in (OPS / "systemd").glob("*.service"):
        unit = folder / source.name.replace("@", "@demo")
        text = source.read_text().replace("/opt/rayfan/bin/rayfan", installed).replace("User=rayfan", "User=root")
        unit.write_text(text.replace("Group=rayfan", "Group=root"))
        told = tool("systemd-analyze", "verify", "--man=no", unit)
        if ours := [line for line in told.splitlines() if source.name.partition("@")[0] in line]:
            raise FoundFaultError("\n".join(ours))
    allowed = set(_calls("@system-service"))
    if missing := sorted(set(CALLS) - allowed):
        raise FoundFaultError(f"SystemCallFilter=@system-service lets through no {', '.join(missing)}")


def _calls(group: str) -> Iterator[str]:
    """Yield the system calls of a group of systemd's, those of the groups in it included."""
    for line in tool("systemd-analyze", "syscall-filter", group).splitlines()[1:]:
        name = line.strip()
        if name.startswith("@"):
            yield from _calls(name)
        elif name and not name.startswith("#"):
            yield name


def prometheus(_folder: Path) -> None:
    """Check configuration, rules, and what is exported."""
    tool("promtool", "check", "config", OPS / "prometheus" / "prometheus.yml")
    tool("promtool", "check", "rules", OPS / "prometheus" / "rules.yml")
    exposition, registry = Exposition(), CollectorRegistry()
    exposition.show(VIEW, STATUSES)
    registry.register(exposition)
    tool("promtool", "check", "metrics", given=generate_latest(registry).decode())


def gateway(_folder: Path) -> None:
    """Have the gateway read its configuration, rules and list."""
    tool(Path(sys.executable).with_name("pvagw"), "--test-config", OPS / "gateway" / "pvagw.json")


def alarm_tree(_folder: Path) -> None:
    """Parse the alarm tree."""
    tool("xmllint", "--noout", OPS / "alarms" / "demonstration.xml")


def container(folder: Path) -> None:
    """Build the image, and ask it its version."""
    tool("podman", "build", "--file", OPS / "container" / "Containerfile", "--iidfile", folder / "id", ROOT)
    tool("podman", "run", "--rm", (folder / "id").read_text().strip(), "--version")


CHECKS = (
    Check("systemd units", "systemd-analyze", "systemd", units),
    Check("Prometheus configuration, rules and metrics", "promtool", "prometheus", prometheus),
    Check("gateway configuration", sys.executable, "python3", gateway),
    Check("alarm tree", "xmllint", "libxml2-utils", alarm_tree),
    Check("container image", "podman", "podman", container),
)


def main() -> int:
    """Run all checks whose tools are there."""
    faults = 0
    for check in CHECKS:
        if shutil.which(check.tool) is None:
            print(f"{check.what}: not checked, {check.tool} is missing (apt-get install {check.package})")
            continue
        with tempfile.TemporaryDirectory(prefix="rayfan-ops-") as folder:
            try:
                check.run(Path(folder))
            except FoundFaultError as fault:
                faults += 1
                print(f"{check.what}: FAULT\n{fault}")
            else:
                print(f"{check.what}: good")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
