"""The thread of a consumer: receives frames, runs the processor, publishes what comes out, keeps the book.

How it works: one loop. Commands are run between two frames, so a processor is never called twice at a time. Each
frame is committed to the book when it is finished with, so a kill at any moment leaves a true account. An error of
the processor costs that frame (or batch), is counted and logged, and the stream goes on.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from consumers.batch import Batch
from consumers.failures import USER_FAULTS, Failure, Failures, words
from consumers.local_output import LocalOutput
from consumers.metadata import LOOK_SECONDS, MetadataStage
from consumers.pace import Pace
from consumers.processor import Output, Processor, Value, checked_statistics, frames_of
from consumers.result import check_result
from consumers.swallowed import Swallowed
from ioc.channels.base import Publisher
from ioc.channels.book import Book
from ioc.channels.books import Books
from ioc.channels.local_inputs import LocalInputs
from ioc.channels.local_receiver import LocalReceiver
from ioc.channels.pva_joined import JoinedReceiver
from ioc.core.clock import Clock
from ioc.core.commands import Commands
from ioc.core.errors import UserError
from ioc.core.frame import EndOfSeries, Frame, Item
from ioc.core.metadata import Metadata

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.1
SNAPSHOT_SECONDS = 0.1
NO_METADATA = Metadata()
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """What the worker looked like a moment ago. Latencies in s, from a frame's time stamp to its completion."""

    taking: bool = True
    rate: float = 0.0
    latency_p50: float = 0.0
    latency_p99: float = 0.0
    latency_max: float = 0.0
    execution_ms: float = 0.0
    series: int = 0
    unique_id: int = 0
    batch_copies: int = 0
    failure: Failure = field(default_factory=Failure)
    failures: int = 0
    statistics: dict[str, Value] = field(default_factory=dict)


