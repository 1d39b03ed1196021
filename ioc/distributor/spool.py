"""Frames that killed two members, written to files while the stream goes on; the supervisor adds why.

How it works: the memory of such a frame is held until a thread has written it. The thread exists from the first such
frame on. What cannot be written is told in the log: the ledger has it in any case.
"""

import logging
import queue
import threading
from collections import deque
from pathlib import Path

from ioc.channels.local_pool import PooledFrame
from ioc.core import codec

log = logging.getLogger(__name__)

SPOOLED = ".frame"
"""What the name of a file ends with that has no report yet."""
MOST_PENDING = 4
"""Frames that may wait to be written, or are being written."""
CLOSE_SECONDS = 5.0


class Spool:
    """Writes frames into a folder. Implements seat.Aside; `close` it."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        """Write to `folder`, which is made when it is needed; frames of more than `most_bytes` are not kept."""
        self._folder = folder
        self._most_bytes = most_bytes
        self._waiting: queue.SimpleQueue[tuple[str, PooledFrame] | None] = queue.SimpleQueue()
        self._written: deque[PooledFrame] = deque()
        self._pending = 0
        self._thread: threading.Thread | None = None

    def set_aside(self, name: str, frame: PooledFrame) -> None:
        where = f"frame {frame.unique_id} of series {frame.series}, which killed {name} twice"
        if self._pending >= MOST_PENDING or frame.data.nbytes > self._most_bytes:
            log.error("%s, is not kept: %d wait, it has %d bytes", where, self._pending, frame.data.nbytes)
            return
        log.error("%s, is set aside", where)
        assert frame.slot is not None
        frame.slot.hold()
        self._pending += 1
        self._waiting.put((name, frame))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="quarantine", daemon=True)
            self._thread.start()

    def tend(self) -> None:
        while self._written:
            frame = self._written.popleft()
            self._pending -= 1
            assert frame.slot is not None
            frame.slot.drop()

    def close(self) -> None:
        """Write what waits, and end."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(CLOSE_SECONDS)
            self._thread = None
        self.tend()

    def _run(self) -> None:
        while (one := self._waiting.get()) is not None:
            name, frame = one
            try:
                self._write(name, frame)
            except (OSError, ValueError) as error:
                log.error("frame %d, which killed %s twice, is not kept: %s", frame.unique_id, name, error)
            finally:
                self._written.append(frame)

    def _write(self, name: str, frame: PooledFrame) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{name}_{frame.series}_{frame.unique_id}{SPOOLED}"
        fresh = path.with_suffix(".new")
        try:
            with fresh.open("wb") as file:
                file.writelines(codec.encode(frame))
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)  # half a frame is of no use, and the disk may be full
            raise
