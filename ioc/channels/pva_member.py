"""The RPC channels `<prefix>Dist<slot>:Set<set>:Member<member>:Ack` on which PVA members acknowledge, served by p4p."""

import re
from collections.abc import Callable

from p4p import Type, Value
from p4p.server import DynamicProvider, ServerOperation
from p4p.server.raw import SharedPV

from ioc.channels.acknowledged import AcknowledgedLink
from ioc.channels.pva import MemberAddress
from ioc.core.acknowledgement import parse
from ioc.core.errors import PeerError, ProtocolError, mismatch

ANSWER = Type([("acknowledged", "l"), ("unknown", "l"), ("waiting", "l")], id="rayfan:Acknowledged:1.0")
"""What a call returns: frames acknowledged by it, ids that were not out, frames that are still out."""
URI_ID = "epics:nt/NTURI:1.0"

LinkOf = Callable[[MemberAddress], AcknowledgedLink | None]


class AcknowledgeChannels:
    """A provider of one such channel for every member that may exist."""

    def __init__(self, prefix: str, admits: Callable[[MemberAddress], bool], link_of: LinkOf) -> None:
        """Prepare; `admits` and `link_of` are called on p4p's thread and must return at once."""
        place = re.escape(prefix) + r"Dist([1-9]\d?):Set([1-9]\d?):Member([1-9]\d?):Ack"
        self._pattern = re.compile(place, re.ASCII)
        self._admits = admits
        self._link_of = link_of
        self._served: set[SharedPV] = set()  # p4p keeps no reference; each is taken out when its client has gone
        self.provider = DynamicProvider("acknowledgements", self)

    def serves(self, name: str) -> bool:
        """Return whether a name is that of such a channel."""
        return self._address(name) is not None

    def testChannel(self, name: str) -> bool | bytes:  # noqa: N802 - p4p's name
        """Say whether a name is served; p4p remembers a plain no, so a member that may come later gets another one."""
        address = self._address(name)
        return address is not None and (self._admits(address) or DynamicProvider.NotYet)

    def makeChannel(self, name: str, peer: str) -> SharedPV:  # noqa: N802 - p4p's name
        """Return the SharedPV for one client."""
        pv = SharedPV(handler=_Caller(name, self._address(name), self._link_of, self._served), initial=Value(ANSWER))
        self._served.add(pv)
        return pv

    def _address(self, name: str) -> MemberAddress | None:
        match = self._pattern.fullmatch(name)
        return MemberAddress(*map(int, match.groups())) if match else None


class _Caller:
    """What p4p calls about the SharedPV of one client."""

    def __init__(self, name: str, address: MemberAddress | None, link_of: LinkOf, served: set[SharedPV]) -> None:
        self._name = name
        self._address = address
        self._link_of = link_of
        self._served = served

    def onLastDisconnect(self, pv: SharedPV) -> None:  # noqa: N802 - p4p's name
        self._served.discard(pv)

    def rpc(self, _pv: SharedPV, operation: ServerOperation) -> None:
        """Answer a call; on p4p's thread, never waits."""
        try:
            link = self._link_of(self._address) if self._address is not None else None
            if link is None:
                raise PeerError(mismatch(self._name, "a client that monitors the member's Image", "none"))
            answer = link.acknowledge(parse(query(operation.value())))
        except PeerError as error:
            operation.done(error=str(error))
            return
        counts = {"acknowledged": answer.acknowledged, "unknown": answer.unknown, "waiting": answer.waiting}
        operation.done(Value(ANSWER, counts))

    def put(self, _pv: SharedPV, operation: ServerOperation) -> None:
        """Refuse: it is an RPC."""
        operation.done(error=f"{self._name}: acknowledge by RPC, for example pvcall {self._name} series=1 uniqueId=5")


def query(value: Value) -> dict[str, object]:
    """Return the arguments of a call: the query of an NTURI, or a plain structure.

    Raises:
        ProtocolError: it is neither.
    """
    try:
        arguments = value["query"] if value.getID() == URI_ID else value
        return dict(arguments.items()) if isinstance(arguments, Value) else {}
    except (AttributeError, KeyError, TypeError) as error:
        raise ProtocolError(f"acknowledgement: expected an NTURI with a query: {error}") from None
