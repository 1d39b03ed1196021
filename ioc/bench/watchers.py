"""Clients that watch process variables, each by a connection of its own; run as a process of its own.

Kind `ca`: pyepics, a context of libca for each client. Kind `pva`: p4p, a context for each client. A client monitors
all the names it is given, and the process counts what comes.
"""

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ioc.bench.raw_ends import settings_given, tell

CONNECT_SECONDS = 60.0
QUIET_SECONDS = 5.0
"""s without a further first event after which no more is expected."""


class Tally:
    """Counts events and the channels that have sent one; many threads write, so what is told may lag by a few."""

    def __init__(self) -> None:
        self.events = 0
        self.channels: set[tuple[int, str]] = set()

    def note(self, client: int, name: str) -> None:
        """Count an event of one channel."""
        self.events += 1
        self.channels.add((client, name))


def watch_pva(names: Sequence[str], clients: int, tally: Tally) -> Callable[[], None]:
    """Monitor all names from so many contexts; return what ends it."""
    from p4p.client.thread import Context

    contexts = [Context("pva", nt=False) for _ in range(clients)]
    kept = [  # a subscription that nobody holds ends
        context.monitor(name, lambda _value, client=client, name=name: tally.note(client, name))
        for client, context in enumerate(contexts)
        for name in names
    ]

    def end() -> None:
        for one in (*kept, *contexts):
            one.close()

    return end


def watch_ca(names: Sequence[str], clients: int, tally: Tally) -> Callable[[], None]:
    """Monitor all names from so many contexts, each made by a thread of its own; return what ends it."""
    from epics import ca

    ca.PREEMPTIVE_CALLBACK = True
    ending = threading.Event()

    def one(client: int) -> None:
        ca.create_context()
        channels = [ca.create_channel(name, connect=False, auto_cb=False) for name in names]
        kept = []
        for name, channel in zip(names, channels, strict=True):
            if ca.connect_channel(channel, timeout=CONNECT_SECONDS):
                kept.append(ca.create_subscription(channel, callback=lambda name=name, **_: tally.note(client, name)))
        ending.wait()
        ca.detach_context()

    threads = [threading.Thread(target=one, args=(client,), name=f"ca{client}") for client in range(clients)]
    for thread in threads:
        thread.start()

    def end() -> None:
        ending.set()
        for thread in threads:
            thread.join(5.0)

    return end


def await_all(tally: Tally, wanted: int) -> None:
    """Wait until every channel has sent its first value, or no further one does."""
    limit = time.monotonic() + CONNECT_SECONDS
    seen, since = 0, time.monotonic()
    while len(tally.channels) < wanted and time.monotonic() < limit:
        if len(tally.channels) > seen:
            seen, since = len(tally.channels), time.monotonic()
        elif seen and time.monotonic() - since > QUIET_SECONDS:
            break
        time.sleep(0.05)  # polled: the events come in threads of C


def main(settings: Mapping[str, Any]) -> None:
    """Watch `names` as `clients` clients of `kind`; answer each line of input with the counts, end with the input."""
    names, clients = settings["names"], settings["clients"]
    tally = Tally()
    watch = {"ca": watch_ca, "pva": watch_pva}[settings["kind"]]
    end = watch(names, clients, tally)
    await_all(tally, len(names) * clients)
    tell(channels=len(tally.channels), events=tally.events)
    while sys.stdin.readline():
        tell(channels=len(tally.channels), events=tally.events)
    end()


if __name__ == "__main__":
    main(settings_given())
