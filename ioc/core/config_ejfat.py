"""The tables of the configuration that are about EJFAT: [egress.*], [ingress.*] and [balancers.*]."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from ioc.core.config_metadata import MetadataConfig
from ioc.core.config_table import Queued, Table
from ioc.core.frame import DataType
from ioc.core.topology import DETECTOR


class ControlConfig(Table):
    """How a control plane is reached; its address and token are in the URI."""

    verify: bool = True
    """Verify the certificate of an `ejfats` control plane; false trusts any, for test set-ups only."""
    root_certificate: Path | None = None
    """PEM file that the certificate is verified against; left out: the system's."""


class PayloadConfig(Table):
    """What an event carries; both ends have to agree."""

    payload: Literal["rayfan", "pvapy", "auto", "raw"] = "rayfan"
    """`rayfan`, or `pvapy`: what PvaPy's EJFAT publisher sends and its receiver takes, without end markers. `auto`: an
    ingress takes both, an egress sends `rayfan`. `raw`: pixels and nothing else."""
    sealed: bool = False
    """Encrypt and sign every event (AES-256-GCM); an ingress then refuses any other."""
    key_file: Path | None = None
    """Keys for sealed events, mode 0600, a line NAME HEX each; left out: the environment variable RAYFAN_KEYS."""

    @model_validator(mode="after")
    def _one_that_seals(self) -> Self:
        if self.sealed and self.payload == "pvapy":
            raise ValueError("expected payload 'rayfan' with sealed events, found 'pvapy': PvaPy cannot open them")
        if self.sealed and self.payload == "raw":
            raise ValueError(
                "expected payload 'rayfan' with sealed events, found 'raw': who takes that cannot open them"
            )
        if self.key_file is not None and not self.sealed:
            raise ValueError("the key 'key_file' needs sealed = true")
        return self


class EgressConfig(ControlConfig, PayloadConfig, Queued):
    """Frames sent as EJFAT events over UDP."""

    input: str = DETECTOR
    """Where the frames come from, as in [groups.*]."""
    metadata: MetadataConfig = MetadataConfig()
    """Values of other channels that go with the frames, as attributes in the events."""
    uri: str | None = None
    """EJFAT URI; its `data` addresses and ports are where events go, in turn. One of `uri`, `balancer`, `ingress`."""
    balancer: str | None = None
    """Name of a [balancers.*] table of this file to send through."""
    ingress: str | None = None
    """Name of an [ingress.*] table of this file to send to directly."""
    control_plane: bool | None = None
    """Announce the sender and send sync messages; left out: if the URI names token, control plane and load balancer."""
    ip: Literal[4, 6] | None = None
    """Which `data` addresses of the URI are used; left out: IPv4 if there are any."""
    sockets: int = Field(default=1, ge=1, le=128)
    """Sockets that events take turns over; with a range of data ports each has one of its own."""
    sync_period: float = Field(default=1.0, gt=0, le=10)
    """s between sync messages."""
    warm_up: float = Field(default=1.0, ge=0, le=60)
    """s from the first sync message to the first event."""
    renew_reservation: float | None = Field(default=None, ge=60)
    """s that the reservation is extended by when less than half of them are left; left out: never."""
    mtu: int = Field(default=9000, ge=576, le=9000)
    """Bytes of an IP packet."""
    rate: float | None = Field(default=None, gt=0)
    """Gbit/s that the packets are paced to; left out: as fast as the frames come."""
    data_id: int = Field(default=1, ge=0, le=0xFFFF)
    """Which source the events come from (RE header)."""
    first_event: int | None = Field(default=None, ge=0, lt=1 << 63)
    """Number of the first event of each life (RE header); left out: s since 1970 times 2^32, plus 1, so that no number
    comes twice and a new start is known; with payload `pvapy`, whose receiver counts from 0, 1."""
    checksum: bool = True
    """Send a checksum of the pixels, which the ingress verifies."""
    lb_version: Literal[2, 3] | None = 2
    """Version of the load balancer header."""
    offload: bool = True
    """Let the kernel cut the packets (UDP_SEGMENT); falls back to one datagram a packet where it cannot."""
    resend: bool = False
    """Keep what was sent for a while and offer, in every event, to send lost packets again over TCP."""
    resend_port: int = Field(default=0, ge=0, le=65535)
    """TCP port that is asked for lost packets; 0: a free one."""
    resend_memory: int = Field(default=64 << 20, ge=1 << 16)
    """Bytes of events that are kept at most, within the memory budget."""
    resend_seconds: float = Field(default=2.0, gt=0, le=60)
    """s that an event is kept."""
    resend_unclaimed: bool = False
    """Behind a load balancer whose workers all say `resend`: send an event that none of them has to one of them. One
    that was only late may then come twice, to two workers."""

    @model_validator(mode="after")
    def _destination(self) -> Self:
        given = [key for key in ("uri", "balancer", "ingress") if getattr(self, key) is not None]
        if not given:
            raise ValueError("needs the key 'uri' (an EJFAT URI), 'balancer' or 'ingress' (the name of a table)")
        if "balancer" in given and len(given) > 1:
            raise ValueError(f"expected one of 'uri', 'balancer' and 'ingress', found {' and '.join(given)}")
        if self.resend_unclaimed and not self.resend:
            raise ValueError("the key 'resend_unclaimed' needs resend = true")
        if self.resend and self.payload in ("pvapy", "raw"):
            raise ValueError(
                f"expected payload 'rayfan' with resend, found {self.payload!r}: it cannot carry the offer"
            )
        return self


