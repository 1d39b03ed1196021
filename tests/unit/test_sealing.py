"""Sealed frames: only who has the key opens them, nothing can be altered, keys roll over while frames flow."""

import os
from pathlib import Path

import numpy as np
import pytest

from consumers.key_ring import VARIABLE, KeyRing
from consumers.processor import frames_of
from consumers.processors.decrypt import Decrypt
from consumers.processors.encrypt import Encrypt
from consumers.sealed_frame import KEY
from consumers.sealing import Key, Opener, Sealer, UnknownKeyError
from ioc.core.clock import VirtualClock
from ioc.core.errors import ProtocolError, RefusedError
from ioc.core.frame import Frame
from tests.support.frames import configured, frame, noise

FIRST, SECOND = Key("first", bytes(range(32))), Key("second", bytes(range(1, 33)))


def ring(path: Path, *keys: Key, mode: int = 0o600) -> str:
    """Write a key file, as one replaces it by a new one; return its name."""
    fresh = path.with_suffix(".new")
    fresh.write_text("# keys\n" + "".join(f"{key.name} {key.secret.hex()}\n" for key in keys))
    fresh.chmod(mode)
    fresh.replace(path)
    return str(path)


def opener(*keys: Key) -> Opener:
    """Return an opener with these keys."""
    return Opener({key.id: key for key in keys})


def sealed(encrypt: Encrypt, unique_id: int = 1) -> Frame:
    """Return a frame as the processor seals it."""
    (found,) = frames_of(encrypt.process(frame(noise((4, 6), "uint16", unique_id), unique_id), {}))
    return found


def test_any_bytes_are_sealed_and_opened() -> None:
    sealer = Sealer(FIRST)
    for plain in (b"", b"x", os.urandom(10_000)):
        message = sealer.seal(plain, b"context")
        assert opener(SECOND, FIRST).open(message, b"context") == plain
        assert not plain[:8] or plain[:8] not in message or len(plain) < 8


def test_the_same_bytes_never_look_the_same() -> None:
    one, other = Sealer(FIRST), Sealer(FIRST)
    messages = {one.seal(b"same", b""), one.seal(b"same", b""), other.seal(b"same", b"")}
    assert len({message[44:] for message in messages}) == 3


