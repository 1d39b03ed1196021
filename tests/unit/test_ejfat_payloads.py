"""The payload formats of EJFAT events: which one an event is, what is refused, how keys roll over."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from consumers.key_ring import VARIABLE
from consumers.payloads import Incoming, Outgoing, incoming, numbers_text, outgoing
from ioc.channels import pvapy_pickle
from ioc.channels.ejfat_payload import (
    EventId,
    Given,
    PayloadReader,
    PvapyWriter,
    RayfanWriter,
    RefusedEvent,
    reader_of,
    writer_of,
)
from ioc.channels.ejfat_pool import BufferPool
from ioc.channels.ejfat_reassembly import Event
from ioc.channels.pvapy_frames import read_frame
from ioc.core.clock import VirtualClock
from ioc.core.config_ejfat import EgressConfig, IngressConfig
from ioc.core.errors import ProtocolError, RefusedError
from ioc.core.frame import DataType, EndOfSeries, Frame, Item
from tests.unit.test_sealing import FIRST, SECOND, ring

EVENT = EventId(3, 17)


def frame(data: np.ndarray | None = None) -> Frame:
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30) if data is None else data
    return Frame(7, 5, 1_700_000_000_123_456_789, pixels, {"a": 1, "b": "text", "c": 0.5, "d": True})


def event(pieces: Sequence[bytes | memoryview], number: int = 17, life: int = 0) -> Event:
    return Event(3, number, None, np.frombuffer(b"".join(pieces), np.uint8).copy(), life)


def read(reader: PayloadReader, given: Event) -> Given:
    return reader.read(given, BufferPool(1 << 20))


def same(found: Item, sent: Item) -> bool:
    if isinstance(found, EndOfSeries) or isinstance(sent, EndOfSeries):
        return found == sent
    identity = [(one.series, one.unique_id, one.timestamp_ns, dict(one.attributes)) for one in (found, sent)]
    return identity[0] == identity[1] and found.data.dtype == sent.data.dtype and bool((found.data == sent.data).all())


def sealing(path: Path, clock: VirtualClock | None = None) -> Outgoing:
    config = EgressConfig(uri="ejfat://x", sealed=True, key_file=path)
    return outgoing(config, clock or VirtualClock())


def opening(path: Path) -> Incoming:
    return incoming(IngressConfig(sealed=True, key_file=path), VirtualClock())


@pytest.mark.parametrize("name", ["rayfan", "pvapy"])
def test_what_is_written_is_read_by_its_own_reader_and_by_auto(name: str) -> None:
    pieces = writer_of(name).write(frame(), EVENT, None)  # type: ignore[arg-type]
    for reader in (reader_of(name), reader_of("auto")):  # type: ignore[arg-type]
        assert same(read(reader, event(pieces)).item, frame())
    other = reader_of("pvapy" if name == "rayfan" else "rayfan")
    with pytest.raises(ProtocolError, match="set payload = 'auto'"):
        read(other, event(pieces))


def test_end_markers_travel_in_rayfans_format_only() -> None:
    end = EndOfSeries(7, 100, ((3, 5),))
    assert read(reader_of("auto"), event(RayfanWriter(True).write(end, EVENT, "o")))[::2] == (end, "o")
    assert PvapyWriter().write(end, EVENT, None) == ()


def test_a_frame_that_fits_no_ntndarray_is_a_value_error() -> None:
    for wrong in (np.zeros(3, np.uint8), np.zeros((2, 2), complex), np.zeros((2, 2, 4), np.uint8)):
        with pytest.raises(ValueError):
            PvapyWriter().write(frame(wrong), EVENT, None)
    for attributes in ({"x": 1 << 70}, {"RayfanCodec": "unknown"}):
        with pytest.raises(ValueError):
            PvapyWriter().write(Frame(1, 1, 1, np.zeros((1, 2), np.uint8), attributes), EVENT, None)


def test_frames_without_a_series_are_numbered_by_source_life_and_event() -> None:
    reader = reader_of("pvapy")
    whole = b"".join(PvapyWriter().write(frame(), EVENT, None)).replace(b"Series", b"Serial")
    for life, number in ((0, 0), (0, 9), (1, 0)):
        found = read(reader, event([whole], number, life)).item
        assert isinstance(found, Frame)
        assert (found.series, found.unique_id) == ((3 << 32) + life + 1, number + 1)
        assert found.attributes["SourceUniqueId"] == 5 and reader.is_dealt(found.series)
    assert not reader.is_dealt(7)


@pytest.mark.parametrize("resend", [None, "10.0.0.1:5000/0011223344556677"])
def test_sealed_events_come_back_and_show_nothing(resend: str | None, tmp_path: Path) -> None:
    ring(tmp_path / "keys", FIRST)
    writer, reader = sealing(tmp_path / "keys").writer, opening(tmp_path / "keys").reader
    for item in (frame(), EndOfSeries(7, 100, ((3, 5),)), frame(np.zeros((0, 5), np.uint8))):
        sealed = event(writer.write(item, EVENT, resend))
        assert b"version" not in sealed.payload.tobytes()
        given = read(reader, sealed)
        assert same(given.item, item) and given.resend == resend


def test_altered_exchanged_and_open_events_are_refused(tmp_path: Path) -> None:
    ring(tmp_path / "keys", FIRST)
    writer, reader = sealing(tmp_path / "keys").writer, opening(tmp_path / "keys").reader
    good = b"".join(writer.write(EndOfSeries(7, 100), EVENT, None))
    for at in range(0, len(good) * 8, 5):
        altered = bytearray(good)
        altered[at // 8] ^= 1 << at % 8
        with pytest.raises(RefusedEvent):
            read(reader, event([bytes(altered)]))
    wrong = [
        event([good], number=18),
        Event(4, 17, None, np.frombuffer(good, np.uint8)),
        event([good[:30]]),
        event([b""]),
        event(RayfanWriter(True).write(frame(), EVENT, None)),
        event(PvapyWriter().write(frame(), EVENT, None)),
    ]
    for each in wrong:
        with pytest.raises(RefusedEvent):
            read(reader, each)
    read(reader, event([good]))
    with pytest.raises(ProtocolError, match="key_file"):
        read(reader_of("auto"), event([good]))


def test_keys_roll_over_while_events_flow(tmp_path: Path) -> None:
    here, there, clock = tmp_path / "here", tmp_path / "there", VirtualClock()
    ring(here, FIRST)
    ring(there, FIRST)
    out, into = sealing(here, clock), opening(there)
    read(into.reader, event(out.writer.write(frame(), EVENT, None)))
    ring(here, SECOND, FIRST)
    clock.advance(1.1)
    fresh = event(out.writer.write(frame(), EVENT, None))
    assert out.key == "second"
    with pytest.raises(RefusedEvent, match=SECOND.id.hex()):
        read(into.reader, fresh)
    ring(there, FIRST, SECOND)
    assert same(read(into.reader, fresh).item, frame())
    ring(here, FIRST, mode=0o644)
    ring(there, FIRST, mode=0o644)
    clock.advance(1.1)
    out.writer.write(frame(), EVENT, None)
    assert out.key == "second" and "0600" in out.fault
    with pytest.raises(RefusedEvent):
        read(into.reader, event([b"RFS1" + bytes(60)]))
    assert "0600" in into.fault


@pytest.mark.parametrize("shape", [(3, 4), None])
def test_raw_payloads_are_pixels_and_nothing_else(shape: tuple[int, int] | None) -> None:
    clock = VirtualClock()
    config = IngressConfig(payload="raw", raw_type=DataType.UINT16, raw_shape=shape)
    reader, writer = (
        incoming(config, clock).reader,
        outgoing(EgressConfig(uri="ejfat://x", payload="raw"), clock).writer,
    )
    data = np.arange(12, dtype=">u2").reshape(3, 4)
    pieces = writer.write(Frame(5, 6, 7, data), EVENT, None)
    assert b"".join(map(bytes, pieces)) == data.astype("<u2").tobytes()
    found = read(reader, event(pieces)).item
    assert isinstance(found, Frame) and found.data.tolist() == data.reshape(shape or (1, 12)).tolist()
    assert (found.series, found.unique_id) == ((EVENT.data_id << 32) + 1, EVENT.number + 1)
    assert found.timestamp_ns == clock.wall_ns() and not found.data.flags.writeable
    assert found.attributes == {"DataId": EVENT.data_id, "EventNumber": EVENT.number}
    assert reader.is_dealt(found.series) and writer.write(EndOfSeries(5, 1), EVENT, None) == ()
    for wrong in (b"", b"abc", *([bytes(22)] if shape else [])):
        with pytest.raises(ProtocolError, match="raw payload"):
            read(reader, event([wrong]))
    for unfit in (np.zeros((0, 4), np.uint8), np.zeros(4), np.zeros((2, 2), complex)):
        with pytest.raises(ValueError):
            writer.write(Frame(5, 6, 7, unfit), EVENT, None)


def test_two_lives_of_a_sender_never_share_a_key_and_counter(tmp_path: Path) -> None:
    ring(tmp_path / "keys", FIRST)
    lives = [sealing(tmp_path / "keys").writer for _ in range(20)]
    heads = {bytes(life.write(frame(), EVENT, None)[0]) for life in lives for _ in range(3)}
    assert len(heads) == 60
    assert len({head[12:28] for head in heads}) == 20  # the salt, of which the message's key is made


def test_keys_of_the_environment_and_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"e {FIRST.secret.hex()}")
    assert outgoing(EgressConfig(uri="ejfat://x", sealed=True), VirtualClock()).key == "e"
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(RefusedError, match=VARIABLE):
        incoming(IngressConfig(sealed=True), VirtualClock())


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"sealed": True, "payload": "pvapy"}, "PvaPy cannot open them"),
        ({"key_file": "keys"}, "needs sealed = true"),
        ({"payload": "pickle"}, "pvapy"),
        ({"sealed": True, "payload": "raw"}, "who takes that cannot open them"),
    ],
)
def test_what_does_not_go_together_is_refused(table: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        IngressConfig(**table)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match=message):
        EgressConfig(uri="ejfat://x", **table)  # type: ignore[arg-type]


def test_resend_needs_an_offer_and_time() -> None:
    with pytest.raises(ValidationError, match="cannot carry the offer"):
        EgressConfig(uri="ejfat://x", payload="pvapy", resend=True)
    with pytest.raises(ValidationError, match="at most half of event_timeout"):
        IngressConfig(resend=True, event_timeout=0.03)


def test_raw_frames_have_a_shape_only_where_they_are_raw() -> None:
    with pytest.raises(ValueError, match="need payload = 'raw'"):
        IngressConfig(raw_shape=(2, 3))
    with pytest.raises(ValueError, match="cannot carry the offer"):
        EgressConfig(uri="ejfat://x", payload="raw", resend=True)
    with pytest.raises(ValueError, match="needs resend"):
        EgressConfig(uri="ejfat://x", resend_unclaimed=True)


def test_event_numbers_as_text() -> None:
    assert numbers_text({}) == ""
    assert numbers_text({1: [(5, 7), (9, 9)], 2: [(1, 1)]}) == "1: 5-7 9; 2: 1"


class Evil:
    """Something whose pickle would call a function."""

    def __reduce__(self) -> tuple:
        return print, ("called",)


@pytest.mark.parametrize(
    "content",
    [Evil(), np.zeros(3, object), {1: 2}, b"x", 1 << 80, {1, 2}, pickle.PickleBuffer(b"x"), np.float64(1.0), ...],
    ids=lambda content: type(content).__name__,
)
@pytest.mark.parametrize("protocol", [5])
def test_pickles_of_anything_else_are_refused(content: object, protocol: int) -> None:
    with pytest.raises(ProtocolError, match="PvaPy payload"):
        read_frame(memoryview(pickle.dumps(content, protocol)))


def test_no_pickle_calls_anything(capsys: pytest.CaptureFixture[str]) -> None:
    for protocol in range(6):
        with pytest.raises(ProtocolError):
            pvapy_pickle.read(memoryview(pickle.dumps(Evil(), protocol)))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x80\x04",
        b"\x80\x04.",
        b"\x80\x04N",
        b"\x80\x09N.",
        b"\x80\x04X\xff\xff\xff\xff",
        b"\x80\x04X\x00\x00\x02\x00" + bytes(1 << 17),
        b"\x80\x04\x8e" + b"\xff" * 8,
        b"\x80\x04\x95" + b"\xff" * 8,
        b"\x80\x04\x8a\xff" + bytes(255),
        b"\x80\x04h\x05.",
        b"\x80\x04e.",
        b"\x80\x04(.",
        b"\x80\x04Na.",
        b"\x80\x04]N\x94(Ne.",
        b"\x80\x04}(KKu.",
        b"\x80\x04K\x01K\x02R.",
        b"\x80\x04cos\nsystem\n.",
        b"\x80\x04c" + b"x" * 300,
        b"\x80\x04]]\x93.",
        b"\x80\x04X\x01\x00\x00\x00\xff.",
        b"\x80\x04" + b"N" * 300_000,
        b"\x80\x04Nb.",
        b"\x80\x04(K\x01\x85",
    ],
)
def test_broken_pickles_are_one_error(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="PvaPy payload"):
        read_frame(memoryview(payload))


def test_a_list_that_holds_itself_is_refused_as_anything_else() -> None:
    endless = b"\x80\x04]\x94h\x00a"  # x = []; x.append(x)
    for opcode in (b".", b"\x85.", b"\x94\x93.", b"h\x00\x93.", b"h\x00R."):
        with pytest.raises(ProtocolError):
            read_frame(memoryview(endless + opcode))


def test_every_truncation_and_wrong_size_is_refused() -> None:
    whole = b"".join(PvapyWriter().write(frame(np.zeros((2, 3), np.uint8)), EVENT, None))
    for size in [*range(0, len(whole), 61), *range(len(whole) - 40, len(whole))]:
        with pytest.raises(ProtocolError):
            read_frame(memoryview(whole[:size]))
    assert whole.count(b"u1") == 1
    for kind in (b"u2", b"f2", b"O8", b"V9", b"xx"):
        with pytest.raises(ProtocolError):
            read_frame(memoryview(whole.replace(b"u1", kind)))
