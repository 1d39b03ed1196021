"""The ingress process: takes EJFAT events, checks each frame against its sender's checksum, gives and shows them."""

import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass

from consumers.local_output import LocalOutput
from consumers.outflow import Outflow
from consumers.payloads import incoming, numbers_text
from consumers.records import ingress_records
from consumers.route import control_plane, registration, worker_uri
from ioc.channels.base import Publisher
from ioc.channels.book import Book
from ioc.channels.ejfat import EjfatReceiver, ReceiverSettings
from ioc.channels.ejfat_control_model import WorkerState, WorkerTotals
from ioc.channels.ejfat_kernel import advice, input_errors
from ioc.channels.ejfat_pid import Gains, Pid
from ioc.channels.ejfat_receiver import ReceiverFigures
from ioc.channels.ejfat_worker import LinkFigures, WorkerLink
from ioc.channels.journal import FOUND, REASONS, Account, Journal, open_member
from ioc.core.clock import SystemClock
from ioc.core.frame import EndOfSeries, Frame, Item
from ioc.core.ledger import Reason
from ioc.core.rate import RateMeter
from ioc.core.sequence import Arrival, DealtTracker, Ranges, SequenceTracker
from ioc.core.status import ExitCode, SeriesStatus, StageStatus, Status
from ioc.records.face import Face
from ioc.records.server import RecordServer, ServerOptions
from ioc.records.table import Value
from ioc.supervisor.child import DRAIN_SECONDS, Child, live

log = logging.getLogger(__name__)

BATCH = 64
IDLE_SECONDS = 0.1
BUSY_SECONDS = 0.005
SERIES_REMEMBERED = 100
SERIES_TOLD = 16
"""Series that the status tells of, the newest."""


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where frames go; `local` None: nobody takes them in this appliance."""

    local: LocalOutput | None
    shown: Publisher


class IngressLoop:
    """The thread that takes frames from the network and passes them on, keeping account of every series."""

    def __init__(self, receiver: EjfatReceiver, book: Book, account: Account, outlets: Outlets) -> None:
        """Keep what is needed."""
        self._receiver = receiver
        self._local = outlets.local
        self._shown = outlets.shown
        self._book = book
        self._account = account
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._trackers: dict[int, SequenceTracker] = {}
        self._published: dict[int, int] = {}
        self.repeated = 0
        # an earlier life of this process has had these: its book says the newest (series, id) that it took in order
        self._resumed = (book.counts.link, book.counts.taken)
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ingress", daemon=True)

    def start(self) -> None:
        """Begin to take frames."""
        self._thread.start()

    def drain(self, deadline: float) -> bool:
        """Take what has arrived and end; return whether that worked within `deadline` seconds."""
        self._stopping.set()
        self._thread.join(deadline)
        return not self._thread.is_alive() and self.failure is None

    def series(self) -> list[SeriesStatus]:
        """Return what arrived of each of the last series; it has ended when its end marker has come."""
        with self._lock:
            return [
                SeriesStatus(id=number, published=tracker.received, ended=number in self._published)
                for number, tracker in list(self._trackers.items())[-SERIES_TOLD:]
            ]

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._step()
            self._receiver.close(drain=True)
            while self._take(0.0):
                pass
        except BaseException as error:  # the thread's owner is told, and tells the supervisor
            self.failure = error
            log.exception("the ingress ended with an error")
            raise

    def _step(self) -> None:
        local = self._local
        if local is None:
            self._take(IDLE_SECONDS)
            return
        moved = local.tend()
        if not local.open:
            self._stopping.wait(BUSY_SECONDS)  # what comes meanwhile waits in the receiver
        elif not self._take(0.0 if moved else local.patience()):
            local.tend()

    def _take(self, timeout: float) -> int:
        items = self._receiver.receive(BATCH, timeout)
        for item in items:
            if self._is_new(item):
                if self._local is not None:
                    self._local.publish([item])
                self._shown.publish([item])
                self._finish(item)
            self._receiver.release(1)
        return len(items)

    def _is_new(self, item: Item) -> bool:
        """Book an item; return False for a frame that was here before: one that was sent again after a failure."""
        with self._lock:
            tracker = self._tracker(item)
            new = True
            if isinstance(item, EndOfSeries):
                self._published[item.series] = item.published
                self._end(item, tracker)
            else:
                new = self._arrive(item, tracker)
            while len(self._trackers) > SERIES_REMEMBERED:
                oldest = next(iter(self._trackers))
                del self._trackers[oldest]
                self._published.pop(oldest, None)
        return new

    def _arrive(self, frame: Frame, tracker: SequenceTracker) -> bool:
        before, arrival = tracker.highest, tracker.arrived(frame.unique_id)
        if arrival is Arrival.DUPLICATE:
            self.repeated += 1
            return False
        if arrival is Arrival.LATE:
            self._account.left.add(frame.series, frame.unique_id, FOUND)
            self._book.counts.missed += 1
        else:
            self._miss(frame.series, before + 1, frame.unique_id - 1)
        self._account.came.add(frame.series, frame.unique_id)
        self._book.counts.received += 1
        return True

    def _end(self, marker: EndOfSeries, tracker: SequenceTracker) -> None:
        """Note what is missing at the end of a series; ids that were filtered on the way were never sent."""
        filtered = Ranges(marker.filtered)
        for first, last in filtered.common(tracker.missed):  # they were noted as missing when later ones came
            self._account.left.add_range(marker.series, first, last, FOUND)
            self._book.counts.missed += last - first + 1
        rest = Ranges([(tracker.highest + 1, marker.published)] if marker.published > tracker.highest else [])
        tracker.ended(marker.published)
        for first, last in rest.without(filtered):
            self._miss(marker.series, first, last)

    def _miss(self, series: int, first: int, last: int) -> None:
        """Note ids that did not come in their turn; behind a load balancer it is another worker's turn."""
        if last >= first and not self._receiver.is_dealt(series):
            self._account.left.add_range(series, first, last, REASONS.index(Reason.LOST))
            self._book.counts.missed += last - first + 1

    def _tracker(self, item: Item) -> SequenceTracker:
        tracker = self._trackers.get(item.series)
        if tracker is None:
            series, newest = self._resumed
            first = newest + 1 if item.series == series else 1
            tracker = DealtTracker(first) if self._receiver.is_dealt(item.series) else SequenceTracker(first)
            self._trackers[item.series] = tracker
        return tracker

    def _finish(self, item: Item) -> None:
        counts = self._book.counts
        counts.link, counts.taken = item.series, self._trackers[item.series].highest
        if isinstance(item, Frame):
            counts.processed += 1
            counts.bytes += item.data.nbytes
        self._book.commit()


