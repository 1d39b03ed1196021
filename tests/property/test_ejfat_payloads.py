"""EJFAT payloads and the back channel against any frame and any bytes."""

import pickle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ioc.channels import ejfat_resend_wire as wire
from ioc.channels import pvapy_pickle
from ioc.channels.ejfat_coverage import Coverage
from ioc.channels.ejfat_payload import EventId, PvapyWriter, RayfanWriter, reader_of
from ioc.channels.ejfat_pool import BufferPool
from ioc.channels.ejfat_reassembly import Event
from ioc.core.errors import ProtocolError
from ioc.core.frame import DataType, Frame

POOL = BufferPool(1 << 20)
plain = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text(max_size=300)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4), st.tuples(inner, inner)
    ),
    max_leaves=12,
)
attributes = st.dictionaries(
    st.text(min_size=1, max_size=20).filter(lambda name: name not in ("Series", "ColorMode")),
    st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=40)),
    max_size=8,
)
shapes = st.one_of(
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)),
)
images = st.sampled_from(list(DataType)).flatmap(lambda kind: hnp.arrays(kind.dtype, shapes))


@given(plain, st.integers(3, 5))
def test_plain_values_are_read_as_pickle_reads_them(value: object, protocol: int) -> None:
    assert pvapy_pickle.read(memoryview(pickle.dumps(value, protocol))) == value


@settings(max_examples=50)
@given(images, attributes, st.integers(1, 2**62), st.integers(1, 2**31), st.sampled_from(["rayfan", "pvapy"]))
def test_every_frame_comes_back(
    data: np.ndarray, noted: dict[str, object], series: int, unique_id: int, name: str
) -> None:
    frame = Frame(series, unique_id, 1_700_000_000_123_456_789, data, noted)  # type: ignore[arg-type]
    writer = PvapyWriter() if name == "pvapy" else RayfanWriter(True)
    payload = np.frombuffer(b"".join(writer.write(frame, EventId(1, 1), None)), np.uint8)
    found = reader_of("auto").read(Event(1, 1, None, payload), POOL).item
    assert isinstance(found, Frame)
    assert (found.series, found.unique_id, found.timestamp_ns) == (series, unique_id, frame.timestamp_ns)
    assert found.attributes == noted and found.data.tobytes() == data.tobytes()
    assert found.data.shape == data.shape and found.data.dtype == data.dtype


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x80\x04", b"\xd8\x18\x59\x00\x05", b"RFS1"]))
def test_any_payload_is_an_item_or_one_error(data: bytes, start: bytes) -> None:
    try:
        reader_of("auto").read(Event(1, 1, None, np.frombuffer(start + data, np.uint8)), POOL)
    except ProtocolError:
        pass


@given(st.booleans(), st.lists(st.binary(max_size=60), max_size=6))
def test_any_stream_is_records_or_one_error(asks: bool, parts: list[bytes]) -> None:
    records = wire.Records(asks)
    try:
        for part in parts:
            list(records.feed(part))
            assert records.held <= 60 * 6
    except ProtocolError:
        pass


@given(st.text(max_size=80))
def test_any_offer_is_read_or_refused(text: str) -> None:
    try:
        assert wire.parse_offer(wire.parse_offer(text).to_text()).port >= 1024
    except ProtocolError:
        pass


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=20), st.integers(1, 5))
def test_gaps_are_what_is_not_covered(pieces: list[tuple[int, int]], most: int) -> None:
    coverage, length = Coverage(), 80
    for start, size in pieces:
        coverage.add(start, start + size)
    missing = set(range(length)) - {byte for start, size in pieces for byte in range(start, start + size)}
    gaps = coverage.gaps(length, 100)
    assert {byte for start, end in gaps for byte in range(start, end)} == missing
    assert coverage.gaps(length, most) == gaps[:most]
