"""Frames that killed a process twice: found, written, reported, bounded, shown, and run again by hand."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers import replaying
from consumers.quarantined import Quarantined
from ioc.channels.base import Accepted
from ioc.channels.local_pool import Segment
from ioc.channels.local_wire import parse_items
from ioc.channels.memory_book import MemoryBook
from ioc.core import codec
from ioc.core.config import load
from ioc.core.config_supervision import QuarantineConfig
from ioc.core.errors import InputError, ProtocolError, RefusedError, UserError
from ioc.core.frame import Frame
from ioc.core.quarantine import Death, Report, closing, parse
from ioc.core.status import Role
from ioc.distributor.distributor import Distributor
from ioc.distributor.spool import SPOOLED, Spool
from ioc.supervisor.plan import plan
from ioc.supervisor.quarantine import Quarantine, findable
from ioc.supervisor.rules import Rules
from ioc.supervisor.run_folder import RunFolder
from ioc.supervisor.worker import Worker
from tests.unit.test_distributor import Link, burst, offer, shape

SICK = """
from consumers.processor import Processor, Setting, Statistic


class Sick(Processor):
    declared_settings = (Setting("Bad", 3), Setting("Other", 1.0))
    declared_statistics = (Statistic("Seen", int),)

    def process(self, frame, metadata):
        self.report(Seen=1)
        if frame.unique_id == self.settings["Bad"]:
            raise ValueError("this one")
        frame.data[0]
        return frame


class Both(Processor):
    batch_size = 4

    def process_batch(self, frames, metadata):
        return [frames[0], frames[0]]
