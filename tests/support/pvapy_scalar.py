"""PvaPy serves a stamped scalar: `python -m tests.support.pvapy_scalar NAME`; a line N makes updates 1 to N."""

import importlib
import sys
from typing import Any

pvaccess: Any = importlib.import_module("pvaccess")  # a compiled module, of which type checkers see nothing


def stamped(number: int) -> Any:
    """Return the value number / 2 of the second `number`, with that as tag."""
    stamp = {"secondsPastEpoch": pvaccess.LONG, "nanoseconds": pvaccess.INT, "userTag": pvaccess.INT}
    kinds = {"value": pvaccess.DOUBLE, "timeStamp": stamp}
    now = {"secondsPastEpoch": number, "nanoseconds": 5, "userTag": number}
    return pvaccess.PvObject(kinds, {"value": number / 2, "timeStamp": now})


def main(name: str) -> None:
    """Serve until standard input ends."""
    server = pvaccess.PvaServer(name, stamped(0))
    print("ready", flush=True)
    for line in sys.stdin:
        for number in range(1, int(line) + 1):
            server.update(name, stamped(number))


if __name__ == "__main__":
    main(sys.argv[1])
