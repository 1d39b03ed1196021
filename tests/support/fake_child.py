"""A child that speaks the supervisor's contract without EPICS; asked to, it runs the real supervisor on such fakes.

What a fake does besides is told by the environment: FAKE_<NAME>=ACTION[,ACTION ...] with the actions
    crash        exits with code 1 at once, without a word
    bad          fails with a ConfigError before it runs
    silent       runs, then stops reporting (a hang), in its first life only
    stubborn     ignores SIGTERM
    slow         drains for half a second
    undrained    exits with code 3
    frames=N     books N frames: the detector publishes them, every member finishes them
    count=N      the detector's first group asks for N members
and every fake appends "<name> <event>" to the file FAKE_EVENTS names.
"""

import os
import signal
import socket
import sys
import threading
from pathlib import Path

from ioc.channels.book import Book
from ioc.channels.journal import ENDED, Journal, open_member
from ioc.core.errors import ConfigError
from ioc.core.status import (
    ExitCode,
    GroupStatus,
    MemberStatus,
    ProcessSpec,
    Role,
    SeriesStatus,
    StageStatus,
    Status,
)
from ioc.core.topology import egress_group
from ioc.supervisor.child import Child, run
from ioc.supervisor.plan import consumer_names

MODULE = "tests.support.fake_child"
SERIES = 7


class Fake:
    """One fake process."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.spec: ProcessSpec = child.spec
        told = os.environ.get(f"FAKE_{child.spec.name.upper()}", "")
        self.actions = [action for action in told.split(",") if action]
        self.socket: socket.socket | None = None

    def number(self, action: str, default: int) -> int:
        """Return N of action=N."""
        found = [text.partition("=")[2] for text in self.actions if text.startswith(f"{action}=")]
        return int(found[0]) if found else default

    def event(self, what: str) -> None:
        """Write down what happened."""
        path = os.environ.get("FAKE_EVENTS")
        if path:
            with Path(path).open("a") as file:
                file.write(f"{self.spec.name} {what}\n")

    def first_life(self) -> bool:
        """Return whether this is the first life of this name in its run folder."""
        mark = self.spec.run_dir / f"{self.spec.name}.lived.log"
        fresh = not mark.exists()
        mark.touch()
        return fresh

    def sample(self) -> Status:
        """Return a status like that of the real process."""
        status = self.child.status()
        frames = _frames("detector")
        if self.spec.role is Role.DETECTOR:
            status.stage = StageStatus(received=frames, processed=frames)
            status.series = [SeriesStatus(id=SERIES, published=frames, ended=True)]
            status.groups = self.groups()
        elif self.spec.role is Role.INGRESS:
            assert self.socket is not None
            status.port = self.socket.getsockname()[1]
            frames = self.number("frames", 0)
            status.stage = StageStatus(received=frames, processed=frames)
        return status

    def groups(self) -> list[GroupStatus]:
        """Return the groups of the configuration, every member with its frames completed."""
        names = list(consumer_names(self.spec.config).items())
        names += [(egress_group(table), [f"Ejfat{n}"]) for n, table in enumerate(self.spec.config.egress, 1)]
        groups = []
        for slot, (group, members) in enumerate(names, 1):
            count = len(members)
            if slot == 1:
                wished = self.spec.run_dir.parent / "count"
                count = int(wished.read_text()) if wished.exists() else count
            told = [_member(name) for name in members]
            turns = sum(member.assigned for member in told)
            groups.append(
                GroupStatus(
                    slot=slot, name=group, count=count, sets=1, updates=1, policy="lossless", queue_size=1,
                    queue_bytes=0, turns=turns, members=told,
                )
            )  # fmt: skip
        return groups

    def keep_book(self) -> None:
        """Book the frames of a consumer or egress, once over all lives."""
        book = Book(self.spec.book_file)
        frames = self.number("frames", 0)
        journal = Journal(self.spec.journal_file, booked=True)
        account = open_member(journal, book, self.spec.name)
        for unique_id in range(account.came.total + 1, frames + 1):
            account.came.add(SERIES, unique_id)
        book.counts.received = book.counts.processed = frames
        book.commit()
        book.close()
        journal.close()

    def keep_journal(self) -> None:
        """Book what a detector published and dealt out, once over all lives."""
        journal = Journal(self.spec.journal_file)
        own = journal.account("", self.spec.name)
        own.touch()
        for unique_id in range(own.came.total + 1, _frames(self.spec.name) + 1):
            own.came.add(SERIES, unique_id)
        if not own.left.total:
            own.left.add(SERIES, own.came.total + 1, ENDED)
        for group in self.groups():
            nobody = journal.account(group.name, "nobody")
            nobody.touch()
            nobody.turns = group.turns
            for member in group.members:
                account = journal.account(group.name, member.name)
                before = account.came.total
                account.touch()
                for unique_id in range(before + 1, member.assigned + 1):
                    account.came.add(SERIES, unique_id)
                account.completed = member.completed - before
        journal.commit()
        journal.close()


def _frames(name: str) -> int:
    told = os.environ.get(f"FAKE_{name.upper()}", "")
    found = [text.partition("=")[2] for text in told.split(",") if text.startswith("frames=")]
    return int(found[0]) if found else 0


def _member(name: str) -> MemberStatus:
    frames = _frames(name)
    return MemberStatus(name=name, present=True, assigned=frames, completed=frames)


def main(child: Child) -> ExitCode:
    """Be the process that the spec asks for."""
    fake = Fake(child)
    fake.event("started")
    if "crash" in fake.actions:
        os._exit(1)
    if "bad" in fake.actions:
        raise ConfigError("key 'groups.a.processor': expected a processor, found 'nonsense'")
    if fake.spec.role is Role.INGRESS:
        assert fake.spec.table is not None
        fake.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        fake.socket.bind(("127.0.0.1", fake.spec.config.ingress[fake.spec.table].port))
    if fake.spec.role in (Role.CONSUMER, Role.EGRESS):
        fake.keep_book()
    if fake.spec.role is Role.DETECTOR:
        fake.keep_journal()
    if fake.spec.role is Role.INGRESS:
        fake.keep_book()
    if fake.spec.destination:
        fake.event(f"destination {fake.spec.destination}")
    if "stubborn" in fake.actions:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    silent = "silent" in fake.actions and fake.first_life()
    if silent:
        child.report_with(child.status)
        child.running()
        child._over.set()  # no further word: a process that hangs
        threading.Event().wait()
    child.report_with(fake.sample)
    child.running()
    child.stopping.wait()
    fake.event("asked")
    child.draining()
    if "slow" in fake.actions:
        threading.Event().wait(0.5)
    fake.event("ended")
    return ExitCode.NOT_DRAINED if "undrained" in fake.actions else ExitCode.DRAINED


def supervise() -> None:
    """Run the real supervisor on fakes, without records."""
    from ioc.supervisor.app import main as supervisor
    from ioc.supervisor.app import serve_nothing
    from ioc.supervisor.rules import Rules

    rules = Rules(
        hang=3.0, start=40.0, drain=float(os.environ.get("FAKE_DRAIN", "20")), first_delay=0.05, most_failures=3
    )
    supervisor(dict.fromkeys(Role, MODULE), rules, serve_nothing)


if __name__ == "__main__":
    supervise() if "--lock" in sys.argv else run(main)
