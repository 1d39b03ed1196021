"""Say what the payload formats of EJFAT events cost: CPU s a GB to write and to read frames, without the network.

python -m tests.campaigns.payload_cost
"""

import os
import sys
import time

import numpy as np

from consumers.key_ring import VARIABLE
from consumers.payloads import incoming, outgoing
from ioc.channels.ejfat_payload import EventId
from ioc.channels.ejfat_pool import BufferPool
from ioc.channels.ejfat_reassembly import Event
from ioc.core.clock import SystemClock
from ioc.core.config_ejfat import EgressConfig, IngressConfig
from ioc.core.frame import Frame

SIZES = (1 << 18, 1 << 20, 1 << 24)
BYTES = 1 << 28
"""Written and read of each size and format, each time."""
TIMES = 5
FORMATS: dict[str, dict[str, object]] = {
    "rayfan, with checksum": {},
    "rayfan, sealed": {"sealed": True},
    "pvapy": {"payload": "pvapy"},
}


def cost(size: int, table: dict[str, object]) -> tuple[float, float]:
    """Return the least CPU s a GB of `TIMES`, to write and to read frames of `size` bytes."""
    pixels = np.random.default_rng(1).integers(0, 256, (size // 1024, 1024), np.uint8)
    frame, number, pool = Frame(1, 1, 1, pixels, {"exposure": 0.5}), EventId(1, 1), BufferPool(BYTES)
    writer = outgoing(EgressConfig(uri="ejfat://here", **table), SystemClock()).writer  # type: ignore[arg-type]
    reader = incoming(IngressConfig(**table), SystemClock()).reader  # type: ignore[arg-type]
    payload = np.frombuffer(b"".join(writer.write(frame, number, None)), np.uint8)
    count = BYTES // size
    writing = reading = float("inf")
    for _ in range(TIMES):
        begun = time.process_time()
        for _ in range(count):
            writer.write(frame, number, None)
        writing = min(writing, time.process_time() - begun)
        spent = 0.0
        for _ in range(count):
            content = pool.take(len(payload))
            content[:] = payload
            begun = time.process_time()
            given = reader.read(Event(1, 1, None, content), pool)
            spent += time.process_time() - begun
            pool.give(given.buffer)
        reading = min(reading, spent)
    return writing / BYTES * 1e9, reading / BYTES * 1e9


def main() -> int:
    """Print a line for each size and format."""
    os.environ[VARIABLE] = "cost " + "5a" * 32
    for size in SIZES:
        for name, table in FORMATS.items():
            writing, reading = cost(size, table)
            print(f"{size:>9} bytes, {name:<22} {writing:.3f} s/GB written, {reading:.3f} s/GB read", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
