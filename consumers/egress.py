"""The egress process: a member of a group of its own that sends every frame as an EJFAT event over UDP."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future

from consumers.inputs import open_inputs
from consumers.metadata_face import MetadataFace
from consumers.payloads import outgoing
from consumers.processors.passthrough import Passthrough
from consumers.records import egress_records, metadata_records
from consumers.route import Route, control_plane, route_of
from consumers.worker import Worker
from ioc.channels.ejfat import EjfatPublisher, PublisherSettings
from ioc.channels.ejfat_kernel import advice
from ioc.channels.ejfat_payload import writer_name
from ioc.channels.ejfat_publisher import PublisherFigures
from ioc.channels.ejfat_resend import Resend
from ioc.channels.ejfat_resend_server import ResendFigures
from ioc.channels.ejfat_resend_store import KeepLimits
from ioc.channels.ejfat_sender import SenderFigures, SenderLink, SyncSettings
from ioc.channels.ejfat_uri import EjfatUri
from ioc.channels.local_wire import Hello
from ioc.channels.memory_book import MemoryBook
from ioc.core.clock import SystemClock
from ioc.core.config_ejfat import EgressConfig
from ioc.core.ledger import Reason
from ioc.core.rate import RateMeter
from ioc.core.status import ExitCode, Status
from ioc.core.topology import egress_group
from ioc.records.face import Face
from ioc.records.server import RecordServer, ServerOptions
from ioc.records.table import Value
from ioc.supervisor.child import DRAIN_SECONDS, Child, live

log = logging.getLogger(__name__)

SEND_BUFFER = 8 << 20
LIFE_BITS = 32
"""Events that one life numbers at most, as a power of 2."""

AWAY_SECONDS = 2.0
ANNOUNCE_PATIENCE = 3.0
"""s beyond the warm-up that the first frame waits for the load balancer to know us."""


class Egress:
    """Everything of one egress; made, started and drained by `main`."""

    def __init__(self, child: Child) -> None:
        spec = child.spec
        assert spec.table is not None
        self.child = child
        self.name = spec.name
        self.config = spec.config.egress[spec.table]
        self.route = route_of(spec, self.config)
        self.payload = outgoing(self.config, SystemClock())
        self.memory: MemoryBook | None = None
        if self.config.resend:
            self.memory = MemoryBook(spec.memory_file, spec.name, spec.config.budget.channels)
        self.resend = _resend(self.config, self.memory, self._workers if self.config.resend_unclaimed else None)
        self.publisher = EjfatPublisher.open(_settings(self.route, self.config), self.payload.writer, self.resend)
        self.link = _link(self.route.uri, self.config, self.publisher)
        self._reach = Reach()
        self.inputs = open_inputs(spec, self.config.input, Hello(spec.name, egress_group(spec.table), 0), None)
        self.receiver, self.book = self.inputs.receiver, self.inputs.book
        self.worker = Worker(self.receiver, self.book, Passthrough(), [self.publisher], SystemClock())
        self.metadata = MetadataFace(spec, self.config.metadata, self.worker)
        table = egress_records(self.name) + metadata_records(self.name, self.config.metadata.channels)
        self.records = RecordServer(spec.config.prefix, table, self._put, ServerOptions.of(child.spec))
        self.face = Face(spec, self.records)
        self._byte_rate = RateMeter()

    def start(self) -> None:
        """Serve the records and begin to send."""
        self.records.start()
        self.records.set_many({f"{self.name}:TargetRate": self.config.rate or 0.0})
        self.records.set_many(self.metadata.demands())
        self.face.serve()
        if self.link is not None:
            self.link.start()
            if not self.link.warm(self.config.warm_up + ANNOUNCE_PATIENCE):
                log.warning("the load balancer does not answer; frames are sent all the same")
        self.worker.start()
        self.records.restore()
        self.child.report_with(self.sample)
        self.child.running()

    def sample(self) -> Status:
        """Return the status, and show it on the records."""
        counts, sent, now = self.book.counts, self.publisher.figures(), self.worker.snapshot
        link = self.link.figures() if self.link is not None else SenderFigures()
        status = self.child.status()
        status.rate = now.rate
        status.last_error = status.last_error or now.failure.text or sent.last_error
        if self.resend is not None:
            status.last_error = status.last_error or self.resend.error
        status.stage = counts.stage()
        status.stage.withheld = {Reason.FILTERED.value: counts.withheld} if counts.withheld else {}
        figures = self._figures(sent, link)
        status.figures = {name: int(value) if isinstance(value, bool) else value for name, value in figures.items()}
        status.figures |= self.metadata.figures()
        told: dict[str, Value] = {"Rate": now.rate, "Queued": status.stage.queued}
        self.face.tell(status, figures | told | self._words(sent, link) | self.metadata.read_backs())
        return status

    def _figures(self, sent: PublisherFigures, link: SenderFigures) -> dict[str, Value]:
        """Return what the status and the records tell."""
        goodput = self._byte_rate.update(sent.bytes, time.monotonic_ns())
        resent = self.resend.figures() if self.resend is not None else ResendFigures()
        return {
            "Frames": sent.frames,
            "Bytes": sent.bytes,
            "Packets": sent.packets,
            "Errors": sent.errors - sent.unsent,
            "ByteRate": goodput,
            "GoodputRate": goodput * 8 / 1e9,
            "Destination": _destination_text(self.route),
            "Unreachable": sent.unsent,
            "Sockets": sent.paths,
            "SendBuffer": sent.send_buffer,
            "Syncs": link.syncs,
            "Renewals": link.renewed,
            "ControlErrors": link.errors,
            "ResendAsked": resent.asked,
            "Resent": resent.sent,
            "ResendGone": resent.gone,
            "ResendRefused": resent.refused,
            "ResendClients": resent.clients,
            "ResendTelling": resent.telling,
            "ResendUnclaimed": resent.unclaimed,
            "ResendMemory": self.resend.events.bytes if self.resend is not None else 0,
            "SendBufferAsked": SEND_BUFFER,
            "MTU": self.config.mtu,
            "Offload": sent.offload,
        }

    def _words(self, sent: PublisherFigures, link: SenderFigures) -> dict[str, Value]:
        """Return what the records tell besides."""
        away = self._reach.update(sent.unsent, time.monotonic())
        return {
            "Reachable": "no" if away else "yes",
            "BufferAdvice": advice("send", SEND_BUFFER, sent.send_buffer) if sent.send_buffer else "",
            "LoadBalancer": "none" if self.route.uri is None else "known" if link.announced else "unknown",
            "ControlError": link.last_error,
            "Payload": "sealed" if self.config.sealed else writer_name(self.config.payload),
            "Key": self.payload.key,
            "KeyFault": self.payload.fault,
            "TargetRate": self.publisher.rate_gbps or 0.0,
        }

    def wait(self) -> None:
        """Return when the supervisor asks to stop, or raise what ended the worker."""
        self.child.wait(lambda: self.worker.failure)

    def close(self) -> bool:
        """Send what is on its way and shut down; return whether all was sent."""
        drained = self.worker.drain(DRAIN_SECONDS)
        self.records.finish()
        self.publisher.close(drain=True)  # before we leave: the load balancer is asked who may lack something
        if self.link is not None:
            self.link.leave()
        self.face.close()
        self.inputs.close()
        if self.memory is not None:
            self.memory.close()
        self.metadata.close()
        return drained

    def _workers(self) -> int | None:
        """Return how many workers the load balancer deals events to; None if that is not known."""
        return self.link.workers() if self.link is not None else None

    def _put(self, name: str, value: Value) -> Future | None:
        if name == f"{self.name}:TargetRate":
            return self.worker.submit(lambda: self.publisher.set_rate(float(value) or None))
        if name.startswith(f"{self.name}:Meta:"):
            return self.metadata.put(self.records, name, float(value))
        return None


class Reach:
    """Whether packets find their way: no while some found none within the last seconds."""

    def __init__(self) -> None:
        self._errors = 0
        self._since: float | None = None

    def update(self, errors: int, now: float) -> bool:
        """Take the count at `now` s of a monotonic clock; return whether the destination is away."""
        if errors > self._errors:
            self._errors, self._since = errors, now
        return self._since is not None and now - self._since < AWAY_SECONDS


def _settings(route: Route, config: EgressConfig) -> PublisherSettings:
    (host, port), *more = route.destinations
    return PublisherSettings(
        host,
        port,
        mtu=config.mtu,
        rate_gbps=config.rate,
        data_id=config.data_id,
        lb_version=config.lb_version,
        offload=config.offload,
        checksum=config.checksum,
        send_buffer=SEND_BUFFER,
        more=tuple(more),
        balanced=route.uri is not None,
        first_event=first_event(config, SystemClock().wall_ns()),
    )


def first_event(config: EgressConfig, wall_ns: int) -> int:
    """Return the number of the first event of this life, which no other life has used for one of its own."""
    if config.first_event is not None:
        return config.first_event
    return 1 if config.payload == "pvapy" else (wall_ns // 1_000_000_000 << LIFE_BITS) + 1


def _resend(config: EgressConfig, memory: MemoryBook | None, workers: Callable[[], int | None] | None) -> Resend | None:
    if memory is None:
        return None
    limits = KeepLimits(config.resend_memory, config.resend_seconds)
    return Resend(config.data_id, limits, config.resend_port, memory, workers)


def _link(uri: EjfatUri | None, config: EgressConfig, publisher: EjfatPublisher) -> SenderLink | None:
    if uri is None:
        return None
    settings = SyncSettings(uri.sync, config.sync_period, config.data_id, config.warm_up, config.renew_reservation)
    return SenderLink(control_plane(uri, config), uri.lb_id or "", publisher.addresses, settings)


def _destination_text(route: Route) -> str:
    first, *more = dict.fromkeys(f"{host}:{port}" for host, port in route.destinations)
    return f"{first} and {len(more)} more" if more else first


def main(child: Child) -> ExitCode:
    """Run an egress until it is asked to stop."""
    return live(child, Egress)