def test_every_altered_bit_is_noticed() -> None:
    message = Sealer(FIRST).seal(b"pixels", b"frame 1")
    for at in range(len(message) * 8):
        altered = bytearray(message)
        altered[at // 8] ^= 1 << at % 8
        with pytest.raises(ProtocolError):
            opener(FIRST).open(bytes(altered), b"frame 1")
    for cut in range(len(message)):
        with pytest.raises(ProtocolError):
            opener(FIRST).open(message[:cut], b"frame 1")
    with pytest.raises(ProtocolError, match="altered on the way, or given out as others"):
        opener(FIRST).open(message, b"frame 2")


def test_an_unknown_key_is_named_by_its_id_and_no_secret_is_shown() -> None:
    message = Sealer(FIRST).seal(b"", b"")
    with pytest.raises(UnknownKeyError, match=FIRST.id.hex()) as caught:
        opener(SECOND).open(message, b"")
    assert "second" in str(caught.value)
    for text in (str(caught.value), repr(FIRST), repr([FIRST])):
        assert FIRST.secret.hex()[:12] not in text
        assert SECOND.secret.hex()[:12] not in text


def test_openers_remember_a_bounded_number_of_sealers() -> None:
    messages = [Sealer(FIRST).seal(bytes([number]), b"") for number in range(100)]
    one = opener(FIRST)
    for _ in range(2):
        assert [one.open(message, b"")[0] for message in messages] == list(range(100))
    assert len(one._secrets) == 64


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (9, 14), (7, 5, 3)], ids=str)
def test_a_frame_comes_back_with_all_it_had(shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    name = ring(tmp_path / "keys", FIRST)
    given = frame(noise(shape, dtype), 5)
    (hidden,) = frames_of(configured(Encrypt, KeyFile=name).process(given, {}))
    assert (hidden.series, hidden.unique_id, hidden.timestamp_ns) == (7, 5, 123)
    assert hidden.attributes == {KEY: "first"}
    assert given.data.nbytes < 8 or given.data.tobytes() not in hidden.data.tobytes()
    (found,) = frames_of(configured(Decrypt, KeyFile=name).process(hidden, {}))
    np.testing.assert_array_equal(found.data, given.data)
    assert found.data.dtype == given.data.dtype
    assert found.attributes == given.attributes


def test_altered_exchanged_and_open_frames_are_refused_and_counted(tmp_path: Path) -> None:
    name = ring(tmp_path / "keys", FIRST)
    encrypt, decrypt = configured(Encrypt, KeyFile=name), configured(Decrypt, KeyFile=name)
    assert isinstance(encrypt, Encrypt)
    one, other = sealed(encrypt, 1), sealed(encrypt, 2)
    altered = one.data.copy()
    altered[0, 60] ^= 1
    wrong = [
        Frame(7, 1, 123, altered, one.attributes),
        Frame(7, 1, 123, other.data, one.attributes),  # another frame's content
        Frame(7, 2, 123, one.data, one.attributes),  # given out as another frame
        Frame(8, 1, 123, one.data, one.attributes),
        Frame(7, 1, 124, one.data, one.attributes),
        frame(noise((4, 6), "uint16")),  # never sealed
        Frame(7, 1, 123, one.data[:, :20], one.attributes),
    ]
    for each in wrong:
        with pytest.raises(ProtocolError):
            decrypt.process(each, {})
    decrypt.process(one, {})
    assert decrypt.statistics() == {"Opened": 1, "Refused": len(wrong), "KeyFault": ""}
    decrypt.reset()
    assert decrypt.statistics()["Refused"] == 0
    assert encrypt.statistics() == {"Sealed": 2, "Key": "first", "KeyFault": ""}


def test_keys_roll_over_while_frames_flow(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    encrypt, decrypt = configured(Encrypt, KeyFile=ring(here, FIRST)), configured(Decrypt, KeyFile=ring(there, FIRST))
    assert isinstance(encrypt, Encrypt)
    clock = VirtualClock()
    clock.advance(10)
    encrypt.clock = clock
    decrypt.process(sealed(encrypt), {})
    ring(here, SECOND, FIRST)
    assert sealed(encrypt).attributes[KEY] == "first"  # looked at once a second
    clock.advance(1.1)
    fresh = sealed(encrypt)
    assert fresh.attributes[KEY] == "second"
    with pytest.raises(UnknownKeyError):
        decrypt.process(fresh, {})
    ring(there, FIRST, SECOND)
    decrypt.process(fresh, {})  # the new key is read when it is met
    ring(there, SECOND)
    decrypt.process(sealed(encrypt), {})
    assert decrypt.statistics() == {"Opened": 3, "Refused": 1, "KeyFault": ""}


def test_a_key_file_that_goes_bad_changes_nothing_but_is_told(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    encrypt = configured(Encrypt, KeyFile=ring(path, FIRST))
    decrypt = configured(Decrypt, KeyFile=ring(tmp_path / "others", FIRST))
    assert isinstance(encrypt, Encrypt)
    clock = VirtualClock()
    encrypt.clock = clock
    ring(path, SECOND, mode=0o644)
    clock.advance(2)
    assert sealed(encrypt).attributes[KEY] == "first"
    assert "expected a file of mode 0600, found '0o644'; chmod 600" in str(encrypt.statistics()["KeyFault"])
    ring(path, SECOND)
    clock.advance(2)
    fresh = sealed(encrypt)
    assert encrypt.statistics()["KeyFault"] == ""
    ring(tmp_path / "others", SECOND, mode=0o640)
    with pytest.raises(UnknownKeyError):
        decrypt.process(fresh, {})
    assert "found '0o640'" in str(decrypt.statistics()["KeyFault"])


def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"a {FIRST.secret.hex()}; b {SECOND.secret.hex()}")
    assert [key.name for key in KeyRing.named("").keys] == ["a", "b"]
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(RefusedError, match=f"variable {VARIABLE}: expected at least one line NAME HEX"):
        configured(Encrypt)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected at least one line NAME HEX"),
        ("first", "line 1: expected NAME and 64 hexadecimal digits"),
        ("\n# x\nfirst 00 11", "line 3: expected NAME and 64 hexadecimal digits"),
        ("first secretsecret", "line 1: expected NAME and 64 hexadecimal digits"),
        ("first 0011", "line 1: expected 64 hexadecimal digits, found 4"),
    ],
)
def test_lines_that_are_no_keys_are_not_shown(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(text)
    (tmp_path / "keys").chmod(0o600)
    with pytest.raises(RefusedError, match=message) as caught:
        configured(Encrypt, KeyFile=str(tmp_path / "keys"))
    assert "secretsecret" not in str(caught.value)


def test_a_key_file_is_a_file_of_its_owner(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="No such file"):
        configured(Decrypt, KeyFile=str(tmp_path / "nothing"))
    with pytest.raises(RefusedError, match="expected a file of mode 0600"):
        configured(Decrypt, KeyFile=ring(tmp_path / "keys", FIRST, mode=0o604))
    (tmp_path / "folder").mkdir(mode=0o700)
    with pytest.raises(RefusedError, match="expected a file of mode 0600"):
        configured(Decrypt, KeyFile=str(tmp_path / "folder"))
