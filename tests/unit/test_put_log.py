"""The lines of the put log: what is made of what was copied, all of it and in order."""

from pathlib import Path

import pytest

from ioc.records import put_log
from ioc.records.put_log import PutLog, _Heard
from ioc.records.table import Access, Kind, Record

RECORDS = (
    Record("cam1:Gain", Kind.FLOAT, "a number", Access.PAIR),
    Record("cam1:NumImages", Kind.INT, "a whole number", Access.PAIR),
    Record("cam1:Mode", Kind.ENUM, "a choice", Access.PAIR, choices=("Single", "Multiple")),
)
AT_NS = 1_763_740_644_123_456_789


def heard(name: str, new: put_log.Raw, old: put_log.Raw | None = b"1") -> _Heard:
    return _Heard(AT_NS, b"operator", b"ws1", f"P:{name}".encode(), old, new)


@pytest.mark.parametrize(
    ("name", "new", "old", "words"),
    [
        ("cam1:Gain", 2, 1.5, "new=2.0 old=1.5"),
        ("cam1:Gain", float("nan"), 1.5, "new=nan old=1.5"),
        ("cam1:NumImages", 3.0, b"7\0rest", "new=3 old=7"),
        ("cam1:Mode", 1, b"Single", "new=Multiple old=Single"),
        ("cam1:Mode", 9, b"Single", "new=9 old=Single"),
        ("cam1:Gain.DESC", b"two words\nand a line", b"", 'new="two words?and a line" old=""'),
        ("cam1:NumImages", b"4", None, "new=4 old=?"),
    ],
)
def test_a_value_is_written_as_its_record_shows_it(
    tmp_path: Path, name: str, new: put_log.Raw, old: put_log.Raw | None, words: str
) -> None:
    line = PutLog(tmp_path / "puts", "P:", RECORDS)._line(heard(name, new, old))
    assert line == f"2025-11-21T15:57:24.123Z operator ws1 P:{name} {words}"


def test_all_lines_are_written_in_order_in_few_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(put_log, "GATHER_SECONDS", 20.0)  # `close` does not wait for it
    writes = []
    append = put_log.append
    monkeypatch.setattr(put_log, "append", lambda path, text: (writes.append(text), append(path, text)))
    log = PutLog(tmp_path / "puts", "P:", RECORDS)
    log._thread.start()
    for number in range(1000):
        log._add(heard("cam1:NumImages", number))
        if number == 500:
            log.refused("cam1:NumImages", "too many")
    log.close()
    lines = (tmp_path / "puts").read_text().splitlines()
    assert [line.split("new=")[1].split()[0] for line in lines if "new=" in line] == [str(at) for at in range(1000)]
    assert lines[501].endswith("- - P:cam1:NumImages refused: too many")
    assert len(writes) <= 2


def test_what_finds_no_room_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(put_log, "MOST_WAITING", 3)
    log = PutLog(tmp_path / "puts", "P:", RECORDS)
    for number in range(5):
        log._add(heard("cam1:NumImages", number))
    log._thread.start()
    log.close()
    lines = (tmp_path / "puts").read_text().splitlines()
    assert len(lines) == 4 and lines[-1].endswith("2 puts were not written: no room for them")
