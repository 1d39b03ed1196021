"""A processor in PvaPy's style, for pvapy-hpc-consumer and Rayfan alike: publishes running means along x."""

import numpy as np
import pvaccess as pva
from pvapy.hpc.adImageProcessor import AdImageProcessor


class SmoothingProcessor(AdImageProcessor):
    """Argument `size`: columns that are averaged; statistics: images done, and their mean."""

    def __init__(self, configDict={}):
        AdImageProcessor.__init__(self, configDict)
        self.size = int(configDict.get("size", 3))
        self.nImages = 0
        self.meanValue = 0.0

    def configure(self, configDict):
        self.size = int(configDict.get("size", self.size))

    def process(self, pvObject):
        (imageId, image, nx, ny, nz, colorMode, fieldKey) = self.reshapeNtNdArray(pvObject)
        if nx is None:
            return pvObject
        sums = np.cumsum(np.pad(image.astype(np.float64), ((0, 0), (self.size, 0))), axis=1)
        smooth = ((sums[:, self.size :] - sums[:, : -self.size]) / self.size).astype(image.dtype)
        self.updateOutputChannel(self.replaceNtNdArrayImage2D(pvObject, imageId, smooth))
        self.nImages += 1
        self.meanValue = float(image.mean())
        return pvObject

    def resetStats(self):
        self.nImages = 0

    def getStats(self):
        return {"nImages": self.nImages, "meanValue": self.meanValue}

    def getStatsPvaTypes(self):
        return {"nImages": pva.UINT, "meanValue": pva.DOUBLE}
