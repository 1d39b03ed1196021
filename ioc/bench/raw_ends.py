"""The bare ends that limits are measured with: TCP and UDP without anything on top. Run as a process of its own.

Settings come as one line of JSON on standard input; answers go as lines of JSON to standard output: a receiver tells
its port first, then what it got.
"""

import json
import os
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


def udp_receive(_settings: Settings) -> None:
    """Take datagrams until none comes for a while; tell bytes and seconds."""
    sock = ejfat_socket.listen("127.0.0.1", 0, RECEIVE_BUFFER)
    with sock:
        coalescing = ejfat_socket.coalesce(sock)
        sock.settimeout(CONNECT_SECONDS)
        tell(port=sock.getsockname()[1])
        total, seconds = _take_datagrams(sock)
    tell(bytes=total, seconds=seconds, coalescing=coalescing)


def _take_datagrams(sock: socket.socket) -> tuple[int, float]:
    buffer = memoryview(bytearray(UDP_BUFFER))
    total = 0
    begun = last = 0.0
    while True:
        try:
            count, _, _, _ = sock.recvmsg_into([buffer], ejfat_socket.ANCILLARY_BYTES)
        except (TimeoutError, BlockingIOError):
            break
        last = time.monotonic()
        if not begun:
            begun = last
            sock.settimeout(None)  # no poll for each call; the kernel's own time-out instead
            ejfat_socket.set_receive_timeout(sock, QUIET_SECONDS)
        total += count
    return total, last - begun


def udp_send(settings: Settings) -> None:
    """Send events of `event_bytes` as packets of `packet_bytes` to `port` for `seconds`, as fast as it goes."""
    packet = settings["packet_bytes"]
    sock, _ = ejfat_socket.connect("127.0.0.1", settings["port"], packet + IP_UDP_BYTES, SEND_BUFFER)
    with sock:
        sender = ejfat_socket.PacketSender(sock, offload=True)
        batches = _batches(settings["event_bytes"], packet, sender.batch_bytes(packet))
        total = 0
        limit = time.monotonic() + settings["seconds"]
        while time.monotonic() < limit:
            total += _send_event(sock, batches, packet)
    tell(bytes=total)


def _batches(event: int, packet: int, most: int) -> list[bytes]:
    whole = os.urandom(event)  # not zeros: the kernel would share one page for them
    return [whole[at : at + most] for at in range(0, event, most)]


def _send_event(sock: socket.socket, batches: list[bytes], packet: int) -> int:
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
