"""Mutated pvAccess messages in random pieces: each is accepted, or is one error that ends its connection.

    python -m tests.campaigns.fuzz_pva [--messages 10000000] [--seconds 600] [--seed N]

The messages are those of p4p's and PvaPy's clients (tests/unit/pva_golden) and of both byte orders, with bytes changed,
inserted, removed, repeated and swapped between messages; and those of servers, to the client that monitors. Any
other error, a memory that grows, or bytes held beyond the limits fail the campaign. It ends after so many messages or
seconds, whichever comes first, and says which.
"""

import argparse
import random
import resource
import sys
import time
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
from tests.support.pva_client import Sender
from tests.support.pva_teller import Teller

GOLDEN = Path(__file__).parents[1] / "unit" / "pva_golden"
MOST_HELD = 2 * LONGEST_MESSAGE + MOST_SEGMENTS
MOST_GROWTH = 64 << 20
"""Bytes that the process may grow by after it has warmed up."""
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
    data = bytearray(message)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        at = rng.randrange(HEADER_BYTES if rng.random() < 0.7 and len(data) > HEADER_BYTES else 0, len(data) + 1)
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = bytes((rng.choice((0, 1, 0x7F, 0x80, 0xFD, 0xFE, 0xFF, rng.randrange(256))),))
            case 1:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 2:
                del data[at : at + rng.randrange(1, 9)]
            case 3:
                data[at:at] = data[at : at + rng.randrange(1, 64)]
            case 4:
                data[at:at] = other[HEADER_BYTES:][: rng.randrange(1, 64)]
            case _:
                data[at : at + 4] = rng.choice((b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x01\x00"))
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


def told() -> list[bytes]:
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


def campaign(most: int, seconds: float, seed: int) -> Tally:
    """Return the tally of so many messages, or of so many seconds.

    Raises:
        AssertionError: memory grew, or more was held than may be.
    """
    rng, known, tally = random.Random(seed), corpus(), Tally()
    prologue, heard = [known[0]], told()
    end, warm = time.monotonic() + seconds, 0
    looked = 0
    while tally.messages < most and time.monotonic() < end:
        chosen = [mutate(rng.choice(known), rng.choice(known), rng) for _ in range(rng.randrange(1, SPAN))]
        ask(chosen[0], tally)
        opening = [*prologue, Sender().create(1, "X")] if rng.random() < 0.9 else []
        converse(opening + chosen, rng, tally)
        said = [mutate(rng.choice(heard), rng.choice(heard), rng) for _ in range(rng.randrange(1, SPAN))]
        listen([heard[3], *said] if rng.random() < 0.9 else said, rng, tally)
        if tally.messages - looked >= LOOK_EVERY:
            looked = tally.messages
            grown = memory()
            warm = warm or grown
            assert grown - warm <= MOST_GROWTH, f"memory grew by {grown - warm} bytes after {tally.messages} messages"
    return tally


def memory() -> int:
    """Return the most memory that this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    """Run the campaign and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    begun = time.monotonic()
    tally = campaign(options.messages, options.seconds, options.seed)
    took = time.monotonic() - begun
    print(f"{tally.messages} messages in {tally.connections} connections, {took:.0f} s, {tally.refused} refused")
    print(f"largest memory {memory() / 1e6:.0f} MB; errors: {dict(tally.errors.most_common(12))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
