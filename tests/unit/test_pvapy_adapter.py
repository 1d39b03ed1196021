"""PvaPy classes, unchanged, as processors: frames there and back, arguments, statistics, and every way to fail."""

import gc
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consumers.loading import load_processor
from consumers.processor import Context, Value, checked_settings, checked_statistics, frames_of
from consumers.pvapy.adapter import PvapyProcessor, record_names
from consumers.pvapy.class_process import ClassError
from consumers.pvapy.frame_pipe import FramePipe, PeerGone
from ioc.core.config import load
from ioc.core.errors import ConfigError, PeerError, RefusedError
from ioc.core.frame import Frame
from ioc.core.metadata import Metadata
from tests.support.frames import frame, noise

HERE = Path(__file__).parents[1] / "support" / "pvapy_processors"
INVERTING = f"pvapy:{HERE / 'inverting.py'}:InvertingProcessor"
ARGUMENTS = '{"offset": 255, "copies": 2, "crashAt": 5, "failAt": 6, "exitAt": 7, "structureAt": 8}'
CONTEXT = Context("Cons3", "pvapy", 2, 3, Path())


@pytest.fixture(scope="module")
def kind() -> type[PvapyProcessor]:
    """Return the processor class that a PvaPy class becomes."""
    found = load_processor(INVERTING)
    assert issubclass(found, PvapyProcessor)
    return found


@pytest.fixture(scope="module")
def started(kind: type[PvapyProcessor]) -> Iterator[PvapyProcessor]:
    """Yield a started processor, stopped at the end."""
    made = begun(kind, ARGUMENTS)
    yield made
    made.stop()
    assert made._process is not None
    assert not made._process.alive()


@pytest.fixture
def processor(started: PvapyProcessor) -> PvapyProcessor:
    """Return the started processor, as if it were new."""
    configure(started, Arguments=ARGUMENTS)
    started.reset()
    return started


def begun(kind: type[PvapyProcessor], arguments: str) -> PvapyProcessor:
    """Return a processor, configured and started as the consumer does it."""
    made = kind()
    configure(made, Arguments=arguments)
    made.start(CONTEXT)
    return made


def configure(made: PvapyProcessor, **settings: Value) -> None:
    """Configure a processor as the consumer does it."""
    made.configure(checked_settings(made.declared_settings, settings))


def figures(made: PvapyProcessor) -> dict[str, Value]:
    """Return its statistics, checked as the consumer does it."""
    return checked_statistics(made.declared_statistics, made.statistics())


def test_the_statistics_of_the_class_are_declared(kind: type[PvapyProcessor]) -> None:
    declared = {one.name: (one.type, one.description) for one in kind.declared_statistics}
    assert declared == {
        "nFrames": (int, "nFrames"),
        "processingtime": (float, "processing_time"),
        "mode": (str, "mode"),
        "Restarts": (int, "Times that the class crashed"),
    }


def test_frames_go_through_the_class_and_its_statistics_are_told(processor: PvapyProcessor) -> None:
    for number, dtype in enumerate(("uint8", "uint16", "int32", "float32"), 1):
        given = frame(noise((5, 7), dtype, number), number)
        found = frames_of(processor.process(given, {}))
        assert len(found) == 2
        for one in found:
            assert (one.series, one.unique_id) == (7, number)
            assert one.attributes == {"Energy": 12.4}
            assert one.data.dtype == given.data.dtype
            np.testing.assert_array_equal(one.data, (255 - given.data.astype(np.int64)).astype(dtype))
    told = figures(processor)
    assert (told["nFrames"], told["mode"], told["Restarts"]) == (4, "invert", 0)
    assert isinstance(told["processingtime"], float)
    processor.reset()
    assert figures(processor)["nFrames"] == 0


