"""A session of a worker with an appliance over pvAccess: it finds it, proves itself, and speaks sealed words."""

import os
import socket
from dataclasses import dataclass, field
from typing import Any, Self

from p4p import Value
from p4p.client.raw import RemoteError
from p4p.client.thread import Context, TimeoutError
from p4p.nt import NTURI

from ioc.core.errors import PeerError, ProtocolError
from ioc.core.joining import CHANNEL, checked_nonce, new_nonce, plain, proof, same, seal, session_key, unseal, word

_CALL = NTURI([("session", "s"), ("message", "s"), ("seal", "s")])
CALL_SECONDS = 5.0


class RefusalError(PeerError):
    """The appliance answered, and refused."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Who wants to join what. `name` and `member` (from 0) are given to workers that the appliance asked for itself.

    `set` (from 1): the set to join, None: one of its own. `life` comes back with every status of this worker.
    """

    prefix: str
    group: str
    token: str = field(repr=False)
    name: str | None = None
    member: int | None = None
    set: int | None = None
    life: str = ""


class Session:
    """One membership, from joining to leaving; used by one thread."""

    def __init__(self, context: Context, wish: Wish, number: str, key: bytes) -> None:
        self.terms: dict[str, Any] = {}
        self._context = context
        self._channel = wish.prefix + CHANNEL
        self._number = number
        self._key = key
        self._said = 0

    @classmethod
    def join(cls, context: Context, wish: Wish, timeout: float = CALL_SECONDS) -> Self:
        """Return a session, with the appliance's terms in `terms`.

        Raises:
            PeerError: no such appliance answers within `timeout` seconds.
            RefusalError: it does not let this worker in.
            ProtocolError: what answers does not know the token, or speaks nonsense.
        """
        nonce, channel = new_nonce(), wish.prefix + CHANNEL
        text = seal(b"", "worker", {"say": "greet", "group": wish.group, "nonce": nonce})[0]
        greeting = plain(_call(context, channel, ("", text, ""), timeout)[0])
        number = checked_nonce(greeting.get("nonce"))
        if not same(proof(wish.token, wish.prefix, nonce, number), greeting.get("proof")):
            raise ProtocolError(
                f"{channel}: the appliance does not know the token of --token-file; every run has a token of its own"
            )
        session = cls(context, wish, number, session_key(wish.token, wish.prefix, nonce, number))
        session.terms = session.say(
            "join",
            timeout,
            group=wish.group,
            name=wish.name,
            member=wish.member,
            set=wish.set,
            life=wish.life,
            host=socket.gethostname(),
            pid=os.getpid(),
        )
        return session

    @property
    def channel(self) -> str:
        """The channel that this member's frames come by."""
        return word(self.terms, "channel")

    def say(self, what: str, timeout: float = CALL_SECONDS, **words: object) -> dict[str, Any]:
        """Say something and return the answer.

        Raises:
            PeerError: no answer came within `timeout` seconds.
            RefusalError: it was refused.
            ProtocolError: the answer is not sealed with this session's key.
        """
        self._said += 1
        text, mac = seal(self._key, "worker", {"say": what, "count": self._said, **words})
        message, answer_mac = _call(self._context, self._channel, (self._number, text, mac), timeout)
        return unseal(self._key, "appliance", message, answer_mac)


def _call(context: Context, channel: str, words: tuple[str, str, str], timeout: float) -> tuple[object, object]:
    kws = dict(zip(("session", "message", "seal"), words, strict=True))
    try:
        answer = context.rpc(channel, _CALL.wrap(channel, kws=kws), timeout=timeout)
    except TimeoutError:
        raise PeerError(
            f"{channel}: no appliance answers within {timeout:g} s; is it running, and does EPICS_PVA_ADDR_LIST name "
            "its host?"
        ) from None
    except RemoteError as error:
        raise RefusalError(f"{channel}: {error}") from None
    except RuntimeError as error:  # what p4p raises when the connection goes in mid-call
        raise PeerError(f"{channel}: {error}") from None
    if not isinstance(answer, Value):
        raise ProtocolError(f"{channel}: expected a structure as answer, found {type(answer).__name__}")
    return answer.get("message"), answer.get("seal")
