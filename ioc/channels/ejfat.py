"""The EJFAT channel: items as events over UDP, to and from a load balancer or straight from host to host.

`ejfat_wire` has the byte formats, `ejfat_segmenter` and `ejfat_reassembly` are pure, `ejfat_socket` is the kernel's
part, `ejfat_publisher` and `ejfat_receiver` put them together; `ejfat_uri` reads and writes EJFAT URIs.
"""

from ioc.channels.ejfat_publisher import EjfatPublisher, PublisherFigures, PublisherSettings
from ioc.channels.ejfat_receiver import EjfatReceiver, ReceiverFigures, ReceiverSettings

__all__ = [
    "EjfatPublisher",
    "EjfatReceiver",
    "PublisherFigures",
    "PublisherSettings",
    "ReceiverFigures",
    "ReceiverSettings",
]
