"""PVA clients in processes of their own: one watches images and writes down what it saw, one puts.

python -m tests.support.watchers CHANNEL QUEUE FILE      one line a frame: uniqueId, digest of the pixels
python -m tests.support.watchers put NAME VALUE          prints the refusal, if the put is refused
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from p4p.client.thread import Context, Disconnected, RemoteError
from p4p.nt import NTNDArray

from ioc.core.errors import mismatch

ROOT = Path(__file__).parents[2]
PUT = "put"
CONNECTED = "connected"
START_SECONDS = 60.0


def digest(image: NDArray[np.generic]) -> str:
    """Return what tells an image from every other: of its shape, its type and its pixels."""
    head = f"{image.shape} {image.dtype.str} ".encode()
    return blake2b(head + np.ascontiguousarray(image).tobytes(), digest_size=16).hexdigest()


class Watcher:
    """One watched image channel."""

    def __init__(self, process: subprocess.Popen[str], lines: Path) -> None:
        self._process = process
        self._lines = lines

    def seen(self) -> list[tuple[int, str]]:
        """Return the uniqueId and the digest of each frame that came so far, in order of their coming."""
        whole = self._lines.read_text().rpartition("\n")[0].splitlines()
        return [(int(unique_id), pixels) for unique_id, pixels in (line.split() for line in whole)]

    def wait_connected(self) -> None:
        """Wait until the channel has answered."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said == f"{CONNECTED}\n", mismatch("watcher", CONNECTED, said)


@contextmanager
def watching(channel: str, folder: Path, environment: dict[str, str], queue: int = 4096) -> Iterator[Watcher]:
    """Watch an image channel with room for `queue` frames, from before it exists until the context ends."""
    lines = folder / f"{channel.replace(':', '.')}.seen"
    lines.touch()
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, channel, str(queue), str(lines)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Watcher(process, lines)
    finally:
        process.communicate(timeout=START_SECONDS)


def put(name: str, value: str, environment: dict[str, str]) -> str:
    """Put to one PV by PVA, wait until it is carried out, and return the server's refusal, empty if there is none."""
    command = [sys.executable, "-m", __name__, PUT, name, value]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=START_SECONDS, check=False
    )
    assert done.returncode == 0, f"put {value} to {name}: {done.stderr}"
    return done.stdout.strip()


def main() -> None:
    """Do what the arguments say."""
    if sys.argv[1] == PUT:
        put_here(*sys.argv[2:])
    else:
        watch(*sys.argv[1:])


def put_here(name: str, value: str) -> None:
    """Put, and print the refusal if there is one."""
    with Context("pva") as context:
        try:
            context.put(name, value, request="record[block=false]field()", timeout=START_SECONDS)
        except RemoteError as refusal:
            print(refusal)


def watch(channel: str, queue: str, lines: str) -> None:
    """Write a line a frame until standard input ends."""
    connected = threading.Event()
    request = f"record[queueSize={queue}]field()"
    with Path(lines).open("a", buffering=1) as out, Context("pva", nt=False) as context:

        def on_update(value: Any) -> None:
            if isinstance(value, Disconnected):
                return
            if not connected.is_set():
                connected.set()
                print(CONNECTED, flush=True)
            image = NTNDArray().unwrap(value)
            if image is not None and image.size:
                out.write(f"{value['uniqueId']} {digest(np.asarray(image))}\n")

        watched = context.monitor(channel, on_update, request=request, notify_disconnect=True)
        sys.stdin.read()
        watched.close()


if __name__ == "__main__":
    main()
