"""One group of a distributor: its shape, its seats, whose turn it is and what nobody was there for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ioc.channels.journal import Account
from ioc.channels.local_pool import PooledFrame
from ioc.core.config_group import ACK_TIMEOUT
from ioc.core.config_table import Policy
from ioc.core.ledger import Reason
from ioc.core.overflow import Limits
from ioc.core.partition import START, Turn, deal, next_turn
from ioc.core.status import GroupStatus
from ioc.distributor.seat import Seat


@dataclass(frozen=True, slots=True)
class GroupShape:
    """What can be set of a group, by configuration and by PV. `sets` None: every member is a set of its own."""

    name: str
    count: int
    sets: int | None
    updates: int
    limits: Limits
    ack_timeout: float = ACK_TIMEOUT

    @property
    def acknowledgement(self) -> float | None:
        """Return within how many seconds a member must acknowledge something, None where it need not."""
        return self.ack_timeout if self.limits.policy is Policy.ACKNOWLEDGED else None

    @property
    def sets_in_effect(self) -> int:
        """Return the number of sets that the members are dealt into."""
        return self.sets if self.sets is not None else max(self.count, 1)


@dataclass(slots=True)
class Roster:
    """Who is to be dealt frames: the sets by number, ascending, and the seats of each."""

    sets: list[int] = field(default_factory=list)
    seats: dict[int, list[Seat]] = field(default_factory=dict)


@dataclass(slots=True)
class Group:
    """One group: its shape, its seats and whose turn it is. `members` are the places of local members, from 0, by name.

    `account` is that of nobody: of the frames that no member was there for. It counts the turns, too.
    """

    slot: int
    shape: GroupShape
    account: Account
    members: dict[str, int] = field(default_factory=dict)
    seats: list[Seat] = field(default_factory=list)
    turn: Turn = START
    turns: int = 0
    nobody: int = 0
    roster: Roster = field(default_factory=Roster)
    by_room: bool = False
    """Whether a turn goes only to a set that has room, as long as there is one (ioc/distributor/requests.py)."""
    on_demand: bool = False
    """Whether it is there only because somebody asked: without members it misses nothing."""
    labels: dict[str, int] = field(default_factory=dict)
    """Numbers of the sets that clients named."""

    def muster(self) -> None:
        """Look who is there; members come and go only between two bursts of frames."""
        present = [seat for seat in self.seats if seat.present]
        dealt = present or [seat for seat in self.seats if seat.expected]
        sets = sorted({seat.set_number for seat in dealt})
        wanted = [seat for seat in self.seats if seat.present or seat.expected]
        seats = {number: [seat for seat in wanted if seat.set_number == number] for number in sets}
        self.roster = Roster(sets, seats)

    def room(self, most: int, size_bytes: int) -> int:
        """Return how many of the next `most` frames of a size can be assigned without dropping one.

        Where dropping is allowed, seats of members that are not there do not count.
        """
        roster, all_count = self.roster, not self.shape.limits.policy.may_drop
        rooms = {
            number: min((one.room(size_bytes) for one in seats if all_count or one.link is not None), default=most)
            for number, seats in roster.seats.items()
        }
        if min(rooms.values(), default=most) >= most:
            return most
        if self.by_room:
            return min(most, sum(rooms.values()))
        taken = 0
        for number, many in deal(roster.sets, self.turn, self.shape.updates, most)[0]:
            if rooms[number] < many:
                return taken + rooms[number]
            rooms[number] -= many
            taken += many
        return taken

    def assign(self, frames: Sequence[PooledFrame]) -> None:
        """Deal frames of one size out to the members whose turn it is."""
        self.account.touch()
        roster = self.roster
        if self.by_room:
            self._assign_by_room(frames)
            return
        runs, self.turn = deal(roster.sets, self.turn, self.shape.updates, len(frames))
        shares: dict[int, list[PooledFrame]] = {}
        at = 0
        for number, many in runs:
            shares.setdefault(number, []).extend(frames[at : at + many])
            at += many
        for number, share in shares.items():
            for seat in roster.seats[number]:
                self.turns += len(share)
                self.account.turns += len(share)
                seat.assign(share)

    def _assign_by_room(self, frames: Sequence[PooledFrame]) -> None:
        seats = self.roster.seats
        for frame in frames:
            size = frame.data.nbytes
            free = [number for number in self.roster.sets if all(one.room(size) for one in seats[number])]
            turn = next_turn(free or self.roster.sets, self.turn, self.shape.updates)
            assert turn is not None, "a group without sets is offered nothing"
            self.turn = turn
            self.turns += len(seats[turn.set_number])
            self.account.turns += len(seats[turn.set_number])
            for seat in seats[turn.set_number]:
                seat.assign([frame])

    def hand_over(self, gone: Seat) -> bool:
        """Give the frames of a member that died to those of the other sets, in turn, where every set has one member.

        Return False if they cannot have them: the group has larger sets. With nobody there, the frames wait.
        """
        others = [seat for seat in self.seats if seat.present and seat is not gone]
        taken = [seat.set_number for seat in (gone, *others)]
        if len(set(taken)) < len(taken):
            return False
        if not others:
            return True
        frames = gone.give_away()
        for at, seat in enumerate(others):
            seat.adopt(frames[at :: len(others)])
        return True

    def miss(self, series: int, first: int, last: int) -> None:
        """Book the frames `first` to `last` (both included) of a series, which no member is there for."""
        if self.on_demand:
            return
        self.turns += last - first + 1
        self.nobody += last - first + 1
        self.account.turns += last - first + 1
        self.account.drop_range(series, first, last, Reason.NO_MEMBER)

    def status(self, now_ns: int) -> GroupStatus:
        """Return shape and accounts."""
        shape = self.shape
        return GroupStatus(
            slot=self.slot,
            name=shape.name,
            count=shape.count,
            sets=shape.sets_in_effect,
            updates=shape.updates,
            policy=shape.limits.policy.value,
            queue_size=shape.limits.frames,
            queue_bytes=shape.limits.size_bytes or 0,
            drop=shape.limits.drop.value,
            ack_timeout=shape.ack_timeout,
            turns=self.turns,
            nobody=self.nobody,
            members=[seat.status(now_ns) for seat in self.seats],
        )
