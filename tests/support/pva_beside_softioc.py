"""Serve one record with softioc and one image channel with p4p in one process; prints its port, ends with stdin."""

import json
import os
import sys

from softioc import asyncio_dispatcher, builder, softioc

from ioc.channels.pva import ImageChannels, PvaServer
from tests.support.pva_images import numbered


def main(name: str) -> None:
    """Serve the channel `name` and the record `name:Record` until standard input ends."""
    builder.aOut(f"{name}:Record", initial_value=42.0)
    builder.LoadDatabase()
    softioc.iocInit(asyncio_dispatcher.AsyncioDispatcher())
    images = ImageChannels()
    channel = images.add(name)
    server = PvaServer([images.provider])
    server.start()
    channel.publish([numbered(unique_id) for unique_id in range(1, 6)])
    print(json.dumps({"port": server.port}), flush=True)
    sys.stdin.readline()
    images.close()
    server.stop()
    sys.stdout.flush()
    os._exit(0)  # softioc ends its threads only with the process


if __name__ == "__main__":
    main(sys.argv[1])
