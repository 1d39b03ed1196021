"""E2SAR's own tools at the other end of every link: files and events both ways, its control client on our balancer.

    python -m tests.campaigns.e2sar --tools FOLDER [--only files-out,files-in,...]

FOLDER has E2SAR's `e2sar_ft`, `e2sar_perf` and `lbadm`, built from its sources (0.3.2 was tried). Everything runs on
loopback. What is sent is compared with what came; each appliance's ledger closes.
"""

import argparse
import hashlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from tests.support.appliance import RAYFAN, RunningAppliance, appliance, assert_closed
from tests.support.clients import user_of
from tests.support.epics import free_port, isolated_environment

NAMES = ("e2sar_ft", "e2sar_perf", "lbadm")
SECONDS = 60.0
SHAPE = (200, 333)
FRAMES = 60
EVENTS, EVENT_BYTES, EVENT_SHAPE = 200, 1 << 18, (512, 512)

Case = Callable[["Tools"], str]


class Tools:
    """E2SAR's tools, and what else a case needs to run them; ended with `stack`."""

    def __init__(self, tools: Path, work: Path, stack: ExitStack) -> None:
        self.work = work
        self.stack = stack
        self._tools = tools

    def run(self, name: str, *arguments: str | Path | float) -> str:
        """Return what a tool printed; it must end by itself, and well."""
        command = [str(self._tools / name), *map(str, arguments)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-3000:]}"
        return done.stdout

    def receive(self, name: str, port: int, uri: str, *arguments: str | Path) -> "Receiver":
        """Start a tool that receives at a port, and return it when it does."""
        place = ["--ip", "127.0.0.1", "--port", str(port), "--threads", "1", "-u", uri]
        receiver = Receiver([str(self._tools / name), "-r", *place, *map(str, arguments)], self.work / f"{name}.log")
        self.stack.callback(receiver.end)
        receiver.wait_until(lambda: is_bound(port), f"listens at UDP port {port}")
        return receiver

    def balancer(self, *arguments: str) -> str:
        """Start a load balancer of ours, and return the URI that it wrote."""
        file = self.work / f"balancer{free_port()}.uri"
        command = [str(RAYFAN), "ejfat-lb", "--port", str(free_port()), "--uri-file", str(file), *arguments]
        process = subprocess.Popen(command, env=isolated_environment(), stdout=subprocess.DEVNULL)
        self.stack.callback(end, process)
        wait_until(file.exists, "the load balancer writes its URI")
        return file.read_text().strip()


class Receiver:
    """A receiving tool that runs."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("w") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def wait_until(self, true: Callable[[], bool], what: str) -> None:
        """Wait for something, and fail with what the tool printed if it does not come."""
        wait_until(true, what, self._log)

    @property
    def events(self) -> int:
        """How many whole events it says to have received."""
        found = re.findall(r"Events Received: (\d+)", self._log.read_text())
        return int(found[-1]) if found else 0

    @property
    def faults(self) -> dict[str, int]:
        """What it says to have lost or refused, by its words."""
        words = ("Bad RE Header Discards", "Events Lost in reassembly", "Events Lost in enqueue", "gRPC Errors")
        text = self._log.read_text()
        counts = {word: re.findall(rf"{word}: (\d+)", text) for word in words}
        return {word: int(found[-1]) for word, found in counts.items() if found and int(found[-1])}

    def end(self) -> None:
        """Stop it as Ctrl-C does."""
        end(self._process)


def end(process: subprocess.Popen) -> None:
    """Stop a process as Ctrl-C does, or for good if it does not heed that."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(10.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(true: Callable[[], bool], what: str, log: Path | None = None) -> None:
    """Wait for something, and fail if it does not come."""
    deadline = time.monotonic() + SECONDS
    while not true():
        if time.monotonic() > deadline:
            printed = log.read_text()[-3000:] if log is not None else ""
            raise AssertionError(f"expected within {SECONDS:g} s: {what}\n{printed}")
        time.sleep(0.05)


