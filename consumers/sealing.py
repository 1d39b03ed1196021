"""Sealed bytes: any bytes, encrypted and signed with a shared key, so that nobody without it reads or alters them.

    "RFS1"  key id (8)  salt (16)  counter (8)  AES-256-GCM ciphertext, tag (16) at its end

The key of the message is HKDF-SHA256(key, salt): every sealer draws a salt of its own, so that its counter is a nonce
that never comes twice, whatever other processes share the key (NIST SP 800-38D, 8.2.1; RFC 5869). Everything in front
of the ciphertext, and what the caller names as its `context`, is signed too. The key id is the first bytes of the
key's SHA-256 and tells nothing of it.
"""

import hashlib
import os
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ioc.core.errors import ProtocolError, mismatch

KEY_BYTES = 32
_HEAD = struct.Struct(">4s8s16sQ")
_MAGIC = b"RFS1"
_TAG_BYTES = 16
_SALT_BYTES = 16
MOST_SEALERS = 64
"""Sealers whose keys an opener remembers; those heard of longest ago are worked out again."""
_PURPOSE = b"rayfan sealed bytes"


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A secret of 32 bytes under a name that people use."""

    name: str
    secret: bytes

    @property
    def id(self) -> bytes:
        """What a sealed message says about its key."""
        return hashlib.sha256(_PURPOSE + self.secret).digest()[:8]

    def __repr__(self) -> str:
        """Show the name, never the secret."""
        return f"Key({self.name!r})"


class Sealer:
    """Seals with one key."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self._salt = os.urandom(_SALT_BYTES)
        self._cipher = _cipher(key.secret, self._salt)
        self._count = 0

    def seal(self, plain: bytes | memoryview, context: bytes) -> bytes:
        """Return `plain` sealed; it can only be opened again with the same `context`."""
        self._count += 1
        head = _HEAD.pack(_MAGIC, self.key.id, self._salt, self._count)
        return head + self._cipher.encrypt(_nonce(self._count), plain, head + context)


class Opener:
    """Opens what was sealed with any of its keys."""

    def __init__(self, keys: Mapping[bytes, Key]) -> None:
        """Take the keys by their ids."""
        self._keys = keys
        self._ciphers: OrderedDict[bytes, AESGCM] = OrderedDict()

    def open(self, sealed: bytes | memoryview, context: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            UnknownKeyError: it was sealed with a key that is not among these.
            ProtocolError: it is no sealed message, or one byte of it or of `context` is not as it was.
        """
        if len(sealed) < _HEAD.size + _TAG_BYTES:
            raise ProtocolError(mismatch("sealed bytes", f"at least {_HEAD.size + _TAG_BYTES}", len(sealed)))
        head = bytes(sealed[: _HEAD.size])
        magic, key_id, salt, count = _HEAD.unpack(head)
        if magic != _MAGIC:
            raise ProtocolError(mismatch("sealed bytes", f"{_MAGIC.hex()} at the start", magic.hex()))
        key = self._keys.get(key_id)
        if key is None:
            known = ", ".join(f"{one.name} ({one.id.hex()})" for one in self._keys.values())
            raise UnknownKeyError(mismatch("sealed bytes", f"one of the keys {known}", key_id.hex()))
        try:
            return self._cipher(key, salt).decrypt(_nonce(count), sealed[_HEAD.size :], head + context)
        except InvalidTag:
            raise ProtocolError(f"sealed bytes, key {key.name}: altered on the way, or given out as others") from None

    def _cipher(self, key: Key, salt: bytes) -> AESGCM:
        cipher = self._ciphers.pop(key.id + salt, None) or _cipher(key.secret, salt)
        self._ciphers[key.id + salt] = cipher
        if len(self._ciphers) > MOST_SEALERS:
            self._ciphers.popitem(last=False)
        return cipher


class UnknownKeyError(ProtocolError):
    """The message names a key that is not known here, perhaps not yet."""


def _cipher(secret: bytes, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, _PURPOSE).derive(secret))


def _nonce(count: int) -> bytes:
    return count.to_bytes(12, "big")
