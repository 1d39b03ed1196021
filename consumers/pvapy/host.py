"""The process that a PvaPy class lives in: takes frames and commands from the consumer, answers each one.

    make -> [types] -> start -> frame ... | flush | configure | reset | statistics -> stop
    each answer: to a frame or flush, what was published since the last one; then {"done": true, ...} or {"error": text}

A class may publish from threads of its own: what comes between two frames goes with the next one, or with the flush.

It ends when it is told to, when the pipe breaks, and, should the class hang in C code, by a signal of the kernel: the
other end of `life` is held by the consumer alone, and SIGIO ends a process that does not ask for it.
"""

import fcntl
import importlib
import importlib.util
import logging
import os
import socket
import sys
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from consumers.pvapy.frame_pipe import FramePipe, PeerGone
from ioc.core.errors import PeerError, UserError, mismatch
from ioc.core.frame import Frame

log = logging.getLogger(__name__)

MODULE = "_rayfan_pvapy_processor"
"""What the module of a user's file is called here."""


MOST_PUBLISHED = 16384
"""Objects that may wait for the next frame; a class that publishes more gets an error."""
MOST_VALUES = 1000
"""Values of a metadata channel that may wait for the class; as many as PvaPy keeps (metadataChannelFactory)."""


class Publisher:
    """What PvaPy's `updateOutputChannel` calls, from any thread: notes what the class publishes."""

    def __init__(self) -> None:
        self._published: deque[object] = deque()

    def updateOutputChannel(self, pvObject: object) -> None:  # noqa: N802, N803 - PvaPy's names
        """Take one object to publish."""
        if len(self._published) >= MOST_PUBLISHED:
            raise PeerError(mismatch("updateOutputChannel", f"at most {MOST_PUBLISHED} objects a frame", "one more"))
        self._published.append(pvObject)

    def take(self) -> list[object]:
        """Return what was published since the last time."""
        return [self._published.popleft() for _ in range(len(self._published))]

    def put_back(self, objects: Sequence[object]) -> None:
        """Have objects published, in front of those that have come since."""
        self._published.extendleft(reversed(objects))


class Host:
    """One PvaPy class and the consumer that it works for."""

    def __init__(self, pipe: FramePipe) -> None:
        self._pipe = pipe
        self._publisher = Publisher()
        self._kind: Any = None
        self._user: Any = None
        self._values: Mapping[str, Any] = {}
        self._queues: dict[str, Any] = {}
        self._fields: list[str] = []
        self._last: Frame | None = None

    def serve(self) -> None:
        """Answer until told to stop."""
        while True:
            asked = self._pipe.receive()
            self._pipe.free()
            if not isinstance(asked, Frame) and asked.get("do") == "metadata":
                self._values = asked["values"]  # of the frame that comes next, which is answered
                continue
            try:
                answer = self._process(asked) if isinstance(asked, Frame) else self._do(asked)
            except Exception as error:  # noqa: BLE001 - the boundary to a user's code: the consumer is told
                self._pipe.send(error=fault(error))
                continue
            self._pipe.send(done=True, **answer)
            if not isinstance(asked, Frame) and asked.get("do") == "stop":
                return

    def _do(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        what = asked.get("do")
        if what == "types":
            self._kind = find_class(str(asked["reference"]))
            return {"types": types_of(self._kind)}
        if what == "start":
            self._start(asked)
        elif what == "configure":
            self._user.configure(asked["arguments"])
        elif what == "flush":
            self._send_published()
        elif what == "reset":
            self._user.resetStats()
        elif what == "stop":
            self._user.stop()
        elif what == "statistics":
            return {"statistics": plain(self._user.getStats())}
        return {}

    def _start(self, asked: Mapping[str, Any]) -> None:
        """Make and start the class as PvaPy's data consumer does (pvapy.hpc.dataProcessingController)."""
        arguments = asked["arguments"]
        self._user = user = self._kind(arguments) if arguments else self._kind()
        self._fields = list(asked["fields"])
        user.processorId = asked["processor_id"]
        user.objectIdField = "uniqueId"
        queue = importlib.import_module("pvaccess").PvObjectQueue
        self._queues = {name: queue(MOST_VALUES) for name in asked["metadata_channels"]}
        user.metadataQueueMap = self._queues
        user.inputChannel, user.outputChannel = asked["input_channel"], asked["output_channel"]
        user.dataPublisher = self._publisher
        user.pvaServer = importlib.import_module("pvaccess").PvaServer()
        user.pvaServer.start()
        user.start()

    def _process(self, frame: Frame) -> dict[str, Any]:
        from consumers.pvapy.objects import to_object, value_object

        values, self._values = self._values, {}
        for name, value in values.items():
            queue = self._queues[name]
            if len(queue) >= MOST_VALUES:
                queue.get(0)  # a class that does not take them
            queue.put(value_object(value, frame.timestamp_ns))
        earlier = self._publisher.take()
        try:
            self._user.process(to_object(frame, self._fields))
        except BaseException:
            self._publisher.take()  # of a frame that failed
            raise
        finally:
            self._publisher.put_back(earlier)
        self._last = frame
        self._send_published()
        return {}

    def _send_published(self) -> None:
        from consumers.pvapy.objects import from_object

        if self._last is None:
            return  # what a class publishes before it was given a frame belongs to no series
        for one in self._publisher.take():
            self._pipe.send_frame(from_object(one, self._last))


def find_class(reference: str) -> Any:
    """Return the class of `FILE.py:CLASS` or `PACKAGE.MODULE:CLASS`.

    Raises:
        UserError: there is none.
    """
    place, _, name = reference.partition(":")
    if place.endswith(".py"):
        path = Path(place)
        spec = importlib.util.spec_from_file_location(MODULE, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise UserError(mismatch(str(path), "a Python file with a PvaPy processor", "none"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[MODULE] = module
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(place)
    found = getattr(module, name, None)
    if not isinstance(found, type) or not callable(getattr(found, "process", None)):
        raise UserError(mismatch(place, "a class with a method process(self, pvObject)", name))
    return found


def types_of(kind: Any) -> dict[str, str]:
    """Return the names and types of a class's statistics, if it can be without its arguments."""
    from consumers.pvapy.objects import statistic_types

    try:
        return statistic_types(kind.getStatsPvaTypes(kind.__new__(kind)))
    except Exception:  # noqa: BLE001 - a user's code: it wants what its __init__ sets
        return statistic_types(kind().getStatsPvaTypes())


def plain(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scalars among the statistics as JSON has them; PvaPy's numbers with units are numbers."""
    found: dict[str, Any] = {}
    for name, value in statistics.items():
        if isinstance(value, bool | str):
            found[name] = value
        elif hasattr(value, "__index__"):
            found[name] = int(value)
        elif hasattr(value, "__float__"):
            found[name] = float(value)
    return found


def fault(error: Exception) -> str:
    """Return an error of the class with the file and line it came from."""
    calls = traceback.extract_tb(error.__traceback__)
    place = f"{calls[-1].filename}, line {calls[-1].lineno}: " if calls else ""
    return f"{place}{type(error).__name__}: {error}"


def main(arguments: list[str]) -> int:
    """Serve over the descriptors that the consumer gave."""
    pipe, life = (int(number) for number in arguments)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        Host(FramePipe(socket.socket(fileno=pipe))).serve()
    except PeerGone:
        log.info("the consumer is gone")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads of EPICS in C do not end with the interpreter


if __name__ == "__main__":
    main(sys.argv[1:])
