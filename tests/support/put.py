"""Puts to records over pvAccess, as a process of its own: `python -m tests.support.put NAME=NUMBER ...`."""

import sys
from typing import Any

from p4p.client.thread import Context

PUT_SECONDS = 10.0


def main() -> None:
    """Put every value that the command line names, one after the other."""
    with Context("pva", nt=False) as context:
        for word in sys.argv[1:]:
            name, _, value = word.partition("=")
            current: Any = context.get(name, timeout=PUT_SECONDS)
            key = "value.index" if current.getID().startswith("epics:nt/NTEnum") else "value"
            number = float(value)
            context.put(name, {key: int(number) if number.is_integer() else number}, timeout=PUT_SECONDS)


if __name__ == "__main__":
    main()
