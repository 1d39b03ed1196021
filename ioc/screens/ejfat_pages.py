"""Screens of EJFAT: egress, ingress, the load balancer for labs; and of intakes, which take frames in by other ways."""

from collections.abc import Iterable

from ioc.records.table import Record
from ioc.screens.device import device
from ioc.screens.items import Bar, History, Image, Wide, lines
from ioc.screens.page import OVERVIEW, Card, Link, Page

PLOT = 520
SAME = (("R", "$(R)"),)


def egress_page(records: Iterable[Record]) -> Page:
    """Return the screen of an egress."""
    one = device(records, "Ejfat1:")
    state = Card(
        "State", one, [*lines("State", "Uptime", "Pid"), Wide("StatusMessage"), Wide("LastError"), Wide("Destination")]
    )
    sent = Card(
        "Sent",
        one,
        lines("Frames", "Packets", "Bytes", "Rate", "ByteRate", "GoodputRate", "Queued", "Errors", "TargetRate"),
    )
    way = Card(
        "Way",
        one,
        [
            *lines("Reachable", "Unreachable", "MTU", "Offload", "Sockets", "SendBuffer", "SendBufferAsked"),
            Wide("BufferAdvice"),
        ],
    )
    control = Card(
        "Control plane", one, [*lines("LoadBalancer", "Syncs", "Renewals", "ControlErrors"), Wide("ControlError")]
    )
    again = Card(
        "Sent again",
        one,
        lines("ResendClients", "ResendAsked", "Resent", "ResendGone", "ResendRefused", "ResendMemory"),
    )
    seal = Card("What an event carries", one, [*lines("Payload"), Wide("Key"), Wide("KeyFault")])
    rate = Card("Rate", one, [History("Rate", (("Rate", "frames"),), 240)], PLOT)
    speed = Card("Goodput", one, [History("Goodput", (("GoodputRate", "goodput"), ("TargetRate", "pace")), 240)], PLOT)
    columns = ((state, control), (sent, way), (rate, speed), (again, seal))
    links: tuple[Link, ...] = (OVERVIEW, ("Metadata", "metadata.bob", (("R", "$(R)Meta:"),)))
    return Page("egress.bob", "EJFAT egress $(P)$(R)", one, columns, links)


def ingress_page(records: Iterable[Record]) -> Page:
    """Return the screen of an ingress."""
    one = device(records, "EjfatIn1:")
    state = Card(
        "State",
        one,
        [*lines("State", "Port", "Ports", "Uptime", "Pid"), Wide("StatusMessage"), Wide("LastError")],
    )
    got = Card(
        "Received",
        one,
        [
            *lines("Frames", "Bytes", "Rate", "ByteRate", "Lost", "Incomplete", "Corrupt", "Refused", "Duplicates"),
            *lines("Dropped", "Shed", "Bad"),
            Wide("RefusedEvents"),
        ],
    )
    kernel = Card(
        "Kernel",
        one,
        [*lines("ReceiveBuffer", "ReceiveBufferAsked", "KernelDrops", "UdpInErrors"), Wide("BufferAdvice")],
    )
    queue = Card("Memory", one, [*lines("QueueFill"), Bar("Waiting memory", "MemoryUsed", "MemoryLimit")])
    again = Card(
        "Sent again",
        one,
        [*lines("ResendAsked", "Resent", "ResendRecovered", "ResendGivenUp"), Wide("ResendError")],
    )
    control = Card(
        "Control plane",
        one,
        [
            *lines("LoadBalancer", "ControlSignal", "States", "Registrations", "ControlErrors"),
            Wide("ControlError"),
        ],
    )
    seal = Card("What an event may carry", one, [*lines("Payload"), Wide("KeyFault")])
    picture = Card("Output, $(P)$(R)Image", one, [Image.square("$(P)$(R)Image", PLOT)], PLOT)
    columns = ((state, control, queue), (got, again), (picture, seal), (kernel,))
    return Page("ingress.bob", "EJFAT ingress $(P)$(R)", one, columns)


def balancer_page(records: Iterable[Record]) -> Page:
    """Return the screen of the load balancer for labs."""
    one = device(records, "EjfatLb1:")
    state = Card(
        "State",
        one,
        [
            *lines("State", "Workers", "WorkersReady", "Epoch", "Port", "DataPort", "Uptime", "Pid"),
            Wide("Uri"),
            Wide("StatusMessage"),
            Wide("LastError"),
        ],
        PLOT,
    )
    packets = Card(
        "Packets",
        one,
        [
            *lines("Received", "Forwarded", "Nobody", "Strangers", "Malformed", "KernelDrops", "UdpInErrors", "Errors"),
            *lines("Syncs", "ReceiveBuffer", "ReceiveBufferAsked"),
            Wide("BufferAdvice"),
        ],
    )
    faults = Card(
        "Faults on purpose",
        one,
        lines("Loss", "Duplicate", "Reorder", "Delay", "Jitter", "FaultsLost", "FaultsDoubled", "FaultsHeldBack"),
    )
    return Page("balancer.bob", "EJFAT load balancer $(P)$(R)", one, ((state,), (packets,), (faults,)))


def intake_page(records: Iterable[Record]) -> Page:
    """Return the screen of an intake."""
    one = device(records, "In1:")
    state = Card(
        "State", one, [*lines("State", "Connected", "Streams", "Disconnects", "Uptime", "Pid"), Wide("Source")]
    )
    words = Card("Messages", one, [Wide("StatusMessage"), Wide("LastError")])
    frames = Card(
        "Frames",
        one,
        [
            *lines("Frames", "Bytes", "Rate", "ByteRate", "Merged", "Repeated", "Refused", "Bad", "Shed"),
            *lines("Series", "UniqueId"),
            Wide("MergedIds"),
        ],
    )
    rate = Card("Rate", one, [History("Rate", (("Rate", "frames"),), 300)], PLOT)
    return Page("intake.bob", "Intake $(P)$(R)", one, ((state, words), (frames,), (rate,)))
