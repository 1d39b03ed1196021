"""The bare ends that limits are measured with: TCP and UDP without anything on top. Run as a process of its own.

Settings come as one line of JSON on standard input; answers go as lines of JSON to standard output: a receiver tells
its port first, then what it got.
"""

import json
import os
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from ioc.channels import ejfat_socket
from ioc.channels.ejfat_wire import IP_BYTES, UDP_BYTES

TCP_MESSAGE = 1 << 20
UDP_BUFFER = 1 << 17
RECEIVE_BUFFER = 64 << 20
SEND_BUFFER = 8 << 20
IP_UDP_BYTES = IP_BYTES[4] + UDP_BYTES
EVENTS = 8
"""Events whose memory a receiver fills in turn: as many as Rayfan's sender has different images."""
CONNECT_SECONDS = 20.0
QUIET_SECONDS = 0.5
"""s without a packet after which a UDP receiver takes the stream for finished."""

Settings = Mapping[str, Any]


def tell(**facts: Any) -> None:
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def settings_given() -> dict[str, Any]:
    """Return the settings on standard input."""
    return json.loads(sys.stdin.readline())


def tcp_receive(_settings: Settings) -> None:
    """Take a TCP stream to its end and tell bytes and seconds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(CONNECT_SECONDS)
        tell(port=server.getsockname()[1])
        connection, _ = server.accept()
    with connection:
        buffer = memoryview(bytearray(TCP_MESSAGE))
        connection.settimeout(None)
        begun = last = time.monotonic()
        total = 0
        while count := connection.recv_into(buffer):
            total += count
            last = time.monotonic()
    tell(bytes=total, seconds=last - begun)


def tcp_send(settings: Settings) -> None:
    """Send TCP for `seconds` to `port`."""
    message = bytes(TCP_MESSAGE)
    total = 0
    with socket.create_connection(("127.0.0.1", settings["port"]), CONNECT_SECONDS) as connection:
        connection.settimeout(None)
        limit = time.monotonic() + settings["seconds"]
        while time.monotonic() < limit:
            connection.sendall(message)
            total += len(message)
    tell(bytes=total)


def udp_receive(settings: Settings) -> None:
    """Take datagrams until none comes for a while; tell bytes, seconds and CPU seconds.

    With `offload` the kernel coalesces them. They land in one buffer, again and again; with `event_bytes` in the
    memory of `EVENTS` events in turn, each byte at a place of its own, without headers and without a check.
    """
    sock = ejfat_socket.listen("127.0.0.1", 0, RECEIVE_BUFFER)
    with sock:
        coalescing = bool(settings["offload"]) and ejfat_socket.coalesce(sock)
        sock.settimeout(CONNECT_SECONDS)
        tell(port=sock.getsockname()[1])
        events = settings.get("event_bytes")
        total, seconds, cpu = _take_datagrams(sock, EVENTS * events if events else 0)
    tell(bytes=total, seconds=seconds, cpu=cpu, coalescing=coalescing)


def _take_datagrams(sock: socket.socket, ring: int) -> tuple[int, float, float]:
    """Return bytes, s from the first call to the last, and CPU s meanwhile; `ring` bytes are filled in turn."""
    buffer = memoryview(bytearray(ring + UDP_BUFFER))
    total = at = 0
    begun = last = cpu = 0.0
    while True:
        try:
            count, _, _, _ = sock.recvmsg_into([buffer[at:] if at else buffer], ejfat_socket.ANCILLARY_BYTES)
        except (TimeoutError, BlockingIOError):
            break
        last = time.monotonic()
        if not begun:
            begun, cpu = last, cpu_used()
            sock.settimeout(None)  # no poll for each call; the kernel's own time-out instead
            ejfat_socket.set_receive_timeout(sock, QUIET_SECONDS)
        total += count
        if ring:
            at = (at + count) % ring
    return total, last - begun, cpu_used() - cpu


def udp_send(settings: Settings) -> None:
    """Send events of `event_bytes` as packets of `packet_bytes` to `port` for `seconds`, as fast as it goes.

    With `offload`, 64 KiB a call, else packet by packet; `events` different ones in turn.
    """
    packet = settings["packet_bytes"]
    sock, _ = ejfat_socket.connect("127.0.0.1", settings["port"], packet + IP_UDP_BYTES, SEND_BUFFER)
    with sock:
        most = ejfat_socket.batch_bytes(packet) if settings["offload"] else packet
        events = [_batches(settings["event_bytes"], most) for _ in range(settings["events"])]
        total = sent = 0
        begun, cpu = time.monotonic(), cpu_used()
        limit = begun + settings["seconds"]
        while time.monotonic() < limit:
            total += _send_event(sock, events[sent % len(events)], packet)
            sent += 1
        seconds, cpu = time.monotonic() - begun, cpu_used() - cpu
    tell(bytes=total, seconds=seconds, cpu=cpu)


def cpu_used() -> float:
    """Return the CPU s, user and system, of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _batches(event: int, most: int) -> list[memoryview]:
    whole = memoryview(os.urandom(event))  # not zeros: the kernel would share one page for them
    return [whole[at : at + most] for at in range(0, event, most)]


def _send_event(sock: socket.socket, batches: list[memoryview], packet: int) -> int:
    segment = [(socket.IPPROTO_UDP, ejfat_socket.UDP_SEGMENT, struct.pack("@H", packet))]
    for batch in batches:
        sock.sendmsg([batch], segment if len(batch) > packet else [])
    return sum(map(len, batches))


ROLES: dict[str, Callable[[Settings], None]] = {
    "tcp-receive": tcp_receive,
    "tcp-send": tcp_send,
    "udp-receive": udp_receive,
    "udp-send": udp_send,
}

if __name__ == "__main__":
    given = settings_given()
    ROLES[given["role"]](given)