class Worker:
    """One processor at work on one receiver. Make it, `start` it, `submit` commands, `drain` it."""

    def __init__(
        self,
        receiver: LocalReceiver | LocalInputs | JoinedReceiver,
        book: Book | Books,
        processor: Processor,
        outputs: Sequence[Publisher],
        clock: Clock,
    ) -> None:
        self.receiver = receiver
        self.processor = processor
        self.snapshot = WorkerSnapshot()
        self.failure: BaseException | None = None
        self.busy_since_ns: int | None = None
        self.failures = Failures(clock)
        self._book = book
        self._outputs = outputs
        self._clock = clock
        self._commands = Commands(USER_FAULTS, _told)
        self._taking = True
        self._stopping = False
        self.metadata: MetadataStage | None = None
        self.carried: tuple[str, ...] | None = ()
        """Names of what comes with the frames; None: what their attributes say of themselves."""
        self._pending: list[Frame] = []
        self._known: list[Metadata] = []
        self._pending_since_ns = 0
        self._pace = Pace(clock)
        self._swallowed = Swallowed()
        self._batch_copies = 0
        self._local = next((one for one in outputs if isinstance(one, LocalOutput)), None)
        self._largest = self._local.largest_bytes if self._local is not None else None
        self._put_out = 0
        self._newest = (0, 0)
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Let the loop run."""
        self._thread.start()

    def alive(self) -> bool:
        """Return whether the loop runs."""
        return self._thread.is_alive()

    @property
    def taking(self) -> bool:
        """Whether frames are taken, or are to be again."""
        return self._taking

    def submit(self, command: Callable[[], T]) -> "Future[T]":
        """Run `command` in the loop, between two frames; the Future has its result or its error."""
        return self._commands.submit(command)

    def take(self) -> None:
        """Take frames again; to be called in the loop."""
        if not self._taking:
            self._taking = True
            self.receiver.rejoin()

    def leave(self) -> None:
        """Finish what is here and take no more; to be called in the loop."""
        if self._taking:
            self._taking = False
            self.receiver.leave()

    def reset(self) -> None:
        """Begin statistics and latencies anew; to be called in the loop."""
        with self._user_code():
            self.processor.reset()
        self._pace.clear()
        self.failures.clear()

    def drain(self, deadline: float) -> bool:
        """Leave the group, finish what is on its way within `deadline` seconds; return whether all was."""
        self._stopping = True
        self.submit(self.leave)
        self._thread.join(deadline)
        return not self._thread.is_alive() and self.failure is None and self._book.counts.in_hand == 0

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except BaseException as error:  # the thread's owner is told, and tells the supervisor
            self.failure = error
            log.exception("the worker ended with an error")
            raise
        finally:
            self._snap()

    def _step(self) -> bool:
        """Do one round; return whether there is to be another."""
        self.run_commands()
        if self._pace.due(SNAPSHOT_SECONDS):
            self._snap()
        if self.receiver.finished and self._taking:
            self.receiver.rejoin()  # the detector said goodbye: it will come back, we were not told to end
        room = max(1, self.processor.batch_size - len(self._pending)) if self.processor.batch_size > 1 else 64
        batch = self.receiver.receive(room, self._patience())
        if self.metadata is None:
            for item in batch:
                self._take_in(item)
        else:
            self._take_through(self.metadata, batch)
        if self._pending and self._overdue():
            self._process_pending()
        if not batch and self.receiver.finished and not self._taking:
            if self.metadata is not None:
                self._take_through(self.metadata, (), patient=False)
            self._process_pending()
            if self._stopping:
                return False
            time.sleep(IDLE_SECONDS / 10)  # stopped by command: only another command changes anything
        return True

    def _take_through(self, stage: MetadataStage, items: Sequence[Item], patient: bool = True) -> None:
        """Let items wait for their metadata; take in those that go on."""
        for one in stage.through(items, patient):
            if one.wanted:
                before = self._carried(one.item) if isinstance(one.item, Frame) else NO_METADATA
                self._take_in(one.item, before.joined(one.metadata) if before.quality else one.metadata)
            elif isinstance(one.item, Frame):
                self._process_pending()  # frames are released in order
                self._note_difference((one.item,), ())
                self._finish([one.item], good=True)

    def _carried(self, frame: Frame) -> Metadata:
        """Return the metadata that came with a frame."""
        if self.carried is None and frame.attributes:
            return Metadata.told(frame.attributes)
        return Metadata.carried(frame.attributes, self.carried) if self.carried else NO_METADATA

    def _patience(self) -> float:
        if self.metadata is not None and self.metadata.waiting:
            return LOOK_SECONDS
        if not self._pending or self.processor.batch_timeout is None:
            return IDLE_SECONDS
        waited = (self._clock.monotonic_ns() - self._pending_since_ns) / 1e9
        return min(IDLE_SECONDS, max(0.0, self.processor.batch_timeout - waited))

    def _overdue(self) -> bool:
        limit = self.processor.batch_timeout
        return limit is not None and self._clock.monotonic_ns() - self._pending_since_ns >= limit * 1e9

    def _take_in(self, item: Item, metadata: Metadata | None = None) -> None:
        if isinstance(item, EndOfSeries):
            self._process_pending()
            self._guarded((), self.processor.flush)
            self._publish([self._swallowed.marked(item)])
            self.receiver.release(1)
            return
        if metadata is None:
            metadata = self._carried(item)
        if self.receiver.suspects and (item.series, item.unique_id) in self.receiver.suspects:
            self._process_alone(item, metadata)
            return
        if not self._pending:
            self._pending_since_ns = self._clock.monotonic_ns()
        self._pending.append(item)
        self._known.append(metadata)
        if len(self._pending) >= self.processor.batch_size:
            self._process_pending()

    def _process_alone(self, frame: Frame, metadata: Metadata) -> None:
        """Work on a frame that somebody died with by itself: should it kill again, it is known which one it was."""
        self._process_pending()
        self._pending, self._known = [frame], [metadata]
        self._process_pending()
        self.receiver.suspects.discard((frame.series, frame.unique_id))

    def _process_pending(self) -> None:
        frames = self._pending
        if not frames:
            return
        known, self._pending, self._known = self._known, [], []
        begun = self._clock.monotonic_ns()
        if self.processor.batch_size == 1:
            good = self._guarded(frames, self.processor.process, frames[0], known[0])
        else:
            batch = Batch(frames)
            good = self._guarded(frames, self.processor.process_batch, batch, known)
            self._batch_copies += batch.copied
        self._pace.executed(begun, len(frames))
        self._finish(frames, good)

    def _finish(self, frames: list[Frame], good: bool) -> None:
        counts = self._book.counts
        if good:
            counts.processed += len(frames)
        else:
            counts.failed += len(frames)
            self.receiver.fail(frames)
        self._pace.finished(frames)
        counts.bytes += sum(frame.data.nbytes for frame in frames)
        self._newest = (frames[-1].series, frames[-1].unique_id)
        self.receiver.release(len(frames))

    def _guarded(self, frames: Sequence[Frame], call: Callable[..., Output], *arguments: object) -> bool:
        try:
            self.busy_since_ns = self._clock.monotonic_ns()
            put_out = frames_of(call(*arguments))
            self.busy_since_ns = None  # what follows is not the processor's time
            check_result(put_out, frames, self._largest)
            self._publish(put_out)
        except USER_FAULTS as error:  # stage boundary: the frame is counted as failed, the stream goes on
            self.busy_since_ns = None
            self.failures.note(error, frames)
            return False
        if len(put_out) != len(frames):
            self._note_difference(frames, put_out)
        return True

    @contextmanager
    def _user_code(self) -> Iterator[None]:
        """Let others see how long the processor takes."""
        self.busy_since_ns = self._clock.monotonic_ns()
        try:
            yield
        finally:
            self.busy_since_ns = None

    def _note_difference(self, frames: Sequence[Frame], put_out: Sequence[Frame]) -> None:
        """Book frames that the processor swallowed, with their ids, or made beyond one for each."""
        counts = self._book.counts
        counts.made += max(0, len(put_out) - len(frames))
        counts.withheld += max(0, len(frames) - len(put_out))
        self._swallowed.note(frames, put_out)

    def _publish(self, items: Sequence[Item]) -> None:
        if not items:
            return
        frames, counts = sum(isinstance(item, Frame) for item in items), self._book.counts
        try:
            for output in self._outputs:
                output.publish(items)
        except BaseException:
            if self._local is not None:  # some may have gone on: those are made beyond what was processed
                out = self._local.counters().items - self._put_out
                self._put_out += out
                counts.published += out
                counts.made += out
            raise
        self._put_out += frames
        counts.published += frames

    def run_commands(self) -> None:
        """Run what was submitted; to be called in the loop, also by an output that makes it wait."""
        self._commands.run()

    def _snap(self) -> None:
        self._pace.look(self._book.counts.processed)
        self.snapshot = WorkerSnapshot(
            self._taking,
            self._pace.rate,
            *self._pace.percentiles(),
            self._pace.longest,
            self._pace.execution_ms,
            *self._newest,
            self._batch_copies,
            self.failures.last,
            self.failures.count,
            self._statistics(),
        )

    def _statistics(self) -> dict[str, Value]:
        try:
            with self._user_code():
                told = self.processor.statistics()
            return checked_statistics(self.processor.declared_statistics, told)
        except USER_FAULTS as error:  # stage boundary: statistics that cannot be shown must not stop the frames
            self.failures.note(error)
            return {}


def _told(error: BaseException) -> Exception:
    """Return what is told to the one who asked for a command; `sys.exit()` in a user's code ends no process."""
    log.warning("a command was not carried out: %s", words(error))
    return error if isinstance(error, Exception) else UserError(words(error))
