"""The whole account against what really happened: random histories, and kills of the detector and of its members."""

import random
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioc.channels.base import Accepted, Counters
from ioc.channels.book import Book, book_name
from ioc.channels.journal import ABORTED, FAILED, Journal, open_member
from ioc.channels.local_pool import PooledFrame, Segment
from ioc.core.config import Config
from ioc.core.config_group import GroupConfig
from ioc.core.config_table import Policy
from ioc.core.frame import Frame, Item
from ioc.core.overflow import Limits
from ioc.core.status import ProcessSpec, Role
from ioc.distributor.distributor import Distributor
from ioc.distributor.group import GroupShape
from ioc.supervisor.accounts import Accounts
from ioc.supervisor.ledger_report import accounts_json, missed_of, ranges_by_stage, series_of
from ioc.supervisor.ledger_store import FILE, LedgerStore
from ioc.supervisor.report import build
from ioc.supervisor.series import Ended

NAMES = ("Cons1", "Cons2")


class Member:
    """A member as its process would be: takes, finishes or fails, dies and comes back; `ids` are what it finished."""

    def __init__(self, folder: Path, name: str, giver: str | None = None) -> None:
        self.folder, self.name, self.giver = folder, name, giver
        self.inbox: deque[Frame] = deque()
        self.hand: deque[Frame] = deque()
        self.ids: list[tuple[int, int]] = []
        self.failed: set[tuple[int, int]] = set()
        self.links = 0
        self.start()

    def start(self) -> None:
        self.alive = True
        self.book = Book(self.folder / book_name(self.name, self.giver))
        self.journal = Journal(self.folder / f"{self.name}.journal", booked=True)
        self.account = open_member(self.journal, self.book, self.giver or self.name)

    def take(self, count: int) -> None:
        batch = [self.inbox.popleft() for _ in range(min(count, len(self.inbox)))]
        self.book.counts.received += self.account.came.extend(batch)
        self.hand.extend(batch)
        self.book.commit()

    def finish(self, count: int, good: bool) -> None:
        for _ in range(min(count, len(self.hand))):
            frame = self.hand.popleft()
            self.ids.append((frame.series, frame.unique_id))
            if good:
                self.book.counts.processed += 1
            else:
                self.failed.add(self.ids[-1])
                self.account.left.add(frame.series, frame.unique_id, FAILED)
                self.book.counts.failed += 1
            self.book.commit()

    def die(self) -> None:
        self.alive = False
        self.inbox.clear()
        self.hand.clear()
        self.journal.close()
        self.book.close()


class FakeLink:
    """The detector's end of the way to a member; finished items are counted from those that came by it."""

    leaving = False
    ready = True

    def __init__(self, member: Member) -> None:
        self.member = member
        self.name = member.name
        self.missed = 0
        self._open = True
        member.take(len(member.inbox))  # a member joins again only when it has taken all that came before
        member.links = time.monotonic_ns()
        member.account.came.joined(member.links)
        member.book.counts.link = member.links
        member.book.commit()
        self._number = member.links
        self._base = len(member.ids) + len(member.hand)

    def publish(self, items: Sequence[Item]) -> Accepted:
        self.member.inbox.extend(item for item in items if isinstance(item, Frame))
        return Accepted(len(items))

    def done(self) -> int:
        return max(0, len(self.member.ids) - self._base)

    def alive(self) -> bool:
        return self._open and self.member.alive and self.member.links == self._number

    def fileno(self) -> int:
        return 0

    def expect_acknowledgement(self, within: float | None) -> None:
        pass

    def refresh(self) -> None:
        pass

    def ring_at(self, done: int) -> None:
        pass

    def counters(self) -> Counters:
        return Counters()

    def close(self, drain: bool) -> None:
        self._open = False


