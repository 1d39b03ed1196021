"""The words with which a worker elsewhere proves itself and speaks: a challenge both ways, then sealed messages.

    worker      greet: group, its nonce
    appliance   its nonce, and a proof that it knows the token: a worker runs the code that it is told to
    worker      join, sealed with the key that token and nonces make; so the token never travels
    both        sealed messages; those of a worker count up, so that none is taken twice

A sealed message is JSON with an HMAC-SHA256 beside it. The words come from the network: text is bounded before it is
parsed, the seal is compared in constant time before the text is believed.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

from ioc.core.errors import ProtocolError, mismatch

CHANNEL = "Work"
"""What the name of the channel ends with, behind the prefix."""
TOKEN_BYTES = 32
NONCE_BYTES = 16
LONGEST_MESSAGE = 1 << 16
"""Characters of one message; a definition of a group with its settings is the longest."""
_NONCE = re.compile(r"[0-9a-f]{32}", re.ASCII)
_TOKEN = re.compile(r"[0-9a-f]{64}", re.ASCII)


def new_token() -> str:
    """Return a token: 64 hexadecimal digits."""
    return secrets.token_hex(TOKEN_BYTES)


def new_nonce() -> str:
    """Return a number that is used once: 32 hexadecimal digits."""
    return secrets.token_hex(NONCE_BYTES)


def is_token(text: str) -> bool:
    """Return whether a text is a token."""
    return _TOKEN.fullmatch(text) is not None


def checked_nonce(value: object) -> str:
    """Return a nonce.

    Raises:
        ProtocolError: it is none.
    """
    if not isinstance(value, str) or not _NONCE.fullmatch(value):
        raise ProtocolError(mismatch("nonce", "32 hexadecimal digits", _short(value)))
    return value


def proof(token: str, prefix: str, worker: str, appliance: str) -> str:
    """Return what shows a worker that the appliance of `prefix` knows the token; two nonces go into it."""
    return _hmac(bytes.fromhex(token), f"appliance\n{prefix}\n{worker}\n{appliance}")


def session_key(token: str, prefix: str, worker: str, appliance: str) -> bytes:
    """Return the key of the messages that follow."""
    return bytes.fromhex(_hmac(bytes.fromhex(token), f"session\n{prefix}\n{worker}\n{appliance}"))


def same(one: str, other: object) -> bool:
    """Return whether two proofs are the same, in a time that does not tell how much of them is."""
    return isinstance(other, str) and hmac.compare_digest(one.encode(), other.encode(errors="replace"))


def seal(key: bytes, sender: str, words: Mapping[str, Any]) -> tuple[str, str]:
    """Return a message and its seal; `sender` is `worker` or `appliance`, so that neither can be shown its own."""
    text = json.dumps(words)
    return text, _hmac(key, f"{sender}\n{text}")


def unseal(key: bytes, sender: str, text: object, mac: object) -> dict[str, Any]:
    """Return the words of a message of `sender`.

    Raises:
        ProtocolError: it is too long, not sealed with this key, or not a JSON object.
    """
    if not isinstance(text, str) or len(text) > LONGEST_MESSAGE:
        raise ProtocolError(mismatch("message", f"a text of at most {LONGEST_MESSAGE} characters", _short(text)))
    if not same(_hmac(key, f"{sender}\n{text}"), mac):
        raise ProtocolError(f"message of the {sender}: it is not sealed with the token of this run")
    return plain(text)


def plain(text: object) -> dict[str, Any]:
    """Return the words of a message that is not sealed.

    Raises:
        ProtocolError: it is too long, or not a JSON object.
    """
    if not isinstance(text, str) or len(text) > LONGEST_MESSAGE:
        raise ProtocolError(mismatch("message", f"a text of at most {LONGEST_MESSAGE} characters", _short(text)))
    try:
        words = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"message: expected JSON, found {_short(text)!r}: {error}") from None
    if not isinstance(words, dict):
        raise ProtocolError(mismatch("message", "a JSON object", _short(text)))
    return words


def word(words: Mapping[str, Any], name: str, longest: int = 128) -> str:
    """Return a text of a message.

    Raises:
        ProtocolError: it is missing, no text, or too long.
    """
    value = words.get(name)
    if not isinstance(value, str) or len(value) > longest:
        raise ProtocolError(mismatch(f"message, {name}", f"a text of at most {longest} characters", _short(value)))
    return value


def number(words: Mapping[str, Any], name: str, low: int, high: int) -> int:
    """Return a number of a message.

    Raises:
        ProtocolError: it is missing, no integer, or out of bounds.
    """
    value = words.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ProtocolError(mismatch(f"message, {name}", f"an integer of {low} to {high}", _short(value)))
    return value


def _hmac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()


def _short(value: object) -> str:
    return repr(value)[:60]
