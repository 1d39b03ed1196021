"""A live pair of appliances joined by EJFAT in trouble: what records say, that the stream goes on, what the ledger has.

    python -m tests.campaigns.ejfat_trouble [--frames 100]

Facility A has a detector and three egresses, facility B three ingresses, on two network namespaces where the machine
allows that, else on loopback. `beam` goes straight to B, `tight` to a socket of B that holds half a frame, `dealt`
through A's load balancer. Meanwhile
- `tight` is not paced for a while, and the kernel drops packets: a count in alarm, advice what to set, and every lost
  frame in the ledger by id;
- the ingress of `beam` is killed, then the cable is pulled (namespaces only): an alarm and a count at the egress, no
  frame waits for it, and when there is a way again frames arrive and the alarm ends;
- the load balancer knows the sender of `dealt`, which warmed it up and goes on to send sync messages.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.campaigns.facilities import wait_still
from tests.support.appliance import RAYFAN, RunningAppliance, count_ids
from tests.support.epics import free_port, isolated_environment
from tests.support.namespaces import Host, Hosts, two_hosts

ROOT = Path(__file__).parents[2]
DEADLINE = 60.0
ASK_SECONDS = 40.0
MAJOR = 2
FEW = 10
SENDS = """
[detector]
frame_rate = 100.0
size = [512, 512]
acquire_at_start = false
source = {{ kind = "generated", pattern = "counter" }}

[balancers.lab]
address = "{a}"
port = {control}
epoch = 0.3
lead = 0.2

[egress.beam]
uri = "ejfat://{b}?data={b}:{beam}"
mtu = 1500

[egress.dealt]
balancer = "lab"
mtu = 1500
warm_up = 0.5
sync_period = 0.2

[egress.tight]
uri = "ejfat://{b}?data={b}:{tight}"
mtu = 1500
rate = {calm}
"""
TAKES = """
[detector]
acquire_at_start = false

[ingress.beam]
address = "{b}"
port = {beam}

[ingress.dealt]
uri = "{uri}"
address = "{b}"
linger = 1.0

[ingress.tight]
address = "{b}"
port = {tight}
receive_buffer = 65536
event_timeout = 0.2
"""
CALM = 0.5
"""Gbit/s at which the small socket takes all, a message at a time; a frame at once is more than it holds."""

BEAM, DEALT, TIGHT = 1, 2, 3
"""The numbers of the egresses and of the ingresses, by the order of their names."""


class Pair:
    """Both appliances."""

    def __init__(self, folder: Path, hosts: Hosts, stack: ExitStack) -> None:
        """Start them; whatever is left of them is killed in the end."""
        self.hosts = hosts
        where = {"a": hosts.a.address, "b": hosts.b.address}
        ports = {name: free_port() for name in ("control", "beam", "tight")}
        self.a = self._start(folder / "a", hosts.a, "A:", SENDS.format(**where, **ports, calm=CALM), stack)
        self.a.wait_running("EjfatLb1")
        self.uri = (self.a.run_dir / "lab.uri").read_text().strip()
        self.b = self._start(folder / "b", hosts.b, "B:", TAKES.format(**where, **ports, uri=self.uri), stack)
        self.a.wait_running("Ejfat1", "Ejfat2", "Ejfat3", "detector")
        self.b.wait_running("EjfatIn1", "EjfatIn2", "EjfatIn3")

    def sent(self, number: int) -> int:
        """Return how many frames an egress has sent."""
        return int(self.a.status(f"Ejfat{number}").get("figures", {}).get("Frames", 0))

    def got(self, number: int) -> int:
        """Return how many frames an ingress has."""
        return int(self.b.status(f"EjfatIn{number}").get("figures", {}).get("Frames", 0))

    def ask(self, side: RunningAppliance, *names: str) -> list[tuple[Any, int]]:
        """Return values and severities of records of one appliance."""
        host = self.hosts.a if side is self.a else self.hosts.b
        full = [side.prefix + name for name in names]
        command = [*host.within, sys.executable, "-m", "tests.support.alarm_states", *full]
        said = json.loads(_output(command, side.environment))
        return [tuple(said[name]) for name in full]

    def put(self, **values: float) -> None:
        """Put to records of A; `__` stands for a colon."""
        words = [f"A:{name.replace('__', ':')}={value}" for name, value in values.items()]
        _output([*self.hosts.a.within, sys.executable, "-m", "tests.support.put", *words], self.a.environment)

    def wait_reachable(self, expected: str, severity: int) -> int:
        """Wait until the egress of `beam` says so, with that alarm; return the packets that found no way."""
        names = "Ejfat1:Reachable_RBV", "Ejfat1:Unreachable_RBV"
        self.a.wait_until(
            lambda: self.ask(self.a, names[0])[0] == (expected, severity), f"Reachable is {expected}", DEADLINE
        )
        return int(self.ask(self.a, names[1])[0][0])

    @staticmethod
    def _start(folder: Path, host: Host, prefix: str, config: str, stack: ExitStack) -> RunningAppliance:
        folder.mkdir()
        (folder / "rayfan.toml").write_text(config)
        words = [str(folder / "rayfan.toml")]
        running = RunningAppliance(folder, words, isolated_environment(), prefix, host.within)
        stack.callback(running.kill_everything)
        return running


def small_buffer(pair: Pair) -> None:
    """Pace nothing for a while, and see the kernel's drops in the records of the ingress whose socket is too small."""
    pair.put(Ejfat3__TargetRate=0)
    pair.b.wait_until(
        lambda: pair.b.status("EjfatIn3").get("figures", {}).get("KernelDrops", 0) > 0, "the kernel drops", DEADLINE
    )
    (drops, severity), (advice, _), (granted, _) = pair.ask(
        pair.b, "EjfatIn3:KernelDrops_RBV", "EjfatIn3:BufferAdvice_RBV", "EjfatIn3:ReceiveBuffer_RBV"
    )
    print(f"small buffer: {granted} bytes, {drops} packets dropped by the kernel, severity {severity}; {advice!r}")
    assert drops > 0 and severity and advice
    pair.put(Ejfat3__TargetRate=CALM)
    got = pair.got(TIGHT)
    pair.b.wait_until(lambda: pair.got(TIGHT) > got + FEW, "paced frames are whole again", DEADLINE)


