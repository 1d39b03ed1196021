"""Sealed EJFAT events: the payload of another format, encrypted and signed as a whole.

What is signed besides: data id and RE event number. So an event cannot be shown again under another number, and one
that is shown again under its own is known already, by its number, or by series and id of its frame.
"""

import struct
from collections.abc import Sequence

from consumers.rolling_keys import OpeningKeys, SealingKeys
from consumers.sealing import SLACK
from ioc.channels.ejfat_payload import SEALED_MAGIC, EventId, Given, PayloadReader, PayloadWriter, Piece, RefusedEvent
from ioc.channels.ejfat_pool import BufferPool
from ioc.channels.ejfat_reassembly import Event
from ioc.core.errors import ProtocolError, mismatch
from ioc.core.frame import Item

_CONTEXT = struct.Struct(">14sHQ")
_PURPOSE = b"EJFAT payload "


class SealedWriter:
    """Seals what another writer writes; implements ejfat_payload.PayloadWriter."""

    def __init__(self, inner: PayloadWriter, keys: SealingKeys) -> None:
        self._inner = inner
        self._keys = keys

    def write(self, item: Item, event: EventId, resend: str | None) -> Sequence[Piece]:
        """Return the head and the ciphertext, which is valid until the next."""
        pieces = self._inner.write(item, event, resend)
        return self._keys.sealer().seal_parts(pieces, _context(*event)) if pieces else ()


class SealedReader:
    """Opens events for another reader and refuses those that are not sealed; implements PayloadReader."""

    def __init__(self, inner: PayloadReader, keys: OpeningKeys) -> None:
        self._inner = inner
        self._keys = keys

    def read(self, event: Event, pool: BufferPool) -> Given:
        """Return the item of a sealed event, in memory of its own; that of the event goes back to the pool."""
        if event.payload[:4].tobytes() != SEALED_MAGIC:
            raise RefusedEvent(mismatch("event", "a sealed one", event.payload[:4].tobytes().hex()))
        room = pool.take(len(event.payload) + SLACK)
        try:
            size = self._keys.open_into(event.payload.data, _context(event.data_id, event.number), room.data)
        except ProtocolError as error:
            pool.give(room)
            raise RefusedEvent(str(error)) from None
        try:
            given = self._inner.read(event._replace(payload=room[:size]), pool)
        except ProtocolError:
            pool.give(room)
            raise
        pool.give(event.payload)
        return given

    def is_dealt(self, series: int) -> bool:
        return self._inner.is_dealt(series)


def _context(data_id: int, number: int) -> bytes:
    return _CONTEXT.pack(_PURPOSE, data_id, number)
