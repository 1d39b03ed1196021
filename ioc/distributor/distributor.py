"""The distributor: deals frames out to the members of its groups, each group by its own rules.

Rules: groups are independent. A frame belongs to one set of each group (core/partition.py) and goes to every member
of it. A frame is offered to all groups at once: if one lossless member of it has no room, nobody gets it and the
source waits. A set whose members are all gone is passed over while another set has some; if no member at all is there,
the frames wait on the seats of members that are being restarted, and are booked as *nobody*'s in a group without such.
What has nothing to do costs nothing: a burst of frames visits the members that are there and the groups that get
frames; what nobody gets is booked, a range at a time, when somebody comes or looks (`settle`).
Under Acknowledged, what a member that died or left had not finished goes to the members of the other sets, if sets have
one member each; otherwise to its successor. It may then come behind the end marker of its series.
"""

from collections.abc import Iterator, Sequence
from itertools import count

from ioc.channels.base import Link
from ioc.channels.journal import Journal
from ioc.channels.local_pool import PooledFrame
from ioc.core.config import DISTRIBUTOR_SLOTS
from ioc.core.config_table import Policy
from ioc.core.errors import RefusedError, mismatch
from ioc.core.frame import EndOfSeries
from ioc.core.overflow import WIDEST_WINDOW, Limits
from ioc.core.partition import place_of, set_of
from ioc.core.status import GroupStatus
from ioc.distributor.group import Group, GroupShape
from ioc.distributor.requests import Wish, shared_set
from ioc.distributor.seat import Aside, Seat

QUEUE_ON_DEMAND = 64
"""Frames that may wait for a client of a group that was made on demand; its policy is Bounded."""
NOBODY = "nobody"
"""The account in each group of the frames that no member was there for."""


