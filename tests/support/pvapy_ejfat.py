"""PvaPy's own EJFAT receiver and publisher, unmodified, back to back: what comes in goes out. A process of its own.

    python -m tests.support.pvapy_ejfat PORT COUNT

Publishes COUNT images of its own to PORT first, then every object that its receiver gets. Prints its UDP port, then a
JSON line for each object received; ends when its input ends.
"""

import hashlib
import json
import sys
from importlib import import_module
from typing import Any

import numpy as np

from tests.support import e2sar_stand_in

sys.modules["e2sar_py"] = e2sar_stand_in

from pvapy.hpc.ejfatDataPublisher import EjfatDataPublisher  # noqa: E402  # pyright: ignore
from pvapy.hpc.ejfatDataReceiver import EjfatDataReceiver  # noqa: E402  # pyright: ignore
from pvapy.utility.adImageUtility import AdImageUtility  # noqa: E402  # pyright: ignore

pva: Any = import_module("pvaccess")
"""A module of C++ classes without type hints."""
URI = "ejfat://token@127.0.0.1:9876/lb/1?data=127.0.0.1:{}"


def image(number: int) -> np.ndarray:
    """Return the image of a number, `[3, 5]` uint16."""
    return (np.arange(15, dtype=np.uint16) * 1000 + number).reshape(3, 5)


def told(found: Any) -> str:
    """Return what was received, as a line."""
    field = pva.NtNdArray.getSelectedUnionFieldName(found)
    return json.dumps(
        {
            "id": found["uniqueId"],
            "class": type(found).__name__,
            "field": field,
            "sum": hashlib.sha256(found["value"][0][field].tobytes()).hexdigest(),
            "sizes": [one["size"] for one in found["dimension"]],
            "attributes": {one["name"]: one["value"][0]["value"] for one in found["attribute"]},
            "seconds": found["timeStamp"]["secondsPastEpoch"],
            "codec": found["codec"]["name"],
        }
    )


def main() -> None:
    """Publish, then pass on until the input ends."""
    port, count = map(int, sys.argv[1:])
    settings = {"useCP": 0, "ipAddress": "127.0.0.1", "port": 0, "withLBHeader": 1, "processingDelay": 1.0}
    publisher = EjfatDataPublisher(URI.format(port), {**settings, "dataId": 5})
    publisher.start()
    for number in range(count):
        publisher.updateOutputChannel(AdImageUtility.generateNtNdArray2D(100 + number, image(number)))

    def process(found: Any) -> None:
        print(told(found), flush=True)
        publisher.updateOutputChannel(found)

    receiver = EjfatDataReceiver(URI.format(0), process, settings)
    receiver.start()
    print(json.dumps({"port": receiver.reassembler.port}), flush=True)
    sys.stdin.read()
    receiver.stop()


if __name__ == "__main__":
    main()
