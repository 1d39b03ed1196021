"""What becomes of a writer's frames: areaDetector's capture state machine, on whole files.

    idle --Capture=1--> capturing --NumCapture frames, Capture=0, the process ends--> idle

Rules (NDPluginFile): in mode Stream each frame goes into the file, which is opened at Capture=1, or with the first
frame if LazyOpen. In mode Capture frames are kept in memory until WriteFile, or AutoSave. In mode Single only the
newest frame is kept, for WriteFile or AutoSave. A frame that cannot be written is an error of that frame: it is
counted as failed, WriteStatus says so, the stream goes on. Frames that nobody asked to write pass by.
One lock: a frame or a command at a time. Read-backs change in this order: NumCaptured, then Capture.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from consumers.processor import Metadata, Processor
from ioc.channels.hdf5_filters import Compression
from ioc.channels.hdf5_writer import FileSettings, Hdf5Writer, WriteError
from ioc.core.compressed import codec_of
from ioc.core.errors import RefusedError, mismatch
from ioc.core.file_name import full_name
from ioc.core.frame import EndOfSeries, Frame
from ioc.records.table import Value

log = logging.getLogger(__name__)

SHOWN_EVERY = 0.02
"""s between two values of NumCaptured at least, while frames come fast."""
MOST_ENDED = 1024
"""Ends of series that are remembered for frames that are kept in memory."""
SINGLE, CAPTURE, STREAM = "Single", "Capture", "Stream"
Show = Callable[[Mapping[str, Value]], None]


@dataclass(slots=True)
class Account:
    """What the recorder did since it was made; `newest` is the newest frame without its pixels' memory."""

    stored: int = 0
    ignored: int = 0
    shape: tuple[int, ...] = ()
    dtype: str = "uint8"
    codec: str = ""
    nbytes: int = 0
    unique_id: int = 0
    timestamp_ns: int = 0


