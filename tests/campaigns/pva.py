"""Our image server with clients: p4p, PvaPy, our own in shared memory, pvagw, PvaPy's mirror, pvxs' command line tools.

    python -m tests.campaigns.pva [--seconds 60]

1. Fast and slow clients together for `--seconds`: none gets a torn, doubled or reordered frame.
2. The server is killed and started again: every client goes on. A client is killed: the others notice nothing.
3. Servers in every start order beside p4p's: all are found. pvagw and pvapy-mirror-server upstream.
4. pvxs' command line tools, where they are on the PATH; left out with a word where they are not.
5. What a frame of 256 KiB costs server and receiver, in shared memory and over pvAccess.

Every part prints its figures; the last line is the verdict, and the exit code is 1 if anything was wrong.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from ioc.bench.process import cpu_seconds
from tests.support import pvxs_tools
from tests.support.epics import free_port, isolated_environment, random_prefix

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
RATE = 400.0
SIDE = 128
DEADLINE = 60.0
SLOW, FAST = 0.02, 0.0
COST_RATE, COST_SIDE, COST_SECONDS = 1000.0, 181, 5.0
CLIENTS = (
    ("p4p", FAST),
    ("p4p-pipeline", FAST),
    ("pvapy", FAST),
    ("rayfan", FAST),
    ("p4p", SLOW),
    ("p4p-pipeline", SLOW),
    ("pvapy", SLOW),
    ("rayfan", SLOW),
)
FEW = 50
"""Frames after which a client is taken to be served."""


class Part:
    """One process of ours that talks in lines of JSON, and ends when its input does."""

    def __init__(self, environment: Mapping[str, str], *words: str) -> None:
        command = [sys.executable, "-m", *words]
        self.port: int | None = None
        self.name = " ".join(words)
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def hear(self) -> dict[str, Any]:
        """Return its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"{self.name}: ended with {self.process.wait()}"
        return json.loads(line)

    def ask(self) -> dict[str, Any]:
        """Return a client's account so far."""
        assert self.process.stdin is not None
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return self.hear()

    def end(self) -> dict[str, Any]:
        """End it, and return what it did."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        account = self.hear()
        assert self.process.wait(DEADLINE) == 0, self.name
        return account

    def close(self) -> None:
        """Have it gone."""
        self.process.kill()
        self.process.wait()


class Parts:
    """Starts parts in one environment; none outlives the block."""

    def __init__(self) -> None:
        self.environment = isolated_environment()
        self.stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def start(self, *words: str, **more: str) -> Part:
        """Start a module with words, and more environment."""
        part = Part({**self.environment, **more}, *words)
        self.stack.callback(part.close)
        return part

    def tool(self, command: list[str], log: Path) -> None:
        """Start a program of others."""
        environment = {**self.environment, "EPICS_PVAS_SERVER_PORT": "0"}
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)


def source(parts: Parts, name: str, rate: float = RATE, side: int = SIDE) -> Part:
    """Start an image server of `side` x `side` int64 pixels at `rate` Hz."""
    part = parts.start("tests.support.pva_source", name, str(rate), str(side))
    part.port = part.hear()["port"]
    return part


def watch(parts: Parts, kind: str, name: str, delay: float = FAST) -> Part:
    """Start a client."""
    part = parts.start("tests.support.pva_watch", kind, name, str(delay), EPICS_PVAS_SERVER_PORT="0")
    part.hear()
    return part


def wait_for_frames(part: Part, count: int = FEW) -> None:
    """Wait until a client has got that many frames more than now.

    Raises:
        AssertionError: it did not within `DEADLINE`.
    """
    wanted = part.ask()["frames"] + count
    limit = time.monotonic() + DEADLINE
    while part.ask()["frames"] < wanted:
        assert time.monotonic() < limit, f"{part.name}: expected {count} frames more within {DEADLINE:g} s"
        time.sleep(0.2)  # a campaign, and no event tells


def wrong(account: Mapping[str, int]) -> bool:
    """Return whether a frame was torn, doubled or reordered, or none came."""
    return not account["frames"] or any(account[key] for key in ("torn", "doubled", "reordered"))


def together(seconds: float) -> list[str]:
    """Run part 1; return what was wrong."""
    faults: list[str] = []
    name = f"{random_prefix()}Image"
    with Parts() as parts:
        server = source(parts, name)
        clients = [(kind, delay, watch(parts, kind, name, delay)) for kind, delay in CLIENTS]
        for _, _, client in clients:
            wait_for_frames(client)
        time.sleep(seconds)
        for kind, delay, client in clients:
            account = client.end()
            print(f"  {kind:13} {'slow' if delay else 'fast'}  {json.dumps(account)}", flush=True)
            if wrong(account):
                faults.append(f"together: {kind}, {delay:g} s a frame: {account}")
        print(f"  server              {json.dumps(server.end())}", flush=True)
    return faults


def killed() -> list[str]:
    """Run part 2; return what was wrong."""
    faults: list[str] = []
    name = f"{random_prefix()}Image"
    with Parts() as parts:
        server = source(parts, name)
        clients = {kind: watch(parts, kind, name) for kind in ("p4p", "p4p-pipeline", "pvapy", "rayfan")}
        victim = watch(parts, "p4p-pipeline", name)
        for client in (*clients.values(), victim):
            wait_for_frames(client)
        victim.process.send_signal(signal.SIGKILL)
        for client in clients.values():
            wait_for_frames(client, 4 * FEW)
        for _ in range(3):
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            server = source(parts, name)
            for client in clients.values():
                wait_for_frames(client)
        for kind, client in clients.items():
            account = client.end()
            print(f"  {kind:13} {json.dumps(account)}", flush=True)
            if wrong(account) or account["series"] != 4:
                faults.append(f"killed: {kind}: expected 4 series and nothing wrong, found {account}")
    return faults


def found() -> list[str]:
    """Run the discovery of part 3; return what was wrong."""
    faults: list[str] = []
    for order in (("own", "p4p", "other"), ("p4p", "own", "other"), ("own", "other", "p4p")):
        prefix = random_prefix()
        with Parts() as parts:
            for kind in order:
                if kind == "p4p":
                    parts.start("tests.support.pva_value", f"{prefix}Value", EPICS_PVAS_SERVER_PORT="0").hear()
                else:
                    source(parts, f"{prefix}{kind}")
            seen = {}
            for kind in ("p4p", "pvapy"):
                for name in ("own", "other"):
                    client = watch(parts, kind, f"{prefix}{name}")
                    wait_for_frames(client, 2)
                    seen[kind, name] = client.end()["frames"]
            value = parts.start("tests.support.pva_value", "--get", f"{prefix}Value").hear()
        print(f"  {' '.join(order):15} {'all found' if value['value'] == 7.0 else value}", flush=True)
        if value["value"] != 7.0 or not all(seen.values()):
            faults.append(f"found: {order}: {seen}, {value}")
    return faults


def upstream() -> list[str]:
    """Run PvaPy's mirror and pvagw behind our server; return what was wrong."""
    faults: list[str] = []
    for tool, begin in (("pvapy-mirror-server", mirror), ("pvagw", gateway)):
        name = f"{random_prefix()}Image"
        with tempfile.TemporaryDirectory() as folder, Parts() as parts:
            source(parts, name)
            shown, environment = begin(parts, Path(folder), name)
            client = parts.start("tests.support.pva_watch", "p4p", shown, "0", **environment)
            client.hear()
            wait_for_frames(client, 4 * FEW)
            account = client.end()
        print(f"  {tool:20} {json.dumps(account)}", flush=True)
        if not account["frames"] or account["torn"]:  # a gateway may merge and repeat frames by itself
            faults.append(f"upstream: {tool}: {account}")
    return faults