def test_arguments_reach_configure_and_what_it_refuses_is_told(processor: PvapyProcessor) -> None:
    configure(processor, Arguments='{"offset": 9, "copies": 1}')
    (found,) = frames_of(processor.process(frame(np.full((2, 3), 4, np.uint8)), {}))
    np.testing.assert_array_equal(found.data, np.full((2, 3), 5))
    with pytest.raises(ClassError, match=r"inverting\.py, line \d+: ValueError: offset below 0"):
        configure(processor, Arguments='{"offset": -1}')
    for text in ("[1]", "{", "offset=3"):
        with pytest.raises(RefusedError, match="setting Arguments: expected a JSON object"):
            configure(processor, Arguments=text)


def test_an_error_of_the_class_costs_that_frame(processor: PvapyProcessor) -> None:
    with pytest.raises(ClassError, match=r"inverting\.py, line \d+: RuntimeError: no such image"):
        processor.process(frame(noise((2, 2), "uint8"), 6), {})
    with pytest.raises(ClassError, match="updateOutputChannel: expected an NTNDArray, found 'PvObject'"):
        processor.process(frame(noise((2, 2), "uint8"), 8), {})
    assert len(frames_of(processor.process(frame(noise((2, 2), "uint8"), 9), {}))) == 2
    assert figures(processor)["Restarts"] == 0


@pytest.mark.parametrize(("unique_id", "end"), [(5, "killed by SIGSEGV"), (7, "exit code 7")])
def test_a_crash_costs_that_frame_and_the_class_is_started_anew(
    processor: PvapyProcessor, unique_id: int, end: str
) -> None:
    with pytest.raises(PeerError, match=f"the process of the class ended: {end}"):
        processor.process(frame(noise((2, 2), "uint8"), unique_id), {})
    assert figures(processor)["Restarts"] == 0
    assert len(frames_of(processor.process(frame(noise((2, 2), "uint8"), 1), {}))) == 2
    assert figures(processor)["Restarts"] == 1
    assert figures(processor)["nFrames"] == 1


def test_the_child_ends_with_its_consumer_even_if_it_hangs(kind: type[PvapyProcessor]) -> None:
    made = begun(kind, "{}")
    child = made._process
    assert child is not None
    child._child.send_signal(signal.SIGSTOP)  # as good as a class that hangs in C code with the interpreter's lock
    os.close(child._life)  # what the kernel does when the consumer is killed
    child._life = -1
    child._child.send_signal(signal.SIGCONT)
    assert child._child.wait(40) == -signal.SIGIO
    child._pipe.close()


def test_a_processor_of_pvapy_itself_saves_files(tmp_path: Path) -> None:
    found = load_processor("pvapy:pvapy.hpc.adOutputFileProcessor:AdOutputFileProcessor")
    assert issubclass(found, PvapyProcessor)
    made = begun(found, f'{{"outputDirectory": "{tmp_path}", "outputFileNameFormat": "{{uniqueId:03}}.tiff"}}')
    given = frame(noise((6, 8), "uint8"), 12)
    (out,) = frames_of(made.process(given, {}))
    np.testing.assert_array_equal(out.data, given.data)
    told = figures(made)
    made.stop()
    assert (tmp_path / "012.tiff").stat().st_size == told["nBytesSaved"]
    assert told["nFilesSaved"] == 1


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("pvapy:nothing", "expected pvapy:FILE.py:CLASS or pvapy:PACKAGE.MODULE:CLASS"),
        ("pvapy:nothing.py:Class", "nothing.py: expected a Python file with a PvaPy processor"),
        ("pvapy:no_such_module:Class", "No module named 'no_such_module'"),
        (f"pvapy:{HERE / 'inverting.py'}:Nothing", "expected a class with a method process"),
    ],
)
def test_a_class_that_cannot_be_had_is_one_error(reference: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"groups\.a\.processor: ") as caught:
        load_processor(reference, "groups.a.processor")
    assert message in str(caught.value)


def test_names_of_records_are_short_and_differ() -> None:
    names: dict[str, str] = dict.fromkeys(("a_b", "ab", "restarts", "9th", "_", "x" * 30, "x" * 31), "int")
    found = record_names(names)
    assert list(found.values()) == ["ab", "ab2", "restarts2", "N9th", "Value", "x" * 20, "x" * 18 + "2"]


