"""The access rules of a process's records, as they apply to its image channels; implements pva_images_visitor.Rules."""

from ioc.channels.pva_images_visitor import Visitor
from ioc.records.access_security import hosts_of, may_read, users_of
from ioc.records.server import RecordServer

GROUP = b"IMAGES"
"""Access security group of image channels; DEFAULT applies where a file has no such group."""


class ImageRules:
    """Lets clients read images whom the access security file lets read, and logs what they try to put."""

    def __init__(self, records: RecordServer) -> None:
        """Write refused puts to the put log of `records`."""
        self._records = records

    def may_read(self, visitor: Visitor) -> bool:
        """Return whether a client may get and monitor images now."""
        users = users_of(visitor.method, visitor.account)
        return may_read(GROUP, users, hosts_of(visitor.address, visitor.host))

    def refused(self, visitor: Visitor, channel: str, why: str) -> None:
        """Write that a client tried to put to a channel."""
        self._records.note_refusal((visitor.account, visitor.address), channel, why)
