"""The keys of a sealer or opener: from a file that only its owner may read, or from the environment.

One key a line, `NAME HEX`, 32 bytes as 64 hexadecimal digits; lines that begin with # are none. The first one seals,
all of them open. To roll over: add the new key behind the others where frames are opened, put it in front where they
are sealed, take the old one out when no frame under it is on its way. A file that changes is read again.
"""

import os
import stat
from pathlib import Path
from typing import Self

from consumers.sealing import KEY_BYTES, Key
from ioc.core.errors import RefusedError, mismatch

VARIABLE = "RAYFAN_KEYS"
"""Environment variable with the lines of a key file, `;` in place of the line ends."""
MOST_BYTES = 65536
_HINT = f"make one with: (umask 077; echo first $(openssl rand -hex {KEY_BYTES}) > keys)"


class KeyRing:
    """The keys in the order of their lines; `look` reads a file that has changed again."""

    def __init__(self, path: Path | None) -> None:
        """Read the keys of a file; None: of the environment variable.

        Raises:
            RefusedError: there is none, others may read it, or a line is no key.
        """
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self.keys: tuple[Key, ...] = ()
        self.look()

    @classmethod
    def named(cls, name: str) -> Self:
        """Read the keys of the file of this name; empty: of the environment variable."""
        return cls(Path(name).expanduser() if name else None)

    def look(self) -> bool:
        """Read the keys if the file has changed; return whether it had. Without success, the keys stay as they were.

        Raises:
            RefusedError: as at the start.
        """
        if self._path is None:
            changed = not self.keys
            self.keys = self.keys or _parse(os.environ.get(VARIABLE, "").replace(";", "\n"), f"variable {VARIABLE}")
            return changed
        seen = _stamp(self._path)
        if seen == self._seen:
            return False
        self.keys = _parse(_read(self._path), str(self._path))
        self._seen = seen
        return True


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise RefusedError(f"key file {path}: {error.strerror}; {_HINT}") from None
    return found.st_mtime_ns, found.st_ino, found.st_mode


def _read(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not make us wait
    except OSError as error:
        raise RefusedError(f"key file {path}: {error.strerror}; {_HINT}") from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) or mode & 0o077:
            todo = f"chmod 600 {path}"
            raise RefusedError(mismatch(f"key file {path}", "a file of mode 0600", oct(stat.S_IMODE(mode)), todo))
        return os.read(descriptor, MOST_BYTES).decode("ascii", "replace")
    finally:
        os.close(descriptor)


def _parse(text: str, where: str) -> tuple[Key, ...]:
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words and not words[0].startswith("#"):
            keys.append(_key(words, f"{where}, line {number}"))
    if not keys:
        raise RefusedError(mismatch(where, "at least one line NAME HEX", "none", _HINT))
    return tuple(keys)


def _key(words: list[str], where: str) -> Key:
    """Return the key of a line; what the line holds is not shown, it may be a secret."""
    try:
        name, digits = words
        secret = bytes.fromhex(digits)
    except ValueError:
        raise RefusedError(
            f"{where}: expected NAME and {2 * KEY_BYTES} hexadecimal digits, found something else"
        ) from None
    if len(secret) != KEY_BYTES:
        raise RefusedError(mismatch(where, f"{2 * KEY_BYTES} hexadecimal digits", len(digits)))
    return Key(name, secret)
