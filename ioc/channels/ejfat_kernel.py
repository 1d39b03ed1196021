"""What the kernel says of UDP sockets: buffers asked for and granted, datagrams it could not take, and what to set."""

from pathlib import Path

SNMP = Path("/proc/net/snmp")
LIMITS = {"receive": "net.core.rmem_max", "send": "net.core.wmem_max"}


def input_errors(path: Path = SNMP) -> int:
    """Return how many UDP datagrams this host could not take since it started, of all processes; 0 if it is unknown."""
    try:
        rows = [line.split() for line in path.read_text().splitlines() if line.startswith("Udp:")]
        return int(dict(zip(*rows, strict=True))["InErrors"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def advice(kind: str, asked: int, granted: int, drops: int = 0) -> str:
    """Return what to set where the kernel gave less than was asked for, or dropped; empty if all is well.

    `kind` is `receive` or `send`; Linux reports twice what it was set to, so `granted` is compared with twice `asked`.
    """
    name = LIMITS[kind]
    if granted >= 2 * asked:
        return (
            "" if not drops else f"{drops} packets dropped: slow the sender down (TargetRate) or let fewer share a core"
        )
    said = f"{kind} buffer: asked for {asked} bytes, the kernel gave {granted // 2}"
    return f"{said}; sysctl -w {name}={asked}" + (f" ({drops} packets dropped)" if drops else "")