class IngressConfig(ControlConfig, PayloadConfig):
    """EJFAT events received over UDP, put together and checked."""

    uri: str | None = None
    """EJFAT URI of a load balancer to register with as a worker; left out: senders come directly."""
    balancer: str | None = None
    """Name of a [balancers.*] table of this file to register with."""
    advertise: str | None = None
    """IP address that the load balancer is told; left out: `address`, or the one that faces the load balancer."""
    worker_name: str | None = None
    """Name to register as; left out: host, prefix and process."""
    port_range: int = Field(default=0, ge=0, le=14)
    """log2 of the number of UDP ports that are listened on, each with a socket of its own."""
    weight: float = Field(default=1.0, gt=0, le=1000)
    """Share of the events at the start, relative to other workers."""
    min_factor: float = Field(default=0.5, ge=0, le=1)
    """Times the even share: the least that this worker gets while it is ready."""
    max_factor: float = Field(default=2.0, ge=0)
    """Times the even share: the most that it gets; 0: no bound."""
    set_point: float = Field(default=0.1, ge=0, le=1)
    """Fill of the queue that the control signal aims at."""
    kp: float = Field(default=100.0, ge=0)
    """Proportional gain; the signal is a change of weight per epoch, where 1000 is the average."""
    ki: float = Field(default=0.0, ge=0)
    """Integral gain, per s."""
    kd: float = Field(default=0.0, ge=0)
    """Derivative gain, s."""
    linger: float = Field(default=2.0, ge=0, le=30)
    """s that a worker goes on to receive after it has left the load balancer: earlier epochs are still its own."""

    raw_type: DataType = DataType.UINT8
    """Type of the pixels of payload `raw`, little-endian."""
    raw_shape: tuple[PositiveInt, PositiveInt] | None = None
    """Rows and columns of the frames of payload `raw`; left out: one row, as long as the event."""
    address: str = "127.0.0.1"
    """IP address to listen on."""
    port: int = Field(default=0, ge=0, le=65535)
    """UDP port; 0: a free one, chosen at start."""
    event_timeout: float = Field(default=0.5, gt=0, le=10)
    """s after which an event with missing packets is given up and counted."""
    resend: bool = False
    """Ask senders that offer it for lost packets, until the event is given up. The address that an event names is
    connected to: have events sealed where strangers can send."""
    resend_delay: float = Field(default=0.02, gt=0, le=1)
    """s that a packet may be late before it is asked for; less than half of event_timeout."""
    max_event_bytes: int = Field(default=256 << 20, ge=1)
    """Bytes; larger events are refused, because a header may claim up to 4 GiB."""
    memory: int | None = Field(default=None, ge=1)
    """Bytes for events that are put together and for whole ones that wait; left out, or more: its share of
    memory_budget."""
    queue_size: int = Field(default=1024, ge=1)
    """Frames that may wait to be taken; more are dropped and counted."""
    receive_buffer: int = Field(default=64 << 20, ge=4096)
    """Bytes asked of the kernel for the socket; a PV shows what it gave. More than net.core.rmem_max needs
    CAP_NET_ADMIN."""

    @model_validator(mode="after")
    def _raw_if_shaped(self) -> Self:
        if self.payload != "raw" and (self.raw_shape is not None or self.raw_type is not DataType.UINT8):
            raise ValueError(f"the keys 'raw_shape' and 'raw_type' need payload = 'raw', found {self.payload!r}")
        return self

    @model_validator(mode="after")
    def _time_to_ask(self) -> Self:
        if self.resend and self.resend_delay > self.event_timeout / 2:
            raise ValueError(
                f"expected a resend_delay of at most half of event_timeout = {self.event_timeout}, "
                f"found {self.resend_delay}"
            )
        return self


class BalancerConfig(Table):
    """A software load balancer with a control plane, for tests, labs and single hosts; a facility uses its own."""

    address: str = "127.0.0.1"
    """IP address of control plane and data."""
    port: int = Field(default=0, ge=0, le=65535)
    """TCP port of the control plane; 0: a free one."""
    epoch: float = Field(default=1.0, ge=0.05, le=60)
    """s between epochs: how soon workers that come, go or change their weight take effect."""
    lead: float = Field(default=0.8, ge=0, le=60)
    """s that an epoch is dealt before it begins."""
    receive_buffer: int = Field(default=64 << 20, ge=4096)
    """Bytes asked of the kernel for the data socket."""
    loss: float = Field(default=0.0, ge=0, le=1)
    """Fault: part of the packets that is lost."""
    duplicate: float = Field(default=0.0, ge=0, le=1)
    """Fault: part of the packets that comes twice."""
    reorder: float = Field(default=0.0, ge=0, le=1)
    """Fault: part of the packets that others overtake."""
    delay: float = Field(default=0.0, ge=0, le=10)
    """Fault: s that every packet takes."""
    jitter: float = Field(default=0.0, ge=0, le=10)
    """Fault: s more for packets that others overtake."""
    seed: int | None = None
    """Fault: let chance play the same way every time; left out: another way each time."""
