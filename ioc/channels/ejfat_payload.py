"""What an EJFAT event carries: an item in one of the payload formats, which all have a writer and a reader.

    rayfan   the frame as `core.codec` has it: CBOR header and pixels; end markers travel too
    pvapy    the pickle that PvaPy's EJFAT publisher sends and its receiver takes; there are no end markers in it
    raw      pixels and nothing else (ejfat_payload_raw); which one it is, cannot be told
    sealed   any bytes of a rayfan payload, encrypted and signed (consumers.sealed_events)

Which of the others an event is is told by its first bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ioc.channels import pvapy_pickle
from ioc.channels.ejfat_pool import BufferPool
from ioc.channels.ejfat_reassembly import Event
from ioc.channels.pvapy_frame_writer import write_frame
from ioc.channels.pvapy_frames import read_frame
from ioc.core import codec
from ioc.core.codec_alike import AlikeReader, AlikeWriter
from ioc.core.errors import ProtocolError, mismatch
from ioc.core.frame import EndOfSeries, Item

PayloadName = Literal["rayfan", "pvapy", "auto"]
SEALED_MAGIC = b"RFS1"
MOST_DEALT = 4096
"""Series of PvaPy's that are remembered."""

Piece = bytes | memoryview


class EventId(NamedTuple):
    """Which event it is: source and RE event number."""

    data_id: int
    number: int


class Given(NamedTuple):
    """An item, the memory that it lies in, and where its sender offers to send lost packets again (None: nowhere)."""

    item: Item
    buffer: NDArray[np.uint8]
    resend: str | None = None


class RefusedEvent(ProtocolError):  # noqa: N818 - what it is, to whoever catches it
    """An event that is whole, but not sealed as it has to be."""


def numbered(event: Event) -> tuple[int, int]:
    """Return series and id of a frame that has none: a series for each life of its source, ids by event numbers."""
    return (event.data_id << 32) + event.life + 1, event.number % codec.MOST_INTEGER + 1


class PayloadWriter(Protocol):
    """Makes payloads of items."""

    def write(self, item: Item, event: EventId, resend: str | None) -> Sequence[Piece]:
        """Return the pieces of a payload, one behind the other; none if the format has no such item.

        Raises:
            ValueError: the item does not fit into the format.
        """
        ...


class PayloadReader(Protocol):
    """Makes items of whole events."""

    def read(self, event: Event, pool: BufferPool) -> Given:
        """Return the item of an event; memory that the event does not need any more goes back to the pool.

        Raises:
            RefusedEvent: it is not sealed as it has to be.
            ProtocolError: it is no item; its memory is still the caller's.
        """
        ...

    def is_dealt(self, series: int) -> bool:
        """Return whether ids of this series may be missing although no event is: its sender got only a part."""
        ...


class RayfanWriter:
    """Writes `rayfan`; with `checksum`, readers can tell whether pixels were altered."""

    def __init__(self, checksum: bool) -> None:
        self._writer = AlikeWriter(checksum)

    def write(self, item: Item, event: EventId, resend: str | None) -> Sequence[Piece]:
        return self._writer.write(item, resend)


class RayfanReader:
    """Reads `rayfan`; with `verify`, pixels are compared with the checksum where there is one."""

    def __init__(self, verify: bool) -> None:
        self._reader = AlikeReader(verify)

    def read(self, event: Event, pool: BufferPool) -> Given:
        found = self._reader.read(event.payload)
        return Given(found.item, event.payload, found.resend)

    def is_dealt(self, series: int) -> bool:
        return False


class PvapyWriter:
    """Writes `pvapy`: frames only. PvaPy's receiver would end its thread at anything else."""

    def write(self, item: Item, event: EventId, resend: str | None) -> Sequence[Piece]:
        if isinstance(item, EndOfSeries):
            return ()
        try:
            return write_frame(item)
        except ProtocolError as error:
            raise ValueError(str(error)) from None


class PvapyReader:
    """Reads `pvapy`.

    A frame with an attribute `Series` keeps series and id. Any other gets them from the network: a series for each
    source and each time that it begins anew, ids by event numbers; its own id becomes the attribute `SourceUniqueId`.
    """

    def __init__(self) -> None:
        self._dealt: dict[int, None] = {}

    def read(self, event: Event, pool: BufferPool) -> Given:
        found = read_frame(event.payload.data)
        frame, series = found.frame, found.series
        if series is None:
            series, unique_id = numbered(event)
            attributes = {**frame.attributes, "SourceUniqueId": frame.unique_id}
            frame = replace(frame, unique_id=unique_id, attributes=attributes)
        frame.series = series
        self._dealt.setdefault(series)
        if len(self._dealt) > MOST_DEALT:
            del self._dealt[next(iter(self._dealt))]
        return Given(frame, event.payload)

    def is_dealt(self, series: int) -> bool:
        return series in self._dealt


class AutoReader:
    """Reads each event by the first of `readers` whose first bytes it has."""

    def __init__(self, readers: Mapping[bytes, PayloadReader], hint: str = "") -> None:
        """Take the readers by first bytes; `hint` says what to do about an event of none of them."""
        self._readers = tuple(readers.items())
        self._hint = hint

    def read(self, event: Event, pool: BufferPool) -> Given:
        start = event.payload[:4].tobytes()
        for first, reader in self._readers:
            if start.startswith(first):
                return reader.read(event, pool)
        hint = "give the ingress the key_file of its sender" if start == SEALED_MAGIC else self._hint
        raise ProtocolError(mismatch("EJFAT payload", "a frame of Rayfan or PvaPy", start.hex(), hint))

    def is_dealt(self, series: int) -> bool:
        return any(reader.is_dealt(series) for _, reader in self._readers)


RAYFAN_FIRST = codec.PREFIX
PVAPY_FIRST = bytes((pvapy_pickle.MAGIC,))


def reader_of(name: PayloadName, verify: bool = True) -> PayloadReader:
    """Return a reader of plain payloads of one format, or of all (`auto`)."""
    makers: dict[bytes, Callable[[], PayloadReader]] = {}
    if name != "pvapy":
        makers[RAYFAN_FIRST] = lambda: RayfanReader(verify)
    if name != "rayfan":
        makers[PVAPY_FIRST] = PvapyReader
    hint = "" if name == "auto" else f"set payload = 'auto', it is {name!r}"
    return AutoReader({first: make() for first, make in makers.items()}, hint)


def writer_of(name: PayloadName, checksum: bool = True) -> PayloadWriter:
    """Return a writer of plain payloads; `auto` is `rayfan`: a sender is told nothing by who listens."""
    return PvapyWriter() if name == "pvapy" else RayfanWriter(checksum)


def writer_name(name: PayloadName | Literal["raw"]) -> str:
    """Return which format an egress writes."""
    return "rayfan" if name == "auto" else name
