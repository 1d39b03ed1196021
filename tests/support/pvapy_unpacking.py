"""A stock PvaPy client that unpacks compressed images: writes down id, codec and pixels (hex) of each that comes.

python -m tests.support.pvapy_unpacking CHANNEL FILE     until standard input ends
"""

import importlib
import sys
from pathlib import Path
from typing import Any

from pvapy.utility.adImageUtility import AdImageUtility

pvaccess: Any = importlib.import_module("pvaccess")  # a compiled module, of which type checkers see nothing
READY = "ready"


def main(channel_name: str, file: Path) -> None:
    """Watch until standard input ends."""
    channel = pvaccess.Channel(channel_name)
    channel.get("")
    with file.open("a") as lines:

        def on_image(image: Any) -> None:
            unique_id, pixels, *_ = AdImageUtility.reshapeNtNdArray(image)
            if pixels is not None:
                lines.write(f"{unique_id} {image['codec']['name']} {pixels.tobytes().hex()}\n")
                lines.flush()

        channel.monitor(on_image, "record[queueSize=256]field()")
        print(READY, flush=True)
        sys.stdin.readline()
        channel.stopMonitor()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