"""
DEADLINE = 20.0


@pytest.fixture
def segment() -> Iterator[Segment]:
    segment = Segment((4, 6), np.dtype(np.uint16), 32)
    yield segment
    segment.close()


def spooled(spool: Spool, folder: Path, count: int) -> list[Path]:
    """Return the files of frames once there are so many."""
    limit = time.monotonic() + DEADLINE
    while len(found := sorted(folder.glob(f"*{SPOOLED}"))) < count:
        assert time.monotonic() < limit, f"{count} frames are not written: {found}"
        time.sleep(0.005)  # polled: the file is the event
    spool.close()
    return found


def die(distributor: Distributor, member: Link) -> None:
    """Let a member die with all that it has in hand, and the distributor notice."""
    member.living = False
    distributor.pump()


def sit(distributor: Distributor) -> Link:
    """Return a new life of the member of the group."""
    member = Link("Cons1")
    distributor.join("a", 0, member)
    distributor.pump()
    return member


def test_the_frame_that_two_died_of_is_set_aside_and_its_memory_is_free_again(segment: Segment, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "quarantine", 1 << 20)
    distributor = Distributor(aside=spool)
    distributor.add_group(1, shape("a", 1), ["Cons1"])
    member = sit(distributor)
    frames = burst(segment, 1, 5)
    frames[0].data[:] = 7
    offer(distributor, frames)
    die(distributor, member)
    assert [frame.suspect for frame in frames] == [True] * 5, "any of them may have been it"
    assert [frame.deaths for frame in frames] == [1, 0, 0, 0, 0]
    second = sit(distributor)
    assert second.ids() == [1, 2, 3, 4, 5]
    die(distributor, second)
    third = sit(distributor)
    assert third.ids() == [2, 3, 4, 5], "the rest of the stream goes on"
    (path,) = spooled(spool, tmp_path / "quarantine", 1)
    assert path.name == "Cons1_1_1.frame"
    frame, report = parse(path.read_bytes())
    assert report is None
    assert (frame.series, frame.unique_id, frame.data.tolist()) == (1, 1, np.full((4, 6), 7).tolist())
    assert not frame.data.flags.writeable
    third.finished = 4
    distributor.pump()
    assert segment.held == 0


def test_suspects_are_marked_on_the_wire(segment: Segment) -> None:
    from ioc.channels import local, local_wire

    frames = burst(segment, 1, 3)
    frames[1].suspect = True
    ((message, count, _),) = local._messages(frames, local_wire.items_head(0))
    assert count == 3
    assert [type(entry) is local_wire.Suspect for entry in parse_items(message)] == [False, True, False]


def test_what_is_too_large_or_too_many_is_told_and_not_kept(
    segment: Segment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path / "quarantine", 10)
    (frame,) = burst(segment, 1, 1)
    spool.set_aside("Cons1", frame)
    assert "is not kept" in caplog.text
    spool.close()
    assert not (tmp_path / "quarantine").exists()
    full = Spool(Path("/dev/full/quarantine"), 1 << 20)
    full.set_aside("Cons1", frame)
    held = segment.held
    full.close()
    assert "is not kept: [Errno" in caplog.text
    assert segment.held == held - 1, "the memory is let go of all the same"


class House:
    """A quarantine with the worker Cons1 of a group."""

    def __init__(self, folder: Path, most_frames: int = 16) -> None:
        self.folder = folder / "quarantine"
        self.folder.mkdir()
        (folder / "sick.py").write_text(SICK)
        text = f'[groups.a]\nprocessor = "{folder}/sick.py:Sick"\ntime_limit = 4.0\nsettings = {{ Bad = 7 }}\n'
        spec = next(one for one in plan(load(text, "test"), folder) if one.role is Role.CONSUMER)
        self.worker = Worker(spec, "module", RunFolder(folder), Rules())
        self.quarantine = Quarantine(self.folder, QuarantineConfig(most_frames=most_frames))

    def spool(self, unique_id: int, size: int = 4) -> None:
        """Put a frame there as a distributor does."""
        frame = Frame(5, unique_id, 1, np.full((size, size), unique_id, np.uint8), {"Energy": 12.5})
        (self.folder / f"Cons1_5_{unique_id}.frame").write_bytes(b"".join(codec.encode(frame)))

    def look(self) -> list[str]:
        """Look as the supervisor does, and return what is kept."""
        self.quarantine.look([self.worker], 1)
        return sorted(path.name for path in self.folder.iterdir())


def test_the_report_says_what_died_and_how(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.worker.settings = {"Bad": 3}
    for code in (-11, 4):
        house.worker.deaths.append(Death(name="Cons1", pid=17, wall_ns=-code, exit_code=code, reason="why", trace="t"))
    house.spool(3)
    assert house.look() == ["Cons1_5_3.quarantine"]
    frame, report = parse((house.folder / "Cons1_5_3.quarantine").read_bytes())
    assert report is not None
    assert (report.name, report.series, report.unique_id, report.group) == ("Cons1", 5, 3, "a")
    assert (report.processor, report.settings) == (f"{tmp_path}/sick.py:Sick", {"Bad": 3})
    assert (report.time_limit, [death.exit_code for death in report.deaths]) == (4.0, [4, -11])
    assert (frame.attributes, frame.data[0, 0]) == ({"Energy": 12.5}, 3)
    assert house.worker._aside_ns is not None, "the state says so"
    assert house.quarantine.kept.names == ("Cons1_5_3",)


def test_the_quarantine_keeps_to_its_limits_and_to_others_while_it_runs(tmp_path: Path) -> None:
    house = House(tmp_path, most_frames=3)
    for unique_id in range(1, 6):
        house.spool(unique_id)
        os.utime(house.folder / f"Cons1_5_{unique_id}.frame", ns=(unique_id, unique_id))
        house.look()
    assert house.look() == [f"Cons1_5_{unique_id}.quarantine" for unique_id in (3, 4, 5)]
    house.quarantine.most_bytes = house.quarantine.kept.size_bytes - 1
    house.quarantine.tidy()
    assert house.quarantine.kept.names == ("Cons1_5_4", "Cons1_5_5")
    house.quarantine.most_frames = 0
    house.quarantine.tidy()
    assert house.look() == []
    assert house.quarantine.kept.last == ""


def test_a_file_that_is_no_frame_of_anybody_does_no_harm(tmp_path: Path) -> None:
    house = House(tmp_path)
    (house.folder / "nonsense.frame").write_bytes(b"x")
    house.spool(1)
    (house.folder / "Set1Member1_5_2.frame").write_bytes((house.folder / "Cons1_5_1.frame").read_bytes())
    assert house.look() == ["Cons1_5_1.quarantine", "Set1Member1_5_2.quarantine", "nonsense.bad"]
    _, report = parse((house.folder / "Set1Member1_5_2.quarantine").read_bytes())
    assert report is not None
    assert report.processor is None, "nobody knows what a client of another kind did with it"


class Shown:
    """An image channel."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def publish(self, items: list[Frame]) -> Accepted:
        self.ids += [item.unique_id for item in items]
        return Accepted(len(items))


