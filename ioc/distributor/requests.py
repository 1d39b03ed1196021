"""Groups by request: clients that ask for their turns as PvaPy's do, `_[pydistributor=group:G;set:S;updates:N;...]`.

Rules. A request names its group. If the distributor has one of that name, the client joins it, and may not contradict
it; otherwise the group is made in a free slot and stays there, dealing out nothing while nobody is in it. Clients that
name no set take turns, one after the other; clients that name one share all of the set's turns. The first client
settles which of the two a group is, and `updates`. A turn goes only to a set that has room; if none has, the group's
policy decides. A client that leaves gives what waited for it to the others.

Compared with PvaPy: groups belong to a channel, a trigger is a field that every frame has anew, and what PvaPy would
pass over in silence, a contradiction or an unknown trigger, is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ioc.core.config import DISTRIBUTOR_SLOTS
from ioc.core.config_table import Policy
from ioc.core.errors import RefusedError, mismatch
from ioc.core.status import GroupStatus

TRIGGERS = ("uniqueId", "timeStamp", "dataTimeStamp")
"""Fields that tell one frame from another; frames are told apart by what they are, whichever is asked for."""
ALL = "all"
"""The set of clients that ask for mode `all` and name no set."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for: group, set (None: it takes turns alone), sequential updates (None: what is there)."""

    group: str
    set: str | None = None
    updates: int | None = None
    trigger: str = "timeStamp"
    mode: Literal["one", "all"] | None = None


@dataclass(slots=True)
class _Terms:
    updates: int | None
    shared: bool
    members: int = 0


class RequestBook:
    """Who asked for what and was taken; decides without waiting for anybody. Used by one thread."""

    def __init__(self) -> None:
        self._terms: dict[str, _Terms] = {}

    def check(self, wish: Wish, groups: Sequence[GroupStatus]) -> None:
        """Look whether a client may join with a wish; `groups` are those of the distributor.

        Raises:
            RefusedError: it may not; says why and what would do.
        """
        where = f"group {wish.group}"
        if wish.trigger not in TRIGGERS:
            raise RefusedError(mismatch(f"{where}, trigger", f"one of {', '.join(TRIGGERS)}", wish.trigger[:40]))
        if wish.mode == "one" and wish.set is not None:
            todo = "leave the set out, its clients then take turns"
            raise RefusedError(mismatch(f"{where}, mode", "all for clients of a set", "one", todo))
        known = next((group for group in groups if group.name == wish.group and group.slot), None)
        if known is None and sum(group.slot > 0 for group in groups) >= DISTRIBUTOR_SLOTS:
            names = ", ".join(group.name for group in groups if group.slot)
            raise RefusedError(mismatch(where, f"one of {names}, because no slot is free", wish.group))
        if known is not None and known.policy == Policy.ACKNOWLEDGED.value:
            todo = "monitor a member channel and acknowledge there"
            raise RefusedError(mismatch(f"{where}, policy", "another one for clients by request", "acknowledged", todo))
        terms = self._terms.get(wish.group)
        if known is not None and wish.updates not in (None, known.updates):
            raise RefusedError(mismatch(f"{where}, updates", str(known.updates), wish.updates))
        if terms is not None and terms.members:
            if wish.updates is not None and terms.updates is not None and wish.updates != terms.updates:
                raise RefusedError(mismatch(f"{where}, updates", f"{terms.updates} as its first client", wish.updates))
            if terms.shared != (shared_set(wish) is not None):
                expected = "a set, as its first client" if terms.shared else "no set, as its first client"
                raise RefusedError(mismatch(where, expected, wish.set))

    def enter(self, wish: Wish) -> None:
        """Note a client that was taken."""
        terms = self._terms.get(wish.group)
        if terms is None or not terms.members:
            terms = self._terms[wish.group] = _Terms(wish.updates, shared_set(wish) is not None)
        terms.members += 1

    def leave(self, wish: Wish) -> None:
        """Note that a client has gone."""
        terms = self._terms.get(wish.group)
        if terms is not None:
            terms.members -= 1
            if not terms.members:
                del self._terms[wish.group]


def shared_set(wish: Wish) -> str | None:
    """Return the set whose turns a client shares, None if it takes turns alone."""
    return wish.set if wish.set is not None else ALL if wish.mode == "all" else None
