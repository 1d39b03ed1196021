"""The detector process: puts source, acquisition, distributor, records and image channels together, and runs them."""

import logging
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import numpy as np

from detector_sim import readbacks
from detector_sim.acquisition import Acquisition
from detector_sim.attributes import FrameAttributes
from detector_sim.controls import Controls
from detector_sim.flow import Flow
from detector_sim.forwarding import forwarding_of
from detector_sim.image_plugin import ImagePlugin
from detector_sim.image_readbacks import labels
from detector_sim.images import Images, ImageStore
from detector_sim.live import LiveImages
from detector_sim.metadata import MetadataSimulator
from detector_sim.readout import read_out
from detector_sim.records import records_of
from detector_sim.remote import IMAGE_SLOT, Remote
from detector_sim.requested import Requested
from detector_sim.source import open_source
from detector_sim.work_desk import WorkDesk
from ioc.channels.images import open_images
from ioc.channels.journal import Journal
from ioc.channels.local import LocalServer
from ioc.channels.local_door import Doorway
from ioc.channels.memory_book import MemoryBook
from ioc.channels.pva import PvaReceiver, PvaServer
from ioc.channels.pva_member import AcknowledgeChannels
from ioc.channels.pva_source import Packing
from ioc.channels.pva_source import Wish as SourceWish
from ioc.channels.pva_work import WorkChannel
from ioc.core.clock import SystemClock
from ioc.core.config import Config
from ioc.core.config_detector import DetectorConfig
from ioc.core.config_table import Policy
from ioc.core.forecast import Forecasts
from ioc.core.ledger import MissedRange, Reason
from ioc.core.overflow import WIDEST_WINDOW, Limits
from ioc.core.rate import RateMeter
from ioc.core.status import ExitCode, StageStatus, Status
from ioc.core.topology import DETECTOR, IMAGE_GROUP, PLUGINS_GROUP
from ioc.distributor.distributor import Distributor
from ioc.distributor.group import GroupShape
from ioc.distributor.seat import Aside
from ioc.distributor.spool import Spool
from ioc.distributor.takers import takers_of
from ioc.records.areadetector import CAMERA_PORT
from ioc.records.client_table import slowest
from ioc.records.image_rules import ImageRules
from ioc.records.plugin_base import MOST_DIMENSIONS
from ioc.records.server import DATABASES, PLUGIN_DATABASE, RecordServer, ServerOptions, Template
from ioc.records.status import StatusChannels
from ioc.records.table import Value
from ioc.supervisor.child import DRAIN_SECONDS, Child, live, run

log = logging.getLogger(__name__)

SWITCH_SECONDS = 0.0005
"""s after which a thread that waits for the interpreter is given it: CPython's 5 ms hold up puts and image clients."""
IMAGE_QUEUE = 64
SOURCE_PART = 4
"""One part in so many of the pool is for frames of a foreign detector that wait to be taken in."""
REPLAY = 64
"""Frames that a foreign detector is asked to keep for the case that the connection breaks; Rayfan's does."""
POOL = ("PoolAllocBuffers", "PoolFreeBuffers", "PoolUsedBuffers")
SHOWN_RANGES = 16
"""Ranges of ids that a figure lists."""
QUORUM_SECONDS = 30.0
"""How long acquire_at_start waits for the members that are to be started."""


