"""Trails and journals against lists of ids: whatever was written, and whenever it was cut off."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ioc.channels.trail import RETURNED, Cursor, Run, Trail, TrailReader, words_for

Note = tuple[int, int, int]
ROOM = 8


def memory(room: int = ROOM) -> memoryview:
    return memoryview(bytearray(8 * words_for(room))).cast("q")


def notes_of(runs: list[Run]) -> list[Note | None]:
    """Return series, id and mark of every id in runs; None for one that the ring ran over."""
    notes: list[Note | None] = []
    for run in runs:
        if run.mark == RETURNED:
            continue
        for at in range(run.count):
            notes.append(None if run.series is None else (run.series, run.first + run.step * at, run.mark))
    return notes


@st.composite
def histories(draw: st.DrawFn) -> list[Note]:
    """Return ids as a member may see them: runs of some step, by series, with interruptions."""
    notes: list[Note] = []
    for series in range(1, draw(st.integers(1, 4)) + 1):
        unique_id = draw(st.integers(1, 3))
        for _ in range(draw(st.integers(0, 5))):
            step, count, mark = draw(st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(0, 2)))
            for _ in range(count):
                notes.append((series, unique_id, mark))
                unique_id += step
            unique_id = max(1, unique_id + draw(st.integers(-4, 9)))
    return notes


@given(histories(), st.data())
def test_every_committed_id_is_read_once_in_order(notes: list[Note], data: st.DataObject) -> None:
    words = memory(256)
    trail, reader = Trail(words, 256), TrailReader(words, 256)
    cursor, read, committed = Cursor(), [], 0
    for at, note in enumerate(notes):
        trail.add(*note)
        if data.draw(st.booleans(), label="commit"):
            committed = at + 1
        if data.draw(st.booleans(), label="read"):
            runs, cursor = reader.read(cursor, committed)
            read += notes_of(runs)
            assert read == notes[:committed]
    runs, cursor = reader.read(cursor, len(notes))
    assert read + notes_of(runs) == notes
    assert cursor.ordinal == len(notes)


@given(histories(), histories(), st.data())
def test_what_was_not_committed_never_was(first: list[Note], second: list[Note], data: st.DataObject) -> None:
    words = memory(256)
    trail, reader = Trail(words, 256), TrailReader(words, 256)
    for note in first:
        trail.add(*note)
    committed = data.draw(st.integers(0, len(first)))
    early = data.draw(st.integers(0, committed))
    before, cursor = reader.read(Cursor(), early)
    again = Trail(words, 256)  # the next life
    again.resume(committed, 0)
    for note in second:
        again.add(*note)
    total = committed + len(second)
    runs, _ = reader.read(cursor, total)
    assert notes_of(before) + notes_of(runs) == first[:committed] + second


@given(histories(), st.data())
def test_a_ring_that_ran_over_still_counts(notes: list[Note], data: st.DataObject) -> None:
    words = memory()
    trail, reader = Trail(words, ROOM), TrailReader(words, ROOM)
    early = data.draw(st.integers(0, len(notes)))
    for note in notes[:early]:
        trail.add(*note)
    before, cursor = reader.read(Cursor(), early)
    for note in notes[early:]:
        trail.add(*note)
    runs, cursor = reader.read(cursor, len(notes))
    read = notes_of(before) + notes_of(runs)
    assert len(read) == len(notes)
    assert all(found is None or found == note for found, note in zip(read, notes, strict=True))
    assert notes_of(reader.read(reader.start(len(notes)), len(notes))[0])[-1:] == notes[-1:]


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20), st.sampled_from(["whole", "noted", "not at all"]))))
@settings(max_examples=200)
def test_what_went_back_is_known_whenever_the_kill_came(lives: list[tuple[int, int, str]]) -> None:
    words = memory(256)
    reader = TrailReader(words, 256)
    received = finished = returned = 0
    model: list[int] = []
    for taken, done, end in lives:
        trail = Trail(words, 256)
        trail.resume(received, returned)
        in_hand = received - finished - returned
        trail.went_back(in_hand, returned)
        if end == "noted":  # killed between the note and the book: the next life notes it again
            continue
        returned += in_hand
        del model[len(model) - in_hand :]
        if end == "not at all":
            continue
        for at in range(taken):
            trail.add(1, received + at + 1)
        received += taken
        finished += min(done, taken)
        model += range(received - taken + 1, received + 1)
    runs, _ = reader.read(Cursor(), received, returned)
    kept: list[int] = []
    for run in runs:
        if run.mark == RETURNED:
            del kept[len(kept) - run.count :]
        else:
            kept += [run.first + run.step * at for at in range(run.count)]
    assert kept == model
    assert len(kept) == finished + (received - finished - returned)


def test_a_whole_run_takes_one_entry() -> None:
    words = memory()
    trail = Trail(words, ROOM)
    for unique_id in range(1, 10_001, 2):
        trail.add(7, unique_id)
    assert words[0] == 1
    assert TrailReader(words, ROOM).read(Cursor(), 5000)[0] == [Run(7, 1, 2, 5000)]


def test_ranges_are_runs_of_their_own(tmp_path: Path) -> None:
    words = memory()
    trail = Trail(words, ROOM)
    trail.add_range(1, 5, 9)
    trail.add_range(1, 10, 10)
    trail.add(1, 11)
    runs, _ = TrailReader(words, ROOM).read(Cursor(), 7)
    assert notes_of(runs) == [(1, unique_id, 0) for unique_id in range(5, 12)]
