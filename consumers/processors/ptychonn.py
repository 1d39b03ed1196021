"""Processor `ptychonn`: runs diffraction patterns through a network like PtychoNN, by ONNX Runtime.

Any network with one input `[n, 1, y, x]` float32 fits. It gets whole batches: their number is the network's own, or
`BatchSize` where the network takes any. A batch that is not full is filled up with zeros, of which nothing comes out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from consumers.batch import Batch
from consumers.processor import Metadata, Processor, Setting, Statistic, Value
from ioc.core.errors import InputError, RefusedError, mismatch
from ioc.core.frame import Frame

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class PtychoNN(Processor):
    """Returns what the network makes of each frame, `[y, x]` float32, under the frame's identity."""

    declared_settings = (
        Setting("Model", "", description="Network (.onnx), input [n, 1, y, x]"),
        Setting("BatchSize", 8, unit="frame", low=1, high=64, description="If the network leaves it open"),
        Setting("BatchTimeout", 1.0, unit="s", low=0, description="A batch waits no longer; 0: for ever"),
        Setting("Device", "auto", choices=("auto", *PROVIDERS), description="auto: cuda where it is present"),
        Setting("Threads", 1, low=1, high=256, description="Of the CPU, for one batch"),
    )
    declared_statistics = (
        Statistic("Inferred", int, unit="frame", description="Frames through the network"),
        Statistic("Padded", int, unit="frame", description="Empty places in batches"),
        Statistic("Device", str, description="What the network runs on"),
    )

    def __init__(self) -> None:
        self._inferred = self._padded = 0

    def configure(self, settings: Mapping[str, Value]) -> None:
        network = _Network.load(settings)
        self._network = network
        self.batch_size = network.batch
        self.batch_timeout = float(settings["BatchTimeout"]) or None
        self.settings = settings
        self.report(Device=network.device)

    def process_batch(self, frames: Batch, metadata: Sequence[Metadata]) -> list[Frame]:
        images = self._network.run(frames.array)
        self._inferred += len(frames)
        self._padded += self._network.batch - len(frames)
        self.report(Inferred=self._inferred, Padded=self._padded)
        return [replace(frame, data=image) for frame, image in zip(frames, images, strict=True)]

    def reset(self) -> None:
        self._inferred = self._padded = 0
        self.report(Inferred=0, Padded=0)


class _Network:
    """A loaded network for batches of `batch` images of `image` (y, x)."""

    def __init__(self, session: onnxruntime.InferenceSession, size: int) -> None:
        (entry,) = session.get_inputs()
        count, _, height, width = entry.shape
        self.batch = count if isinstance(count, int) else size
        self.device = session.get_providers()[0].removesuffix("ExecutionProvider").lower()
        self._image = (height, width)
        self._name = entry.name
        self._session = session
        self._input = np.zeros((self.batch, 1, height, width), np.float32)

    @classmethod
    def load(cls, settings: Mapping[str, Value]) -> "_Network":
        """Load the network that the settings name.

        Raises:
            RefusedError: it is no network of that kind, or there is no such device.
        """
        path = Path(str(settings["Model"])).expanduser()
        if not path.is_file():
            raise RefusedError(mismatch("setting Model", "an .onnx file", str(settings["Model"])))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(settings["Threads"])
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(path, options, providers=_providers(str(settings["Device"])))
        except Exception as error:
            if isinstance(error, RefusedError):
                raise
            raise RefusedError(f"setting Model: {path}: {error}") from None
        shapes = [entry.shape for entry in session.get_inputs()]
        if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] != 1 or not _whole(shapes[0][2:]):
            raise RefusedError(mismatch(f"setting Model: {path}", "one input [n, 1, y, x] with y and x given", shapes))
        return cls(session, int(settings["BatchSize"]))

    def run(self, patterns: NDArray) -> NDArray[np.float32]:
        """Return the images `[n, y, x]` of n <= batch patterns `[n, y, x]`.

        Raises:
            InputError: the patterns are not of the network's size.
        """
        if patterns.shape[1:] != self._image:
            todo = "put a processor `region` or `bin` in front"
            raise InputError(mismatch("network", f"frames of {self._image} (y, x)", patterns.shape[1:], todo))
        count = len(patterns)
        self._input[:count, 0] = patterns  # the one copy: the network wants float32
        self._input[count:] = 0
        images = np.asarray(self._session.run(None, {self._name: self._input})[0])
        return images[:count].reshape(count, *images.shape[-2:])


def _providers(device: str) -> list[str]:
    present = onnxruntime.get_available_providers()
    if device == "cuda" and PROVIDERS["cuda"] not in present:
        todo = "install onnxruntime-gpu, or choose cpu"
        raise RefusedError(mismatch("setting Device", f"a provider of {', '.join(present)}", device, todo))
    wanted = list(reversed(PROVIDERS.values())) if device == "auto" else [PROVIDERS[device]]
    return [one for one in wanted if one in present]


def _whole(sizes: Sequence[object]) -> bool:
    return all(isinstance(size, int) and size > 0 for size in sizes)
