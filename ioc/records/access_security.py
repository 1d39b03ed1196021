"""Asks the access security of this process's IOC (libCom, asLib.h) what somebody may do who comes by another server.

It is the one that guards the records: the same file, its INP links and CALC rules evaluated by EPICS itself. A client
is added to a group, its rights are read, and it is taken out again.
"""

import ctypes
import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from epicscorelibs.ioc import Com

VALUE_LEVEL = 0
"""Level of what is a value: rules of level 0 and 1 apply to it."""
_READ = 1  # asREAD of asAccessRights
_MOST_ACCOUNTS = 256


class _Client(ctypes.Structure):
    """EPICS base's ASGCLIENT."""

    _fields_ = (
        ("next", ctypes.c_void_p),
        ("previous", ctypes.c_void_p),
        ("member", ctypes.c_void_p),
        ("user", ctypes.c_char_p),
        ("host", ctypes.c_char_p),
        ("private", ctypes.c_void_p),
        ("callback", ctypes.c_void_p),
        ("level", ctypes.c_int),
        ("access", ctypes.c_int),
        ("trap", ctypes.c_int),
    )


_Member_p = ctypes.c_void_p
_Client_p = ctypes.POINTER(_Client)
_add_member = Com.asAddMember
_add_member.argtypes, _add_member.restype = (ctypes.POINTER(_Member_p), ctypes.c_char_p), ctypes.c_long
_remove_member = Com.asRemoveMember
_remove_member.argtypes, _remove_member.restype = (ctypes.POINTER(_Member_p),), ctypes.c_long
_add_client = Com.asAddClient
_add_client.argtypes = (ctypes.POINTER(_Client_p), _Member_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p)
_add_client.restype = ctypes.c_long
_remove_client = Com.asRemoveClient
_remove_client.argtypes, _remove_client.restype = (ctypes.POINTER(_Client_p),), ctypes.c_long
_active = ctypes.c_int.in_dll(Com, "asActive")
_only_addresses = ctypes.c_int.in_dll(Com, "asCheckClientIP")


def may_read(group: bytes, users: tuple[str, ...], hosts: tuple[str, ...]) -> bool:
    """Return whether one of the users at one of the hosts may read values of a group.

    A file without that group has its `DEFAULT` apply. Without access security, or before the IOC has begun, everybody
    may.
    """
    if not _active.value:
        return True
    with _member(group) as member:
        return member is None or any(_reads(member, user, host) for user in users for host in hosts)


def hosts_of(address: str, claimed: str) -> tuple[str, ...]:
    """Return what a client's host is called in rules: its address, and the name it claims unless that is not believed.

    `asCheckClientIP` says whether it is, as for Channel Access.
    """
    return (address,) if _only_addresses.value or not claimed else (address, claimed)


def users_of(method: str, account: str) -> tuple[str, ...]:
    """Return what a client is called in rules, as pvxs' QSRV has it: account, and `role/GROUP` of its groups here."""
    if method != "ca":
        return (f"{method}/{account or method}",)
    plain = account.rpartition("/")[2]
    return (plain, *_roles(plain))


@lru_cache(_MOST_ACCOUNTS)
def _roles(account: str) -> tuple[str, ...]:
    try:
        ids = os.getgrouplist(account, pwd.getpwnam(account).pw_gid)
    except (KeyError, OSError, ValueError):
        return ()
    return tuple(f"role/{name}" for name in map(_group_name, ids) if name)


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return ""


@contextmanager
def _member(group: bytes) -> Iterator[_Member_p | None]:
    """Yield a member of a group; None if access security has just been switched off."""
    member = _Member_p()
    if _add_member(ctypes.byref(member), group):
        yield None
        return
    try:
        yield member
    finally:
        _remove_member(ctypes.byref(member))


def _reads(member: _Member_p, user: str, host: str) -> bool:
    client = _Client_p()
    name, place = user.encode(errors="replace"), ctypes.create_string_buffer(host.encode(errors="replace"))
    if _add_client(ctypes.byref(client), member, VALUE_LEVEL, name, place):
        return False
    try:
        return client.contents.access >= _READ
    finally:
        _remove_client(ctypes.byref(client))