def is_bound(port: int) -> bool:
    """Return whether some socket of this host has a UDP port."""
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    return any(int(line.split()[1].rpartition(":")[2], 16) == port for line in lines)


def direct(port: int) -> str:
    """Return a URI for a link without a load balancer; E2SAR wants token, control plane and number all the same."""
    return f"ejfat://token@127.0.0.1:18020/lb/1?data=127.0.0.1:{port}"


@contextmanager
def running(tools: Tools, text: str, *names: str) -> Iterator[RunningAppliance]:
    """Run an appliance in a folder of its own, from when the processes of these names run."""
    folder = Path(tempfile.mkdtemp(dir=tools.work))
    config = folder / "appliance.toml"
    config.write_text(text)
    with appliance(folder, str(config)) as run:
        run.wait_running(*names)
        yield run


def detector(tools: Tools, uri: str, payload: str, more: str = "") -> tuple[str, set[str]]:
    """Return the configuration of a detector with an egress, and the hashes of its frames."""
    frames = np.random.default_rng(1).integers(0, 65536, (FRAMES, *SHAPE), dtype=np.uint16)
    np.save(tools.work / "frames.npy", frames)
    text = f"""
[detector]
frame_rate = 100.0
acquire_at_start = false
source = {{ kind = "replay", path = "{tools.work / "frames.npy"}", loop = false }}
[egress.out]
uri = "{uri}"
payload = "{payload}"
mtu = 1500
rate = 0.5
{more}
"""
    return text, {digest(frame.tobytes()) for frame in frames}


def sink(port: int, shape: tuple[int, int], data_type: str, more: str) -> str:
    """Return the configuration of an ingress for raw events at a port."""
    return f"""
[detector]
acquire_at_start = false
[ingress.in]
address = "127.0.0.1"
port = {port}
payload = "raw"
raw_type = "{data_type}"
raw_shape = {list(shape)}
{more}
"""


def digest(content: bytes) -> str:
    """Return what tells two frames apart."""
    return hashlib.sha256(content).hexdigest()


def count(run: RunningAppliance, name: str, of: str) -> int:
    """Return a count of a stage, by its status."""
    return run.status(name).get("stage", {}).get(of, 0)


def acquire(run: RunningAppliance) -> None:
    """Have all frames sent."""
    with user_of(run) as user:
        user.put("cam1:ImageMode", "Multiple")
        user.put("cam1:NumImages", FRAMES)
        user.put("cam1:Acquire", 1)
    run.wait_until(lambda: count(run, "Ejfat1", "processed") >= FRAMES, f"the egress has sent {FRAMES} frames")


def received(run: RunningAppliance, events: int) -> None:
    """Wait until the ingress has had so many events, and see that the ledger closes and nothing was lost."""
    run.wait_until(lambda: count(run, "EjfatIn1", "received") >= events, f"{events} events come")
    report = run.stop()
    assert_closed(report)
    stage = next(one for one in report["stages"] if one["name"] == "EjfatIn1")
    assert stage["processed"] == events and not any(stage["dropped"].values()), stage


def files_out(tools: Tools) -> str:
    """Frames of ours become files of `e2sar_ft`."""
    port, folder = free_port(), tools.work / "out"
    folder.mkdir()
    receiver = tools.receive("e2sar_ft", port, direct(port), "-p", folder, "-e", "dat")
    text, sent = detector(tools, direct(port), "raw", "control_plane = false")
    with running(tools, text, "detector", "Ejfat1") as run:
        acquire(run)
        receiver.wait_until(lambda: len(list(folder.glob("[!.]*"))) >= FRAMES, f"{FRAMES} files")
        assert_closed(run.stop())
    got = {digest(file.read_bytes()) for file in folder.iterdir()}
    assert got == sent, f"{len(got - sent)} files are not frames, {len(sent - got)} frames are no files"
    return f"{FRAMES} frames, as many files, bit for bit"


