"""The process of areaDetector's plug-ins: a member of a group of its own, whose frames go through the graph.

A frame counts as processed when every enabled plug-in that takes the detector's frames has taken it, or dropped it:
what a plug-in drops is its own `DroppedArrays`, as in areaDetector, and in its own account (`ledger`). While none is
enabled, frames pass by uncopied.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from importlib.metadata import version
from pathlib import Path

from consumers.image_output import ImageOutput
from consumers.plugins.graph import Graph
from consumers.plugins.held import Held
from consumers.plugins.kinds import all_records, make_plugin
from consumers.plugins.ledger import PluginLedger
from consumers.plugins.plugin import Plugin, Surroundings
from consumers.plugins.sizes import Sizes
from consumers.plugins.source import Source
from consumers.plugins.tap import Taps, Writers
from consumers.worker import Worker
from ioc.channels.book import Book
from ioc.channels.images import Images, open_images
from ioc.channels.journal import Journal, open_member
from ioc.channels.local import LocalServer
from ioc.channels.local_receiver import LocalReceiver
from ioc.channels.local_wire import Hello
from ioc.channels.memory_book import MemoryBook
from ioc.core.clock import SystemClock
from ioc.core.config_plugins import PASSING, PluginsConfig
from ioc.core.frame import DataType, Frame
from ioc.core.status import ExitCode, ProcessSpec, Status
from ioc.core.topology import PLUGINS_GROUP, writer_group
from ioc.records.face import Face
from ioc.records.server import PLUGIN_DATABASE, RecordServer, ServerOptions, Template
from ioc.records.table import Value
from ioc.supervisor.child import DRAIN_SECONDS, Child, live
from ioc.supervisor.plan import single_names

log = logging.getLogger(__name__)

SHAPE_SECONDS = 10.0
"""s to wait for the detector to say what its frames are like."""
LOOK_SECONDS = 0.05


class Plugins:
    """Everything of the process; made, started and drained by `main`."""

    def __init__(self, child: Child) -> None:
        spec = child.spec
        config = spec.config.plugins
        assert config is not None
        self.child = child
        self.name = spec.name
        self.prefix = spec.config.prefix
        self.book = Book(spec.book_file)
        self.journal = Journal(spec.journal_file, booked=True)
        account = open_member(self.journal, self.book, self.name)
        self.receiver = LocalReceiver(spec.socket, Hello(spec.name, PLUGINS_GROUP, 0), self.book, account)
        self.clock = SystemClock()
        self.graph, self.held = Graph(), Held(config.memory)
        self.ledger = PluginLedger(spec.name, spec.plugins_file)
        tables = {single_names(spec.config)[writer_group(table)][0]: one for table, one in spec.config.writers.items()}
        writers = Writers(tables, config.memory // 2)
        self.taps = Taps(LocalServer(spec.plugins_socket, spec.name), self.graph, self.ledger, writers)
        self.images: Images = open_images(spec.config.image_server, f"{self.name} images")
        self.memory = MemoryBook(spec.memory_file, spec.name, spec.config.budget.channels)
        self.outputs: dict[str, ImageOutput] = {}
        self.sizes = sizes_of(spec, config)
        self.plugins = {name: self._plugin(name, config) for name in config.names}
        source = Source(self.graph, self.held, lambda: self.receiver.missed)
        self.worker = Worker(self.receiver, self.book, source, [], self.clock)
        table = all_records(self.name, config.names, self.sizes)
        templates = [Template(PLUGIN_DATABASE, {"R": f"{name}:"}) for name in config.names]
        options = ServerOptions.of(spec, templates, self._refused)
        self.records = RecordServer(self.prefix, table, self._put, options)
        self.face = Face(spec, self.records, self.images)
        self._message = ""

    def start(self) -> None:
        """Serve the records and begin to take frames."""
        self.records.start()
        for plugin in self.plugins.values():
            plugin.show({"DriverVersion_RBV": version("rayfan")})
            plugin.start()
        self.face.serve()
        self.taps.start()
        self.records.restore()  # before frames come: none is to pass by a plug-in that is enabled
        self.worker.start()
        self.child.report_with(self.sample)
        self.child.running()

    def sample(self) -> Status:
        """Return the status, and show it on the records."""
        counts, now = self.book.counts, self.worker.snapshot
        status = self.child.status()
        status.rate = now.rate
        status.last_error = status.last_error or now.failure.text
        status.message = self._message
        status.stage = counts.stage()
        for name, plugin in self.plugins.items():
            plugin.refresh()
            status.figures[f"{name}:ArrayCounter"] = plugin.account.arrays
            status.figures[f"{name}:DroppedArrays"] = plugin.account.dropped
        self.face.tell(status, self._values(status))
        return status

    def wait(self) -> None:
        """Return when the supervisor asks to stop, or raise what ended the worker."""
        self.child.wait(lambda: self.worker.failure)

    def close(self) -> bool:
        """Let the plug-ins finish what is here and shut down; return whether all was finished."""
        limit = time.monotonic() + DRAIN_SECONDS
        drained = self.worker.drain(DRAIN_SECONDS)
        drained = self.graph.settle(max(0.0, limit - time.monotonic())) and drained
        self.records.finish()
        for plugin in self.plugins.values():
            plugin.close()
        self.taps.close()
        self.face.close()
        self.memory.close()
        self.journal.close()
        self.ledger.close()
        return drained

    def _plugin(self, name: str, config: PluginsConfig) -> Plugin:
        around = Surroundings(
            self.graph,
            self.held,
            self.clock,
            lambda values: self.records.set_many(values),
            lambda record, row: self.records.set_array(record, row),
            self.ledger.entry,
            self._publisher(name),
        )
        plugin = make_plugin(name, self.sizes, around)
        plugin.chosen["QueueSize"] = config.queue_size
        self.graph.add(plugin)
        return plugin

    def _publisher(self, name: str) -> Callable[[Frame], None]:
        """Return the way of a plug-in's frames to its channel, `$(P)ROI1:Image`; nothing if it makes none."""
        if name.startswith(PASSING):
            return lambda _frame: None
        channel = self.images.add(f"{self.prefix}{name}:Image")
        guard = (
            threading.Lock()
        )  # a plug-in puts out in its own thread, and with BlockingCallbacks in that of the source
        output = self.outputs[name] = ImageOutput(channel, self.clock, self.memory)

        def publish(frame: Frame) -> None:
            with guard:
                output.publish([frame])

        return publish

    def _put(self, name: str, value: Value) -> Future | None:
        device, _, field = name.partition(":")
        return self.plugins[device].put(field, value)

    def _refused(self, _name: str, message: str) -> None:
        self._message = message
        self.records.set_many({f"{self.name}:StatusMessage_RBV": message})

    def _values(self, status: Status) -> dict[str, Value]:
        return {
            "Received": status.stage.received,
            "Processed": status.stage.processed,
            "Failed": sum(plugin.account.failed for plugin in self.plugins.values()),
            "Dropped": self.receiver.missed,
            "Shed": sum(output.shed for output in self.outputs.values()),
            "MemoryUsed": self.held.used,
            "MemoryLimit": self.held.limit,
            "Rate": status.rate,
            "StatusMessage": self._message,
        }


def sizes_of(spec: ProcessSpec, config: PluginsConfig) -> Sizes:
    """Return how long rows of numbers are: as configured, or for the frames that the detector has at start."""
    shape, data_type = frames_of(spec.run_dir / "detector.status", SHAPE_SECONDS) or (
        spec.config.detector.size[::-1],
        spec.config.detector.data_type,
    )
    elements = 1
    for length in shape:
        elements *= length
    return Sizes(shape[1], shape[0], config.array_size or elements, config.array_type or data_type)


def frames_of(status_file: Path, seconds: float) -> tuple[tuple[int, ...], DataType] | None:
    """Return shape and type of the detector's frames, None if it does not say within `seconds`."""
    limit = time.monotonic() + seconds
    while True:
        try:
            figures = json.loads(status_file.read_text())["figures"]
            return tuple(int(length) for length in figures["Shape"].split(",")), DataType(figures["DataType"])
        except (OSError, ValueError, KeyError):
            if time.monotonic() >= limit:
                return None
        time.sleep(LOOK_SECONDS)  # nothing to wait on: another process writes the file


def main(child: Child) -> ExitCode:
    """Run the plug-ins until the process is asked to stop."""
    return live(child, Plugins)
