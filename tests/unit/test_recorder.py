"""The capture state machine of the file writer, without an IOC: what is written, shown and refused."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import h5py
import pytest

from consumers.port_input import Ends
from consumers.recorder import Recorder
from consumers.writer_controls import Ports, WriterControls
from consumers.writer_records import start_values
from ioc.channels import hdf5_layout as layout
from ioc.channels.hdf5_writer import WriteError
from ioc.core.errors import RefusedError
from ioc.core.frame import EndOfSeries
from ioc.records.table import Value
from tests.unit.test_hdf5_writer import frame

WITHIN = 10.0


class Rig:
    """A recorder, its controls, and what they showed, in order."""

    def __init__(self, folder: Path, **chosen: Value) -> None:
        self.shown: dict[str, Value] = {}
        self.history: list[tuple[str, Value]] = []
        plain: dict[str, Value] = {"EnableCallbacks": True, "AutoIncrement": False, "FileNumber": 0}
        values = start_values() | plain | {"FileName": "scan", "FileTemplate": "%s%s_%d.h5"} | chosen
        self.journal = folder.with_name("journal")
        self.recorder = Recorder(values, 1 << 20, self.journal, self.show)
        self.taken_from: list[str] = []
        ports = Ports(("SIM1", "ROI1"), self.taken_from.append)
        self.controls = WriterControls(self.recorder, self.show, ports)
        self.controls.begin()
        self.put("FilePath", str(folder))

    def show(self, values: Any) -> None:
        self.shown.update(values)
        self.history += values.items()

    def put(self, name: str, value: Value) -> Future | None:
        future = self.controls.put(name, value)
        if future is not None and name != "Capture":
            future.result(WITHIN)
        return future

    def capture(self) -> Future:
        future = self.put("Capture", True)
        assert future is not None
        self.controls._worker.submit(lambda: None).result(WITHIN)  # the command before this one has been carried out
        return future

    def take(self, *ids: int) -> None:
        for number in ids:
            self.recorder.process(frame(number), {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def frames_in(path: Path) -> list[int]:
    with h5py.File(path) as file:
        ids: Any = file[f"{layout.ATTRIBUTES}/{layout.UNIQUE_ID}"]
        return ids[:].tolist()


def test_a_stream_ends_with_its_last_frame(folder: Path) -> None:
    rig = Rig(folder, FileWriteMode="Stream", NumCapture=3, AutoIncrement=True, FileNumber=5)
    rig.take(1)
    ended = rig.capture()
    assert (rig.shown["FullFileName_RBV"], rig.shown["FileNumber_RBV"]) == (f"{folder}/scan_5.h5", 6)
    rig.take(2, 3)
    assert not ended.done() and rig.journal.read_text() == f"{folder}/scan_5.h5"
    rig.take(4, 5)
    ended.result(WITHIN)
    assert frames_in(folder / "scan_5.h5") == [2, 3, 4]
    assert (rig.shown["NumCaptured_RBV"], rig.shown["Capture_RBV"], rig.shown["WriteStatus"]) == (3, False, False)
    assert rig.recorder.account.ignored == 2 and not rig.journal.exists()


def test_the_counter_goes_to_0_before_capture_goes_to_1_and_counts_frames_that_are_in_the_file(folder: Path) -> None:
    rig = Rig(folder, FileWriteMode="Stream", NumCapture=1)
    for _ in range(2):
        rig.history.clear()
        ended = rig.capture()
        rig.take(1)
        ended.result(WITHIN)
        edges = [(name, value) for name, value in rig.history if name in ("NumCaptured_RBV", "Capture_RBV")]
        assert edges[:2] == [("NumCaptured_RBV", 0), ("Capture_RBV", True)]
        assert edges[-2:] == [("NumCaptured_RBV", 1), ("Capture_RBV", False)]


def test_lazy_open_waits_for_a_frame_and_nothing_comes_of_none(folder: Path) -> None:
    rig = Rig(folder, FileWriteMode="Stream", LazyOpen=True, NumCapture=0)
    ended = rig.capture()
    assert (rig.shown["WriteMessage"], rig.shown["FullFileName_RBV"]) == ("Lazy Open...", "")
    rig.put("Capture", False)
    ended.result(WITHIN)
    assert list(folder.iterdir()) == []


def test_flush_shows_readers_what_is_written(folder: Path) -> None:
    rig = Rig(folder, FileWriteMode="Stream", NumCapture=0)
    rig.capture()
    rig.take(1, 2)
    rig.put("FlushNow", True)
    with h5py.File(folder / "scan_0.h5", "r", swmr=True, libver="latest") as file:
        data: Any = file[layout.DATA]
        assert data.shape[0] == 2
    rig.recorder.stop()


def test_the_end_of_a_series_goes_into_the_file_at_once_with_all_frames_before_it(folder: Path) -> None:
    rig = Rig(folder, FileWriteMode="Stream", NumCapture=0)
    rig.capture()
    rig.take(1, 2, 4)
    ends = Ends(rig.recorder, "SIM1")
    assert ends.publish([EndOfSeries(7, 5)]).count == 1
    with h5py.File(folder / "scan_0.h5", "r", swmr=True, libver="latest") as file:
        data: Any = file[layout.DATA]
        series: Any = file[layout.SERIES]
        assert (data.shape[0], series[:].tolist()) == (3, [(7, 3, 1, 4, 5, 1)])
    Ends(rig.recorder, "ROI1").publish([EndOfSeries(7, 9)])
    rig.recorder.stop()
    with h5py.File(folder / "scan_0.h5") as file:
        series = file[layout.SERIES]
        assert series[:].tolist() == [(7, 3, 1, 4, 5, 1)], "the end on another port is not that of these frames"


def test_frames_that_are_written_after_the_end_of_their_series_have_it_too(folder: Path) -> None:
    rig = Rig(folder, FileWriteMode="Capture", NumCapture=2)
    rig.capture()
    rig.take(1, 2)
    Ends(rig.recorder, "SIM1").publish([EndOfSeries(7, 2)])
    rig.put("WriteFile", True)
    with h5py.File(folder / "scan_0.h5") as file:
        series: Any = file[layout.SERIES]
        assert series[:].tolist() == [(7, 2, 1, 2, 2, 1)]


def test_frames_that_come_too_soon_pass_by(folder: Path) -> None:
    rig = Rig(folder, FileWriteMode="Stream", NumCapture=0)
    rig.put("MaxArrayRate", 0.001)
    assert (rig.shown["MinCallbackTime"], rig.shown["MinCallbackTime_RBV"]) == (1000.0, 1000.0)
    rig.capture()
    rig.take(1, 2, 3)
    rig.put("MinCallbackTime", 0.0)
    assert rig.shown["MaxArrayRate_RBV"] == 0.0
    rig.take(4)
    rig.recorder.stop()
    assert frames_in(folder / "scan_0.h5") == [1, 4]


def test_frames_of_mode_capture_wait_in_memory(folder: Path) -> None:
    rig = Rig(folder, FileWriteMode="Capture", NumCapture=2)
    ended = rig.capture()
    rig.take(1, 2, 3)
    ended.result(WITHIN)
    assert list(folder.iterdir()) == []
    rig.put("WriteFile", True)
    assert frames_in(folder / "scan_0.h5") == [1, 2]


def test_frames_in_memory_can_be_forgotten(folder: Path) -> None:
    rig = Rig(folder, FileWriteMode="Capture", NumCapture=2)
    rig.capture()
    rig.take(1, 2)
    assert (rig.recorder.kept, rig.recorder.kept_bytes) == (2, 2 * frame(1).data.nbytes)
    rig.put("FreeCapture", True)
    assert (rig.recorder.kept, rig.recorder.kept_bytes) == (0, 0)
    with pytest.raises(RefusedError, match="a frame in memory"):
        rig.put("WriteFile", True)


def test_mode_capture_saves_by_itself_if_told_to_and_keeps_no_more_than_its_memory(folder: Path) -> None:
    rig = Rig(folder, FileWriteMode="Capture", NumCapture=2, AutoSave=True)
    rig.capture()
    rig.take(1, 2)
    assert frames_in(folder / "scan_0.h5") == [1, 2]
    rig.recorder._memory = 60
    rig.capture()
    rig.take(3)
    with pytest.raises(WriteError, match="at most 60 bytes"):
        rig.take(4)
    rig.recorder.stop()


def test_mode_single_writes_the_newest_frame_and_cannot_capture(folder: Path) -> None:
    rig = Rig(folder, FileWriteMode="Single")
    with pytest.raises(RefusedError, match="a frame in memory"):
        rig.put("WriteFile", True)
    rig.take(1, 2)
    rig.put("WriteFile", True)
    assert frames_in(folder / "scan_0.h5") == [2]
    with pytest.raises(RefusedError, match="not supported in Single mode"):
        rig.capture().result(WITHIN)
    rig.put("AutoSave", True)
    rig.put("AutoIncrement", True)
    rig.take(3, 4)
    assert frames_in(folder / "scan_1.h5") == [4]


def test_frames_pass_by_while_callbacks_are_disabled(folder: Path) -> None:
    rig = Rig(folder, FileWriteMode="Stream", EnableCallbacks=False, NumCapture=0)
    rig.capture()
    rig.take(1, 2)
    rig.recorder.stop()
    assert rig.recorder.account.ignored == 2 and rig.shown["NumCaptured_RBV"] == 0


def test_a_file_that_cannot_be_made_ends_the_capture_or_fails_each_frame(folder: Path) -> None:
    rig = Rig(folder, FileWriteMode="Stream", NumCapture=0)
    rig.put("FileTemplate", "%s/none/%s.h5")
    with pytest.raises(RefusedError, match="cannot be made"):
        rig.capture().result(WITHIN)
    assert rig.shown["WriteStatus"] is True and rig.shown.get("Capture_RBV", False) is False
    rig.put("LazyOpen", True)
    ended = rig.capture()
    for number in (1, 2):
        with pytest.raises(WriteError, match="cannot be made"):
            rig.take(number)
    rig.put("Capture", False)
    ended.result(WITHIN)
    rig.put("FileTemplate", "%s%s.h5")
    rig.capture()
    rig.take(3)
    rig.recorder.stop()
    assert frames_in(folder / "scan.h5") == [3]


def test_another_port_is_taken_from_once_and_shown(folder: Path) -> None:
    rig = Rig(folder)
    for port in ("SIM1", "ROI1", "ROI1", "SIM1"):
        rig.put("NDArrayPort", port)
        assert rig.shown["NDArrayPort_RBV"] == rig.recorder.chosen["NDArrayPort"] == port
    assert rig.taken_from == ["ROI1", "SIM1"]


def test_a_frame_of_another_shape_is_ignored_and_said(folder: Path) -> None:
    rig = Rig(folder, FileWriteMode="Stream", NumCapture=0)
    rig.capture()
    rig.take(1)
    with pytest.raises(WriteError):
        rig.recorder.process(frame(2, (9, 9)), {})
    assert str(rig.shown["WriteMessage"]).startswith("Invalid frame. Ignoring.")
    rig.take(3)
    rig.recorder.stop()
    assert frames_in(folder / "scan_0.h5") == [1, 3]
    assert rig.shown["WriteMessage"] == "1 frames are missing in scan_0.h5, it says which"


def test_a_temporary_suffix_goes_when_the_file_is_whole(folder: Path) -> None:
    rig = Rig(folder, FileWriteMode="Stream", NumCapture=2, TempSuffix=".part")
    rig.capture()
    rig.take(1)
    assert [one.name for one in folder.iterdir()] == ["scan_0.h5.part"]
    rig.take(2)
    assert [one.name for one in folder.iterdir()] == ["scan_0.h5"]


def test_folders_are_made_when_the_path_is_put(folder: Path) -> None:
    rig = Rig(folder)
    rig.put("FilePath", f"{folder}/a/b")
    assert rig.shown["FilePathExists_RBV"] is False
    rig.put("CreateDirectory", -2)
    rig.put("FilePath", f"{folder}/a/b")
    assert rig.shown["FilePathExists_RBV"] is True and rig.shown["FilePath_RBV"] == f"{folder}/a/b/"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Compression", "JPEG"),
        ("FileFormat", "Invalid"),
        ("NDArrayPort", "CODEC1"),
        ("XMLFileName", "a.xml"),
        ("FileTemplate", "%d%d"),
    ],
)
def test_what_is_not_served_is_refused(folder: Path, name: str, value: str) -> None:
    rig = Rig(folder)
    before = dict(rig.recorder.chosen)
    with pytest.raises(RefusedError):
        rig.put(name, value)
    assert rig.recorder.chosen == before