class World:
    """A detector with one group of two members, and the supervisor's accounts of it."""

    def __init__(self, folder: Path, policy: Policy) -> None:
        self.folder = folder
        self.policy = policy
        self.slots = Segment((1, 1), np.dtype(np.uint8), 1)
        self.series = 0
        self.published: dict[int, int] = {}
        self.committed: dict[int, int] = {}
        self.aborted: set[int] = set()
        self.marked: set[int] = set()
        self.members = {name: self.member(name) for name in NAMES}
        self.store = LedgerStore(folder / FILE)
        self.store.begin("T:")
        self.accounts = Accounts(self.store, 0.0)
        self.detector: Distributor | None = None
        self.clock = 0
        self.begin()

    def member(self, name: str) -> Member:
        return Member(self.folder, name)

    def begin(self) -> None:
        """Start a life of the detector with a series of its own."""
        self.detector = Distributor(Journal(self.folder / "detector.journal"))
        self.own = self.detector.journal.account("", "detector")
        shape = GroupShape("a", 2, None, 1, Limits(self.policy, 4))
        self.detector.add_group(1, shape, list(NAMES))
        self.next_series()
        for name in NAMES:
            self.join(name)

    def next_series(self) -> None:
        self.series += 1
        self.published[self.series] = 0

    def join(self, name: str) -> None:
        member = self.members[name]
        if self.detector is not None and member.alive:
            seat = next(seat for seat in self.detector.seats() if seat.name == name)
            if seat.link is None or not seat.link.alive():
                group = self.detector.named("a")
                self.detector.join(group.shape.name, NAMES.index(name), FakeLink(member))

    def offer(self, count: int) -> None:
        if self.detector is None:
            return
        self.detector.muster()
        slot = self.slots.free[0]
        slot.pinned = True
        first = self.published[self.series] + 1
        many = range(first, first + self.detector.room(count, 1))
        frames = [PooledFrame(self.series, number, 0, slot.array, {}, slot) for number in many]
        if frames:
            self.detector.offer(frames)
            self.published[self.series] = frames[-1].unique_id
            self.own.touch()
            self.own.came.add_range(self.series, first, frames[-1].unique_id)

    def pump(self) -> None:
        """Commit, then let members see what was assigned: in the order of the flow."""
        if self.detector is not None:
            self.detector.commit()
            self.committed = dict(self.published)
            self.marked = set(self.aborted)
            self.detector.pump()

    def abort(self) -> None:
        if self.detector is not None:
            self.own.touch()
            self.aborted.add(self.series)
            self.own.left.add(self.series, self.published[self.series] + 1, ABORTED)
            self.next_series()

    def kill(self) -> None:
        """Let the detector go; what it had not committed never was."""
        if self.detector is not None:
            self.detector.journal.close()
            self.detector = None
            self.aborted = set(self.marked)
            self.published = {series: self.committed.get(series, 0) for series in self.published}

    def workers(self) -> list[Any]:
        found = []
        for role, name, table, alive in [
            (Role.DETECTOR, "detector", None, self.detector is not None),
            *((Role.CONSUMER, name, "a", member.alive) for name, member in self.members.items()),
        ]:
            spec = ProcessSpec(role=role, name=name, config=CONFIG, run_dir=self.folder, table=table)
            found.append(SimpleNamespace(name=name, spec=spec, alive=alive, running=alive, status=None))
        return found

    def sample(self) -> None:
        self.clock += 10**9
        self.accounts.sample(self.workers(), self.clock)

    def restart_supervisor(self) -> None:
        self.accounts.close()
        self.store.close()
        self.store = LedgerStore(self.folder / FILE)
        self.accounts = Accounts(self.store, 0.0)
        self.accounts.recall(self.store.resume() or {})

    def end(self) -> None:
        """Kill everybody, as they stand, and close the account."""
        self.kill()
        self.sample()
        for member in self.members.values():
            if member.alive:
                member.die()
        self.sample()
        self.accounts.finish(self.workers(), self.clock)


CONFIG = Config(groups={"a": GroupConfig()})
COMMON = ("offer", "pump", "take", "good", "round", "round", "round")
RARE = ("bad", "die", "return", "return", "kill", "begin", "begin", "abort", "sample", "supervisor")
ACTIONS = st.tuples(st.one_of(st.sampled_from(COMMON), st.sampled_from(RARE)), st.integers(1, 8))