class Distributor:
    """All groups of one channel; used by one thread."""

    def __init__(self, journal: Journal | None = None, aside: Aside | None = None) -> None:
        """Keep accounts in `journal`, without one, in memory only; `aside` is given what killed two members."""
        self.journal = journal or Journal()
        self.aside = aside
        self.groups: dict[int, Group] = {}
        self.last_end: EndOfSeries | None = None
        self._seated: list[tuple[Group, Seat]] = []
        self._present: list[bool] = []
        self._changed = True
        self._holding: list[Group] = []
        self._dropping: list[Group] = []
        self._vacant: list[Group] = []
        self._unseen: list[tuple[int, int, int]] = []

    def add_group(self, slot: int, shape: GroupShape, members: list[str]) -> Group:
        """Make a group in `slot` with a seat for each of the `members` that will be started for it."""
        self.settle()
        group = Group(slot, shape, self.journal.account(shape.name, NOBODY))
        self.groups[slot] = group
        self._changed = True
        for name in members:
            self._seat_local(group, name)
        return group

    def remove_group(self, slot: int) -> None:
        """Take a group without members away."""
        del self.groups[slot]
        self._changed = True

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
        self._sit(group, seat, link)
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
            account = self.journal.account(group.shape.name, name)
            seat = Seat(name, set_number, group.shape.limits, False, account)
            seat.aside = self.aside
            group.seats.append(seat)
        link.expect_acknowledgement(group.shape.acknowledgement)
        self._sit(group, seat, link)
        return seat

    def join_by_request(self, wish: Wish, link: Link) -> Seat:
        """Give a client that asked for its turns a seat, in a group that is made if there is none of its name.

        Raises:
            RefusedError: there is no free slot for another group.
        """
        group = next((one for one in self.groups.values() if one.shape.name == wish.group and one.slot), None)
        if group is None:
            group = self._group_on_demand(wish)
        group.by_room = True
        label = shared_set(wish)
        taken = {seat.set_number for seat in group.seats if seat.link is not None or seat.expected}
        free = next(number for number in count(1) if number not in taken and number not in group.labels.values())
        number = free if label is None else group.labels.setdefault(label, free)
        places = {seat.name: seat for seat in group.seats}
        names = (f"Set{number}Client{at}" for at in count(1))
        name = next(name for name in names if name not in places or places[name].link is None)
        return self.join_remote(group.slot, number, name, link)

    def hand_on(self) -> None:
        """Give what members left who have gone for good, under Acknowledged, to those who have come since."""
        if self.aside is not None:
            self.aside.tend()
        for group in self.groups.values():
            for seat in group.seats:
                if seat.queue.frames and not seat.expected and not seat.present and seat.wanted:
                    self._pass_on(group, seat)
                    self.commit()  # before anybody is given what moved

    def give_up(self, name: str) -> None:
        """Wait no more for a local member that is not there: what waits for it is booked as dropped."""
        for group in self.groups.values():
            for seat in group.seats:
                if seat.name == name and seat.expected and seat.link is None:
                    seat.expected = False
                    self._changed = True
                    if group.shape.limits.policy is Policy.ACKNOWLEDGED:
                        group.hand_over(seat)
                        self.commit()
                    seat.abandon()

    def muster(self) -> None:
        """Look who is there, before frames are offered; members come and go only between two bursts."""
        present = [seat.present for _, seat in self._seated]
        if not self._changed and present == self._present:
            return
        self.settle()
        self._changed, self._present = False, present
        for group in self.groups.values():
            group.muster()
        served = [group for group in self.groups.values() if group.roster.sets]
        self._holding = [group for group in served if not group.shape.limits.policy.may_drop]
        self._dropping = [group for group in served if group.shape.limits.policy.may_drop]
        self._vacant = [group for group in self.groups.values() if not group.roster.sets]

    def room(self, most: int, size_bytes: int) -> int:
        """Return how many of the next `most` frames can be offered at once; 0 if a lossless member has no room.

        A member that may drop never holds frames up, but gets them one by one when its queue is full: what waits
        shall move on before anything is dropped.
        """
        for group in self._holding:
            most = group.room(most, size_bytes)
        for group in self._dropping if most > 1 else ():
            most = max(1, group.room(most, size_bytes))
        return most

    def offer(self, frames: Sequence[PooledFrame]) -> None:
        """Assign frames, of one size and series, in all groups; `room` said that there is room for as many."""
        for group in self._holding:
            group.assign(frames)
        for group in self._dropping:
            group.assign(frames)
        if self._vacant:
            self._pass_by(frames[0].series, frames[0].unique_id, frames[-1].unique_id)

    def settle(self) -> None:
        """Book what nobody was there for since the last time."""
        unseen, self._unseen = self._unseen, []
        for series, first, last in unseen:
            for group in self._vacant:
                group.miss(series, first, last)

    def commit(self) -> None:
        """Put the present accounts on record: before members are given what they say was assigned."""
        if self._unseen:
            self.settle()
        self.journal.commit()

    def statuses(self, now_ns: int) -> list[GroupStatus]:
        """Return shape and accounts of all groups; `now_ns` counts from 1970."""
        self.settle()
        return [group.status(now_ns) for group in self.groups.values()]

    def seated(self) -> Iterator[Seat]:
        """Yield the seats that somebody sits on."""
        return (seat for _, seat in self._seated)

    def end_series(self, marker: EndOfSeries) -> None:
        """Put the end marker of a series behind its frames, for every member."""
        self.last_end = marker
        for seat in self.seats():
            if seat.present or seat.expected:
                seat.end_series(marker)

    def pump(self) -> bool:
        """Book what is finished, move frames on, settle with members that left or died; return whether any moved."""
        moved = False
        for group, seat in tuple(self._seated):
            moved = self._pump_seat(group, seat) or moved
        return moved

    def reshape(self, slot: int, shape: GroupShape) -> None:
        """Change a group while frames flow; nothing that waits is lost by it.

        Seats beyond a smaller count are no longer expected; their members are told to leave by the supervisor.
        """
        group = self.groups[slot]
        group.shape = shape
        self._changed = True
        for seat in group.seats:
            seat.queue.change(shape.limits)
            if seat.link is not None:
                seat.link.expect_acknowledgement(shape.acknowledgement)
            if seat.name in group.members:
                index = group.members[seat.name]
                seat.wanted = seat.expected = index < shape.count
                if seat.wanted:
                    seat.set_number = set_of(index, shape.sets_in_effect)

    def idle(self) -> bool:
        """Return whether no frame waits and every member that is here has finished, end markers too."""
        return all(seat.idle if seat.link is not None else not seat.queue.frames for seat in self.seats())

    def bound_windows(self, frames: int | None) -> None:
        """Let members that may lose frames hold half of the `frames` that there is memory for, None: any number.

        Else one that hangs with all of them in its hands would hold up the source, which its policy forbids.
        """
        seats = [seat for seat in self.seats() if seat.queue.limits.policy.may_drop]
        for seat in seats:
            share = WIDEST_WINDOW if frames is None else frames // (2 * len(seats))
            seat.widest = max(1, min(WIDEST_WINDOW, share))

    def shed(self) -> bool:
        """Drop one frame wherever it waits, to free its memory; return False if that would free none.

        Only a frame is dropped that nobody else holds but queues that may drop: others would be lost for nothing.
        """
        seats = [seat for seat in self.seats() if seat.queue.limits.policy.may_drop and seat.queue.frames]
        holders: dict[int, list[tuple[Seat, PooledFrame]]] = {}
        for seat in sorted(seats, key=lambda seat: seat.queue.frames, reverse=True):
            for frame in seat.queue.waiting():
                holders.setdefault(id(frame.slot), []).append((seat, frame))
        for held in holders.values():
            slot = held[0][1].slot
            if slot is not None and slot.refs == len(held):
                for seat, frame in held:
                    seat.shed(frame)
                return True
        return False

    def close(self) -> None:
        """Finish what is under way beside the stream."""
        if self.aside is not None:
            self.aside.close()

    def _pump_seat(self, group: Group, seat: Seat) -> bool:
        link = seat.link
        if link is None:
            self._stand_up(seat)
            return False
        moved = seat.pump()
        died = not link.alive()
        if not died and not seat.may_leave():
            return moved
        seat.vacate(politely=True)
        self._stand_up(seat)
        if died or group.shape.limits.policy is Policy.ACKNOWLEDGED:
            self._pass_on(group, seat)
        elif not seat.expected:
            seat.abandon()
        return True

    def _pass_on(self, group: Group, seat: Seat) -> None:
        acknowledged = group.shape.limits.policy is Policy.ACKNOWLEDGED
        waits = (acknowledged or group.by_room) and group.hand_over(seat) and acknowledged
        self.commit()  # before anybody is given what moved
        if not seat.expected and not waits:
            seat.abandon()

    def _sit(self, group: Group, seat: Seat, link: Link) -> None:
        seat.sit(link)
        if all(other is not seat for _, other in self._seated):
            self._seated.append((group, seat))
        self._changed = True

    def _stand_up(self, seat: Seat) -> None:
        self._seated = [(group, other) for group, other in self._seated if other is not seat]
        self._changed = True

    def _group_on_demand(self, wish: Wish) -> Group:
        slot = next((slot for slot in range(1, DISTRIBUTOR_SLOTS + 1) if slot not in self.groups), None)
        if slot is None:
            raise RefusedError(f"group {wish.group}: no slot is free for another group; ask for one that is there")
        shape = GroupShape(wish.group, 0, None, wish.updates or 1, Limits(Policy.BOUNDED, QUEUE_ON_DEMAND))
        group = self.add_group(slot, shape, [])
        group.on_demand = True
        return group

    def _pass_by(self, series: int, first: int, last: int) -> None:
        if self._unseen and self._unseen[-1][0] == series and self._unseen[-1][2] == first - 1:
            first = self._unseen.pop()[1]
        self._unseen.append((series, first, last))

    def _seat_local(self, group: Group, name: str, index: int | None = None) -> Seat:
        for seat in group.seats:
            if seat.name == name:
                return seat
        index = len(group.members) if index is None else index  # who joins first is not who comes first in the group
        account = self.journal.account(group.shape.name, name)
        seat = Seat(name, set_of(index, group.shape.sets_in_effect), group.shape.limits, True, account)
        seat.aside = self.aside
        group.members[name] = index
        group.seats.append(seat)
        self._changed = True
        return seat


def channel_name(slot: int, index: int, sets: int) -> str:
    """Return the member channel of member `index` (from 0), without prefix."""
    return f"Dist{slot}:Set{set_of(index, sets)}:Member{place_of(index, sets)}:Image"