def files_in(tools: Tools) -> str:
    """Files that `e2sar_ft` sends become frames, and files again."""
    port, there, here = free_port(), tools.work / "there", tools.work / "here"
    there.mkdir()
    frames = np.random.default_rng(2).integers(0, 65536, (FRAMES, *SHAPE), dtype=np.uint16)
    for number, frame in enumerate(frames):
        (there / f"{number:03}.bin").write_bytes(frame.tobytes())
    group = f"""
[groups.files]
input = "ingress.in"
policy = "lossless"
processor = "save"
settings = {{ Folder = "{here}", Pattern = "{{series}}_{{id:06}}.npy" }}
"""
    here.mkdir()
    with running(tools, sink(port, SHAPE, "UInt16", group), "EjfatIn1", "Cons1") as run:
        tools.run(
            "e2sar_ft", "-s", "--ip", "127.0.0.1", "--sockets", 1, "--rate", 0.5, "-e", "bin", "-u", direct(port), there
        )
        received(run, FRAMES)
    got = {digest(np.load(file).tobytes()) for file in here.glob("*.npy")}
    sent = {digest(frame.tobytes()) for frame in frames}
    assert got == sent, f"{len(got - sent)} frames are not what was sent, {len(sent - got)} did not come"
    return f"{FRAMES} files, as many frames, bit for bit"


def events_out(tools: Tools) -> str:
    """Events with our own payload come whole to `e2sar_perf`, with both versions of the LB header."""
    for version in (2, 3):
        port = free_port()
        receiver = tools.receive("e2sar_perf", port, direct(port))
        text, _ = detector(tools, direct(port), "rayfan", f"control_plane = false\nlb_version = {version}")
        with running(tools, text, "detector", "Ejfat1") as run:
            acquire(run)
            receiver.wait_until(lambda told=receiver: told.events >= FRAMES, f"{FRAMES} events")
            assert_closed(run.stop())
        assert not receiver.faults, receiver.faults
        receiver.end()
    return f"{FRAMES} events, none lost, LB header versions 2 and 3"


def events_in(tools: Tools) -> str:
    """Events of `e2sar_perf` come whole to an ingress, with both versions of the LB header, over several sockets."""
    for version in (2, 3):
        port = free_port()
        with running(tools, sink(port, EVENT_SHAPE, "UInt8", ""), "EjfatIn1") as run:
            send(tools, direct(port), "--lbhdrversion", str(version))
            received(run, EVENTS)
    return f"{EVENTS} events of {EVENT_BYTES} bytes over 2 sockets, none lost, LB header versions 2 and 3"


def send(tools: Tools, uri: str, *more: str) -> str:
    """Have `e2sar_perf` send its events."""
    size = ["-n", str(EVENTS), "-l", str(EVENT_BYTES), "--rate", "1", "--sockets", "2"]
    return tools.run("e2sar_perf", "-s", "--ip", "127.0.0.1", "-u", uri, *size, *more)


