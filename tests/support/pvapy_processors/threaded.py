"""A processor in PvaPy's style that publishes from a thread of its own, with a field that NTNDArrays do not have."""

import queue
import threading

import pvaccess as pva
from pvapy.hpc.adImageProcessor import AdImageProcessor
from pvapy.utility.adImageUtility import AdImageUtility


class ThreadedProcessor(AdImageProcessor):
    """Publishes each image with the field `place`, 1 more than in the image that came."""

    def __init__(self, configDict={}):
        AdImageProcessor.__init__(self, configDict)
        self.images = queue.Queue()
        self.worker = threading.Thread(target=self.publish)

    def start(self):
        self.worker.start()

    def stop(self):
        self.images.put(None)
        self.worker.join()

    def process(self, pvObject):
        (frameId, image, *_) = self.reshapeNtNdArray(pvObject)
        self.images.put((frameId, image.copy(), pvObject["place"]))
        return pvObject

    def publish(self):
        while (found := self.images.get()) is not None:
            frameId, image, place = found
            extra = pva.PvObject({"place": pva.INT}, {"place": place + 1})
            self.updateOutputChannel(AdImageUtility.generateNtNdArray2D(frameId, image, extraFieldsPvObject=extra))
