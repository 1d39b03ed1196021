"""A value served by p4p as a process of its own, or asked for.

`python -m tests.support.pva_value NAME` serves 7.0 until standard input ends; `... --get NAME` gets and prints it.
"""

import json
import sys
from typing import Any

from p4p.client.thread import Context
from p4p.nt import NTScalar
from p4p.server import Server
from p4p.server.thread import SharedPV

DEADLINE = 30.0


def serve(name: str) -> None:
    """Serve until standard input ends."""
    with Server(providers=[{name: SharedPV(nt=NTScalar("d"), initial=7.0)}]):
        print(json.dumps({"serving": name}), flush=True)
        sys.stdin.readline()
    print("{}", flush=True)


def get(name: str) -> None:
    """Print the value."""
    with Context("pva") as context:
        found: Any = context.get(name, timeout=DEADLINE)
        print(json.dumps({"value": float(found)}), flush=True)


if __name__ == "__main__":
    get(sys.argv[2]) if sys.argv[1] == "--get" else serve(sys.argv[1])