def play(world: World, action: str, number: int) -> None:
    """Let one thing happen; a round is all that happens to a burst of frames, but for the last of them."""
    if action == "round":
        for part in ("offer", "pump", "take", "take", "good", "good", "pump"):
            play(world, part, number)
            number += part in ("take", "good")
        return
    member = world.members[NAMES[number % 2]]
    if action in ("take", "good", "bad") and member.alive:
        member.take(number) if action == "take" else member.finish(number, action == "good")
    elif action == "die" and member.alive:
        member.die()
    elif action == "return":
        if not member.alive:
            member.start()
        world.join(member.name)
    elif action == "begin" and world.detector is None:
        world.sample()  # the supervisor starts it, so it has looked
        world.begin()
    elif action == "offer":
        world.offer(number)
    elif action == "supervisor":
        world.restart_supervisor()
    elif action in ("pump", "kill", "abort", "sample"):
        getattr(world, action)()


@given(st.sampled_from(list(Policy)), st.lists(ACTIONS, min_size=10, max_size=60))
@settings(max_examples=20, deadline=None)
def test_every_frame_of_every_series_is_accounted_for(policy: Policy, history: list[tuple[str, int]]) -> None:
    live(policy, history)


@pytest.mark.parametrize("seed", range(25))
def test_long_histories_too(seed: int) -> None:
    dice = random.Random(seed)
    length = dice.randint(30, 90)
    history = [(dice.choice(COMMON if dice.random() < 0.6 else RARE), dice.randint(1, 8)) for _ in range(length)]
    live(dice.choice(list(Policy)), history)


class ChainWorld(World):
    """A consumer that gives frames of one series, over all its lives, to a group behind it.

    `offered` are those of the present life that are not on record yet, `given` those that are.
    """

    def __init__(self, folder: Path, policy: Policy) -> None:
        self.offered: list[tuple[int, int]] = []
        self.given: list[tuple[int, int]] = []
        self.newest = 0
        super().__init__(folder, policy)

    def member(self, name: str) -> Member:
        return Member(self.folder, name, GIVER)

    def begin(self) -> None:
        """Start a life that puts out the last frame of the one before again, as happens when it is killed."""
        self.detector = Distributor(Journal(self.folder / f"{GIVER}.given"))
        self.detector.add_group(1, GroupShape("a", 2, None, 1, Limits(self.policy, 4)), list(NAMES))
        self.series, self.newest = 7, max(0, self.newest - 1)
        for name in NAMES:
            self.join(name)

    def offer(self, count: int) -> None:
        if self.detector is None:
            return
        self.detector.muster()
        slot = self.slots.free[0]
        slot.pinned = True
        many = range(self.newest + 1, self.newest + 1 + self.detector.room(count, 1))
        frames = [PooledFrame(self.series, number, 0, slot.array, {}, slot) for number in many]
        if frames:
            self.detector.offer(frames)
            self.newest = frames[-1].unique_id
            self.offered += [(one.series, one.unique_id) for one in frames]

    def pump(self) -> None:
        if self.detector is not None:
            self.detector.commit()
            self.given, self.offered = self.given + self.offered, []
            self.detector.pump()

    def abort(self) -> None:
        """Do nothing: who gives in a chain begins no series."""

    def kill(self) -> None:
        if self.detector is not None:
            self.detector.journal.close()
            self.detector = None
            self.newest -= len(self.offered)
            self.offered.clear()

    def workers(self) -> list[Any]:
        found = []
        for name, table, alive in [
            (GIVER, "first", self.detector is not None),
            *((name, "a", member.alive) for name, member in self.members.items()),
        ]:
            spec = ProcessSpec(role=Role.CONSUMER, name=name, config=CHAIN, run_dir=self.folder, table=table)
            found.append(SimpleNamespace(name=name, spec=spec, alive=alive, running=alive, status=None))
        return found


GIVER = "Cons9"
CHAIN = Config(groups={"first": GroupConfig(), "a": GroupConfig(input="groups.first")})


