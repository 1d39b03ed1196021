"""The records of the distributor: one slot `Dist1:` ... `Dist8:` a group, settings at run time and accounts."""

from ioc.core.config import DISTRIBUTOR_SLOTS
from ioc.core.config_group import ACK_TIMEOUT, MOST_MEMBERS
from ioc.core.config_table import LARGEST_QUEUE, Drop, Policy
from ioc.core.forecast import NEVER
from ioc.records.table import Access, Alarms, Kind, Limits, Record, under

SHOWN_MEMBERS = 8
"""Members of a group that have records of their own; all are in the status structure."""
POLICIES = tuple(policy.value.capitalize() for policy in Policy)
DROPS = tuple(drop.value.capitalize() for drop in Drop)

PAIR = Access.PAIR
INT, COUNT, FLOAT, BOOL, STRING = Kind.INT, Kind.COUNT, Kind.FLOAT, Kind.BOOL, Kind.STRING
QUEUE = Limits(1, LARGEST_QUEUE)
TIMEOUT = Limits(0.01, 3600)
OVERFLOW = Alarms(lolo=5.0, low=30.0)
ANY_LOSS = Alarms(high=1)

SETTINGS = (
    Record("Name", STRING, "Name of the group, empty: slot is free", PAIR),
    Record("Count", INT, "Members that the group is to have", PAIR, accepted=Limits(0, MOST_MEMBERS)),
    Record("Sets", INT, "Sets of members, 0: one a member", PAIR, accepted=Limits(0, MOST_MEMBERS)),
    Record("Updates", INT, "Frames in sequence to one set", PAIR, "frame", accepted=Limits(1), initial=1),
    Record("QueueSize", INT, "Frames that may wait for one member", PAIR, "frame", accepted=QUEUE, initial=64),
    Record("QueueBytes", COUNT, "Bytes that may wait, 0: no limit", PAIR, "byte", accepted=Limits(0)),
    Record("Policy", Kind.ENUM, "What happens if a member is slow", PAIR, choices=POLICIES, initial="Lossless"),
    Record("Drop", Kind.ENUM, "Which frame a full Bounded queue drops", PAIR, choices=DROPS),
    Record("AckTimeout", FLOAT, "Time a PVA member may be silent", PAIR, "s", accepted=TIMEOUT, initial=ACK_TIMEOUT),
)

ACCOUNT = (
    Record("Members", INT, "Members that are here"),
    Record("Silent", INT, "Clients that do not acknowledge", alarms=Alarms(high=1)),
    Record("Turns", COUNT, "Frames times members whose turn it was", unit="frame"),
    Record("Nobody", COUNT, "Frames when the group had no member", unit="frame", alarms=ANY_LOSS),
    Record("Queued", COUNT, "Frames that wait for members", unit="frame"),
    Record("InFlight", COUNT, "Frames handed over, not finished with", unit="frame"),
    Record("HighWater", COUNT, "Most frames that ever waited", unit="frame"),
    Record("Dropped", COUNT, "Frames dropped, all reasons", unit="frame", alarms=ANY_LOSS),
    Record("Lag", COUNT, "Frames that the slowest member is behind", unit="frame"),
    Record("LagTime", FLOAT, "Time that the slowest member is behind", unit="s"),
    Record("TimeToOverflow", FLOAT, "Time until a queue is full", unit="s", alarms=OVERFLOW, initial=NEVER),
)

MEMBER = (
    Record("Name", STRING, "Name of the member"),
    Record("Present", BOOL, "Whether the member is here"),
    Record("Queued", COUNT, "Frames that wait for the member", unit="frame"),
    Record("Dropped", COUNT, "Frames dropped for the member", unit="frame", alarms=ANY_LOSS),
    Record("Lag", COUNT, "Frames that the member is behind", unit="frame"),
)


def distributor_records() -> list[Record]:
    """Return the records of all slots."""
    records: list[Record] = []
    for slot in range(1, DISTRIBUTOR_SLOTS + 1):
        records += under(f"Dist{slot}:", SETTINGS + ACCOUNT)
        for member in range(1, SHOWN_MEMBERS + 1):
            records += under(f"Dist{slot}:Member{member}:", MEMBER)
    return records
