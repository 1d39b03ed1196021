"""The account of a detector over several lives: what a killed one said last, closed with what its members have.

A detector that was killed spoke up to 0.2 s before its end. What its members received is known exactly from their
books, and how many frames there were from its own; what it had dealt out and nobody received is booked as lost; frames
that it published after its last word are added. A life that ended well is exact already, and closing it changes
nothing.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from ioc.core.ledger import Reason
from ioc.core.status import GroupStatus, MemberStatus, StageStatus, Status


def close_life(status: Status, received: Mapping[str, int], published: int = 0) -> Status:
    """Return the last status of a detector that is gone, closed.

    `received` by its members in that life, by name; `published` in it, as far as its book tells.
    """
    groups, published = close_groups(status.groups, received, max(published, status.stage.processed))
    unsaid = published - status.stage.processed
    stage = status.stage.model_copy(
        update={"received": status.stage.received + unsaid, "processed": published, "queued": 0}
    )
    series = list(status.series)
    if series and unsaid:
        series[-1] = series[-1].model_copy(update={"published": series[-1].published + unsaid})
    return status.model_copy(update={"groups": groups, "stage": stage, "series": series})


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


def add_lives(past: Status, present: Status) -> Status:
    """Return the account of both lives; what is not a count is that of the present one."""
    return present.model_copy(
        update={
            "series": [*past.series, *present.series],
            "stage": _add_stages(past.stage, present.stage),
            "groups": add_groups(past.groups, present.groups),
        }
    )


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
            "missed": [*past.missed, *present.missed],
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
            "missed": [*past.missed, *present.missed],
        }
    )


def _add_stages(past: StageStatus, present: StageStatus) -> StageStatus:
    return StageStatus(
        received=past.received + present.received,
        processed=past.processed + present.processed,
        failed=past.failed + present.failed,
        queued=present.queued,
        dropped=dict(Counter(past.dropped) + Counter(present.dropped)),
        missed=[*past.missed, *present.missed],
    )
