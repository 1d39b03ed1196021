"""The payload formats of an egress or ingress, made from its configuration, and what its records show of the keys."""

from dataclasses import dataclass

from consumers.key_ring import KeyRing
from consumers.rolling_keys import OpeningKeys, SealingKeys
from consumers.sealed_events import SealedReader, SealedWriter
from ioc.channels.ejfat_payload import PayloadReader, PayloadWriter, reader_of, writer_of
from ioc.channels.ejfat_payload_raw import RawReader, RawWriter
from ioc.core.clock import Clock
from ioc.core.config_ejfat import EgressConfig, IngressConfig, PayloadConfig


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The writer of an egress, and its keys if it seals."""

    writer: PayloadWriter
    keys: SealingKeys | None = None

    @property
    def key(self) -> str:
        """Name of the key that seals; empty if nothing is sealed."""
        return self.keys.name if self.keys is not None else ""

    @property
    def fault(self) -> str:
        """Why a changed key file is not used."""
        return self.keys.fault if self.keys is not None else ""


@dataclass(frozen=True, slots=True)
class Incoming:
    """The reader of an ingress, and its keys if it takes sealed events only."""

    reader: PayloadReader
    keys: OpeningKeys | None = None

    @property
    def fault(self) -> str:
        """Why a changed key file is not used."""
        return self.keys.fault if self.keys is not None else ""


def outgoing(config: EgressConfig, clock: Clock) -> Outgoing:
    """Return what an egress writes with.

    Raises:
        RefusedError: it seals, and there is no key.
    """
    if config.payload == "raw":
        return Outgoing(RawWriter())
    plain = writer_of(config.payload, config.checksum and not config.sealed)  # a seal says all that a checksum does
    if not config.sealed:
        return Outgoing(plain)
    keys = SealingKeys(_ring(config), clock)
    return Outgoing(SealedWriter(plain, keys), keys)


def incoming(config: IngressConfig, clock: Clock) -> Incoming:
    """Return what an ingress reads with.

    Raises:
        RefusedError: it takes sealed events, and there is no key.
    """
    if config.payload == "raw":
        return Incoming(RawReader(config.raw_type, config.raw_shape, clock))
    if not config.sealed:
        return Incoming(reader_of(config.payload))
    keys = OpeningKeys(_ring(config))
    return Incoming(SealedReader(reader_of("rayfan", verify=False), keys), keys)


def numbers_text(events: dict[int, list[tuple[int, int]]], most: int = 16) -> str:
    """Return event numbers by data id as text, of each the newest: `1: 5-7 9`."""
    parts = (
        f"{data_id}: " + " ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges[-most:])
        for data_id, ranges in events.items()
    )
    return "; ".join(parts)


def _ring(config: PayloadConfig) -> KeyRing:
    return KeyRing(config.key_file.expanduser() if config.key_file is not None else None)
