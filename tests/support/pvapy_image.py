"""PvaPy serves an image: `python -m tests.support.pvapy_image NAME`; a line N makes images 1 to N of pixels N."""

import importlib
import sys
from typing import Any

import numpy as np
from pvapy.utility.adImageUtility import AdImageUtility

pvaccess: Any = importlib.import_module("pvaccess")  # a compiled module, of which type checkers see nothing


def image(number: int) -> Any:
    """Return image `number`, of 8x8 bytes."""
    return AdImageUtility.generateNtNdArray2D(number, np.full((8, 8), number, np.uint8))


def main(name: str) -> None:
    """Serve until standard input ends."""
    server = pvaccess.PvaServer(name, image(0))
    print("ready", flush=True)
    for line in sys.stdin:
        for number in range(1, int(line) + 1):
            server.update(name, image(number))
        print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
