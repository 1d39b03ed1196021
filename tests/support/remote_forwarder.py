"""A PVA member in a process of its own: sends every frame over EJFAT to a sink, then acknowledges it.

python -m tests.support.remote_forwarder CHANNEL PORT
"""

import os
import sys

from ioc.channels.ejfat import EjfatPublisher, PublisherSettings
from ioc.channels.pva_membership import MemberReceiver


def main(channel: str, port: int) -> None:
    """Forward until killed."""
    publisher = EjfatPublisher.open(PublisherSettings("127.0.0.1", port, data_id=os.getpid() & 0xFFFF))
    receiver = MemberReceiver(channel)
    print("ready", flush=True)
    while True:
        items = receiver.receive(16, 0.2)
        publisher.publish(items)  # in the kernel's hands, which outlive ours, before it is acknowledged
        receiver.release(len(items))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
