"""What a writer's control records do: most are kept until the next file is made, a few act."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from consumers.recorder import Recorder, Show
from ioc.channels.hdf5_filters import UNSERVED
from ioc.core.errors import RefusedError, mismatch
from ioc.core.file_name import folders_to_make, full_name, with_slash
from ioc.records.areadetector import CAMERA_PORT
from ioc.records.table import Value

log = logging.getLogger(__name__)


RECIPROCALS = {"MinCallbackTime": "MaxArrayRate", "MaxArrayRate": "MinCallbackTime"}


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports whose frames a writer can have, the detector's first, and what makes it have those of another one."""

    names: tuple[str, ...] = (CAMERA_PORT,)
    take_from: Callable[[str], None] = lambda _port: None


class WriterControls:
    """Takes puts by record name without the device; shows their read-backs before they are complete."""

    def __init__(self, recorder: Recorder, show: Show, ports: Ports | None = None) -> None:
        """Act on `recorder`; `ports` are those that it can have frames of, the detector's only if left out."""
        self._recorder = recorder
        self._ports = ports or Ports()
        self._show = show
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="capture")
        self._acts: Mapping[str, Callable[[Value], Future]] = {
            "Capture": self._capture,
            "WriteFile": lambda on: self._worker.submit(recorder.write_kept) if on else _done(),
            "NDArrayPort": self._port,
            "FreeCapture": lambda _: self._worker.submit(recorder.forget_kept),
            "FlushNow": lambda _: self._worker.submit(recorder.flush_now),
        }
        self._checks: Mapping[str, Callable[[Value], Value]] = {
            "FilePath": self._file_path,
            "FileTemplate": self._template,
            "Compression": self._compression,
            "XMLFileName": _nothing_but("XMLFileName", "", "the default layout: an empty text"),
            "PositionMode": _nothing_but("PositionMode", False, "Off"),
            "FileFormat": _nothing_but("FileFormat", "HDF5", "HDF5"),
        }

    def begin(self) -> None:
        """Show what is asked for at start."""
        self._show({f"{name}_RBV": value for name, value in self._recorder.chosen.items()})
        self._show(dict(self._recorder.chosen))
        if self._recorder.chosen["FilePath"]:
            self.put("FilePath", self._recorder.chosen["FilePath"])

    def put(self, name: str, value: Value) -> Future | None:
        """Carry out a put; the Future is done when it has taken effect, None: it has.

        Raises:
            RefusedError: it cannot be; nothing was changed.
        """
        act = self._acts.get(name)
        if act is not None:
            return act(value)
        check = self._checks.get(name)
        value = check(value) if check is not None else value
        self._choose(name, value)
        if name in RECIPROCALS:
            other, against = RECIPROCALS[name], 1.0 / float(value) if value else 0.0
            self._choose(other, against)
            self._show({other: against})
        return None

    def close(self) -> None:
        """Let go of the thread that commands run in."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _capture(self, value: Value) -> Future:
        if not value:
            return self._worker.submit(self._recorder.end)
        ended: Future[None] = Future()
        begun = self._worker.submit(self._recorder.begin, ended)
        begun.add_done_callback(lambda made: _pass_failure(made, ended))
        return ended

    def _choose(self, name: str, value: Value) -> None:
        self._recorder.chosen[name] = value
        self._show({f"{name}_RBV": value})

    def _file_path(self, value: Value) -> Value:
        path = with_slash(str(value).strip())
        for folder in folders_to_make(path, int(self._recorder.chosen["CreateDirectory"])):
            try:
                Path(folder).mkdir(exist_ok=True)
            except OSError as error:
                log.warning("%s: the folder cannot be made: %s", folder, error.strerror)
                break
        self._show({"FilePathExists_RBV": bool(path) and Path(path).is_dir()})
        return path

    def _template(self, value: Value) -> Value:
        full_name(str(value), "/", "name", 1)
        return value

    def _compression(self, value: Value) -> Value:
        if value in UNSERVED:
            raise RefusedError(mismatch("Compression", "None, zlib, Blosc, BSLZ4 or LZ4", value))
        return value

    def _port(self, value: Value) -> Future:
        port = str(value)
        if port not in self._ports.names:
            raise RefusedError(mismatch("NDArrayPort", f"one of {', '.join(self._ports.names)}", value))
        return self._worker.submit(self._rewire, port)

    def _rewire(self, port: str) -> None:
        if port != self._recorder.chosen["NDArrayPort"]:
            self._recorder.chosen["NDArrayPort"] = port
            self._ports.take_from(port)
        self._show({"NDArrayPort_RBV": port})


def _nothing_but(name: str, only: Value, words: str) -> Callable[[Value], Value]:
    def check(value: Value) -> Value:
        if value != only:
            raise RefusedError(mismatch(name, words, value))
        return value

    return check


def _done() -> Future:
    future: Future[None] = Future()
    future.set_result(None)
    return future


def _pass_failure(made: Future, ended: "Future[None]") -> None:
    error = made.exception()
    if error is not None and not ended.done():
        ended.set_exception(error)
