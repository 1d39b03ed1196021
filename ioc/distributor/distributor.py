"""The distributor: deals frames out to the members of its groups, each group by its own rules.

Rules: groups are independent. A frame belongs to one set of each group (core/partition.py) and goes to every member
of it. A frame is offered to all groups at once: if one lossless member of it has no room, nobody gets it and the
source waits. A set whose members are all gone is passed over while another set has some; if no member at all is there,
the frames wait on the seats of members that are being restarted, and are booked as *nobody*'s in a group without such.
Under Acknowledged, what a member that died had not finished goes to the members of the other sets, if sets have one
member each; otherwise to its successor. It may then come behind the end marker of its series.
"""

from collections.abc import Iterator

from ioc.channels.base import Link
from ioc.channels.local_pool import PooledFrame
from ioc.core.config import Policy
from ioc.core.errors import RefusedError, mismatch
from ioc.core.frame import EndOfSeries
from ioc.core.partition import place_of, set_of
from ioc.distributor.group import Group, GroupShape
from ioc.distributor.seat import Seat


class Distributor:
    """All groups of one channel; used by one thread."""

    def __init__(self) -> None:
        self.groups: dict[int, Group] = {}
        self.last_end: EndOfSeries | None = None
        self._droppers: list[Seat] = []

    def add_group(self, slot: int, shape: GroupShape, members: list[str]) -> Group:
        """Make a group in `slot` with a seat for each of the `members` that will be started for it."""
        group = Group(slot, shape)
        self.groups[slot] = group
        for name in members:
            self._seat_local(group, name)
        return group

    def seats(self) -> Iterator[Seat]:
        """Yield every seat of every group."""
        for group in self.groups.values():
            yield from group.seats

    def named(self, name: str) -> Group:
        """Return the group of a name.

        Raises:
            RefusedError: there is none.
        """
        for group in self.groups.values():
            if group.shape.name == name:
                return group
        known = ", ".join(group.shape.name for group in self.groups.values())
        raise RefusedError(mismatch("group of a member", f"one of {known}", name))

    def join(self, group_name: str, index: int, link: Link) -> Seat:
        """Give local member `index` (from 0) of a group its seat.

        Raises:
            RefusedError: no such group, or a member beyond its count.
        """
        group = self.named(group_name)
        if index >= group.shape.count:
            raise RefusedError(mismatch(f"member of group {group_name}", f"less than {group.shape.count}", index))
        seat = self._seat_local(group, link.name, index)
        seat.expected = seat.wanted = True
        seat.sit(link)
        if self.last_end is not None and seat.last_end != self.last_end.series:
            seat.end_series(self.last_end)  # so that a newcomer knows which series are over, and can pass it on
        return seat

    def join_remote(self, slot: int, set_number: int, name: str, link: Link) -> Seat:
        """Give a client that joined by a member channel the seat `name` in a set of the group in `slot`.

        Raises:
            RefusedError: no group has this slot.
        """
        group = self.groups.get(slot)
        if group is None:
            raise RefusedError(mismatch("member channel", f"one of the slots {sorted(self.groups)}", slot))
        seat = next((seat for seat in group.seats if seat.name == name), None)
        if seat is None:
            seat = Seat(name, set_number, group.shape.limits, expected=False)
            group.seats.append(seat)
        seat.sit(link)
        return seat

    def give_up(self, name: str) -> None:
        """Wait no more for a local member that is not there: what waits for it is booked as dropped."""
        for seat in self.seats():
            if seat.name == name and seat.expected and seat.link is None:
                seat.expected = False
                seat.abandon()

    def muster(self) -> None:
        """Look who is there, before a burst of frames is offered."""
        for group in self.groups.values():
            group.muster()
        self._droppers = [seat for seat in self.seats() if seat.link is not None and seat.queue.limits.policy.may_drop]

    def offer(self, frame: PooledFrame) -> bool:
        """Assign a frame in all groups; return False, with nothing done, if a lossless member has no room for it."""
        size = frame.data.nbytes
        plans = [(group, *group.targets()) for group in self.groups.values()]
        for group, _, seats in plans:
            if not group.shape.limits.policy.may_drop and not all(seat.has_room(size) for seat in seats):
                return False
        for group, turn, seats in plans:
            if turn is None:
                group.miss(frame)
                continue
            group.turn = turn
            group.turns += len(seats)
            for seat in seats:
                seat.assign(frame)
        return True

    def crowded(self, size_bytes: int) -> bool:
        """Return whether a frame of that size would make some member lose another one."""
        return any(not seat.has_room(size_bytes) for seat in self._droppers)

    def end_series(self, marker: EndOfSeries) -> None:
        """Put the end marker of a series behind its frames, for every member."""
        self.last_end = marker
        for seat in self.seats():
            if seat.present or seat.expected:
                seat.end_series(marker)

    def pump(self) -> bool:
        """Move frames on, settle with members that left or died; return whether anything moved."""
        moved = False
        for group in self.groups.values():
            for seat in group.seats:
                moved = self._pump_seat(group, seat) or moved
        return moved

    def reshape(self, slot: int, shape: GroupShape) -> None:
        """Change a group while frames flow; nothing that waits is lost by it.

        Seats beyond a smaller count are no longer expected; their members are told to leave by the supervisor.
        """
        group = self.groups[slot]
        group.shape = shape
        for seat in group.seats:
            seat.queue.limits = shape.limits
            if seat.name in group.members:
                index = group.members.index(seat.name)
                seat.wanted = seat.expected = index < shape.count
                if seat.wanted:
                    seat.set_number = set_of(index, shape.sets_in_effect)

    def idle(self) -> bool:
        """Return whether no frame waits and every member that is here has finished, end markers too."""
        return all(seat.idle if seat.link is not None else not seat.queue.frames for seat in self.seats())

    def shed(self) -> bool:
        """Drop the oldest frame of the longest queue that may drop, to free memory; return whether one was."""
        candidates = sorted(self.seats(), key=lambda seat: seat.queue.frames, reverse=True)
        return any(seat.shed() for seat in candidates)

    def _pump_seat(self, group: Group, seat: Seat) -> bool:
        link = seat.link
        if link is None:
            return False
        moved = seat.pump()
        died = not link.alive()
        if not died and not seat.may_leave():
            return moved
        seat.vacate(politely=True)
        if died and group.shape.limits.policy is Policy.ACKNOWLEDGED:
            group.hand_over(seat)
        if not seat.expected:
            seat.abandon()
        return True

    def _seat_local(self, group: Group, name: str, index: int | None = None) -> Seat:
        for seat in group.seats:
            if seat.name == name:
                return seat
        index = len(group.members) if index is None else index
        seat = Seat(name, set_of(index, group.shape.sets_in_effect), group.shape.limits, expected=True)
        group.members.append(name)
        group.seats.append(seat)
        return seat


def channel_name(slot: int, index: int, sets: int) -> str:
    """Return the member channel of member `index` (from 0), without prefix."""
    return f"Dist{slot}:Set{set_of(index, sets)}:Member{place_of(index, sets)}:Image"
