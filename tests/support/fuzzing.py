"""What fuzz campaigns share: bytes with something wrong, the loop, the command line; memory must not grow."""

import argparse
import random
import resource
import time
from collections.abc import Callable
from typing import Protocol

MOST_GROWTH = 64 << 20
"""Bytes that the process may grow by after it has warmed up."""


class Campaign(Protocol):
    """What is fed, and what became of it."""

    what: str
    """What is fed, in the plural."""
    look_every: int
    """How much is fed between two looks at the books and the memory."""

    @property
    def fed(self) -> int:
        """How much was fed."""
        ...

    def step(self) -> None:
        """Feed something more."""
        ...

    def check(self) -> None:
        """Look at the books; raises AssertionError where they are wrong."""
        ...

    def told(self) -> list[str]:
        """End, and return what there is to say of it."""
        ...


def mutated(data: bytes, spare: bytes, at: Callable[[int], int], rng: random.Random) -> bytearray:
    """Return bytes with a few things wrong; `at` chooses a place in 0 ... length, `spare` is put in between."""
    found = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        here = at(len(found))
        match rng.randrange(6):
            case 0:
                found[here : here + 1] = bytes((rng.choice((0, 1, 0x7F, 0x80, 0xFD, 0xFE, 0xFF, rng.randrange(256))),))
            case 1:
                found[here:here] = rng.randbytes(rng.randrange(1, 9))
            case 2:
                del found[here : here + rng.randrange(1, 9)]
            case 3:
                found[here:here] = found[here : here + rng.randrange(1, 64)]
            case 4:
                found[here:here] = spare[: rng.randrange(1, 64)]
            case _:
                found[here : here + 4] = rng.choice((b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x01\x00"))
    return found


def feed(campaign: Campaign, most: int, seconds: float) -> None:
    """Take steps until so much was fed, or so many seconds passed.

    Raises:
        AssertionError: memory grew, or a check found its books wrong.
    """
    end, warm, looked = time.monotonic() + seconds, 0, 0
    while (fed := campaign.fed) < most and time.monotonic() < end:
        campaign.step()
        if fed - looked >= campaign.look_every:
            looked = fed
            campaign.check()
            grown = memory()
            warm = warm or grown
            assert grown - warm <= MOST_GROWTH, f"memory grew by {grown - warm} bytes after {fed} {campaign.what}"
    campaign.check()


def memory() -> int:
    """Return the most memory that this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(description: str | None, make: Callable[[int], Campaign]) -> int:
    """Run the campaign of a seed as the command line asks for, and say what came of it."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--most", type=int, default=10_000_000, help="how much is fed at most")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    begun, campaign = time.monotonic(), make(options.seed)
    feed(campaign, options.most, options.seconds)
    took = time.monotonic() - begun
    print(f"{campaign.fed} {campaign.what} in {took:.0f} s; largest memory {memory() / 1e6:.0f} MB")
    print("\n".join(campaign.told()))
    return 0