def mirror(parts: Parts, folder: Path, name: str) -> tuple[str, dict[str, str]]:
    """Start PvaPy's mirror; return the channel that it shows, and the environment in which that is found."""
    shown = f"{name}:Mirror"
    command = [str(BIN / "pvapy-mirror-server"), "--channel-map", f"({shown},{name},pva,64)"]
    parts.tool([*command, "--runtime", "60"], folder / "log")
    return shown, {"EPICS_PVAS_SERVER_PORT": "0"}


def gateway(parts: Parts, folder: Path, name: str) -> tuple[str, dict[str, str]]:
    """Start p4p's gateway; return the channel that it shows, and the environment in which that is found."""
    port = free_port()
    up = {"name": "up", "provider": "pva", "addrlist": "127.0.0.1", "autoaddrlist": False}
    down = {"name": "down", "clients": ["up"], "interface": ["127.0.0.1"], "addrlist": "", "autoaddrlist": False}
    up["bcastport"] = int(parts.environment["EPICS_PVA_BROADCAST_PORT"])
    config = {"version": 2, "clients": [up], "servers": [{**down, "serverport": free_port(), "bcastport": port}]}
    (folder / "gateway.json").write_text(json.dumps(config))
    parts.tool([str(BIN / "pvagw"), str(folder / "gateway.json")], folder / "log")
    return name, {"EPICS_PVA_BROADCAST_PORT": str(port)}


