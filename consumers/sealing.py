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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ioc.core.errors import ProtocolError, mismatch

KEY_BYTES = 32
_HEAD = struct.Struct(">4s8s16sQ")
_MAGIC = b"RFS1"
TAG_BYTES = 16
OVERHEAD = _HEAD.size + TAG_BYTES
"""Bytes that a sealed message is longer than what is in it."""
SLACK = 16
"""Bytes beyond the plain ones that a buffer to open into must have; the cipher asks for a block more."""
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
        self._secret = _derived(key.secret, self._salt)
        self._count = 0
        self._room = memoryview(bytearray(SLACK + TAG_BYTES))

    def seal(self, plain: bytes | memoryview, context: bytes) -> bytes:
        """Return `plain` sealed; it can only be opened again with the same `context`."""
        return b"".join(self.seal_parts([plain], context))

    def seal_parts(self, parts: Sequence[bytes | memoryview], context: bytes) -> tuple[bytes, memoryview]:
        """Return parts, one behind the other, sealed: the head, and the rest, which is valid until the next."""
        self._count += 1
        head = _HEAD.pack(_MAGIC, self.key.id, self._salt, self._count)
        size = sum(map(len, parts))
        if len(self._room) < size + SLACK + TAG_BYTES:
            self._room = memoryview(bytearray(size + SLACK + TAG_BYTES))
        cipher = Cipher(AES256(self._secret), GCM(_nonce(self._count))).encryptor()
        cipher.authenticate_additional_data(head + context)
        end = _run(cipher, parts, self._room)
        cipher.finalize()
        self._room[end : end + TAG_BYTES] = cipher.tag
        return head, self._room[: end + TAG_BYTES]


class Opener:
    """Opens what was sealed with any of its keys."""

    def __init__(self, keys: Mapping[bytes, Key]) -> None:
        """Take the keys by their ids."""
        self._keys = keys
        self._secrets: OrderedDict[bytes, bytes] = OrderedDict()

    def open(self, sealed: bytes | memoryview, context: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            UnknownKeyError: it was sealed with a key that is not among these.
            ProtocolError: it is no sealed message, or one byte of it or of `context` is not as it was.
        """
        room = memoryview(bytearray(len(sealed) + SLACK))
        return bytes(room[: self.open_into(sealed, context, room)])

    def open_into(self, sealed: bytes | memoryview, context: bytes, room: memoryview) -> int:
        """Put what was sealed at the start of `room`, `SLACK` bytes larger than that; return how many bytes it is.

        If this raises, nothing in `room` is to be used.

        Raises:
            UnknownKeyError, ProtocolError: as `open`.
        """
        if len(sealed) < OVERHEAD:
            raise ProtocolError(mismatch("sealed bytes", f"at least {OVERHEAD}", len(sealed)))
        head = bytes(sealed[: _HEAD.size])
        magic, key_id, salt, count = _HEAD.unpack(head)
        if magic != _MAGIC:
            raise ProtocolError(mismatch("sealed bytes", f"{_MAGIC.hex()} at the start", magic.hex()))
        key = self._keys.get(key_id)
        if key is None:
            known = ", ".join(f"{one.name} ({one.id.hex()})" for one in self._keys.values())
            raise UnknownKeyError(mismatch("sealed bytes", f"one of the keys {known}", key_id.hex()))
        cipher = Cipher(AES256(self._secret(key, salt)), GCM(_nonce(count))).decryptor()
        cipher.authenticate_additional_data(head + context)
        size = _run(cipher, [memoryview(sealed)[_HEAD.size : -TAG_BYTES]], room)
        try:
            cipher.finalize_with_tag(bytes(sealed[-TAG_BYTES:]))
        except InvalidTag:
            raise ProtocolError(f"sealed bytes, key {key.name}: altered on the way, or given out as others") from None
        return size

    def _secret(self, key: Key, salt: bytes) -> bytes:
        secret = self._secrets.pop(key.id + salt, None) or _derived(key.secret, salt)
        self._secrets[key.id + salt] = secret
        if len(self._secrets) > MOST_SEALERS:
            self._secrets.popitem(last=False)
        return secret


class UnknownKeyError(ProtocolError):
    """The message names a key that is not known here, perhaps not yet."""


def _derived(secret: bytes, salt: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt, _PURPOSE).derive(secret)


def _run(cipher: CipherContext, parts: Sequence[bytes | memoryview], room: memoryview) -> int:
    """Run parts through a cipher into `room`; return how many bytes came out."""
    at = 0
    for part in parts:
        if len(part):
            at += cipher.update_into(part, room[at:])
    return at


def _nonce(count: int) -> bytes:
    return count.to_bytes(12, "big")
