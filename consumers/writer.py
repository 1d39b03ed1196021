"""The file writer process: a member of a group of its own that puts frames into HDF5 files, areaDetector's `HDF1:`."""

import json
import logging
from collections.abc import Mapping
from concurrent.futures import Future
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np

from consumers.inputs import open_inputs
from consumers.metadata_face import MetadataFace
from consumers.plugins.ports import port_of
from consumers.port_input import Ends, Gate, PortInput
from consumers.recorder import Recorder
from consumers.records import metadata_records
from consumers.worker import Worker
from consumers.writer_controls import Ports, WriterControls
from consumers.writer_records import start_values, writer_records
from ioc.channels.local_wire import Hello
from ioc.core.clock import SystemClock
from ioc.core.frame import DataType
from ioc.core.status import ExitCode, Status
from ioc.core.topology import writer_group
from ioc.records.areadetector import CAMERA_PORT
from ioc.records.face import Face
from ioc.records.plugin_base import MOST_DIMENSIONS
from ioc.records.server import PLUGIN_DATABASE, RecordServer, ServerOptions, Template
from ioc.records.table import Value
from ioc.supervisor.child import DRAIN_SECONDS, Child, live

log = logging.getLogger(__name__)

EPICS_EPOCH_NS = 631_152_000 * 10**9
PORT = "FileHDF"