@given(st.sampled_from(list(Policy)), st.lists(ACTIONS, min_size=10, max_size=60))
@settings(max_examples=20, deadline=None)
def test_every_frame_in_a_chain_is_accounted_for(policy: Policy, history: list[tuple[str, int]]) -> None:
    live(policy, history, ChainWorld, check_chain)


@pytest.mark.parametrize("seed", range(25))
def test_long_histories_of_a_chain_too(seed: int) -> None:
    dice = random.Random(seed)
    length = dice.randint(30, 120)
    history = [(dice.choice(COMMON if dice.random() < 0.6 else RARE), dice.randint(1, 8)) for _ in range(length)]
    live(dice.choice(list(Policy)), history, ChainWorld, check_chain)


def check_chain(world: World) -> None:
    """Compare the account with what happened: how many frames became what, and which."""
    assert isinstance(world, ChainWorld)
    ledger = build(world.accounts.sources(world.workers(), True))
    assert ledger.residue() == 0, ledger
    connection, run = world.store.connection, world.store.run
    rows = [row for number, one in series_of(connection, run) for row in accounts_json(number, one)]
    assert all(row["exact"] and row["waiting"] == 0 for row in rows), rows
    done = [one for member in world.members.values() for one in member.ids]
    lost = sum(sum(row["dropped"].values()) for row in rows)
    assert len(done) + lost == len(world.given), rows
    assert sum(row["processed"] + row["failed"] for row in rows) == len(done)
    rest = Counter(world.given) - Counter(done)
    stages = ranges_by_stage(missed_of(connection, run)).values()
    missed = {one for dropped, _ in stages for one in expanded(dropped.ranges)}
    assert missed == set(rest), "each that nobody finished is named, and no other"


def live(
    policy: Policy,
    history: list[tuple[str, int]],
    kind: "type[World]" = World,
    check_it: "Callable[[World], None] | None" = None,
) -> None:
    """Let everything happen, and compare the account with it."""
    with tempfile.TemporaryDirectory() as folder:
        world = kind(Path(folder), policy)
        for action, number in history:
            play(world, action, number)
        world.end()
        try:
            (check_it or check)(world)
        finally:
            world.accounts.close()
            world.store.close()
            world.slots.close()


def check(world: World) -> None:
    """Compare the account with what happened."""
    ledger = build(world.accounts.sources(world.workers(), True))
    assert ledger.residue() == 0, ledger
    everything = {(series, at + 1) for series, count in world.published.items() for at in range(count)}
    assert ledger.published == len(everything)
    done = {one for member in world.members.values() for one in member.ids}
    connection, run = world.store.connection, world.store.run
    series = list(series_of(connection, run))
    assert {number: one.published for number, one in series if one.published} == {
        number: count for number, count in world.published.items() if count
    }
    ended = {number: one.ended for number, one in series}
    assert ended == {number: Ended.ABORTED if number in world.marked else Ended.CRASHED for number in ended}
    assert world.marked <= set(ended), "the end of a series without frames is known, too"
    rows = [row for number, one in series for row in accounts_json(number, one)]
    assert all(row["exact"] and row["waiting"] == 0 for row in rows), rows
    for name, member in world.members.items():
        ours = [row for row in rows if row["stage"] == name]
        assert sum(row["processed"] + row["failed"] for row in ours) == len(member.ids)
        assert sum(row["failed"] for row in ours) == len(member.failed)
    ranges = ranges_by_stage(missed_of(connection, run))
    missed = {one for dropped, _ in ranges.values() for one in expanded(dropped.ranges)}
    assert missed == everything - done
    assert {one for _, failed in ranges.values() for one in expanded(failed.ranges)} == {
        one for member in world.members.values() for one in member.failed
    }
    count = sum(sum(row["dropped"].values()) for row in rows)
    assert count == len(missed), "each frame is missed by one member only: they take turns"


def expanded(ranges: list[list[int]]) -> list[tuple[int, int]]:
    """Return the ids in ranges [series, first, last]."""
    return [(series, unique_id) for series, first, last in ranges for unique_id in range(first, last + 1)]
