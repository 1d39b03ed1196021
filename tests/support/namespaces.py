"""Two hosts on one machine: network namespaces with a cable between them, or, where that is not allowed, loopback."""

import os
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Host:
    """One end: its address, and the command that runs another one there (empty: here)."""

    address: str
    within: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hosts:
    """Both ends, and in `why_not` why they are not apart (empty: they are)."""

    a: Host
    b: Host
    why_not: str = ""


@contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Yield two hosts; what was made is gone afterwards."""
    mark = secrets.token_hex(2)
    names, made = (f"rfa{mark}", f"rfb{mark}"), False
    try:
        why_not = _connect(names)
        made = not why_not
        if why_not:
            yield Hosts(Host("127.0.0.1"), Host("127.0.0.1"), why_not)
        else:
            a, b = (Host(f"10.213.77.{n}", ("ip", "netns", "exec", name)) for n, name in enumerate(names, 1))
            yield Hosts(a, b)
    finally:
        for name in names if made else ():
            _run("ip", "netns", "del", name)


def _connect(names: Sequence[str]) -> str:
    """Make two namespaces and a cable; return why not, empty if it worked."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    first, second = names
    steps = [
        ["ip", "netns", "add", first],
        ["ip", "netns", "add", second],
        ["ip", "-n", first, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", second],
    ]
    for number, name in enumerate(names, 1):
        steps += [
            ["ip", "-n", name, "address", "add", f"10.213.77.{number}/24", "dev", "cable"],
            ["ip", "-n", name, "link", "set", "cable", "up"],
            ["ip", "-n", name, "link", "set", "lo", "up"],
        ]
    for step in steps:
        if why_not := _run(*step):
            for name in names:
                _run("ip", "netns", "del", name)
            return why_not
    return ""


def _run(*command: str) -> str:
    """Run a command; return what it complained about, empty if it worked."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return str(error)
    return "" if done.returncode == 0 else f"{' '.join(command)}: {done.stderr.strip()}"
