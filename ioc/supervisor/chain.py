"""The accounts behind the detector: what each process of a chain gave, and what those behind it have, over all lives.

A process that gives tells in its status what it dealt out; each member keeps a book with each giver. When a giver was
killed, what it had dealt out and its members did not receive is booked as lost, by number: which ids died with it.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ioc.channels.book import BookReader, Counts, book_name
from ioc.core.errors import PeerError
from ioc.core.ledger import Hop, Reason, Stage
from ioc.core.status import GroupStatus, MemberStatus, ProcessSpec, Role, State, Status
from ioc.core.topology import DETECTOR, takers
from ioc.supervisor.plan import node_of
from ioc.supervisor.worker import Worker

CHAINED = (Role.CONSUMER, Role.COLLECTOR, Role.EGRESS, Role.WRITER, Role.INTAKE)
"""Who may stand in a chain."""
ELSEWHERE = 100
"""Slot from which on an account is that of a far end, which keeps no book for us (consumers/remote_output.py)."""
SETTLING_NS = 1_000_000_000
"""How much later a giver's status may be than the books of its members."""
Pair = tuple[str, str]
"""A giver and one of its members: each pair has a book."""


class ChainAccounts:
    """Follows the givers of a chain and the books of their members; used by the supervisor's thread."""

    def __init__(self) -> None:
        self._readers: dict[Path, BookReader] = {}
        self._read: dict[Pair, deque[tuple[int, Counts]]] = {}
        self._last: dict[str, Status] = {}
        self._groups: dict[str, list[GroupStatus]] = {}
        self._received: dict[str, dict[str, int]] = {}
        self._published: dict[str, int] = {}
        self._workers: list[Worker] = []

    def sample(self, workers: Iterable[Worker], now_ns: int) -> None:
        """Read everything once."""
        self._workers = [worker for worker in workers if worker.spec.role in CHAINED]
        for worker in self._workers:  # before the books are read again: what they say still is of the earlier life
            self._notice_new_life(worker)
        for worker in self._workers:
            for giver in givers_of(worker.spec, self._workers):
                readings = self._read.setdefault((giver, worker.name), deque([(0, Counts())]))
                readings.append((now_ns, self._counts(worker.spec, giver, readings[-1][1])))
                while readings[1][0] <= now_ns - SETTLING_NS:
                    readings.popleft()

    def hops(self, over: bool) -> list[Hop]:
        """Return each passage from a giver to a group; `over`: every process has ended, the last reading is exact."""
        found = []
        alive = {worker.name for worker in self._workers if worker.alive}
        for worker in self._workers:
            for group in self._given(worker):
                behind = []
                for member in group.members:
                    if group.slot >= ELSEWHERE:
                        behind.append(_stage_elsewhere(group.name, member))
                        continue
                    readings = self._read.get((worker.name, member.name)) or deque([(0, Counts())])
                    latest = readings[-1][1]
                    earlier = latest if over else readings[0][1]
                    behind.append(_member_stage(group.name, member, (earlier, latest), member.name in alive))
                if group.nobody:
                    dropped = Counter({Reason.NO_MEMBER.value: group.nobody})
                    behind.append(Stage(f"{group.name}.nobody", group.name, dropped=dropped))
                found.append(Hop(f"{worker.name} -> {group.name}", group.turns, tuple(behind)))
        return found

    def stages(self, hops: Iterable[Hop]) -> list[Stage]:
        """Return every stage behind the detector's, with all its givers together, and those who have none yet."""
        stages: dict[str, Stage] = {}
        for hop in hops:
            for part in hop.behind:
                stages.setdefault(part.name, Stage(part.name, part.group)).add(part)
        for worker in self._workers:
            if is_behind(worker.spec):
                stages.setdefault(worker.name, Stage(worker.name, worker.spec.table))
        return list(stages.values())

    def withheld(self) -> dict[str, dict[str, int]]:
        """Return why processes say that they withheld frames, by name."""
        return {worker.name: worker.status.stage.withheld for worker in self._workers if worker.status is not None}

    def state(self) -> dict[str, Any]:
        """Return what a later supervisor needs to go on."""
        return {
            "groups": {name: [group.model_dump() for group in groups] for name, groups in self._groups.items()},
            "received": self._received,
            "published": self._published,
        }

    def recall(self, state: dict[str, Any]) -> None:
        """Go on with what an earlier supervisor stored."""
        groups = state.get("groups", {})
        self._groups = {name: [GroupStatus.model_validate(one) for one in found] for name, found in groups.items()}
        self._received = state.get("received", {})
        self._published = state.get("published", {})

    def close(self) -> None:
        """Let go of the books."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _notice_new_life(self, worker: Worker) -> None:
        status, name = worker.status, worker.name
        if status is None or not gives(worker.spec):
            return
        last = self._last.get(name)
        self._last[name] = status
        if last is None or last.pid == status.pid:
            return
        received = self._received_now(name)
        groups, published = close_groups(last.groups, received, self._published_now(name))
        self._groups[name] = add_groups(self._groups.get(name, []), groups)
        self._published[name] = self._published.get(name, 0) + published
        self._received[name] = dict(Counter(self._received.get(name, {})) + Counter(received))

    def _given(self, worker: Worker) -> list[GroupStatus]:
        """Return the groups of a giver over all its lives."""
        if not gives(worker.spec):
            return []
        status, name = worker.status, worker.name
        past = self._groups.get(name, [])
        if status is None:
            return past
        groups = status.groups
        if not worker.current and status.state is not State.STOPPED:
            groups, _ = close_groups(groups, self._received_now(name), self._published_now(name))
        return add_groups(past, groups)

    def _published_now(self, giver: str) -> int:
        """Return what a giver published in its present life, from its books."""
        own = [readings[-1][1].published for (_, name), readings in self._read.items() if name == giver]
        return sum(own) - self._published.get(giver, 0)

    def _received_now(self, giver: str) -> dict[str, int]:
        """Return what each member received from the present life of a giver."""
        past = self._received.get(giver, {})
        alive = {worker.name for worker in self._workers if worker.alive}
        received = {}
        for (source, name), readings in self._read.items():
            if source == giver:
                counts = readings[-1][1]
                back = counts.returned + (counts.in_hand if name not in alive else 0)
                received[name] = counts.received - back - past.get(name, 0)
        return received

    def _counts(self, spec: ProcessSpec, giver: str, last: Counts) -> Counts:
        path = spec.run_dir / book_name(spec.name, None if giver == DETECTOR else giver)
        try:
            if path not in self._readers:
                self._readers[path] = BookReader(path)
            return self._readers[path].read()
        except PeerError:  # not made yet: nothing was counted
            return last


def gives(spec: ProcessSpec) -> bool:
    """Return whether a process has takers for what it puts out."""
    if spec.role not in CHAINED:
        return False
    return bool(takers(spec.config.inputs, node_of(spec))) or _delivers(spec)


def _delivers(spec: ProcessSpec) -> bool:
    """Return whether a process hands frames to somebody elsewhere."""
    tables = {Role.CONSUMER: spec.config.groups, Role.COLLECTOR: spec.config.collectors}.get(spec.role, {})
    outputs = tables[spec.table].outputs if spec.table in tables else []
    return any(one != "pva" for one in outputs)


def is_behind(spec: ProcessSpec) -> bool:
    """Return whether a process takes its frames from another one than the detector."""
    return spec.role in CHAINED and spec.config.inputs.get(node_of(spec), DETECTOR) != DETECTOR


def givers_of(spec: ProcessSpec, workers: Iterable[Worker]) -> list[str]:
    """Return the names of the processes that give frames to one in a chain."""
    source = spec.config.inputs.get(node_of(spec))
    if source is None:
        return []
    if source == DETECTOR:
        return [DETECTOR]
    return [one.name for one in workers if node_of(one.spec) == source]


def reasons(counted: Counter[str], told: Mapping[str, int]) -> Counter[str]:
    """Return why frames were withheld, as far as the process has told; the rest of the count is `filtered`."""
    total = sum(counted.values())
    found = Counter({reason: count for reason, count in told.items() if count})
    if found.total() > total:
        return counted  # told after the books were read
    found[Reason.FILTERED.value] += total - found.total()
    return +found


def close_groups(
    groups: Sequence[GroupStatus], received: Mapping[str, int], published: int
) -> tuple[list[GroupStatus], int]:
    """Return the groups of a giver that is gone, closed, and how many frames it published at least."""
    closed = [_close_group(group, received) for group in groups]
    published = max([published, *(_at_least_published(group) for group in closed)])
    return [_make_up(group, published - _at_least_published(group)) for group in closed], published


def add_groups(past: Sequence[GroupStatus], present: Sequence[GroupStatus]) -> list[GroupStatus]:
    """Return the accounts of groups over both lives; what is not a count is that of the present one."""
    earlier = {group.slot: group for group in past}
    return [*(_add_groups(earlier.pop(group.slot, None), group) for group in present), *earlier.values()]


def _member_stage(group: str, member: MemberStatus, books: tuple[Counts, Counts], alive: bool) -> Stage:
    earlier, counts = books
    if not alive:
        counts = replace(counts, returned=counts.returned + counts.in_hand)
    stage = Stage(member.name, group, counts.received - counts.returned, counts.processed, counts.failed)
    stage.queued = counts.in_hand
    stage.published, stage.made = counts.published, counts.made
    stage.withheld[Reason.FILTERED.value] = counts.withheld
    stage.dropped = Counter(member.dropped)
    low, high = earlier.processed + earlier.failed, counts.processed + counts.failed
    odd = member.completed - min(max(member.completed, low), high)
    stage.in_flight = member.assigned - sum(member.dropped.values()) - stage.received - odd
    return stage


def _stage_elsewhere(group: str, member: MemberStatus) -> Stage:
    """Return the account of a far end as the giver keeps it."""
    stage = Stage(member.name, group, member.completed, member.completed, dropped=Counter(member.dropped))
    stage.in_flight = member.in_flight
    return stage


def _close_group(group: GroupStatus, received: Mapping[str, int]) -> GroupStatus:
    members = [_close_member(member, received.get(member.name, member.completed)) for member in group.members]
    more = sum(member.assigned for member in members) - sum(member.assigned for member in group.members)
    return group.model_copy(update={"members": members, "turns": group.turns + more})


def _close_member(member: MemberStatus, received: int) -> MemberStatus:
    dropped = Counter(member.dropped)
    lost = max(0, member.assigned - received - sum(dropped.values()))
    if lost:
        dropped[Reason.LOST.value] += lost
    return member.model_copy(
        update={
            "present": False,
            "assigned": received + sum(dropped.values()),
            "completed": received,
            "queued": 0,
            "in_flight": 0,
            "dropped": dict(dropped),
        }
    )


def _make_up(group: GroupStatus, frames: int) -> GroupStatus:
    """Return a group with frames booked as lost that were published, but of which it has not heard."""
    if frames <= 0:
        return group
    if not group.members:
        return group.model_copy(update={"turns": group.turns + frames, "nobody": group.nobody + frames})
    many = _members_a_set(group)
    members = [_lose(member, frames) if at < many else member for at, member in enumerate(group.members)]
    return group.model_copy(update={"members": members, "turns": group.turns + frames * many})


def _lose(member: MemberStatus, frames: int) -> MemberStatus:
    dropped = Counter(member.dropped)
    dropped[Reason.LOST.value] += frames
    return member.model_copy(update={"assigned": member.assigned + frames, "dropped": dict(dropped)})


def _members_a_set(group: GroupStatus) -> int:
    return math.ceil(max(len(group.members), 1) / max(group.sets, 1))


def _at_least_published(group: GroupStatus) -> int:
    """Return how many frames there were at least, if each went to at most all members of one set."""
    most = _members_a_set(group)
    return group.nobody + math.ceil((group.turns - group.nobody) / most)


def _add_groups(past: GroupStatus | None, present: GroupStatus) -> GroupStatus:
    if past is None:
        return present
    earlier = {member.name: member for member in past.members}
    members = [_add_members(earlier.pop(member.name, None), member) for member in present.members]
    return present.model_copy(
        update={
            "turns": past.turns + present.turns,
            "nobody": past.nobody + present.nobody,
            "members": [*members, *earlier.values()],
        }
    )


def _add_members(past: MemberStatus | None, present: MemberStatus) -> MemberStatus:
    if past is None:
        return present
    return present.model_copy(
        update={
            "assigned": past.assigned + present.assigned,
            "completed": past.completed + present.completed,
            "dropped": dict(Counter(past.dropped) + Counter(present.dropped)),
        }
    )
