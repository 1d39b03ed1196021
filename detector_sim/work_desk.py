"""The desk where workers from elsewhere join: who they are, which seat each has, and what they say of themselves.

    greet    a nonce for a nonce; the token of the run is proved both ways (ioc/core/joining.py)
    join     a seat, and the terms: what to process, how, and the channel that the frames come by
    done     ids that are done, or failed
    report   the worker's status; the answer says what it cannot know
    leave    no more frames; with `now`, goodbye

How it works: calls come on p4p's threads and only look things up under a lock; what concerns seats is a command of the
flow. A session lives as long as its worker's link, or until nothing was heard of it for too long.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from detector_sim.flow import Flow
from ioc.channels.base import ImageLink
from ioc.channels.joined_link import JoinedLink
from ioc.channels.pva import MemberAddress
from ioc.core.acknowledgement import parse
from ioc.core.config_group import JOB_PLACEMENTS, MOST_MEMBERS
from ioc.core.errors import PeerError, ProtocolError, RefusedError, mismatch
from ioc.core.joining import checked_nonce, is_token, new_nonce, number, plain, proof, seal, session_key, unseal, word
from ioc.core.partition import set_of
from ioc.core.status import ProcessSpec, Role, Status
from ioc.distributor.group import Group
from ioc.supervisor.kept_file import KeptFiles

log = logging.getLogger(__name__)

MOST_GREETINGS = 64
MOST_SESSIONS = 256
GREETING_SECONDS = 30.0
HIGHEST_PLACE = 99
"""Member numbers in channel names have two digits; those above MOST_MEMBERS are for workers with a session."""
VISITORS = 1000
"""Workers that nobody asked for are `Cons1001`, `Cons1002`, ... in slot 1, `Cons2001`, ... in slot 2."""
FAREWELL_SECONDS = 2.0
PVAPY = "pvapy:"
"""What the name of a class written for PvaPy begins with (consumers/loading.py)."""
Words = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Greeting:
    """A worker that has greeted: its nonce, when, and the group that it asks for."""

    nonce: str
    at: float


@dataclass(slots=True)
class Session:
    """One worker: the key of its messages, its seat, the address of its channel and, once it monitors, its link."""

    key: bytes = field(repr=False)
    name: str
    group: str
    index: int | None
    set_number: int
    address: MemberAddress
    life: str
    host: str
    patience: float
    heard: float
    said: int = 0
    link: JoinedLink | None = None
    told: bool = False
    """Whether it was told that its membership is over."""


class WorkDesk:
    """All workers with a session; any thread may call."""

    def __init__(self, spec: ProcessSpec, flow: Flow) -> None:
        self._spec = spec
        self._files = KeptFiles()
        self._prefix = spec.config.prefix
        self._flow = flow
        self._lock = threading.Lock()
        self._greetings: dict[str, Greeting] = {}
        self._sessions: dict[str, Session] = {}

    def hear(self, session: object, message: object, mac: object) -> "Future[tuple[str, str]]":
        """Answer a call.

        Raises:
            PeerError: it is refused, or not understood.
        """
        if session == "":
            return _given((seal(b"", "appliance", self._greet(plain(message)))[0], ""))
        with self._lock:
            known = self._sessions.get(session) if isinstance(session, str) else None
            greeting = self._greetings.get(session) if isinstance(session, str) and known is None else None
        if known is not None:
            words = self._unsealed(known, message, mac)
            return _given(seal(known.key, "appliance", self._said(known, words)))
        if greeting is None or not isinstance(session, str):
            raise PeerError("this session is not known (any more): join again")
        key = session_key(self._token(), self._prefix, greeting.nonce, session)
        words = unseal(key, "worker", message, mac)
        with self._lock:
            if self._greetings.pop(session, None) is None:
                raise PeerError("this session is not known (any more): join again")
        return self._join(session, key, words)

    def admits(self, address: MemberAddress) -> bool:
        """Return whether a worker with a session, which has not had its channel yet, has this address."""
        session = self._at(address)
        return session is not None and session.link is None

    def link(self, address: MemberAddress, inner: ImageLink) -> "tuple[JoinedLink, Session] | None":
        """Return the link of the worker that has begun to monitor its channel, None if its session is over."""
        session = self._at(address)
        if session is None or session.link is not None:
            return None
        session.link = JoinedLink(inner, self._flow.wake, session.name, session.patience)
        return session.link, session

    def seat(self, session: Session, link: JoinedLink) -> None:
        """Give a worker its seat; in the flow."""
        distributor = self._flow.distributor
        if session.index is not None:
            distributor.join(session.group, session.index, link).tells_done = True
        else:
            slot = distributor.named(session.group).slot
            distributor.join_remote(slot, session.set_number, session.name, link)
        log.info("%s joined group %s, set %d", session.name, session.group, session.set_number)

    def tidy(self) -> None:
        """Forget who has not been heard of for too long, and who is gone."""
        now = time.monotonic()
        with self._lock:
            for key, greeting in list(self._greetings.items()):
                if now - greeting.at > GREETING_SECONDS:
                    del self._greetings[key]
            for key, session in list(self._sessions.items()):
                if now - session.heard > session.patience:
                    log.warning("%s has not been heard of for %g s", session.name, session.patience)
                    del self._sessions[key]

    def wait_for_goodbyes(self) -> None:
        """Return when every worker was told that it is over, or soon."""
        limit = time.monotonic() + FAREWELL_SECONDS
        while time.monotonic() < limit and not self._all_told():
            time.sleep(0.02)  # workers ask twice a second; nothing here can be waited on

    def _all_told(self) -> bool:
        with self._lock:
            return all(session.told for session in self._sessions.values())

    def _at(self, address: MemberAddress) -> Session | None:
        with self._lock:
            return next((one for one in self._sessions.values() if one.address == address), None)

    def _token(self) -> str:
        try:
            token = self._spec.token_file.read_text().strip()
        except OSError:
            token = ""
        if not is_token(token):
            raise PeerError("this appliance lets no workers join: it has no token; start it anew with `rayfan up`")
        return token

    def _greet(self, words: Words) -> Words:
        nonce, token = checked_nonce(words.get("nonce")), self._token()
        ours = new_nonce()
        with self._lock:
            while len(self._greetings) >= MOST_GREETINGS:
                del self._greetings[next(iter(self._greetings))]
            self._greetings[ours] = Greeting(nonce, time.monotonic())
        return {"nonce": ours, "proof": proof(token, self._prefix, nonce, ours)}

    def _unsealed(self, session: Session, message: object, mac: object) -> Words:
        words = unseal(session.key, "worker", message, mac)
        with self._lock:
            said = number(words, "count", 1, 1 << 62)
            if said <= session.said:
                raise ProtocolError(mismatch("message, count", f"more than {session.said}", said))
            session.said = said
        session.heard = time.monotonic()
        if session.link is not None:
            session.link.heard()
        return words

    def _said(self, session: Session, words: Words) -> Words:
        answers: Mapping[str, Callable[[Session, Words], Words]] = {
            "done": self._done,
            "report": self._report,
            "leave": self._leave,
        }
        what = word(words, "say")
        if what not in answers:
            raise ProtocolError(mismatch("message, say", f"one of {', '.join(answers)}", what))
        return answers[what](session, words)

    def _join(self, key: str, secret: bytes, words: Words) -> "Future[tuple[str, str]]":
        if word(words, "say") != "join":
            raise ProtocolError(mismatch("message, say", "join", words.get("say")))
        answer: Future[tuple[str, str]] = Future()

        def enter() -> None:
            session = self._place(secret, words)
            with self._lock:
                if len(self._sessions) >= MOST_SESSIONS:
                    raise RefusedError(
                        mismatch("workers from elsewhere", f"at most {MOST_SESSIONS}", "one more", "end one")
                    )
                for old, other in list(self._sessions.items()):
                    if other.name == session.name:
                        del self._sessions[old]  # a later life of the same worker
                self._sessions[key] = session
            answer.set_result(seal(secret, "appliance", self._terms(session)))

        def refused(done: "Future[None]") -> None:
            error = done.exception()
            if error is not None:
                answer.set_exception(error)

        self._flow.submit(enter).add_done_callback(refused)
        return answer

    def _place(self, secret: bytes, words: Words) -> Session:
        """Return a session with a seat for a worker; in the flow."""
        group = self._flow.distributor.named(word(words, "group"))
        table = self._spec.config.groups.get(group.shape.name)
        if table is None or not group.slot:
            raise RefusedError(mismatch("group", "one of the [groups.*] tables, for detector's frames", words["group"]))
        life = word(words, "life")
        name, index = words.get("name"), words.get("member")
        if (name is None) != (index is None):
            raise ProtocolError(mismatch("message, member and name", "both or none", (name, index)))
        if name is not None:
            if table.placement not in JOB_PLACEMENTS:
                raise RefusedError(f"group {table}: its consumers are no jobs; join without a name")
            name, index = word(words, "name"), number(words, "member", 0, group.shape.count - 1)
            set_number = set_of(index, group.shape.sets_in_effect)
        else:
            name, set_number = self._visitor(group), self._visitors_set(group, words)
        address = self._address(group.slot, set_number)
        patience = group.shape.ack_timeout
        return Session(
            secret, name, group.shape.name, index, set_number, address, life, word(words, "host"), patience,
            time.monotonic(),
        )  # fmt: skip

    def _visitor(self, group: Group) -> str:
        """Return a name for a worker that nobody asked for: that of a seat where nobody sits."""
        with self._lock:
            taken = {one.name for one in self._sessions.values()}
        taken |= {seat.name for seat in group.seats if seat.link is not None}
        first = VISITORS * group.slot + 1
        return next(name for at in range(first, first + VISITORS) if (name := f"Cons{at}") not in taken)

    def _visitors_set(self, group: Group, words: Words) -> int:
        """Return the set that a worker asks for, or one that is its own, as far as the group has no fixed sets."""
        if words.get("set") is not None:
            return number(words, "set", 1, MOST_MEMBERS)
        if group.shape.sets is not None:
            sizes = {at: sum(seat.set_number == at for seat in group.seats) for at in range(1, group.shape.sets + 1)}
            return min(sizes, key=lambda at: sizes[at])
        with self._lock:
            taken = {one.set_number for one in self._sessions.values() if one.group == group.shape.name}
        taken |= {seat.set_number for seat in group.seats if seat.link is not None or seat.expected}
        free = next((at for at in range(1, HIGHEST_PLACE + 1) if at not in taken), None)
        if free is None:
            raise RefusedError(
                f"group {group.shape.name}: it has {HIGHEST_PLACE} sets already; join one of them with --set"
            )
        return free

    def _address(self, slot: int, set_number: int) -> MemberAddress:
        with self._lock:
            taken = {one.address for one in self._sessions.values()}
        for place in range(MOST_MEMBERS + 1, HIGHEST_PLACE + 1):
            address = MemberAddress(slot, set_number, place)
            if address not in taken:
                return address
        raise RefusedError(f"set {set_number}: it has {HIGHEST_PLACE - MOST_MEMBERS} workers already; join another")

    def _terms(self, session: Session) -> Words:
        config = self._spec.config
        group = config.groups[session.group]
        group = group.model_copy(update={"processor": absolute(group.processor)})
        return {
            "name": session.name,
            "channel": session.address.channel(self._prefix),
            "group": group.model_dump(mode="json"),
            "image_server": config.image_server.value,
            "access_security": str(config.access_security.absolute()) if config.access_security else None,
            "ioc_stats": config.ioc_stats,
        }

    def _done(self, session: Session, words: Words) -> Words:
        if session.link is None:
            raise PeerError(f"{session.name}: it does not monitor its channel; join again")
        said = {name: words[name] for name in ("series", "ids", "failed", "window") if name in words}
        answer = session.link.acknowledge(parse(said))
        return {"acknowledged": answer.acknowledged, "unknown": answer.unknown, "waiting": answer.waiting}

    def _report(self, session: Session, words: Words) -> Words:
        if words.get("status") is not None:
            self._write_status(session, words["status"])
        link = session.link
        if link is None:
            return {"missed": 0, "ended": None, "over": False, "leave": False}
        ended, over = link.ended(), link.closed and link.closed_politely
        if link.closed and not over:
            self._forget(session)
            raise PeerError(f"{session.name}: it was silent for too long, or another one took its seat: join again")
        session.told = session.told or over
        told = None if ended is None else [ended.series, ended.published]
        asked = (self._spec.run_dir / f"{session.name}.leave").exists()
        return {"missed": link.missed, "ended": told, "over": over, "leave": asked}

    def _leave(self, session: Session, words: Words) -> Words:
        if session.link is not None:
            session.link.leave()
        if words.get("now") or session.link is None:
            session.told = True
            self._forget(session)
            if session.link is not None:
                session.link.heard()
        return {}

    def _forget(self, session: Session) -> None:
        with self._lock:
            for key, known in list(self._sessions.items()):
                if known is session:
                    del self._sessions[key]

    def _write_status(self, session: Session, told: object) -> None:
        try:
            status = Status.model_validate(told)
        except ValidationError as error:
            raise ProtocolError(f"status of {session.name}: {error.errors()[0]['msg']}") from None
        status.role, status.name, status.life = Role.CONSUMER, session.name, session.life
        status.figures["Host"] = session.host
        if status.last_error:
            status.last_error = f"on host {session.host}: {status.last_error}"
        status.heartbeat_ns = time.monotonic_ns() if status.heartbeat_ns else 0  # its clock is not ours
        self._files.write(self._spec.run_dir / f"{session.name}.status", status.model_dump_json())


def absolute(reference: str) -> str:
    """Return the name of a processor; that of a file with its whole path, for that is where workers look for it."""
    kind = PVAPY if reference.startswith(PVAPY) else ""
    file, colon, name = reference.removeprefix(PVAPY).partition(":")
    return f"{kind}{Path(file).expanduser().absolute()}{colon}{name}" if file.endswith(".py") else reference


def _given(answer: tuple[str, str]) -> "Future[tuple[str, str]]":
    future: Future[tuple[str, str]] = Future()
    future.set_result(answer)
    return future