def tools() -> list[str]:
    """Run pvxs' command line tools on our server; return what was wrong."""
    why = pvxs_tools.missing()
    if why is not None:
        print(f"  left out: {why}")
        return []
    faults: list[str] = []
    name = f"{random_prefix()}Image"
    with Parts() as parts:
        port = source(parts, name).port
        for tool, words, expected in (
            ("pvxget", ("-r", "field(uniqueId)", name), "uniqueId"),
            ("pvxinfo", (name,), "epics:nt/NTNDArray:1.0"),
            ("pvxmonitor", ("-r", "record[pipeline=true]field(uniqueId)", name), "uniqueId"),
            ("pvxlist", ("-w", "3"), str(port)),
        ):
            said = pvxs_tools.say([tool, *words], parts.environment, expected)
            print(f"  {tool:12} {'as it should' if expected in said else said[-300:]}", flush=True)
            if expected not in said:
                faults.append(f"tools: {tool}: expected {expected}, found {said[-300:]!r}")
    return faults


def ways(seconds: float) -> list[str]:
    """Run part 5; return what was wrong."""
    faults: list[str] = []
    for kind in ("rayfan", "rayfan-pvaccess", "p4p", "pvapy"):
        name = f"{random_prefix()}Image"
        with Parts() as parts:
            server = source(parts, name, COST_RATE, COST_SIDE)
            client = watch(parts, kind, name)
            wait_for_frames(client)
            before = [cpu_seconds([part.process.pid]) for part in (server, client)], client.ask()["frames"]
            time.sleep(seconds)
            after = [cpu_seconds([part.process.pid]) for part in (server, client)], client.ask()["frames"]
            account = client.end()
        frames = after[1] - before[1]
        costs = [1e6 * (late - early) / max(frames, 1) for early, late in zip(before[0], after[0], strict=True)]
        print(
            f"  {kind:16} server {costs[0]:.0f} us, receiver {costs[1]:.0f} us a frame  {json.dumps(account)}",
            flush=True,
        )
        if wrong(account):
            faults.append(f"ways: {kind}: {account}")
    return faults


def verdict(faults: list[str]) -> int:
    """Print what was wrong; return the exit code."""
    for fault in faults:
        print(f"WRONG {fault}")
    print("verdict: " + ("nothing torn, doubled or reordered, all found" if not faults else f"{len(faults)} faults"))
    return bool(faults)


def main() -> int:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of fast and slow clients together; default 60")
    parser.add_argument("--only", choices=("together", "killed", "found", "upstream", "tools", "ways"), help="one part")
    options = parser.parse_args()
    stages: dict[str, Callable[[], list[str]]] = {
        "together": lambda: together(options.seconds),
        "killed": killed,
        "found": found,
        "upstream": upstream,
        "tools": tools,
        "ways": lambda: ways(COST_SECONDS),
    }
    faults: list[str] = []
    for title, stage in stages.items():
        if options.only in (None, title):
            print(title, flush=True)
            faults += stage()
    return verdict(faults)


if __name__ == "__main__":
    sys.exit(main())
