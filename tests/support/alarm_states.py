"""Values of records with their alarm severity, over pvAccess, as a process of its own: one line of JSON.

`python -m tests.support.alarm_states NAME ...` prints `{NAME: [value, severity], ...}`; of an enum the choice.
"""

import json
import sys
from typing import Any

from p4p.client.thread import Context

GET_SECONDS = 20.0


def main() -> None:
    """Print what all names of the command line say."""
    names = sys.argv[1:]
    with Context("pva", nt=False) as context:
        found: Any = context.get(names, timeout=GET_SECONDS)
        said = {name: [_plain(one), int(one["alarm.severity"])] for name, one in zip(names, found, strict=True)}
    print(json.dumps(said))


def _plain(one: Any) -> Any:
    if one.getID().startswith("epics:nt/NTEnum"):
        return one["value.choices"][one["value.index"]]
    return one["value"]


if __name__ == "__main__":
    main()
