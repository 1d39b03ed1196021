"""The tokens of a control plane: a tree in which no child may do more than its parent.

A grant covers what lies below it: ALL and LOAD_BALANCER everything, RESERVATION its sessions, SESSION itself. UPDATE
includes RESERVE, REGISTER and READ_ONLY, in that order. To revoke a token revokes its children.
"""

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from ioc.channels.ejfat_control_model import Grant, Permission, Resource
from ioc.core.errors import RefusedError, mismatch

MOST_TOKENS = 65_536
SECRET_BYTES = 24


@dataclass(frozen=True, slots=True)
class Subject:
    """What a call is about: a reservation, one of its sessions, or neither (the load balancer as a whole)."""

    reservation: str = ""
    session: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A token; `parent` None: the administrator's."""

    id: int
    secret: str = field(repr=False)
    name: str
    parent: int | None
    grants: tuple[Grant, ...]
    created_ns: int


class Tokens:
    """All tokens that are valid; the first one may do everything."""

    def __init__(self, admin_secret: str, now_ns: int) -> None:
        self._tokens: dict[int, Token] = {}
        self._by_secret: dict[str, Token] = {}
        self._count = 0
        self.admin = self._add("admin", (Grant(Resource.ALL, Permission.UPDATE),), (None, admin_secret), now_ns)

    def find(self, secret: str) -> Token | None:
        """Return the token with this secret."""
        token = self._by_secret.get(secret)
        return token if token is not None and hmac.compare_digest(token.secret.encode(), secret.encode()) else None

    def create(self, parent: Token, name: str, grants: Iterable[Grant], now_ns: int) -> Token:
        """Return a new child that somebody asked for.

        Raises:
            RefusedError: a grant goes beyond the parent's, or there are too many tokens.
        """
        grants = tuple(grants)
        for grant in grants:
            if not _covered(grant, parent.grants):
                raise RefusedError(mismatch("token", "permissions that its parent has", f"{grant.permission.name}"))
        return self.issue(parent, name, grants, now_ns)

    def issue(self, parent: Token, name: str, grants: tuple[Grant, ...], now_ns: int, secret: str = "") -> Token:
        """Return a child for something that the parent made: a reservation, a session; `secret` empty: a random one.

        Raises:
            RefusedError: there are too many tokens.
        """
        if len(self._tokens) >= MOST_TOKENS:
            raise RefusedError(mismatch("tokens", f"at most {MOST_TOKENS}", "one more"))
        return self._add(name, grants, (parent.id, secret or secrets.token_urlsafe(SECRET_BYTES)), now_ns)

    def below(self, token: Token) -> list[Token]:
        """Return the children of a token."""
        return [one for one in self._tokens.values() if one.parent == token.id]

    def is_below(self, token: Token, ancestor: Token) -> bool:
        """Return whether a token is another one or descends from it."""
        here: Token | None = token
        while here is not None and here.id != ancestor.id:
            here = self._tokens.get(here.parent) if here.parent is not None else None
        return here is not None

    def by_id(self, number: int) -> Token | None:
        """Return the token with a number."""
        return self._tokens.get(number)

    def revoke(self, token: Token) -> None:
        """Make a token and all that descends from it invalid."""
        for child in self.below(token):
            self.revoke(child)
        self._tokens.pop(token.id, None)
        self._by_secret.pop(token.secret, None)

    def _add(self, name: str, grants: tuple[Grant, ...], origin: tuple[int | None, str], now_ns: int) -> Token:
        self._count += 1
        parent, secret = origin
        token = Token(self._count, secret, name, parent, grants, now_ns)
        self._tokens[token.id] = self._by_secret[secret] = token
        return token


def allows(token: Token, permission: Permission, subject: Subject) -> bool:
    """Return whether a token may do something to a subject."""
    return any(grant.permission.value >= permission.value and _holds(grant, subject) for grant in token.grants)


def _holds(grant: Grant, subject: Subject) -> bool:
    match grant.resource:
        case Resource.ALL | Resource.LOAD_BALANCER:
            return True
        case Resource.RESERVATION:
            return bool(subject.reservation) and grant.resource_id in ("", subject.reservation)
        case Resource.SESSION:
            return bool(subject.session) and grant.resource_id in ("", subject.session)


def _covered(grant: Grant, parents: Iterable[Grant]) -> bool:
    return any(_covers(parent, grant) for parent in parents)


def _covers(parent: Grant, child: Grant) -> bool:
    if parent.permission.value < child.permission.value:
        return False
    if parent.resource.value < child.resource.value:
        return parent.resource is not Resource.RESERVATION or not parent.resource_id
    return parent.resource is child.resource and parent.resource_id in ("", child.resource_id)
