"""Mutated pvAccess messages in random pieces: each is accepted, or is one error that ends its connection.

    python -m tests.campaigns.fuzz_pva [--most 10000000] [--seconds 600] [--seed N]

The messages are those of p4p's and PvaPy's clients (tests/unit/pva_golden) and of both byte orders, with bytes changed,
inserted, removed, repeated and swapped between messages; and those of servers, to the client that monitors. Any
other error, a memory that grows, or bytes held beyond the limits fail the campaign. It ends after so many messages or
seconds, whichever comes first, and says which.
"""

import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from ioc.channels.pva_wire_connection import ChannelWanted, Connection, OperationWanted
from ioc.channels.pva_wire_framing import HEADER_BYTES, LONGEST_MESSAGE, MOST_SEGMENTS
from ioc.channels.pva_wire_hearing import Hearing
from ioc.channels.pva_wire_ntscalar import TYPE
from ioc.channels.pva_wire_search import read_answers, read_datagram
from ioc.channels.pva_wire_stamped import Wanted
from ioc.core.errors import ProtocolError
from tests.support import fuzzing
from tests.support.pva_client import Sender
from tests.support.pva_teller import Teller

GOLDEN = Path(__file__).parents[1] / "unit" / "pva_golden"
MOST_HELD = 2 * LONGEST_MESSAGE + MOST_SEGMENTS
LOOK_EVERY = 100_000
SPAN = 24
"""Messages of one connection at most."""


@dataclass(slots=True)
class Tally:
    """What became of the messages."""

    messages: int = 0
    connections: int = 0
    refused: int = 0
    errors: Counter[str] = field(default_factory=Counter)


def corpus() -> list[bytes]:
    """Return whole messages of clients: recorded ones, and every command in both byte orders."""
    messages = [one for file in sorted(GOLDEN.glob("*.hex")) for one in cut(bytes.fromhex(file.read_text()))]
    tree = {"record": {"_options": {"queueSize": "7", "pipeline": "true"}}, "field": {"value": {}}}
    for big in (False, True):
        sender = Sender(big)
        messages += [sender.validation("me"), sender.create(1, "X"), sender.control(3, 1), sender.message(2, b"echo")]
        messages += [sender.operation(command, (1, 2), tree, 7) for command in (10, 11, 12, 13, 14, 16, 20)]
        messages += [sender.step(13, (1, 2), 0x44), sender.step(13, (1, 2), 0x80, 4), sender.step(10, (1, 2), 0x10)]
        messages += [sender.search([(1, "X"), (2, "Y")]), sender.message(17, sender.pack("II", 1, 3) + b"\x00")]
    return messages


def cut(stream: bytes) -> list[bytes]:
    """Return the messages of a little-endian stream."""
    messages, at = [], 0
    while at < len(stream):
        end = at + HEADER_BYTES + (0 if stream[at + 2] & 1 else int.from_bytes(stream[at + 4 : at + 8], "little"))
        messages.append(stream[at:end])
        at = end
    return messages


def mutate(message: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return a message with a few things wrong with it, most often behind its header."""

    def at(size: int) -> int:
        return rng.randrange(HEADER_BYTES if rng.random() < 0.7 and size > HEADER_BYTES else 0, size + 1)

    data = fuzzing.mutated(message, other[HEADER_BYTES:], at, rng)
    if not data:
        return message
    if len(data) >= HEADER_BYTES and not data[2] & 1 and rng.random() < 0.8:  # a true length lets the body be read
        data[4:8] = (len(data) - HEADER_BYTES).to_bytes(4, "big" if data[2] & 0x80 else "little")
    return bytes(data)


def converse(messages: list[bytes], rng: random.Random, tally: Tally) -> None:
    """Feed one connection in random pieces."""
    connection = Connection()
    stream = b"".join(messages)
    ends = list(accumulate(map(len, messages)))
    tally.connections += 1
    at = 0
    try:
        while at < len(stream):
            piece = stream[at : at + rng.choice((1, 3, 8, 64, 1024, len(stream)))]
            at += len(piece)
            for event in connection.feed(piece):
                if isinstance(event, ChannelWanted):
                    connection.open_channel(event)
                elif isinstance(event, OperationWanted) and rng.random() < 0.1:
                    connection.refuse(event, "not now")
            assert connection.held <= MOST_HELD, f"{connection.held} bytes held"
    except ProtocolError as error:
        tally.refused += 1
        tally.errors[str(error).partition(":")[0][:40]] += 1
    tally.messages += sum(end <= at for end in ends)  # what comes behind an error is not read any more


def said() -> list[bytes]:
    """Return whole messages of servers, in both byte orders, whole and in segments."""
    messages = []
    for big, segments in ((False, 1), (True, 1), (False, 3)):
        teller = Teller(big, segments)
        messages += [teller.greeting(), teller.accepted(), teller.made(1, 1), teller.opened(1, TYPE)]
        messages += [teller.update(1, TYPE, {1: 2.5, 7: at, 8: 5, 9: at}) for at in range(3)]
        messages += [teller.update(1, TYPE, {8: 5}), teller.refused(1, "no"), teller.found(1, 2, [1, 2])]
    return messages


def listen(messages: list[bytes], rng: random.Random, tally: Tally) -> None:
    """Feed the client's side of one connection, with a monitor on its way, in random pieces."""
    hearing, found = Hearing(), []
    hearing.expect(1, Wanted("value", "timeStamp.userTag"), found)
    stream, at = b"".join(messages), 0
    tally.connections += 1
    try:
        while at < len(stream):
            piece = stream[at : at + rng.choice((1, 3, 8, 64, 1024, len(stream)))]
            at += len(piece)
            for _ in hearing.feed(piece):
                pass
            assert hearing.held <= MOST_HELD, f"{hearing.held} bytes held"
    except ProtocolError as error:
        tally.refused += 1
        tally.errors[str(error).partition(":")[0][:40]] += 1
    tally.messages += len(messages)


def ask(message: bytes, tally: Tally) -> None:
    """Read a message as a datagram, of a client and of a server."""
    tally.messages += 1
    try:
        read_answers(message)
    except ProtocolError:
        tally.refused += 1
    try:
        read_datagram(message)
    except ProtocolError:
        tally.refused += 1


class Campaign:
    """Connections of clients and of servers, and datagrams; implements fuzzing.Campaign."""

    what = "messages"
    look_every = LOOK_EVERY

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._known, self._heard = corpus(), said()
        self.tally = Tally()

    @property
    def fed(self) -> int:
        """How many messages were fed."""
        return self.tally.messages

    def step(self) -> None:
        """Feed a datagram, and a connection of either side."""
        rng, tally = self._rng, self.tally
        chosen = self._mutated(self._known)
        ask(chosen[0], tally)
        opening = [self._known[0], Sender().create(1, "X")] if rng.random() < 0.9 else []
        converse(opening + chosen, rng, tally)
        heard = self._mutated(self._heard)
        listen([self._heard[3], *heard] if rng.random() < 0.9 else heard, rng, tally)

    def check(self) -> None:
        """Find nothing wrong: what is held is looked at with every piece."""

    def told(self) -> list[str]:
        """Return what became of the messages."""
        tally = self.tally
        errors = dict(tally.errors.most_common(12))
        return [f"{tally.connections} connections, {tally.refused} refused; errors: {errors}"]

    def _mutated(self, known: list[bytes]) -> list[bytes]:
        rng = self._rng
        return [mutate(rng.choice(known), rng.choice(known), rng) for _ in range(rng.randrange(1, SPAN))]


if __name__ == "__main__":
    sys.exit(fuzzing.main(__doc__, Campaign))
