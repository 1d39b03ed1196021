"""A processor that sends its results back to another facility as EJFAT events: here each frame, binned 2 x 2.

A result keeps the series and the id of the frame that it was made from, so that the other side sees which are missing.
"""

import numpy as np

from consumers.processor import Processor, Setting, Statistic
from ioc.channels import ejfat_uri
from ioc.channels.ejfat import EjfatPublisher, PublisherSettings
from ioc.core.errors import UserError
from ioc.core.frame import Frame


class SendBack(Processor):
    """Setting `Uri` says where results go, `DataId` tells the workers apart that send there."""

    declared_settings = (
        Setting("Uri", "", description="EJFAT URI of who gets the results"),
        Setting("DataId", 1, low=0, high=0xFFFF, description="Which worker this is"),
        Setting("MTU", 1500, unit="byte", low=576, high=9000, description="Largest IP packet"),
    )
    declared_statistics = (Statistic("Sent", int, description="Results sent"),)

    def start(self, context):
        data = ejfat_uri.parse(self.settings["Uri"]).data
        if data is None:
            raise UserError("setting Uri: expected an EJFAT URI with data=ip:port, found none")
        target = PublisherSettings(data.address, data.port, self.settings["MTU"], data_id=self.settings["DataId"])
        self.publisher = EjfatPublisher.open(target)
        self.sent = 0

    def process(self, frame, metadata):
        y, x = (size // 2 * 2 for size in frame.data.shape)
        blocks = frame.data[:y, :x].reshape(y // 2, 2, x // 2, 2)
        series = frame.attributes.get("SourceSeries", frame.series)
        number = frame.attributes.get("SourceUniqueId", frame.unique_id)
        result = Frame(series, number, frame.timestamp_ns, blocks.sum((1, 3), np.uint16))
        self.publisher.publish([result])
        self.sent += 1
        self.report(Sent=self.sent)
        return frame

    def stop(self):
        self.publisher.close(drain=True)