class Recorder(Processor):
    """The frames' way into files. `chosen` are the demands by record name; `show` takes read-backs by record name.

    `note_file` holds the name of the file that is open, for the next life of a process that is killed.
    """

    def __init__(self, chosen: dict[str, Value], memory: int, note_file: Path, show: Show) -> None:
        self.chosen = chosen
        self.account = Account()
        self._memory = memory
        self._note_file = note_file
        self._show = show
        self._guard = threading.RLock()
        self._writer: Hdf5Writer | None = None
        self._final = Path()
        self._kept: list[Frame] = []
        self._ended: dict[int, EndOfSeries] = {}
        self._waiting: list[Future[None]] = []
        self._capturing = False
        self._captured = 0
        self._flushes = 0
        self._opened = 0.0
        self._bytes = 0
        self._shown = 0.0
        self._taken = 0.0
        self._fault = ""

    def process(self, frame: Frame, metadata: Metadata) -> None:
        """Do with a frame what is asked for.

        Raises:
            WriteError: it could not be written.
        """
        with self._guard:
            self._note(frame)
            if self.chosen["EnableCallbacks"] is not True or self._too_soon():
                self.account.ignored += 1
                return
            mode = self.chosen["FileWriteMode"]
            try:
                if mode == SINGLE:
                    self._single(frame)
                elif not self._capturing:
                    self.account.ignored += 1
                elif mode == STREAM:
                    self._stream(frame)
                else:
                    self._keep(frame)
            except WriteError as error:
                self._failed(error)
                raise

    def flush(self) -> None:
        self.show_progress()

    def end_series(self, marker: EndOfSeries) -> None:
        """Note how many frames a series had, and let readers see all that are here: no later frame would."""
        with self._guard:
            self._ended[marker.series] = marker
            while len(self._ended) > MOST_ENDED:
                del self._ended[next(iter(self._ended))]
            if self._writer is None or self._writer.broken:
                return
            self._writer.end_series(marker)
            try:
                self._writer.flush()
            except WriteError as error:
                self._failed(error)

    def show_progress(self) -> None:
        """Show what is captured now; under the lock, so that no older number is shown after a newer one."""
        with self._guard:
            self._show_captured(at_once=True)

    def begin(self, ended: "Future[None]") -> None:
        """Begin to capture; `ended` is done when it is over.

        Raises:
            RefusedError: mode Single, or the file cannot be made.
        """
        with self._guard:
            if self._capturing:
                self._waiting.append(ended)
                return
            mode = self.chosen["FileWriteMode"]
            if mode == SINGLE:
                raise RefusedError("Capture: ERROR: capture not supported in Single mode")
            self._captured, self._fault, self._kept = 0, "", []
            self._show({"WriteStatus": False, "WriteMessage": "", "FullFileName_RBV": "", "MissedFrames_RBV": 0})
            if mode == STREAM and self.chosen["LazyOpen"]:
                self._show({"WriteMessage": "Lazy Open..."})
            elif mode == STREAM:
                self._open_now()
            self._capturing = True
            self._waiting.append(ended)
            self._show_captured(at_once=True)
            self._show({"Capture_RBV": True})

    def end(self) -> None:
        """Stop to capture: close the file; nothing if nothing is captured."""
        with self._guard:
            self._finish()

    def flush_now(self) -> None:
        """Bring what is written to the file, for readers; done when it is there."""
        with self._guard:
            if self._writer is None or not self._writer.swmr_active:
                return
            try:
                self._writer.flush()
            except WriteError as error:
                self._failed(error)
                raise RefusedError(f"FlushNow: {error}") from None
            self._flushes += 1
            self._show({"SWMRCbCounter_RBV": self._flushes})
            self._show_captured(at_once=True)

    def write_kept(self) -> None:
        """Write what is kept in memory into a file of its own.

        Raises:
            RefusedError: there is nothing, or it is the business of Stream, or the file cannot be written.
        """
        with self._guard:
            if self.chosen["FileWriteMode"] == STREAM:
                raise RefusedError("WriteFile: ERROR: in mode Stream files are written by Capture")
            if not self._kept:
                raise RefusedError(mismatch("WriteFile", "a frame in memory", "none", "enable callbacks and acquire"))
            self._show({"WriteFile_RBV": True, "WriteStatus": False, "WriteMessage": ""})
            try:
                self._write_kept()
            except WriteError as error:
                self._failed(error)
                raise RefusedError(f"WriteFile: {error}") from None
            finally:
                self._show({"WriteFile_RBV": False})

    def forget_kept(self) -> None:
        """Forget the frames in memory."""
        with self._guard:
            self._kept = []

    def stop(self) -> None:
        self.end()

    def figures(self) -> dict[str, int]:
        """Return what the status tells."""
        with self._guard:
            missed = self._writer.missed if self._writer is not None else 0
            return {"Captured": self._captured, "Stored": self.account.stored, "MissedFrames": missed}

    def _too_soon(self) -> bool:
        """Return whether MinCallbackTime has not passed since the frame before; else this is the frame before."""
        now = time.monotonic()
        if now - self._taken < float(self.chosen["MinCallbackTime"]):
            return True
        self._taken = now
        return False

    @property
    def kept_bytes(self) -> int:
        """Bytes of the pixels of the frames in memory."""
        return sum(one.data.nbytes for one in self._kept)

    @property
    def kept(self) -> int:
        """Frames in memory."""
        return len(self._kept)

    def _note(self, frame: Frame) -> None:
        one = self.account
        codec = codec_of(frame)
        one.codec, one.nbytes = codec.name if codec else "", frame.data.nbytes
        one.shape, one.dtype = (
            (codec.shape, codec.data_type.dtype.name) if codec else (frame.data.shape, frame.data.dtype.name)
        )
        one.unique_id, one.timestamp_ns = frame.unique_id, frame.timestamp_ns

    def _single(self, frame: Frame) -> None:
        self._kept = [replace(frame, data=frame.data.copy())]  # its memory is used again, WriteFile may come later
        if self.chosen["AutoSave"]:
            self._write_kept()
        else:
            self.account.ignored += 1

    def _keep(self, frame: Frame) -> None:
        size = self.kept_bytes + frame.data.nbytes
        if size > self._memory:
            raise WriteError(mismatch("NumCapture", f"frames of at most {self._memory} bytes together", size))
        self._kept.append(replace(frame, data=frame.data.copy()))  # its memory is used again
        self._count()
        if self._captured_all():
            if self.chosen["AutoSave"]:
                self._write_kept()
            self._finish()

    def _stream(self, frame: Frame) -> None:
        if self._fault:
            raise WriteError(self._fault)
        if self._writer is None:
            self._open()
        assert self._writer is not None
        self._writer.write(frame)
        self._bytes += frame.data.nbytes
        self._show_opened()
        self._count()
        if self._captured_all():
            self._finish()

    def _count(self) -> None:
        self._captured += 1
        self.account.stored += 1
        self._show_captured(at_once=False)

    def _captured_all(self) -> bool:
        wanted = int(self.chosen["NumCapture"])
        return wanted > 0 and self._captured >= wanted

    def _open_now(self) -> None:
        try:
            self._open()
        except WriteError as error:
            self._failed(error)
            raise RefusedError(f"Capture: {error}") from None

    def _open(self) -> None:
        self._final = self._next_name()
        path = self._final.with_name(self._final.name + str(self.chosen["TempSuffix"]))
        self._note_name(path)
        frames = int(self.chosen["NumCapture"]) or None
        try:
            self._writer = Hdf5Writer(path, file_settings(self.chosen, frames))
        except RefusedError as error:
            raise WriteError(str(error)) from None
        self._opened, self._bytes = time.monotonic(), 0
        self._show({"FullFileName_RBV": str(self._final), "WriteMessage": ""})

    def _note_name(self, path: Path) -> None:
        try:
            self._note_file.write_text(str(path))
        except OSError as error:  # the file can be written all the same
            log.error("%s: not noted which file is open: %s", self._note_file, error.strerror)

    def _next_name(self) -> Path:
        chosen = self.chosen
        number = int(chosen["FileNumber"])
        try:
            name = full_name(str(chosen["FileTemplate"]), str(chosen["FilePath"]), str(chosen["FileName"]), number)
        except RefusedError as error:
            raise WriteError(str(error)) from None
        if chosen["AutoIncrement"]:
            chosen["FileNumber"] = number + 1
            self._show({"FileNumber": number + 1, "FileNumber_RBV": number + 1})
        return Path(name)

    def _write_kept(self) -> None:
        kept, self._kept = self._kept, []
        self._open()
        assert self._writer is not None
        for frame in kept:
            self._writer.write(frame)
            self._bytes += frame.data.nbytes
        for series in {frame.series for frame in kept} & self._ended.keys():
            self._writer.end_series(self._ended[series])
        if self.chosen["FileWriteMode"] == SINGLE:
            self.account.stored += 1
        self._close()

    def _finish(self) -> None:
        if not self._capturing:
            return
        self._capturing = False
        if self.chosen["FileWriteMode"] == STREAM or self._writer is not None:
            try:
                self._close()
            except WriteError as error:
                self._failed(error)
        self._show_captured(at_once=True)
        self._show({"Capture_RBV": False})
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.set_result(None)

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        missed = writer.missed
        try:
            writer.close()
            if writer.path != self._final:
                writer.path.replace(self._final)
        except OSError as error:
            raise WriteError(
                f"{self._final}: cannot be renamed: {error.strerror}; the frames are in {writer.path}"
            ) from None
        finally:
            self._show({"SWMRActive_RBV": False, "MissedFrames_RBV": missed})
            self._note_file.unlink(missing_ok=True)
        seconds = max(time.monotonic() - self._opened, 1e-9)
        self._show({"RunTime": seconds, "IOSpeed": self._bytes * 8e-6 / seconds})
        if missed:
            self._show({"WriteMessage": f"{missed} frames are missing in {self._final.name}, it says which"})

    def _failed(self, error: WriteError) -> None:
        """Show an error; what comes next fails at once if the file is lost."""
        lost = self._writer is None or self._writer.broken
        if lost:
            self._fault = str(error)
        text = f"ERROR: {error}" if lost else f"Invalid frame. Ignoring. {error}"
        self._show({"WriteStatus": True, "WriteMessage": text})

    def _show_opened(self) -> None:
        assert self._writer is not None
        self._show({"SWMRActive_RBV": self._writer.swmr_active, "MissedFrames_RBV": self._writer.missed})

    def _show_captured(self, at_once: bool) -> None:
        now = time.monotonic()
        if at_once or now - self._shown >= SHOWN_EVERY or self._captured_all():
            self._shown = now
            self._show({"NumCaptured_RBV": self._captured})


def file_settings(chosen: Mapping[str, Value], frames: int | None) -> FileSettings:
    """Return how a file of `frames` frames is written, from the demands; None: how many is not known."""
    rows, columns = int(chosen["NumRowChunks"]), int(chosen["NumColChunks"])
    whole = bool(chosen["ChunkSizeAuto"]) or not (rows and columns)
    return FileSettings(
        frames,
        max(1, int(chosen["NumFramesChunks"])),
        None if whole else (rows, columns),
        int(chosen["NumFramesFlush"]),
        int(chosen["NDAttributeChunk"]),
        bool(chosen["StoreAttr"]),
        bool(chosen["StorePerform"]),
        bool(chosen["SWMRMode"]),
        float(chosen["FillValue"]),
        Compression(
            str(chosen["Compression"]),
            int(chosen["ZLevel"]),
            str(chosen["BloscCompressor"]),
            int(chosen["BloscLevel"]),
            str(chosen["BloscShuffle"]),
        ),
    )
