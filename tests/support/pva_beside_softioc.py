"""Serve one record with softioc and one image channel in one process; prints its port, ends with stdin."""

import json
import os
import sys

from p4p.nt import NTScalar
from p4p.server.thread import SharedPV
from softioc import asyncio_dispatcher, builder, softioc

from ioc.channels.images import open_images
from ioc.channels.pva import PvaServer
from ioc.core.config import ImageBackend
from tests.support.pva_images import numbered


def main(name: str, backend: str) -> None:
    """Serve the channel `name`, `name:Value` by p4p and the record `name:Record` until standard input ends."""
    builder.aOut(f"{name}:Record", initial_value=42.0)
    builder.LoadDatabase()
    softioc.iocInit(asyncio_dispatcher.AsyncioDispatcher())
    images = open_images(ImageBackend(backend), "images")
    channel = images.add(name)
    server = PvaServer([*images.providers, {f"{name}:Value": SharedPV(nt=NTScalar("d"), initial=7.0)}])
    images.start()
    server.start()
    channel.publish([numbered(unique_id) for unique_id in range(1, 6)])
    print(json.dumps({"port": server.port}), flush=True)
    sys.stdin.readline()
    images.close()
    server.stop()
    sys.stdout.flush()
    os._exit(0)  # softioc ends its threads only with the process


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
