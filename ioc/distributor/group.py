"""One group of a distributor: its shape, its seats, whose turn it is and what nobody was there for."""

from dataclasses import dataclass, field

from ioc.channels.journal import Account
from ioc.channels.local_pool import PooledFrame
from ioc.core.ledger import Reason
from ioc.core.overflow import Limits
from ioc.core.partition import START, Turn, next_turn
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
    """One group: its shape, its seats and whose turn it is. `members` names the seats of local members.

    `account` is that of nobody: of the frames that no member was there for. It counts the turns, too.
    """

    slot: int
    shape: GroupShape
    account: Account
    members: list[str] = field(default_factory=list)
    seats: list[Seat] = field(default_factory=list)
    turn: Turn = START
    turns: int = 0
    nobody: int = 0
    roster: Roster = field(default_factory=Roster)
    _turns_before: int = 0

    def __post_init__(self) -> None:
        """Count turns on behind those of earlier lives."""
        self._turns_before = self.account.turns

    def muster(self) -> None:
        """Look who is there; members come and go only between two bursts of frames."""
        present = [seat for seat in self.seats if seat.present]
        dealt = present or [seat for seat in self.seats if seat.expected]
        sets = sorted({seat.set_number for seat in dealt})
        wanted = [seat for seat in self.seats if seat.present or seat.expected]
        seats = {number: [seat for seat in wanted if seat.set_number == number] for number in sets}
        self.roster = Roster(sets, seats)

    def targets(self) -> tuple[Turn | None, list[Seat]]:
        """Return the turn that the next frame belongs to and the seats that are to get it."""
        turn = next_turn(self.roster.sets, self.turn, self.shape.updates)
        return (None, []) if turn is None else (turn, self.roster.seats[turn.set_number])

    def hand_over(self, gone: Seat) -> None:
        """Give the frames of a member that died to those of the other sets, in turn, where every set has one member."""
        others = [seat for seat in self.seats if seat.present]
        taken = [seat.set_number for seat in (gone, *others)]
        if not others or len(set(taken)) < len(taken):
            return
        frames = gone.give_away()
        for at, seat in enumerate(others):
            seat.adopt(frames[at :: len(others)])

    def miss(self, frame: PooledFrame) -> None:
        """Book a frame that no member is there for."""
        self.turns += 1
        self.nobody += 1
        self.account.drop(frame.series, frame.unique_id, Reason.NO_MEMBER)

    def settle(self) -> None:
        """Bring the accounts up to date, before they are committed."""
        self.account.turns = self._turns_before + self.turns
        for seat in self.seats:
            seat.settle()

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
            turns=self.turns,
            nobody=self.nobody,
            members=[seat.status(now_ns) for seat in self.seats],
        )
