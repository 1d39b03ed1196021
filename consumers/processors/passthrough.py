"""Processor `passthrough`: publishes every frame as it came."""

from consumers.processor import Metadata, Processor
from ioc.core.frame import Frame


class Passthrough(Processor):
    """Returns its input; what is left of the time per frame is the cost of the framework."""

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        return frame
