"""An image processor in PvaPy's style: inverts images, publishes them, counts; and fails in every way, if asked."""

import ctypes
import os
import time

import numpy as np
import pvaccess as pva
from pvapy.hpc.adImageProcessor import AdImageProcessor
from pvapy.utility.floatWithUnits import FloatWithUnits


class InvertingProcessor(AdImageProcessor):
    """Publishes `offset - image`. `crashAt`, `failAt`, `hangAt`: ids of frames."""

    def __init__(self, configDict={}):
        AdImageProcessor.__init__(self, configDict)
        self.settings = {"offset": 255, "copies": 1, **configDict}
        self.nFrames = 0
        self.processingTime = 0.0
        self.started = False

    def start(self):
        self.started = True

    def configure(self, configDict):
        if configDict.get("offset", 0) < 0:
            raise ValueError("offset below 0")
        self.settings.update(configDict)

    def process(self, pvObject):
        t0 = time.time()
        (frameId, image, nx, ny, nz, colorMode, fieldKey) = self.reshapeNtNdArray(pvObject)
        assert self.started and self.processorId == 3 and self.objectIdField == "uniqueId"
        if frameId == self.settings.get("crashAt"):
            ctypes.string_at(0)
        if frameId == self.settings.get("exitAt"):
            os._exit(7)
        if frameId == self.settings.get("failAt"):
            raise RuntimeError("no such image")
        if frameId == self.settings.get("structureAt"):
            self.updateOutputChannel(pva.PvObject({"a": pva.INT}, {"a": 1}))
            return None
        inverted = (self.settings["offset"] - image.astype(np.int64)).astype(image.dtype)
        for _ in range(self.settings["copies"]):
            self.updateOutputChannel(self.replaceNtNdArrayImage2D(pvObject, frameId, inverted))
        self.nFrames += 1
        self.processingTime += time.time() - t0
        return pvObject

    def resetStats(self):
        self.nFrames = 0
        self.processingTime = 0.0

    def getStats(self):
        return {"nFrames": self.nFrames, "processing_time": FloatWithUnits(self.processingTime, "s"), "mode": "invert"}

    def getStatsPvaTypes(self):
        return {"nFrames": pva.UINT, "processing_time": pva.DOUBLE, "mode": pva.STRING, "table": [pva.INT]}