class Detector:
    """Everything of one detector; made, started and drained by `main`."""

    def __init__(self, child: Child) -> None:
        spec = child.spec
        self.child = child
        self.config = spec.config
        self.prefix = spec.config.prefix
        clock = SystemClock()
        self.useful = useful_slots(self.config)
        self.foreign: PvaReceiver | None = None
        self.acquisition = Acquisition(self.config.detector, clock)
        spool = Spool(spec.quarantine_folder, self.config.quarantine.most_bytes)
        self.distributor = make_distributor(self.config, Journal(spec.journal_file), spool)
        self.server = LocalServer(spec.socket)
        self.flow = Flow(self.acquisition, self.distributor, self.make_store(self.config.detector), self.server, clock)
        attributes = FrameAttributes(self.acquisition, lambda name: self.records.get(f"cam1:{name}_RBV"))
        self.controls = Controls(self.flow, self.config.detector, self.another_store, attributes)
        self.memory = MemoryBook(spec.memory_file, "Det1", self.config.budget.channels)
        doorway = Doorway(spec.view_socket, self.memory)
        self.images = open_images(self.config.image_server, "detector images", 16, doorway)
        channel = self.images.add(f"{self.prefix}Pva1:Image", Requested(self.flow))
        self.image_plugin = ImagePlugin(self.flow, channel, clock)
        self.desk = WorkDesk(spec, self.flow)
        remote = Remote(self.flow, self.desk)
        self.images.members(self.prefix, remote)
        self.acknowledgements = AcknowledgeChannels(self.prefix, remote.admits, remote.link)
        self.status_name = f"{self.prefix}cam1:Status"
        self.status_channels = StatusChannels([self.status_name], self.images.visits)
        self.metadata = MetadataSimulator(
            self.prefix, self.config.detector.metadata, lambda name, value: self.records.set(name, value)
        )
        providers = [
            self.status_channels.provider,
            WorkChannel(self.prefix, self.desk.hear).provider,
        ]
        self.pva = PvaServer([*self.images.beside_acknowledgements(self.acknowledgements), *providers])
        templates = (
            Template(DATABASES / "detector.template", {"R": "cam1:"}),
            Template(PLUGIN_DATABASE, {"R": "Pva1:"}),
        )
        options = ServerOptions.of(spec, templates, self._refused)
        self.records = RecordServer(self.prefix, records_of(spec), self._put, options)
        self.forwarding = forwarding_of(
            self.config.detector.source,
            lambda: self.flow.snapshot.published,
            lambda: self.foreign is None or self.foreign.connected,
        )
        self._rate = RateMeter()
        self._forecasts = Forecasts()
        self._showing = threading.Lock()
        self._shape_shown: tuple[int, ...] = ()

    def start(self) -> None:
        """Serve records and channels and let frames flow."""
        self.records.start()
        self.distributor.join_remote(IMAGE_SLOT, 1, IMAGE_GROUP, self.image_plugin.link)
        self.flow.listener = self
        if self.config.detector.metadata:
            self.metadata.start()
            self.flow.follower = self.metadata.frames
        self.flow.start()
        self.flow.submit(lambda: None).result(10.0)
        self.records.set_many(
            {
                "cam1:ImageMode": self.acquisition.image_mode.value,
                "cam1:NumImages": self.acquisition.num_images,
                "cam1:NDAttributesFile": self.config.detector.attributes,
                "Pva1:PvName_RBV": f"{self.prefix}Pva1:Image",
                **self._identity(),
                **readbacks.demands(self.flow.snapshot),
            }
        )
        self.controls.begin()
        self.records.restore()
        self.images.guard(ImageRules(self.records))
        self.images.start()
        self.pva.start()
        self.child.report_with(self.sample)
        self.child.running()
        if self.config.detector.acquire_at_start:
            self.acquire_when_members_are_there()

    def acquiring(self, on: bool) -> None:
        """Show an edge of the acquisition; called by the flow."""
        with self._showing:
            values = readbacks.state(self.acquisition, self.flow.snapshot) | readbacks.counters(self.acquisition)
            self.records.set_many(values)
            self.records.set("cam1:Acquire_RBV", on)

    def sample(self) -> Status:
        """Return the status, and show it on the records."""
        snapshot = self.flow.snapshot
        rate = self._rate.update(snapshot.published, snapshot.taken_ns)
        config = self.controls.config
        with self._showing:  # else what was read before an edge of the acquisition is shown after it
            self.records.set_many(readbacks.camera(self.flow, config, rate) | self._attributes() | self._forwarded())
        overflows = self._forecasts.update(snapshot.groups, snapshot.taken_ns)
        self.records.set_many(readbacks.distributor(snapshot, overflows))
        self._show_image_plugin()
        self._notice_who_is_given_up()
        self.desk.tidy()
        status = self.child.status()
        status.rate = rate
        status.series = snapshot.series
        status.groups = snapshot.groups
        status.figures = readbacks.described(self.flow)
        status.message = f"{self.acquisition.message}" + (f" ({snapshot.waiting_for})" if snapshot.waiting_for else "")
        status.stage = StageStatus(received=snapshot.published, processed=snapshot.published)
        if self.foreign is not None:
            status.figures |= merged_figures(self.foreign.missed())
            status.figures |= self.forwarding.figures() if self.forwarding is not None else {}
            status.figures["SourceWay"] = str(self.foreign.outlook)
            self.records.set("cam1:SourceMissed_RBV", int(status.figures["SourceMissed"]))
            self.records.set("cam1:SourceWay_RBV", status.figures["SourceWay"])
        self.status_channels.post(self.status_name, status)
        return status

    def wait(self) -> None:
        """Return when the supervisor asks to stop, or raise what ended the flow."""
        self.child.wait(lambda: self.flow.failure)

    def acquire_when_members_are_there(self) -> None:
        """Begin to acquire once every member that is to be started has joined, or `QUORUM_SECONDS` are over."""
        limit = time.monotonic() + QUORUM_SECONDS
        expected = sum(seat.expected for seat in self.distributor.seats())
        while time.monotonic() < limit and not self.child.stopping.wait(0.05):
            present = sum(
                member.present for group in self.flow.snapshot.groups if group.slot for member in group.members
            )
            if present >= expected:
                break
        if not self.child.stopping.is_set() and not self.acquisition.acquiring:
            self.records.follow("cam1:Acquire", self.flow.acquire())

    def close(self) -> bool:
        """Drain and shut down; return whether every member had finished."""
        if self.forwarding is not None:
            self.forwarding.close()
        drained = self.flow.drain(DRAIN_SECONDS)
        self.desk.wait_for_goodbyes()
        self.distributor.close()
        self.records.finish()
        self.controls.close()
        self.metadata.stop()
        self.distributor.journal.close()
        self.server.close()
        self.pva.stop()
        self.images.close()
        self.memory.close()
        return drained

    def make_store(self, config: DetectorConfig, reserved: int = 0) -> Images:
        """Return the images that a configuration asks for, where `reserved` bytes of the pool are taken up.

        Raises:
            UserError: they do not fit into what the pool has left while earlier ones are still on their way.
        """
        budget = self.config.budget
        if config.source.kind == "pva":
            assert config.source.channel is not None
            waiting = budget.pool // SOURCE_PART
            wish = SourceWish(
                queue_bytes=waiting,
                replay=REPLAY,
                fastest=config.source.way == "fastest",
                packing=Packing(config.source.compressed),
            )
            self.foreign = PvaReceiver.of(config.source.channel, wish)
            return LiveImages(self.foreign, (budget.pool - waiting) // 2, self.useful)
        source, readout = read_out(open_source(config), config.readout)
        return ImageStore(source, min(budget.images, budget.pool - reserved), self.useful, readout)

    def another_store(self, config: DetectorConfig) -> Images:
        """Return the images that are to take over from those served now.

        Raises:
            UserError: there is no memory for both.
        """
        return self.make_store(config, self.flow.reserved_bytes)

    def _put(self, name: str, value: Value) -> Future | None:
        """Hand a put over; it is complete when the read-backs show what it changed."""
        if self.forwarding is not None and self.forwarding.takes(name):
            return self.forwarding.put(name, value, lambda here: self.controls.put(name, here))
        device, _, field = name.partition(":")
        change = self.image_plugin.put(field, value) if device == "Pva1" else self.controls.put(name, value)
        if change is None or name == "cam1:Acquire" or device not in ("cam1", "Pva1"):
            return change
        shown: Future[None] = Future()
        change.add_done_callback(lambda _: self._show_change(device, change, shown))
        return shown

    def _show_change(self, device: str, change: Future, shown: "Future[None]") -> None:
        if change.cancelled():
            shown.cancel()
            return
        error = change.exception()
        if error is not None:
            shown.set_exception(error)
            return
        with self._showing:
            values = readbacks.camera(self.flow, self.controls.config, self._rate.rate) | self._attributes()
            values |= self._forwarded()
            if device == "Pva1":  # for others it is work for nothing: it has no read-back that follows from theirs
                values |= under_pva1(self.image_plugin.values())
            self.records.set_many({name: value for name, value in values.items() if name.endswith("_RBV")})
        shown.set_result(None)

    def _identity(self) -> dict[str, Value]:
        version = _version()
        ports = {"cam1:PortName_RBV": CAMERA_PORT}
        versions = ("cam1:DriverVersion_RBV", "cam1:SDKVersion_RBV", "Pva1:DriverVersion_RBV")
        pool = self.config.budget.pool
        memory = {"cam1:PoolMaxMem_RBV": pool / 1e6, "cam1:MemoryLimit_RBV": pool}
        return {**ports, **memory, **dict.fromkeys(versions, version)}

    def _attributes(self) -> dict[str, Value]:
        chosen = self.controls.attributes
        return {"cam1:NDAttributesStatus": chosen.status, **labels(self.controls.labels)}

    def _forwarded(self) -> dict[str, Value]:
        return self.forwarding.shown() if self.forwarding is not None else {}

    def _refused(self, name: str, message: str) -> None:
        with self._showing:
            self.acquisition.message = message
            self.records.set_many({"cam1:StatusMessage_RBV": message})

    def _notice_who_is_given_up(self) -> None:
        for group in self.flow.snapshot.groups:
            for member in group.members:
                if not member.present and self.child.spec.gone_file(member.name).exists():
                    self.flow.submit(lambda name=member.name: self.distributor.give_up(name))

    def _show_image_plugin(self) -> None:
        visits = self.images.visits()
        clients: dict[str, Value] = {
            "Clients_RBV": len(visits),
            "SlowestClient_RBV": slowest(visits),
            "Denied_RBV": self.images.denied,
        }
        pool = {name: self.records.get(f"cam1:{name}") for name in POOL}
        pool |= {name: self.records.get(f"cam1:{name}_RBV") for name in ("PoolMaxMem", "PoolUsedMem")}
        with self._showing:
            self.records.set_many(under_pva1(self.image_plugin.sample() | clients | pool))
        shape = self.flow.store.shape[::-1]
        if shape != self._shape_shown:
            self._shape_shown = shape
            for device in ("cam1", "Pva1"):
                lengths = np.array(shape + (0,) * (MOST_DIMENSIONS - len(shape)))
                self.records.set_array(f"{device}:Dimensions_RBV", lengths)


def under_pva1(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return values of the image channel by the names of the records."""
    return {f"Pva1:{name}": value for name, value in values.items()}


def make_distributor(config: Config, journal: Journal | None = None, aside: Aside | None = None) -> Distributor:
    """Return the distributor with the groups of a configuration: its takers, egresses, writers, then plug-ins."""
    distributor = Distributor(journal, aside)
    distributor.add_group(IMAGE_SLOT, GroupShape(IMAGE_GROUP, 0, None, 1, Limits(Policy.BOUNDED, IMAGE_QUEUE)), [])
    slot = IMAGE_SLOT
    for taker in takers_of(config, DETECTOR):
        distributor.add_group(taker.slot, taker.shape, taker.members)
        slot = taker.slot
    if (plugins := config.plugins) is not None:
        limits = Limits(plugins.policy, plugins.queue_size)
        distributor.add_group(slot + 1, GroupShape(PLUGINS_GROUP, 1, None, 1, limits), ["Plug1"])
    return distributor


def merged_figures(missed: Sequence[MissedRange]) -> dict[str, float | int | str]:
    """Return the frames of a foreign detector that pvAccess merged before they came in, by its own series and ids.

    They are no frames of our series, so they are not in the ledger; of the ranges the newest are listed.
    """
    ranges = ", ".join(f"{one.series}:{one.first}-{one.last}" for one in missed[-SHOWN_RANGES:])
    count = sum(one.last - one.first + 1 for one in missed)
    return {"SourceMissed": count, "SourceMissedIds": f"{Reason.MERGED.value} {ranges}" if ranges else ""}


def useful_slots(config: Config) -> int:
    """Return how many frames can be on their way at a time, over all groups."""
    shapes = [taker.shape for taker in takers_of(config, DETECTOR)]
    queues = [shape.limits.frames * max(shape.count, 1) for shape in shapes]
    queues += [config.plugins.queue_size] if config.plugins is not None else []
    return sum(queues) + (len(queues) + 1) * WIDEST_WINDOW + IMAGE_QUEUE


def _version() -> str:
    from importlib.metadata import version

    return version("rayfan")


def main(child: Child) -> ExitCode:
    """Run the detector until it is asked to stop."""
    sys.setswitchinterval(SWITCH_SECONDS)
    return live(child, Detector)


if __name__ == "__main__":
    run(main)