def test_a_consumer_shows_the_newest_of_its_frames(tmp_path: Path) -> None:
    house, shown = House(tmp_path), Shown()
    memory = MemoryBook(tmp_path / "memory", "Cons1", 4096)
    seen = Quarantined(house.folder, "Cons1", shown, memory)  # type: ignore[arg-type]
    seen.look()
    assert (seen.count, seen.ids, seen.path, shown.ids) == (0, "", "", [])
    for unique_id in (1, 2):
        house.spool(unique_id)
        house.look()
        os.utime(house.folder / f"Cons1_5_{unique_id}.quarantine", ns=(unique_id, unique_id))
        seen._seen_ns = 0
        seen.look()
        seen.look()
    assert (seen.count, seen.ids, shown.ids) == (2, "5:2 5:1", [1, 2])
    assert seen.path.endswith("Cons1_5_2.quarantine")
    assert memory.used == (house.folder / "Cons1_5_2.quarantine").stat().st_size, "one copy is booked"
    house.spool(3, 64)
    house.look()
    seen._seen_ns = 0
    seen.look()
    assert (seen.count, shown.ids) == (3, [1, 2]), "no memory for its image, but it is counted"


@given(st.binary(max_size=200), st.integers(0, 400), st.booleans())
def test_any_bytes_are_a_frame_or_one_error(noise: bytes, cut: int, tail: bool) -> None:
    whole = b"".join(codec.encode(Frame(1, 2, 3, np.zeros((2, 2), np.uint8))))
    whole += closing(len(whole), Report(name="a", series=1, unique_id=2)) if tail else b""
    for payload in (noise, whole[:cut] + noise, whole[cut:], noise + whole):
        try:
            frame, _ = parse(payload)
        except ProtocolError:
            continue
        assert isinstance(frame, Frame)


def kept(folder: Path, unique_id: int, processor: str | None = None) -> Path:
    """Return a file of quarantine, the processor's file beside it."""
    house = House(folder)
    house.worker.deaths.append(
        Death(name="Cons1", pid=17, wall_ns=1, exit_code=-11, reason="was killed", trace="stack")
    )
    house.spool(unique_id)
    house.look()
    return house.folder / f"Cons1_5_{unique_id}.quarantine"


def test_a_replay_has_the_settings_that_the_process_had(tmp_path: Path) -> None:
    path = kept(tmp_path, 7)
    replay = replaying.prepare(path, None, {})
    assert replay.processor.settings == {"Bad": 7, "Other": 1.0}
    good, lines = replaying.run(replay, debug=False)
    assert not good
    assert "the processor failed: ValueError: this one" in lines[-1]
    assert "sick.py" in lines[0]
    told = "\n".join(replaying.about(replay))
    assert "Cons1, process 17, ended: was killed (exit code -11)" in told and "| stack" in told
    good, lines = replaying.run(replaying.prepare(path, None, {"Bad": 1}), debug=False)
    assert good
    assert lines == ["1 frame(s) put out", "  series 5, id 7, (4, 4) uint8, {'Energy': 12.5}", "  Seen = 1"]
    good, lines = replaying.run(replaying.prepare(path, f"{tmp_path}/sick.py:Both", {}), debug=False)
    assert (good, lines[0]) == (True, "2 frame(s) put out")


def test_a_replay_that_cannot_be_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = kept(tmp_path, 7)
    with pytest.raises(RefusedError, match="Nothing"):
        replaying.prepare(path, None, {"Nothing": 1})
    with pytest.raises(InputError, match="No such file"):
        replaying.prepare(tmp_path / "none", None, {})
    bare = tmp_path / "bare"
    bare.write_bytes(b"".join(codec.encode(Frame(1, 2, 3, np.zeros((2, 2), np.uint8)))))
    with pytest.raises(UserError, match="--processor"):
        replaying.prepare(bare, None, {})
    bare.write_bytes(b"nothing")
    with pytest.raises(InputError):
        replaying.prepare(bare, None, {})


def test_the_command_runs_it_and_the_debugger_stops_in_it(tmp_path: Path) -> None:
    path = kept(tmp_path, 7)
    program = "import sys; from ioc.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "replay", str(path), "--pdb", "--set", "Bad=7"]
    asked = "p frame.unique_id * 100\ncontinue\np type(self).__name__\nquit\n"
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=60, check=False)
    assert "700" in done.stdout, "stepping begins in the processor"
    assert "'Sick'" in done.stdout, "and after the error one is where it was raised"
    assert (done.returncode, "ValueError: this one" in done.stdout) == (1, True), done.stderr


def test_processors_in_files_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert findable("sick.py:Sick") == f"{tmp_path}/sick.py:Sick"
    assert findable("pvapy:sick.py:Sick") == f"pvapy:{tmp_path}/sick.py:Sick"
    assert findable("sick.py") == f"{tmp_path}/sick.py"
    assert (findable("statistics"), findable("package.module:Class")) == ("statistics", "package.module:Class")
    assert json.loads(Report(name="a", series=1, unique_id=2).model_dump_json())["deaths"] == []
