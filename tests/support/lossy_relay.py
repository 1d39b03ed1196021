"""A relay of UDP packets: loses those that `loses` says, and passes the others on as `alters` makes them."""

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"
LOOK_SECONDS = 0.1
JOIN_SECONDS = 10.0

Loses = Callable[[bytes], bool]
Alters = Callable[[bytes], bytes]


class LossyRelay:
    """Passes packets on to a port of this host."""

    def __init__(self, target: int, loses: Loses, alters: Alters = bytes) -> None:
        self.target = target
        """UDP port of this host that packets go to."""
        self._loses = loses
        self._alters = alters
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind((HOST, 0))
        self._socket.settimeout(LOOK_SECONDS)
        self.port: int = self._socket.getsockname()[1]
        self.lost = 0
        self.passed = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lossy-relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._stopping.set()
        self._thread.join(JOIN_SECONDS)
        assert not self._thread.is_alive()
        self._socket.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                packet = self._socket.recv(65536)
            except TimeoutError:
                continue
            if self._loses(packet):
                self.lost += 1
            else:
                self.passed += 1
                self._socket.sendto(self._alters(packet), (HOST, self.target))


@contextmanager
def lossy(target: int, loses: Loses, alters: Alters = bytes) -> Iterator[LossyRelay]:
    """Have a relay to `target` while the context lasts."""
    relay = LossyRelay(target, loses, alters)
    try:
        yield relay
    finally:
        relay.close()


def by_chance(part: float, seed: int) -> Loses:
    """Lose a part of the packets, chosen by a seed."""
    chance = random.Random(seed)
    return lambda packet: chance.random() < part
