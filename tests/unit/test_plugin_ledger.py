"""The accounts of plug-ins: in a journal that outlives the process, followed by the supervisor, by series and id."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from consumers.plugins.ledger import PluginLedger
from ioc.core.frame import Frame
from ioc.core.ledger import Reason
from ioc.core.status import Role
from ioc.supervisor.plugin_accounts import PluginAccounts
from ioc.supervisor.series import Place, SeriesBook

PLACE = Place("Plug1", "Plug1.Stats1")


def frame(unique_id: int, series: int = 7) -> Frame:
    return Frame(series, unique_id, 0, np.zeros((1, 1), np.uint8))


class Shelf:
    """Nothing was stored before."""

    def load(self, number: int) -> None:
        return None


class Follower:
    """The supervisor's side."""

    def __init__(self, path: Path) -> None:
        spec: Any = SimpleNamespace(role=Role.PLUGINS, name="Plug1", plugins_file=path)
        self.worker: Any = SimpleNamespace(spec=spec)
        self.accounts = PluginAccounts()
        self.book = SeriesBook(Shelf())

    def look(self) -> None:
        self.accounts.follow([self.worker], self.book)

    def stage(self) -> list[Any]:
        (stage,) = self.accounts.stages()
        dropped = {reason: count for reason, count in stage.dropped.items() if count}
        return [stage.received, stage.processed, stage.failed, dropped, stage.in_flight]

    def missed(self) -> list[tuple[int | None, list[int], str]]:
        return [
            (run.series, list(range(run.first, run.last + 1, run.step)), reason)
            for place, run, reason in self.book.missed
            if place == PLACE and run.series is not None
        ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "Plug1.plugins.journal"


def test_what_becomes_of_a_frame_is_named(path: Path) -> None:
    ledger = PluginLedger("Plug1", path)
    entry, follower = ledger.entry("Stats1"), Follower(path)
    follower.look()
    assert follower.accounts.stages() == [], "a plug-in that was given nothing has no account"
    for number in range(1, 5):
        entry.offer(frame(number))
    entry.refuse(frame(5), Reason.QUEUE_FULL)
    entry.finish(frame(1), True)
    entry.finish(frame(2), False)
    entry.drop(frame(4), Reason.MEMBER_GONE)
    follower.look()
    assert follower.stage() == [2, 1, 1, {"queue_full": 1, "member_gone": 1}, 1]
    assert follower.missed() == [(7, [5], "queue_full"), (7, [2], "failed"), (7, [4], "member_gone")]
    row = follower.book.row(7, PLACE)
    assert (row.given, row.finished, row.failed, row.waiting, row.exact) == (5, 2, 1, 1, True)
    ledger.close()


def test_what_was_in_hand_at_a_kill_is_lost_by_id(path: Path) -> None:
    killed = PluginLedger("Plug1", path)
    entry, follower = killed.entry("Stats1"), Follower(path)
    for number in (1, 2, 3, 5, 8):
        entry.offer(frame(number))
    entry.offer(frame(1, series=9))
    entry.finish(frame(1), True)
    entry.finish(frame(2), False)
    entry.refuse(frame(2, series=9), Reason.QUEUE_FULL)
    follower.look()
    again = PluginLedger("Plug1", path)  # the one before never said goodbye
    again.entry("Stats1").offer(frame(3, series=9))
    again.entry("Stats1").finish(frame(3, series=9), True)
    follower.look()
    assert follower.stage() == [3, 2, 1, {"queue_full": 1, "lost": 4}, 0]
    lost = [(series, ids) for series, ids, reason in follower.missed() if reason == "lost"]
    assert lost == [(7, [3, 5]), (7, [8]), (9, [1])]
    assert all(follower.book.row(series, PLACE).waiting == 0 for series in (7, 9))
    again.close()


def test_a_process_that_does_not_come_back_loses_what_it_had(path: Path) -> None:
    ledger = PluginLedger("Plug1", path)
    for number in range(1, 4):
        ledger.entry("Stats1").offer(frame(number))
    ledger.entry("Stats1").finish(frame(1), True)
    follower = Follower(path)
    follower.look()
    follower.accounts.finish(follower.book)
    follower.accounts.finish(follower.book)
    assert follower.stage() == [1, 1, 0, {"lost": 2}, 0]
    assert [ids for _, ids, reason in follower.missed() if reason == "lost"] == [[2], [3]]
    ledger.close()


def test_a_supervisor_that_is_started_again_goes_on(path: Path) -> None:
    ledger = PluginLedger("Plug1", path)
    entry = ledger.entry("Stats1")
    first, second = Follower(path), Follower(path)
    entry.offer(frame(1))
    first.look()
    second.accounts.recall(first.accounts.state())
    entry.finish(frame(1), True)
    second.look()
    assert second.book.row(7, PLACE).given == 0 and second.book.row(7, PLACE).finished == 1
    assert second.stage() == [1, 1, 0, {}, 0]
    ledger.close()


def test_many_drops_do_not_hide_what_was_in_hand(path: Path) -> None:
    """The ring of drops runs over; what the queue held is known all the same, because it is the newest."""
    ledger = PluginLedger("Plug1", path)
    account = ledger.account("Stats1")
    account.touch()
    for number in range(1, 60_001):
        account.came.add(7, number)
        if number % 3:
            account.drop(7, number, Reason.QUEUE_FULL)
        elif number < 59_990:
            account.done.add(7, number)
    ledger.commit()
    ledger.close()
    follower = Follower(path)
    PluginLedger("Plug1", path).close()
    follower.look()
    lost = [one for _, ids, reason in follower.missed() if reason == "lost" for one in ids]
    assert lost == [59_991, 59_994, 59_997, 60_000]