def announced(pair: Pair) -> None:
    """See that the load balancer knows the sender, and that sync messages go on."""
    (state, _), (syncs, _) = pair.ask(pair.a, "Ejfat2:LoadBalancer_RBV", "Ejfat2:Syncs_RBV")
    pair.a.wait_until(lambda: pair.ask(pair.a, "Ejfat2:Syncs_RBV")[0][0] > syncs + 3, "more sync messages", DEADLINE)
    (taken, _), *_ = pair.ask(pair.a, "EjfatLb1:Syncs_RBV")
    lb_uri = pair.a.run_dir / "lab.uri"
    status = _output([*pair.hosts.a.within, str(RAYFAN), "ejfat", "lb", "status", "--uri-file", str(lb_uri)], None)
    print(f"load balancer: {state}, {taken} sync messages taken; {status.strip()!r}")
    assert state == "known" and taken > 0 and pair.hosts.a.address in status


def killed_ingress(pair: Pair, frames: int) -> None:
    """Kill the ingress of `beam`: its port is closed until the next life."""
    pid = int(pair.b.status("EjfatIn1")["pid"])
    _hurt(
        pair,
        frames,
        hurt=lambda: os.kill(pid, signal.SIGKILL),
        mend=lambda: pair.b.wait_until(
            lambda: pair.b.runs("EjfatIn1") and pair.b.status("EjfatIn1")["pid"] != pid, "the ingress's next life"
        ),
        what="closed port",
    )


def pulled_cable(pair: Pair, frames: int) -> None:
    """Take the cable away and put it back."""
    if pair.hosts.why_not:
        print(f"pulled cable: left out, {pair.hosts.why_not}")
        return
    cable = [*pair.hosts.a.within, "ip", "link", "set", "cable"]
    _hurt(
        pair,
        frames,
        hurt=lambda: _output([*cable, "down"], None),
        mend=lambda: _output([*cable, "up"], None),
        what="pulled cable",
    )


def _hurt(pair: Pair, frames: int, hurt: Callable[[], object], mend: Callable[[], object], what: str) -> None:
    before = pair.wait_reachable("yes", 0)
    hurt()
    unreachable = pair.wait_reachable("no", MAJOR)
    published = pair.a.published()
    pair.a.wait_until(lambda: pair.a.published() > published + frames, f"{what}: frames all the same", DEADLINE)
    mend()
    got = pair.got(BEAM)
    pair.b.wait_until(lambda: pair.got(BEAM) > got + frames, f"{what}: frames arrive again", DEADLINE)
    pair.wait_reachable("yes", 0)
    print(f"{what}: Reachable no and MAJOR, {unreachable - before} packets counted by then; frames arrive again")
    assert unreachable > before


def judge(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Check that what was sent is what came and what is named as lost."""
    for number, name in ((BEAM, "beam"), (TIGHT, "tight")):
        sent = sum(row["processed"] for row in a["accounts"] if row["stage"] == f"Ejfat{number}")
        rows = [row for row in b["accounts"] if row["stage"] == f"EjfatIn{number}"]
        got = sum(row["processed"] for row in rows)
        reasons: dict[str, int] = {}
        for row in rows:
            for reason, count in row["dropped"].items():
                reasons[reason] = reasons.get(reason, 0) + count
        stage = next(stage for stage in b["stages"] if stage["name"] == f"EjfatIn{number}")
        print(f"{name}: {sent} frames sent, {got} came, by id {reasons}; by reason {stage['dropped']}")
        assert sent == got + sum(reasons.values()) and count_ids(stage["missed"]) == sum(reasons.values())
    print(f"residues: A {a['residue']}, B {b['residue']}")


def run(frames: int) -> None:
    """Run the campaign."""
    with ExitStack() as stack:
        hosts = stack.enter_context(two_hosts())
        print(f"hosts: {'two network namespaces' if not hosts.why_not else f'loopback ({hosts.why_not})'}", flush=True)
        pair = Pair(Path(stack.enter_context(tempfile.TemporaryDirectory())), hosts, stack)
        pair.put(cam1__Acquire=1)
        pair.b.wait_until(lambda: min(map(pair.got, (BEAM, DEALT, TIGHT))) > FEW, "frames arrive", DEADLINE)
        small_buffer(pair)
        announced(pair)
        killed_ingress(pair, frames)
        pulled_cable(pair, frames)
        pair.put(cam1__Acquire=0)
        wait_still(lambda: sum(pair.got(number) + pair.sent(number) for number in (BEAM, DEALT, TIGHT)))
        b = pair.b.stop()  # with the conservation of its frames, as the next line
        judge(pair.a.stop(), b)


def _output(command: list[str], environment: dict[str, str] | None) -> str:
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=ASK_SECONDS)
    assert done.returncode == 0, f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}"
    return done.stdout


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100, help="frames between the events")
    run(parser.parse_args().frames)
    return 0


if __name__ == "__main__":
    sys.exit(main())