def test_frames_of_changing_shapes_leave_no_memory_behind() -> None:
    ours, theirs = (FramePipe(one) for one in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    found: list[object] = []
    before = len(list(Path("/proc/self/fd").iterdir()))
    for size in range(1, 40):
        ours.free()
        for number in range(3):
            ours.send_frame(frame(np.full((size, 3), size, np.uint16), number))
        found = [theirs.receive(5) for _ in range(3)]
        assert [one.unique_id for one in found if isinstance(one, Frame)] == [0, 1, 2]
        assert all((one.data == size).all() for one in found if isinstance(one, Frame))
    del found
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 8, "two segments and their maps, of 39"
    ours.close()
    with pytest.raises(PeerGone):
        while True:
            theirs.receive(5)
    theirs.close()


def test_values_of_metadata_channels_lie_in_the_queues_of_the_class() -> None:
    kind = load_processor(f"pvapy:{HERE / 'associating.py'}:AssociatingProcessor")
    assert issubclass(kind, PvapyProcessor)
    made = kind()
    configure(made)
    made.start(Context("Cons3", "pvapy", 2, 3, Path(), {"Energy": "M:Energy", "Row": "M:Row", "Text": "M:Text"}))
    try:
        values = Metadata({"Energy": 7.5, "Row": np.arange(4), "Text": "five.", "Other": 1})
        (first,) = frames_of(made.process(frame(noise((2, 2), "uint8"), 1), values))
        (second,) = frames_of(made.process(frame(noise((2, 2), "uint8"), 2), Metadata({"Energy": 8.5})))
        told = {name: value for name, value in first.attributes.items() if name.startswith("M:")}
        assert told == {"M:Energy": 7.5, "M:Row": 6.0, "M:Text": 5.0}
        assert (second.attributes["M:Energy"], "M:Row" in second.attributes) == (8.5, False)
        assert figures(made)["found"] == 4
        with pytest.raises(RefusedError, match="metadata of frame 3: expected 30000 bytes"):
            made.process(frame(noise((2, 2), "uint8"), 3), Metadata({"Row": np.arange(20_000)}))
    finally:
        made.stop()


def test_what_a_thread_of_the_class_publishes_comes_with_its_extra_fields_as_attributes() -> None:
    kind = load_processor(f"pvapy:{HERE / 'threaded.py'}:ThreadedProcessor")
    assert issubclass(kind, PvapyProcessor)
    made = kind()
    configure(made, Fields="place")
    made.start(CONTEXT)
    found: dict[int, Frame] = {}
    try:
        for number in (1, 2, 3):
            given = replace(frame(noise((4, 6), "uint8", number), number), attributes={"place": 10 * number})
            found |= {one.unique_id: replace(one, data=one.data.copy()) for one in frames_of(made.process(given, {}))}
        limit = time.monotonic() + 30
        while len(found) < 3:
            assert time.monotonic() < limit, f"the thread published {sorted(found)} of 1 to 3 within 30 s"
            found |= {one.unique_id: replace(one, data=one.data.copy()) for one in made.flush()}
    finally:
        made.stop()
    assert [found[number].attributes["place"] for number in (1, 2, 3)] == [11, 21, 31]
    assert {one.series for one in found.values()} == {7}
    for number in (1, 2, 3):
        np.testing.assert_array_equal(found[number].data, noise((4, 6), "uint8", number))


def test_the_pvs_of_metadata_come_with_it_through_a_chain() -> None:
    text = """
    prefix = "P:"
    [groups.match.metadata.channels.Energy]
    channel = "pva://$(P)Meta:Energy"
    [groups.plain]
    input = "groups.match"
    [groups.last]
    input = "groups.plain"
    [groups.last.metadata.channels.X]
    channel = "ca://13SIM1:X"
    [groups.silent]
    input = "groups.kept"
    [groups.kept.metadata]
    attributes = false
    [groups.kept.metadata.channels.Y]
    channel = "Y"
    """
    config = load(text, "test")
    assert config.metadata_pvs("last") == {"Energy": "P:Meta:Energy", "X": "13SIM1:X"}
    assert (config.metadata_pvs("kept"), config.metadata_pvs("silent")) == ({"Y": "Y"}, {})
