"""Who reads for an EJFAT receiver, when he naps and when he blocks; a full queue says so, and never more."""

import socket
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from ioc.channels.ejfat_naps import FAST_BYTES, LONGEST_NAP, NAP_SECONDS, NAPS, Naps
from ioc.channels.ejfat_pacing import Pause
from ioc.channels.ejfat_receiver import EjfatReceiver, ReceiverSettings
from ioc.channels.ejfat_segmenter import Segmenter, Stamp
from ioc.core import codec
from ioc.core.clock import VirtualClock
from ioc.core.errors import RayfanBug
from ioc.core.frame import Frame

BLOCKED, TAKEN, EMPTY, NAP = "blocked", "taken", "empty", "nap"


class Scripted:
    """A socket with so many packets; notes each call and whether that would have blocked."""

    def __init__(self) -> None:
        self.packets: deque[bytes] = deque()
        self.notes: list[str] = []
        self._real = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._real.bind(("127.0.0.1", 0))
        self.fileno, self.getsockname, self.close = self._real.fileno, self._real.getsockname, self._real.close
        self.getsockopt = self._real.getsockopt

    def recvmsg_into(self, buffers: Sequence[memoryview], _space: int, flags: int) -> tuple[int, list, int, None]:
        if not self.packets:
            self.notes.append(EMPTY if flags & socket.MSG_DONTWAIT else BLOCKED)
            raise BlockingIOError
        self.notes.append(TAKEN)
        packet = self.packets.popleft()
        buffers[0][: len(packet)] = packet
        return len(packet), [], 0, None


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Scripted, EjfatReceiver]]:
    """Have a receiver whose steps are made by the test, one packet a call."""
    sock = Scripted()
    monkeypatch.setattr(Pause, "wait", lambda _self, _seconds: sock.notes.append(NAP))
    receiver = EjfatReceiver([sock], ReceiverSettings(queue_size=2, memory=1 << 20, in_place=False, event_timeout=60.0))  # type: ignore[list-item]
    yield sock, receiver
    sock.close()


def packets(number: int, size: int = 3000) -> list[bytes]:
    frame = Frame(1, number, 1, np.zeros((1, size), np.uint8))
    laid = Segmenter(1500, 4, 2, 1).lay(codec.encode(frame), Stamp(number, number, 1))
    wire = bytes(laid.wire)
    return [wire[at : at + laid.size] for at in range(0, len(wire), laid.size)]


def test_who_has_taken_all_naps_a_few_times_and_then_blocks(scripted: tuple[Scripted, EjfatReceiver]) -> None:
    sock, receiver = scripted
    sock.packets.extend(packets(1))
    count = len(sock.packets)
    for _ in range(count + NAPS + 3):
        receiver._reader.step()
    assert sock.notes == [TAKEN] * count + [EMPTY, NAP] * NAPS + [BLOCKED] * 3
    sock.notes.clear()
    sock.packets.extend(packets(2))
    receiver._reader.step()
    assert sock.notes == [TAKEN]
    assert [item.unique_id for item in receiver.receive(9, 0.0) if isinstance(item, Frame)] == [1]


def test_who_waits_for_items_reads_himself_and_naps_before_he_reads(scripted: tuple[Scripted, EjfatReceiver]) -> None:
    sock, receiver = scripted
    receiver._reader._clock = VirtualClock()
    sock.packets.extend(packets(1))
    count = len(sock.packets)
    assert [item.unique_id for item in receiver.receive(9, 60.0) if isinstance(item, Frame)] == [1]
    assert sock.notes == [TAKEN] * count
    assert receiver.receive(9, 0.0) == []
    assert sock.notes == [TAKEN] * count + [EMPTY]
    sock.packets.extend(packets(2))
    assert receiver.receive(9, 0.0) == []  # the nap is not over yet, and he has no time
    assert [item.unique_id for item in receiver.receive(9, 60.0) if isinstance(item, Frame)] == [2]
    assert sock.notes == [TAKEN] * count + [EMPTY, NAP] + [TAKEN] * count


def test_who_never_finds_the_socket_empty_is_behind_after_a_while(scripted: tuple[Scripted, EjfatReceiver]) -> None:
    sock, receiver = scripted
    clock = receiver._reader._clock = VirtualClock()
    sock.packets.extend(packets(1))
    receiver._reader.step()
    clock.advance(1.0)
    assert receiver._reader.is_behind(0.9) and not receiver._reader.is_behind(1.1)
    while sock.packets:
        receiver._reader.step()
    assert receiver._reader.is_behind(0.9)
    receiver._reader.step()
    clock.advance(2.0)
    assert not receiver._reader.is_behind(0.9)


def test_what_fails_where_the_owner_reads_is_told_to_him(scripted: tuple[Scripted, EjfatReceiver]) -> None:
    sock, receiver = scripted
    sock.packets.append(b"")
    receiver._reader._buffer = None  # type: ignore[assignment]
    with pytest.raises(RayfanBug, match="reader failed"):
        receiver.receive(1, 60.0)
    with pytest.raises(RayfanBug, match="reader failed"):
        receiver.receive(1, 60.0)


def test_the_fill_is_at_most_one_however_much_comes(scripted: tuple[Scripted, EjfatReceiver]) -> None:
    sock, receiver = scripted
    for number in range(1, 6):
        sock.packets.extend(packets(number))
    while sock.packets:
        receiver._reader.step()
    assert receiver.fill() == 1.0
    figures = receiver.figures()
    assert (figures.complete, figures.queued, figures.dropped) == (5, 2, 3)


def test_naps_become_longer_while_packets_come_fast() -> None:
    naps, taken = Naps(), 0
    lengths = []
    for came in (FAST_BYTES,) * 10 + (FAST_BYTES - 1,) * 2:
        taken += came
        lengths.append(naps.next(taken))
    assert lengths[:10] == sorted(lengths[:10]) and lengths[0] > NAP_SECONDS and lengths[9] == LONGEST_NAP
    assert lengths[10:] == [NAP_SECONDS] * 2
