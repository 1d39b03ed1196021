"""An image server as a process of its own, which puts out numbered frames whose every pixel is the id.

`python -m tests.support.pva_source CHANNEL HZ SIDE` serves until standard input ends, then prints what it did.
"""

import json
import select
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ioc.channels.images import OwnImages
from ioc.channels.local_door import Doorway
from ioc.channels.memory_book import MemoryBook
from ioc.core.frame import Frame

PATIENCE = 0.0005
"""s between two offers at least."""
MEMORY = 192 << 20
COPIES = 64
"""Arrays that are used in turn, each when the frame before in it is done."""


def main(name: str, rate: float, side: int) -> None:
    """Serve frames at `rate` Hz of `side` x `side` int64 pixels; one that finds no room is offered again."""
    folder = Path(tempfile.mkdtemp())
    images = OwnImages("source", doorway=Doorway(folder / "door", MemoryBook(folder / "memory", "Det1", MEMORY)))
    channel = images.add(name)
    images.start()
    print(json.dumps({"port": images.port}), flush=True)
    memory = [np.empty((side, side), np.int64) for _ in range(COPIES)]
    begun, published, refused = time.monotonic(), 0, 0
    series = time.time_ns() // 1_000_000
    while not select.select([sys.stdin], [], [], max(PATIENCE, begun + published / rate - time.monotonic()))[0]:
        array = memory[published % COPIES]
        if published - channel.done() < COPIES - 1:
            array[:] = published + 1
            taken = channel.publish([Frame(series, published + 1, time.time_ns(), array)]).count
            published += taken
            refused += not taken
    print(json.dumps({"published": published, "refused": refused, "overruns": channel.overruns}), flush=True)
    images.close()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