class Ingress:
    """Everything of one ingress; made, started and drained by `main`."""

    def __init__(self, child: Child) -> None:
        spec = child.spec
        assert spec.table is not None
        config = self.config = spec.config.ingress[spec.table]
        self.uri = worker_uri(spec, config)
        self.child = child
        self.name = spec.name
        budget = spec.config.budget
        self.memory_limit = min(config.memory or budget.ingress, budget.ingress)
        self.payload = incoming(config, SystemClock())
        self.receiver = EjfatReceiver.open(
            ReceiverSettings(
                config.address,
                config.port,
                event_timeout=config.event_timeout,
                max_event_bytes=config.max_event_bytes,
                memory=part_of(self.memory_limit),
                queue_size=config.queue_size,
                receive_buffer=config.receive_buffer,
                port_range=config.port_range,
                shared=self.uri is not None,
                resend_delay=config.resend_delay if config.resend else None,
            ),
            self.payload.reader,
        )
        self.port = self.receiver.port
        self.book = Book(spec.book_file)
        self.journal = Journal(spec.journal_file, booked=True)
        account = open_member(self.journal, self.book, self.name)
        self.outflow = Outflow(spec, window=BATCH)
        self.loop = IngressLoop(self.receiver, self.book, account, Outlets(self.outflow.local, self.outflow.shown))
        self._pid = Pid(Gains(config.set_point, config.kp, config.ki, config.kd))
        self.link: WorkerLink | None = None
        if self.uri is not None:
            worker = registration(spec, config, self.uri, self.port)
            calls = control_plane(self.uri, config)
            self.link = WorkerLink(calls, self.uri.lb_id or "", worker, self.worker_state)
        self.records = RecordServer(
            spec.config.prefix, ingress_records(self.name), self._put, ServerOptions.of(child.spec)
        )
        self._lingering = threading.Event()
        self.face = Face(spec, self.records, self.outflow.images)
        self._rate = RateMeter()
        self._byte_rate = RateMeter()

    def start(self) -> None:
        """Serve the records and begin to receive."""
        self.records.start()
        self.face.serve()
        self.loop.start()
        if self.link is not None:
            self.link.start()
        self.child.report_with(self.sample)
        self.child.running()

    def worker_state(self) -> WorkerState:
        """Return what the load balancer is told ten times a second."""
        fill, figures = self.receiver.fill(), self.receiver.figures()
        totals = WorkerTotals(
            received=figures.complete + figures.incomplete + figures.unfinished,
            reassembled=figures.complete,
            reassembly_errors=figures.incomplete,
            dequeued=self.receiver.counters().items,
            enqueue_errors=figures.dropped,
            bytes=figures.bytes,
            packets=figures.packets,
        )
        return WorkerState(fill, self._pid.signal(fill, time.monotonic()), self.loop.failure is None, totals)

    def sample(self) -> Status:
        """Return the status, and show it on the records."""
        counts, figures = self.book.counts, self.receiver.figures()
        link = self.link.figures() if self.link is not None else LinkFigures()
        status = self.child.status()
        status.port = self.port
        status.rate = self._rate.update(counts.processed, time.monotonic_ns())
        status.last_error = status.last_error or figures.last_error
        status.series = self.loop.series()
        status.groups = self.outflow.groups
        status.stage = self._stage(figures)
        status.figures = self._figures(figures, link)
        told: dict[str, Value] = {"Rate": status.rate, **self._words(figures, link)}
        self.face.tell(status, status.figures | told)
        return status

    def _stage(self, figures: ReceiverFigures) -> StageStatus:
        """Return the account of the frames; what did not become whole is not received."""
        counts = self.book.counts
        received = counts.received - counts.returned
        stage = StageStatus(
            received=received,
            processed=counts.processed,
            queued=received - counts.processed,
            dropped={
                Reason.INCOMPLETE.value: figures.incomplete,
                Reason.LOST.value: figures.lost,
                Reason.CORRUPT.value: figures.corrupt,
                Reason.QUEUE_FULL.value: figures.dropped,
                Reason.SHED.value: figures.shed,
                Reason.DUPLICATE.value: self.loop.repeated,
            },
        )
        if self.uri is not None:  # the load balancer's account has what was lost on the way: no worker knows its part
            stage.dropped = {Reason.DUPLICATE.value: self.loop.repeated}
        stage.dropped = {reason: count for reason, count in stage.dropped.items() if count}
        return stage

    def _figures(self, figures: ReceiverFigures, link: LinkFigures) -> dict[str, float | int | str]:
        """Return what the status and the records tell."""
        counts, asking = self.book.counts, self.receiver.asking()
        return {
            "Frames": counts.received - counts.returned,
            "Bytes": counts.bytes,
            "Incomplete": figures.incomplete,
            "Lost": figures.lost,
            "Corrupt": figures.corrupt,
            "Refused": figures.refused,
            "Duplicates": figures.duplicates + self.loop.repeated,
            "KernelDrops": figures.kernel_drops,
            "ByteRate": self._byte_rate.update(counts.bytes, time.monotonic_ns()),
            "Port": self.port,
            "Ports": 1 << self.config.port_range,
            "ReceiveBuffer": figures.receive_buffer,
            "UdpInErrors": input_errors(),
            "Dropped": figures.dropped,
            "Bad": figures.bad,
            "QueueFill": self.receiver.fill(),
            "ControlErrors": link.errors,
            "ControlSignal": link.control_signal,
            "States": link.states,
            "Registrations": link.registrations,
            "Shed": figures.shed,
            "ResendAsked": asking.asked,
            "Resent": asking.resent,
            "ResendRecovered": asking.recovered,
            "ResendGivenUp": asking.given_up,
            "ReceiveBufferAsked": self.config.receive_buffer,
            "MemoryUsed": figures.memory_used,
            "MemoryLimit": self.memory_limit,
        }

    def _words(self, figures: ReceiverFigures, link: LinkFigures) -> dict[str, Value]:
        """Return what the records tell besides."""
        return {
            "BufferAdvice": advice("receive", self.config.receive_buffer, figures.receive_buffer, figures.kernel_drops),
            "Payload": "sealed" if self.config.sealed else self.config.payload,
            "RefusedEvents": numbers_text(self.receiver.refused_events()),
            "KeyFault": self.payload.fault,
            "ResendError": self.receiver.asking().last_error,
            "LoadBalancer": "none" if self.link is None else "known" if link.registered else "unknown",
            "ControlError": link.last_error,
        }

    def wait(self) -> None:
        """Return when the supervisor asks to stop, or raise what ended the loop."""
        self.child.wait(lambda: self.loop.failure)

    def close(self) -> bool:
        """Take what has arrived and shut down; return whether all of it was."""
        if self.link is not None and self.link.leave():
            log.info("left the load balancer; %g s for the events of earlier epochs", self.config.linger)
            self._lingering.wait(self.config.linger)
        limit = time.monotonic() + DRAIN_SECONDS
        drained = self.loop.drain(10.0) and self.outflow.drain(limit)
        self.face.close()
        self.outflow.close()
        self.journal.close()
        return drained

    def _put(self, name: str, value: Value) -> Future | None:
        return None


def part_of(share: int) -> int:
    """Return the memory of a receiver that keeps within a share: for unfinished events, whole ones and spare buffers.

    Both kinds of event may take as much, and buffers that are kept for the next ones a quarter of it.
    """
    return share * 4 // 9


def main(child: Child) -> ExitCode:
    """Run an ingress until it is asked to stop."""
    return live(child, Ingress)
