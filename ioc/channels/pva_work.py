"""The RPC channel `<prefix>Work`, on which workers elsewhere speak to an appliance, served by p4p.

A call is an NTURI with the texts `session`, `message` and `seal`, the answer has `message` and `seal`; what they say is
the business of the desk (ioc/core/joining.py has the words).
"""

from collections.abc import Callable
from concurrent.futures import Future

from p4p import Type, Value
from p4p.server import ServerOperation
from p4p.server.raw import SharedPV

from ioc.channels.pva_member import query
from ioc.core.errors import RayfanError
from ioc.core.joining import CHANNEL

ANSWER = Type([("message", "s"), ("seal", "s")], id="rayfan:Work:1.0")
"""What a call returns."""

Hear = Callable[[object, object, object], "Future[tuple[str, str]]"]
"""Takes session, message and seal, whatever they are; must return at once. The Future has message and seal."""


class WorkChannel:
    """One channel for all workers; `provider` goes into `PvaServer`."""

    def __init__(self, prefix: str, hear: Hear) -> None:
        """Serve `<prefix>Work`; `hear` is called on p4p's threads."""
        self._hear = hear
        self._name = prefix + CHANNEL
        self._pv = SharedPV(handler=self, initial=Value(ANSWER))

    @property
    def provider(self) -> dict[str, SharedPV]:
        """What p4p's server takes."""
        return {self._name: self._pv}

    def rpc(self, _pv: SharedPV, operation: ServerOperation) -> None:
        """Hand a call over; it is answered when the desk has."""
        try:
            words = query(operation.value())
            heard = self._hear(words.get("session"), words.get("message"), words.get("seal"))
        except RayfanError as error:
            operation.done(error=str(error))
            return
        heard.add_done_callback(lambda done: _answer(operation, done))

    def put(self, _pv: SharedPV, operation: ServerOperation) -> None:
        """Refuse: it is an RPC."""
        operation.done(error=f"{self._name}: workers join with 'rayfan work --join', by RPC")


def _answer(operation: ServerOperation, done: "Future[tuple[str, str]]") -> None:
    error = done.exception()
    if error is not None:
        operation.done(error=str(error))
        return
    message, seal = done.result()
    operation.done(Value(ANSWER, {"message": message, "seal": seal}))
