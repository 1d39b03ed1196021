"""A channel of p4p's server whose values have time stamps and ids that the owner gives: NTScalar, double."""

from p4p import Value
from p4p.nt import NTScalar
from p4p.server.thread import SharedPV

USER_TAG = 0x7FFFFFFF
"""The userTag of a time stamp has 31 bits for the id."""
_TYPE = NTScalar.buildType("d")


class StampedChannel:
    """One channel; give `pv` to a p4p server under its name. Every post is sent, unless a client's queue is full."""

    def __init__(self) -> None:
        """Make the channel, with the value 0 and no time stamp."""
        self.pv = SharedPV(initial=Value(_TYPE, {"value": 0.0}))

    def post(self, value: float, stamp_ns: int, unique_id: int) -> None:
        """Send a value of the time `stamp_ns` (since 1970 UTC), with the id as userTag."""
        seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
        stamp = {"secondsPastEpoch": seconds, "nanoseconds": nanoseconds, "userTag": unique_id & USER_TAG}
        self.pv.post(Value(_TYPE, {"value": value, "timeStamp": stamp}))
