"""The claim of an appliance on its prefix: two on one host, in whatever folders, would answer for the same PVs."""

import hashlib
import os
import socket
import struct
from collections.abc import Mapping

from ioc.core.errors import ConfigError

_PORTS = (("EPICS_CAS_SERVER_PORT", "EPICS_CA_SERVER_PORT"), ("EPICS_PVAS_BROADCAST_PORT", "EPICS_PVA_BROADCAST_PORT"))
_PEER_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)


class PrefixClaim:
    """Holds a prefix, among the appliances that clients search for at the same ports, until it is closed.

    It is an abstract Unix socket: it belongs to the network namespace, as ports do, and ends with its process.
    """

    def __init__(self, prefix: str, environment: Mapping[str, str] = os.environ) -> None:
        """Claim `prefix`.

        Raises:
            ConfigError: another appliance on this host has it; names its supervisor's process id.
        """
        ports = [next((environment[name] for name in names if environment.get(name)), "") for names in _PORTS]
        address = b"\0rayfan-" + hashlib.sha256("\n".join([prefix, *ports]).encode()).hexdigest().encode()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(address)
        except OSError:
            self._socket.close()
            raise ConfigError(
                f"prefix {prefix!r}: an appliance on this host has it already, {_holder(address)}; stop that one, or "
                "choose another prefix (--set prefix=...)"
            ) from None
        self._socket.listen(1)

    def close(self) -> None:
        """Give the prefix up."""
        self._socket.close()


def _holder(address: bytes) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(1.0)
        try:
            asking.connect(address)
            credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
        except OSError:
            return "with another run folder"
    return f"with another run folder; its supervisor is process {_PEER_CREDENTIALS.unpack(credentials)[0]}"
