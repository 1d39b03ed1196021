"""Logs that do not fill a disk: entries that repeat are counted, files begin anew."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from ioc.core.clock import VirtualClock
from ioc.core.repeats import Repeats
from ioc.supervisor.log_file import LogFile

LIMIT = 1 << 16


def entry(text: str, line: int = 7) -> logging.LogRecord:
    """Return a log entry of a place."""
    return logging.LogRecord("name", logging.WARNING, "file.py", line, text, (), None)


def test_entries_of_one_place_are_counted_when_they_are_too_many() -> None:
    clock = VirtualClock()
    repeats = Repeats(3, 5.0, clock)
    assert [repeats.filter(entry("a")) for _ in range(10)] == [True] * 3 + [False] * 7
    assert repeats.filter(entry("another place", 8))
    assert list(repeats.overdue()) == []
    clock.advance(5.0)
    one = entry("a")
    assert repeats.filter(one)
    assert one.getMessage() == "a (7 more like this were not shown)"


def test_what_was_held_back_is_told_when_it_is_over() -> None:
    clock = VirtualClock()
    repeats = Repeats(1, 5.0, clock)
    for _ in range(1000):
        repeats.filter(entry("a"))
    repeats.filter(entry("b", 8))
    clock.advance(10.0)
    assert list(repeats.overdue()) == ["name (file.py, line 7): 999 more like this were not shown"]
    assert list(repeats.overdue()) == []


def test_a_log_that_is_too_long_begins_anew_and_keeps_its_end(tmp_path: Path) -> None:
    path = tmp_path / "Cons1.log"
    with path.open("w") as file:  # without O_APPEND, as a supervisor's log is opened
        log = LogFile(path, LIMIT, file.fileno())
        os.write(file.fileno(), b"first\n" + b"x" * (3 * LIMIT) + b"last\n")
        assert log.look()
        os.write(file.fileno(), b"after\n")
        assert not log.look()
    assert path.read_text() == (
        f"-- the log begins anew; {LIMIT} bytes are in Cons1.log.1, {2 * LIMIT + 11} were cut\nafter\n"
    )
    kept = (tmp_path / "Cons1.log.1").read_bytes()
    assert len(kept) == LIMIT
    assert kept.endswith(b"last\n")


def test_children_that_write_to_the_same_log_are_bounded_too(tmp_path: Path) -> None:
    path = tmp_path / "Cons1.log"
    command = [sys.executable, "-c", f"import os; os.write(1, b'y' * {2 * LIMIT}); input(); os.write(1, b'more\\n')"]
    with path.open("ab") as file:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file)
        log = LogFile(path, LIMIT, file.fileno())
        limit = time.monotonic() + 20.0
        while path.stat().st_size < 2 * LIMIT:
            assert child.poll() is None and time.monotonic() < limit, "the child has not written"
            time.sleep(0.01)  # polled: what the child writes is the event
        assert log.look()
        child.communicate(b"\n", timeout=20)
    assert path.read_bytes().endswith(b"were cut\nmore\n")
    assert path.stat().st_size < 200


def test_a_log_without_room_for_its_end_still_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "Cons1.log"
    (tmp_path / "Cons1.log.1").symlink_to(tmp_path / "nowhere" / "else")  # nothing can be written there
    with path.open("ab") as file:
        log = LogFile(path, LIMIT, file.fileno())
        os.write(file.fileno(), b"z" * (LIMIT + 1))
        assert log.look()
    assert "0 bytes are in" in path.read_text()
