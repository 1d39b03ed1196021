"""PvaPy as a client of image channels, in a process of its own: what it sees goes to a file or to standard output.

`python -m tests.support.pva_pvapy CHANNEL` gets once, then monitors until standard input ends; `ImageNotes` is a
processor for pvapy-hpc-consumer. A line is a JSON object with the id, size and lowest and highest pixel of an image.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from pvapy.hpc.adImageProcessor import AdImageProcessor
from pvapy.utility.adImageUtility import AdImageUtility

pvaccess: Any = importlib.import_module("pvaccess")  # a compiled module, of which type checkers see nothing


def note(structure: Any) -> str:
    """Return the line for one NTNDArray."""
    unique_id, image, nx, ny, _, _, field = AdImageUtility.reshapeNtNdArray(structure)
    if image is None:
        return json.dumps({"id": unique_id, "size": None})
    return json.dumps(
        {"id": unique_id, "size": [nx, ny], "low": int(image.min()), "high": int(image.max()), "field": field}
    )


class ImageNotes(AdImageProcessor):
    """Write a line about every image that a consumer is given to the file that its arguments name."""

    def __init__(self, config: dict[str, str]) -> None:
        AdImageProcessor.__init__(self, config)
        self._folder = Path(config["folder"])

    def process(self, pvObject: Any) -> Any:  # noqa: N803 - PvaPy's name
        with (self._folder / f"{self.processorId}.jsonl").open("a") as file:
            file.write(note(pvObject) + "\n")
        self.updateOutputChannel(pvObject)
        return pvObject


def main(name: str) -> None:
    """Get the channel once, then monitor it, and print a line for each image."""
    channel = pvaccess.Channel(name)
    print(note(channel.get("")), flush=True)
    channel.monitor(lambda structure: print(note(structure), flush=True), "record[queueSize=64]field()")
    sys.stdin.readline()
    channel.stopMonitor()


if __name__ == "__main__":
    main(sys.argv[1])
