"""A processor in PvaPy's style that takes the values of metadata channels from its queues, as PvaPy's examples do."""

import pvaccess as pva
from pvapy.hpc.adImageProcessor import AdImageProcessor
from pvapy.utility.timeUtility import TimeUtility

TOLERANCE = 1e-6


class AssociatingProcessor(AdImageProcessor):
    """Adds the values that belong to a frame to its attributes, and counts those that it found."""

    def __init__(self, configDict={}):
        AdImageProcessor.__init__(self, configDict)
        self.found = 0

    def process(self, pvObject):
        stamp = TimeUtility.getTimeStampAsFloat(pvObject["timeStamp"])
        attributes = pvObject["attribute"]
        for channel, queue in self.metadataQueueMap.items():
            try:
                value = queue.get(0)
            except pva.QueueEmpty:
                continue
            if abs(TimeUtility.getTimeStampAsFloat(value["timeStamp"]) - stamp) < TOLERANCE:
                attributes.append(pva.NtAttribute(channel, pva.PvDouble(float(sum_of(value["value"])))))
                self.found += 1
        pvObject["attribute"] = attributes
        self.updateOutputChannel(pvObject)
        return pvObject

    def getStats(self):
        return {"found": self.found}

    def getStatsPvaTypes(self):
        return {"found": pva.UINT}


def sum_of(value):
    """Return a number for a value, whatever it is."""
    if isinstance(value, str):
        return len(value)
    return sum(value) if hasattr(value, "__len__") else value
