"""The errors of Rayfan.

RayfanError
├── UserError        their fault: configuration, files, puts; shown as one line, exit code 2
│   ├── ConfigError      a key of the configuration file or of --set
│   ├── InputError       a file or data set that cannot be read as frames
│   └── RefusedError     a put or command that is not accepted; nothing was changed
├── PeerError        somebody else's fault: bytes from the network, a process that went away
│   ├── ProtocolError    bytes that break a wire format
│   └── ControlError     a control plane that refuses, does not answer, or answers nonsense
└── RayfanBug        our fault: an invariant does not hold
"""


class RayfanError(Exception):
    """Base of every error that Rayfan raises on purpose."""


class UserError(RayfanError):
    """The user can put it right; the message says what happened, where, what was expected and found."""


class ConfigError(UserError):
    """A key of the configuration is unknown, missing or out of range."""


class InputError(UserError):
    """A file or data set cannot be read as frames."""


class RefusedError(UserError):
    """A put or a command was refused; nothing was changed."""


class PeerError(RayfanError):
    """Another process or host did something that this one cannot use."""


class ProtocolError(PeerError):
    """Bytes from outside break their wire format; the one error that every parser raises."""


class ControlError(PeerError):
    """The control plane of a load balancer refused a call, did not answer, or answered nonsense.

    `unknown`: it does not know (any more) what the call is about, or not its token; to call again would not help.
    """

    def __init__(self, message: str, unknown: bool = False) -> None:
        super().__init__(message)
        self.unknown = unknown


class RayfanBug(RayfanError):  # noqa: N818 - it is a bug, not an error of a user
    """An invariant of Rayfan does not hold."""


def mismatch(where: str, expected: str, found: object, todo: str = "") -> str:
    """Return the sentence that every user error is made of: where, expected, found, what to do."""
    hint = f"; {todo}" if todo else ""
    return f"{where}: expected {expected}, found {found!r}{hint}"
