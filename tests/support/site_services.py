"""Services of a site, beside a running appliance: a service manager's socket, a reader of metrics, p4p's gateway."""

import getpass
import json
import math
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from p4p.gw import jload
from prometheus_client.parser import text_string_to_metric_families

from tests.support.appliance import RunningAppliance
from tests.support.clients import User
from tests.support.epics import free_port
from tests.support.ioc_process import Helper
from tests.support.site_files import OPS

WITHIN = 60.0
"""s; a deadline, not a measure."""
WATCHDOG_SECONDS = 3.0


class ServiceManager:
    """Listens as systemd does, from before the start until after the end."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self.environment = {
            "NOTIFY_SOCKET": str(folder / "notify"),
            "WATCHDOG_USEC": str(round(WATCHDOG_SECONDS * 1e6)),
        }
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._listen, name="service manager")

    def __enter__(self) -> "ServiceManager":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"END", self.environment["NOTIFY_SOCKET"])
        self._thread.join(WITHIN)
        self._socket.close()

    def assert_whole_life(self) -> None:
        """Check that a life was told: started, ready, alive all the time, stopping, stopped."""
        lines = self._lines
        assert lines.count("READY=1") == lines.count("STOPPING=1") == 1, lines
        assert lines.index("READY=1") < lines.index("STOPPING=1")
        states = [line.split()[1].rstrip(",") for line in lines if line.startswith("STATUS=")]
        assert list(dict.fromkeys(states)) == ["Starting", "Running", "Draining", "Stopped"], lines
        assert "WATCHDOG=1" in lines[: lines.index("READY=1")] and "WATCHDOG=1" in lines[lines.index("READY=1") :]

    def _listen(self) -> None:
        while (message := self._socket.recv(4096)) != b"END":
            self._lines += message.decode().splitlines()


def exported(port: int) -> dict[str, list[float]]:
    """Return the figures of `/metrics` by PV; a record may stand behind several."""
    found: dict[str, list[float]] = {}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=WITHIN) as answer:
        for family in text_string_to_metric_families(answer.read().decode()):
            for sample in family.samples:
                found.setdefault(sample.labels["pv"], []).append(sample.value)
    return found


def assert_metrics_are_pvs(user: User, port: int) -> None:
    """Check that every exported figure is the value of its PV, looking again at those that change between two looks."""
    left = set(exported(port))
    devices = {name.removeprefix(user.run.prefix).split(":")[0] for name in left}
    assert {"Ledger", "Process1", "Dist1", "Cons1", "Ejfat1", "EjfatIn1"} <= devices, devices
    limit = time.monotonic() + WITHIN
    while left:
        figures = exported(port)
        shown = user.ask_all("ca_fields", sorted(name.removeprefix(user.run.prefix) for name in left))
        differ = {name: (figures[name], shown[name]) for name in left if not _equal(figures[name], shown[name])}
        left = set(differ)
        assert time.monotonic() < limit, f"exported and shown by CA differ: {differ}"


def _equal(figures: list[float], shown: float | None) -> bool:
    return shown is not None and all(math.isclose(one, shown, rel_tol=1e-9, abs_tol=1e-12) for one in figures)


@contextmanager
def gateway(run: RunningAppliance) -> Iterator[Helper]:
    """Yield a client behind p4p's gateway, run with the example of ops/, whose operator is whoever runs the test."""
    folder = run.folder / "gateway"
    folder.mkdir()
    ports = {"serverport": free_port(), "bcastport": free_port()}
    config = jload((OPS / "gateway" / "pvagw.json").read_text())
    config["clients"][0]["bcastport"] = int(run.environment["EPICS_PVA_BROADCAST_PORT"])
    config["servers"][0] |= ports
    (folder / "pvagw.json").write_text(json.dumps(config))
    rules = (OPS / "gateway" / "pvagw.acf").read_text()
    assert "opr, beamline" in rules
    (folder / "pvagw.acf").write_text(rules.replace("opr, beamline", getpass.getuser()))
    listed = (OPS / "gateway" / "pvagw.pvlist").read_text()
    (folder / "pvagw.pvlist").write_text(listed.replace("\nRF:", f"\n{run.prefix}"))
    environment = run.environment | {
        "EPICS_PVA_BROADCAST_PORT": str(ports["bcastport"]),
        "EPICS_PVA_SERVER_PORT": str(ports["serverport"]),
    }
    command = [str(Path(sys.executable).with_name("pvagw")), str(folder / "pvagw.json")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        with Helper("ioc_client", [], environment, folder / "client.log") as outside:
            yield outside
    finally:
        process.terminate()
        process.wait(WITHIN)
