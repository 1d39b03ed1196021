"""The frames of a plug-in as a writer's input: what its NDArrayPort names besides the detector itself.

The writer stays in its group: the detector's frames pass by while it has those of a plug-in, over a connection of its
own to the process of the plug-ins. Another port is another connection; what was on its way comes first. Each thread
hands its frames on while its port is the one that is asked for.
"""

import logging
import time
from collections.abc import Sequence

from consumers.processor import Metadata, Processor
from consumers.recorder import Recorder
from consumers.worker import Worker
from ioc.channels.base import Accepted, Counters
from ioc.channels.book import Book, Counts, book_name
from ioc.channels.local_receiver import LocalReceiver
from ioc.channels.local_wire import Hello
from ioc.core.clock import SystemClock
from ioc.core.frame import EndOfSeries, Frame, Item
from ioc.core.status import ProcessSpec
from ioc.records.areadetector import CAMERA_PORT
from ioc.supervisor.plan import PLUGINS_PROCESS

log = logging.getLogger(__name__)

JOIN_SECONDS = 2.0
"""s that a put of NDArrayPort waits for the connection, which may also come later."""
LEAVE_SECONDS = 5.0
LOOK_SECONDS = 0.005


class Gate(Processor):
    """Hands the frames of one port to the recorder while that is the port it is to have."""

    def __init__(self, recorder: Recorder, port: str) -> None:
        self._recorder = recorder
        self._port = port

    def process(self, frame: Frame, metadata: Metadata) -> None:
        if self._recorder.chosen["NDArrayPort"] == self._port:
            self._recorder.process(frame, metadata)

    def flush(self) -> None:
        self._recorder.flush()


class Ends:
    """Tells the recorder of the ends of series on one port, while that is the one it is to have: a Publisher."""

    def __init__(self, recorder: Recorder, port: str) -> None:
        self._recorder = recorder
        self._port = port
        self._told = 0

    def publish(self, items: Sequence[Item]) -> Accepted:
        """Take note of end markers; frames are the Gate's business."""
        for item in items:
            if isinstance(item, EndOfSeries) and self._recorder.chosen["NDArrayPort"] == self._port:
                self._recorder.end_series(item)
        self._told += len(items)
        return Accepted(len(items))

    def counters(self) -> Counters:
        """Return how many markers came."""
        return Counters(self._told)

    def close(self, drain: bool) -> None:
        """Do nothing: the recorder is somebody else's."""


class PortInput:
    """The way from the process of the plug-ins to one writer; used by the thread of the writer's commands."""

    def __init__(self, spec: ProcessSpec, recorder: Recorder) -> None:
        self._spec = spec
        self._recorder = recorder
        self._worker: Worker | None = None
        self._receiver: LocalReceiver | None = None
        self._book: Book | None = None
        self._missed = 0

    @property
    def missed(self) -> int:
        """Frames of plug-ins that were dropped in front of this process."""
        return self._missed + (self._receiver.missed if self._receiver is not None else 0)

    @property
    def counts(self) -> Counts:
        """What became of the frames that came, over all ports."""
        return self._book.counts if self._book is not None else Counts()

    @property
    def last_error(self) -> str:
        """What the newest frame that failed failed with."""
        return self._worker.snapshot.failure.text if self._worker is not None else ""

    @property
    def failure(self) -> BaseException | None:
        """What ended the thread."""
        return self._worker.failure if self._worker is not None else None

    def take_from(self, port: str) -> None:
        """Have the frames of a port from now on; those of the detector come another way."""
        self.close(LEAVE_SECONDS)
        if port == CAMERA_PORT:
            return
        if self._book is None:
            self._book = Book(self._spec.run_dir / book_name(self._spec.name, PLUGINS_PROCESS))
            self._book.counts.returned += self._book.counts.in_hand  # an earlier life died with them
            self._book.commit()
        who = Hello(self._spec.name, port, 0)
        self._receiver = LocalReceiver(self._spec.plugins_socket, who, self._book)
        self._worker = Worker(
            self._receiver, self._book, Gate(self._recorder, port), [Ends(self._recorder, port)], SystemClock()
        )
        self._worker.start()
        limit = time.monotonic() + JOIN_SECONDS
        while not self._receiver.connected and self._spec.plugins_socket.exists() and time.monotonic() < limit:
            time.sleep(LOOK_SECONDS)  # the receiver has no event for it; another thread joins

    def close(self, seconds: float) -> bool:
        """Finish what is on its way, within `seconds`; return whether all was."""
        worker, self._worker = self._worker, None
        if worker is None or self._receiver is None:
            return True
        drained = worker.drain(seconds)
        self._missed += self._receiver.missed
        self._receiver.close(drain=False)
        self._receiver = None
        return drained
