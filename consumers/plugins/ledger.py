"""What became of the frames that each plug-in was given, by series and id: accounts that outlive the process.

Rules: a frame is noted when it is offered to a plug-in that is enabled, unless MinCallbackTime passes it over. There
it is done, done with an error, or dropped for a reason. Every change is committed at once, so that a kill leaves a true
account; the next life books what was in queues and in hands as lost. Any thread may call.
"""

import threading
from functools import cached_property
from pathlib import Path
from typing import Protocol

from ioc.channels.journal import Account, Journal, JournalReader
from ioc.core.frame import Frame
from ioc.core.ledger import Reason
from ioc.supervisor.plugin_accounts import unfinished


class Noting(Protocol):
    """One plug-in's account, as the plug-in sees it."""

    def offer(self, frame: Frame) -> None:
        """Note a frame that was given to the plug-in."""
        ...

    def refuse(self, frame: Frame, reason: Reason) -> None:
        """Note a frame that it was to be given, and dropped instead."""
        ...

    def drop(self, frame: Frame, reason: Reason) -> None:
        """Note that a frame that was given to it was dropped after all."""
        ...

    def finish(self, frame: Frame, good: bool) -> None:
        """Note that it is done with a frame, with an error if not `good`."""
        ...


class PluginLedger:
    """The accounts of all plug-ins of a process, in one journal."""

    def __init__(self, process: str, path: Path | None = None) -> None:
        """Open the journal at `path` and go on with it; None: in memory only."""
        self._process = process
        self._guard = threading.RLock()  # the first frame of a plug-in makes its account
        before = _left_behind(path) if path is not None and path.exists() else {}
        self._journal = Journal(path)
        for (group, name), ids in before.items():
            account = self._journal.account(group, name)
            for series, unique_id in ids:
                account.drop(series, unique_id, Reason.LOST)
        self._journal.commit()

    @property
    def guard(self) -> threading.RLock:
        """What to hold while an account is changed by hand."""
        return self._guard

    def entry(self, name: str) -> "Entry":
        """Return the account of a plug-in, which is made with the first frame."""
        return Entry(self, name)

    def account(self, name: str) -> Account:
        """Return the account of a plug-in for somebody who changes it by hand, and commits."""
        with self._guard:
            return self._journal.account(self._process, f"{self._process}.{name}")

    def commit(self) -> None:
        """Make what was changed by hand known; under the guard."""
        self._journal.commit()

    def close(self) -> None:
        """Let go of the file; it stays for readers."""
        with self._guard:
            self._journal.close()


class Entry:
    """One plug-in's account in the journal; implements Noting."""

    def __init__(self, ledger: PluginLedger, name: str) -> None:
        self._ledger = ledger
        self._name = name

    @cached_property
    def _account(self) -> Account:
        return self._ledger.account(self._name)

    def offer(self, frame: Frame) -> None:
        with self._ledger.guard:
            self._account.touch()
            self._account.came.add(frame.series, frame.unique_id)
            self._ledger.commit()

    def refuse(self, frame: Frame, reason: Reason) -> None:
        with self._ledger.guard:
            self._account.came.add(frame.series, frame.unique_id)
            self._account.drop(frame.series, frame.unique_id, reason)
            self._ledger.commit()

    def drop(self, frame: Frame, reason: Reason) -> None:
        with self._ledger.guard:
            self._account.drop(frame.series, frame.unique_id, reason)
            self._ledger.commit()

    def finish(self, frame: Frame, good: bool) -> None:
        with self._ledger.guard:
            self._account.touch()
            self._account.done.add(frame.series, frame.unique_id)
            if not good:
                self._account.fail(frame.series, frame.unique_id)
            self._ledger.commit()


def _left_behind(path: Path) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Return what the plug-ins of an earlier life were given and had not finished with."""
    reader = JournalReader(path)
    try:
        figures = reader.read()
        return {(one.group, one.name): unfinished(reader, number, one) for number, one in enumerate(figures)}
    finally:
        reader.close()