class Writer:
    """Everything of one writer; made, started and drained by `main`."""

    def __init__(self, child: Child) -> None:
        spec = child.spec
        assert spec.table is not None
        self.child = child
        self.name = spec.name
        self.config = spec.config.writers[spec.table]
        self.note = spec.run_dir / f"{spec.name}.capture"
        self.inputs = open_inputs(spec, self.config.input, Hello(spec.name, writer_group(spec.table), 0), None)
        self.receiver, self.book = self.inputs.receiver, self.inputs.book
        chosen = start_values() | {"FilePath": self.config.path, "QueueSize": self.config.queue_size}
        self.recorder = Recorder(chosen, self.config.memory, self.note, self.show)
        self.port_input = PortInput(spec, self.recorder)
        plugins = spec.config.plugins.names if spec.config.plugins is not None else []
        ports = Ports((CAMERA_PORT, *map(port_of, plugins)), self.port_input.take_from)
        self.controls = WriterControls(self.recorder, self.show, ports)
        gate = Gate(self.recorder, CAMERA_PORT)
        self.worker = Worker(self.receiver, self.book, gate, [Ends(self.recorder, CAMERA_PORT)], SystemClock())
        self.metadata = MetadataFace(spec, self.config.metadata, self.worker)
        templates = (Template(PLUGIN_DATABASE, {"R": f"{self.name}:"}),)
        options = ServerOptions.of(child.spec, templates, self._refused)
        table = writer_records(self.name) + metadata_records(self.name, self.config.metadata.channels)
        self.records = RecordServer(spec.config.prefix, table, self._put, options)
        self.face = Face(spec, self.records)
        self._dropped_before = 0
        self._shape_shown: tuple[int, ...] = ()
        self._stored_before = 0

    def start(self) -> None:
        """Serve the records and begin to take frames."""
        self.records.start()
        self.controls.begin()
        self.show(
            {
                "PortName_RBV": PORT + self.name.removeprefix("HDF"),
                "PluginType_RBV": f"NDFileHDF5 ver{h5py.version.hdf5_version}",
                "DriverVersion_RBV": version("rayfan"),
            }
        )
        self._tell_of_an_earlier_life()
        self.records.set_many(self.metadata.demands())
        self.face.serve()
        self.records.restore()
        self.worker.start()
        self.child.report_with(self.sample)
        self.child.running()

    def show(self, values: Mapping[str, Value]) -> None:
        """Show read-backs by their names without the device; any thread may call."""
        self.records.set_many({f"{self.name}:{name}": value for name, value in values.items()})

    def sample(self) -> Status:
        """Return the status, and show it on the records."""
        counts, now = self.book.counts, self.worker.snapshot
        status = self.child.status()
        status.rate = now.rate
        status.last_error = status.last_error or now.failure.text or self.port_input.last_error
        status.stage = counts.stage()
        status.figures = {**self.recorder.figures(), **self.metadata.figures()}
        self.recorder.show_progress()
        self.show(self._values(status))
        self.face.tell(status, self.metadata.read_backs())
        return status

    def wait(self) -> None:
        """Return when the supervisor asks to stop, or raise what ended the worker."""
        self.child.wait(lambda: self.worker.failure or self.port_input.failure)

    def close(self) -> bool:
        """Write what is on its way, close the file and shut down; return whether all was written."""
        drained = self.worker.drain(DRAIN_SECONDS)
        self.records.finish()
        self.controls.close()
        drained = self.port_input.close(DRAIN_SECONDS) and drained
        self.recorder.stop()
        self.face.close()
        self.inputs.close()
        self.metadata.close()
        return drained

    def _put(self, name: str, value: Value) -> Future | None:
        field = name.removeprefix(f"{self.name}:")
        if field.startswith("Meta:"):
            return self.metadata.put(self.records, name, float(value))
        if field == "DroppedArrays":
            self._dropped_before = self._missed - int(value)
        elif field == "ArrayCounter":
            self._stored_before = self.recorder.account.stored - int(value)
        return self.controls.put(field, value)

    @property
    def _missed(self) -> int:
        return self.receiver.missed + self.port_input.missed

    def _refused(self, name: str, message: str) -> None:
        self.show({"WriteMessage": message})

    def _tell_of_an_earlier_life(self) -> None:
        """Say which file was open when an earlier life of this process was killed."""
        if not self.note.exists():
            return
        path = self.note.read_text()
        self.show({"WriteStatus": True, "WriteMessage": f"killed while writing; finish it: rayfan repair {path}"})
        log.error("%s was open when this process was killed; finish it with: rayfan repair %s", path, path)
        self.note.unlink()

    def _values(self, status: Status) -> dict[str, Value]:
        stage, account = status.stage, self.recorder.account
        use = min(stage.queued, self.config.queue_size)
        stored = account.stored - self._stored_before
        stamp = max(0, account.timestamp_ns - EPICS_EPOCH_NS)
        values: dict[str, Value] = {
            "Received_RBV": stage.received,
            "Failed_RBV": stage.failed + self.port_input.counts.failed,
            "ArrayRate_RBV": status.rate,
            "ArrayCounter": stored,
            "ArrayCounter_RBV": stored,
            "UniqueId_RBV": account.unique_id,
            "TimeStamp_RBV": stamp / 1e9,
            "EpicsTSSec_RBV": stamp // 10**9,
            "EpicsTSNsec_RBV": stamp % 10**9,
            "QueueUse": use,
            "QueueFree": self.config.queue_size - use,
            "DroppedArrays_RBV": self._missed - self._dropped_before,
            "ExecutionTime_RBV": self.worker.snapshot.execution_ms,
            "PoolMaxMem": self.config.memory / 1e6,
            "PoolUsedMem": self.recorder.kept_bytes / 1e6,
            "PoolAllocBuffers": self.recorder.kept,
            "PoolUsedBuffers": self.recorder.kept,
        }
        return values | self._dimensions()

    def _dimensions(self) -> dict[str, Value]:
        account = self.recorder.account
        if not account.shape:
            prime(account_file(self.child.spec.run_dir), self.recorder)
        shape = account.shape
        if not shape:
            return {}
        sizes = (*shape[::-1], 0)[:3]
        columns, rows = (shape[1], shape[0])
        data_type = DataType(next(one.value for one in DataType if one.dtype.name == account.dtype))
        values: dict[str, Value] = {f"ArraySize{axis}": size for axis, size in enumerate(sizes)}
        values |= {f"ArraySize{axis}_RBV": size for axis, size in enumerate(sizes)}
        if shape != self._shape_shown:
            self._shape_shown = shape
            lengths = np.array(shape[::-1] + (0,) * (MOST_DIMENSIONS - len(shape)))
            self.records.set_array(f"{self.name}:Dimensions_RBV", lengths)
        size_bytes = data_type.dtype.itemsize
        for size in shape:
            size_bytes *= size
        return values | {
            "NDimensions_RBV": len(shape),
            "ArraySizeX_RBV": columns,
            "ArraySizeY_RBV": rows,
            "ArraySizeZ_RBV": shape[2] if len(shape) == 3 else 0,
            "ArraySize_RBV": size_bytes,
            "CompressedSize_RBV": account.nbytes or size_bytes,
            "Codec_RBV": account.codec,
            "DataType_RBV": data_type.value,
            "ColorMode_RBV": "RGB1" if len(shape) == 3 else "Mono",
        }


def account_file(run_dir: Path) -> Path:
    """Return where the detector says what its frames are like."""
    return run_dir / "detector.status"


def prime(status_file: Path, recorder: Recorder) -> None:
    """Take shape and type of the frames from the detector's status, before the first frame comes."""
    try:
        figures = json.loads(status_file.read_text())["figures"]
        shape = tuple(int(length) for length in figures["Shape"].split(","))
        recorder.account.dtype = DataType(figures["DataType"]).dtype.name
        recorder.account.shape = shape
    except (OSError, ValueError, KeyError):
        return  # not there yet: it is looked for again


def main(child: Child) -> ExitCode:
    """Run a writer until it is asked to stop."""
    return live(child, Writer)