def control(tools: Tools) -> str:
    """Every call of `lbadm` is answered by our balancer as it expects."""
    admin = tools.balancer()
    answer = tools.run(
        "lbadm", "--reserve", "-l", "e2sar", "-a", "127.0.0.1", "-d", "01:00:00", "-u", admin, "-e", "--ipfam", 0
    )
    uri = answer.split("EJFAT_URI='")[1].split("'")[0]
    calls = {
        "version": ("--version", "-u", uri),
        "addsenders": ("--addsenders", "-a", "127.0.0.9", "-u", uri),
        "overview": ("--overview", "-u", admin),
        "removesenders": ("--removesenders", "-a", "127.0.0.9", "-u", uri),
    }
    seen = {name: tools.run("lbadm", *arguments) for name, arguments in calls.items()}
    assert "127.0.0.9" in seen["overview"] and "e2sar" in seen["overview"], seen["overview"]
    port = free_port()
    worker = ("-n", "worker", "-a", "127.0.0.1", "-p", port, "-w", 1.0, "-c", 1)
    said = tools.run("lbadm", "--register", *worker, "-u", uri)
    session = re.findall(r"session token: (\S+)", said)[-1]
    number = re.findall(r"Session id is: (\S+)", said)[-1]
    tools.run("lbadm", "--state", "-q", 0.25, "-t", 0.5, "-r", 1, "-s", number, "-u", session)
    status = tools.run("lbadm", "--status", "-u", uri)
    assert "name=worker" in status and "fillpercent=0.25" in status and "127.0.0.1" in status, status
    tools.run("lbadm", "--deregister", "-s", number, "-u", session)
    tools.run("lbadm", "--free", "-u", uri)
    after = tools.run("lbadm", "--overview", "-u", admin)
    assert "e2sar" not in after.partition("LB ")[2], after
    return "reserve, version, senders, overview, register, state, status, deregister, free"


def through(tools: Tools) -> str:
    """Both ends E2SAR's, the load balancer ours."""
    uri, port = tools.balancer("--reserve", "e2sar"), free_port()
    receiver = tools.receive("e2sar_perf", port, uri, "-c")
    send(tools, uri, "-c")
    receiver.wait_until(lambda: receiver.events >= EVENTS, f"{EVENTS} events")
    assert not receiver.faults, receiver.faults
    return f"{EVENTS} events, none lost"


def out_through(tools: Tools) -> str:
    """Our egress, our balancer, E2SAR's worker."""
    uri, port = tools.balancer("--reserve", "e2sar"), free_port()
    receiver = tools.receive("e2sar_perf", port, uri, "-c")
    text, _ = detector(tools, uri, "raw")
    with running(tools, text, "detector", "Ejfat1") as run:
        acquire(run)
        receiver.wait_until(lambda: receiver.events >= FRAMES, f"{FRAMES} events")
        assert_closed(run.stop())
    assert not receiver.faults, receiver.faults
    return f"{FRAMES} events, none lost"


def in_through(tools: Tools) -> str:
    """E2SAR's sender, our balancer, our ingress."""
    uri, port = tools.balancer("--reserve", "e2sar"), free_port()
    with running(tools, sink(port, EVENT_SHAPE, "UInt8", f'uri = "{uri}"'), "EjfatIn1") as run:
        send(tools, uri, "-c")
        received(run, EVENTS)
    return f"{EVENTS} events, none lost"


CASES: dict[str, Case] = {
    "files-out": files_out,
    "files-in": files_in,
    "events-out": events_out,
    "events-in": events_in,
    "control": control,
    "through": through,
    "out-through": out_through,
    "in-through": in_through,
}


def missing(tools: Path) -> str:
    """Return what is missing to run, "" if nothing is."""
    lacking = [name for name in NAMES if not (tools / name).is_file()]
    if not lacking:
        return ""
    return (
        f"{tools}: expected E2SAR's tools {', '.join(NAMES)} there, found no {', '.join(lacking)}; "
        "build them from E2SAR's sources, and name the folder: make e2sar E2SAR=FOLDER"
    )


def main() -> int:
    """Run the cases; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--only", default=",".join(CASES))
    options = parser.parse_args()
    lacking = missing(options.tools)
    if lacking:
        print(lacking, file=sys.stderr)
        return 2
    failed = 0
    for name in options.only.split(","):
        with tempfile.TemporaryDirectory(prefix="e2sar") as folder, ExitStack() as stack:
            try:
                print(f"{name:12} {CASES[name](Tools(options.tools, Path(folder), stack))}", flush=True)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                failed += 1
                text = str(error).splitlines()
                print(f"{name:12} FAILED: {text[0]}", *text[-25:], sep="\n    ", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
