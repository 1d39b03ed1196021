"""What was put is kept, by order of the puts, and given up where the configuration has been changed."""

import json
import threading
from pathlib import Path

import pytest

from ioc.records import autosave as module
from ioc.records.autosave import Autosave
from ioc.records.table import Value

CONFIGURED: dict[str, Value] = {"a": 1, "b": 2.5, "c": "text", "d": True}


def life(path: Path, configured: dict[str, Value], **puts: Value) -> dict[str, Value]:
    """Let a process live and take puts; return what it had to restore."""
    autosave = Autosave(path)
    restored = autosave.restorable(configured)
    autosave.start()
    for name, value in puts.items():
        autosave.keep(name, value)
    autosave.close()
    return restored


def test_what_is_put_while_it_is_written_is_written_too_and_the_end_is_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "WRITE_DELAY", 3600.0)
    for _ in range(20):
        assert life(tmp_path / "x.autosave", CONFIGURED, a=5) in ({}, {"a": 5})
        assert json.loads((tmp_path / "x.autosave").read_text()) == {"a": {"configured": 1, "value": 5}}
        assert not [one for one in threading.enumerate() if one.name == "autosave"], "it waits for nothing"


def test_values_come_back_in_the_order_of_their_last_puts(tmp_path: Path) -> None:
    path = tmp_path / "x.autosave"
    assert life(path, CONFIGURED, a=5, b=7.5, c="other") == {}
    assert list(life(path, CONFIGURED, a=6).items()) == [("a", 5), ("b", 7.5), ("c", "other")]
    assert list(life(path, CONFIGURED).items()) == [("b", 7.5), ("c", "other"), ("a", 6)]


def test_what_is_configured_anew_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "x.autosave"
    life(path, CONFIGURED, a=5, b=7.5)
    assert life(path, {**CONFIGURED, "a": 9}) == {"b": 7.5}
    assert life(path, CONFIGURED) == {"b": 7.5}, "it is forgotten, not only passed over"


def test_a_value_as_configured_and_an_unknown_record_are_no_restoring(tmp_path: Path) -> None:
    path = tmp_path / "x.autosave"
    life(path, CONFIGURED, a=1, unknown=3, d=False)
    assert life(path, {"a": 1, "d": True}) == {"d": False}


def test_what_could_not_be_put_again_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "x.autosave"
    life(path, CONFIGURED, a=5)
    autosave = Autosave(path)
    assert autosave.restorable(CONFIGURED) == {"a": 5}
    autosave.drop("a")
    autosave.start()
    autosave.close()
    assert life(path, CONFIGURED) == {}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"a": 5}', '{"a": {"configured": 1}}', '{"a": {"configured": 1, "value": [2]}}', "\0" * 10],
)
def test_a_file_that_is_unfit_is_set_aside(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.autosave"
    path.write_text(text)
    assert life(path, CONFIGURED, a=5) == {}
    assert (tmp_path / "x.autosave.bad").read_text() == text
    assert json.loads(path.read_text()) == {"a": {"configured": 1, "value": 5}}
    assert "expected values kept by autosave" in caplog.text


def test_a_folder_that_is_not_there_is_an_error_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    life(tmp_path / "no" / "x.autosave", CONFIGURED, a=5)
    assert "what was put is not kept" in caplog.text
