"""What the doctor measures: copying memory, writing to disk, compressing."""

import os
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ioc.bench.limits import memcpy_gbps
from ioc.core.config import Config
from ioc.doctor.finding import Finding, good, warning

COPY_BYTES = 64 << 20
DISK_BYTES = 256 << 20
DISK_PIECE = 8 << 20
CODEC_SHAPE = (4, 1024, 1024)
CODECS = ("blosc", "lz4", "bslz4", "zstd")
GB = 1e9


def findings(config: Config) -> Iterator[Finding]:
    """Yield what was measured, beside what the configuration asks for."""
    wanted = asked_bytes(config)
    yield _memcpy(wanted)
    for name, writer in config.writers.items():
        if writer.path:
            yield _disk(f"writers.{name}", Path(writer.path), wanted)
    yield _codecs()


def frame_bytes(config: Config) -> int:
    """Return the bytes of one frame as configured."""
    detector = config.detector
    colours = 3 if detector.color_mode == "RGB1" else 1
    return detector.size[0] * detector.size[1] * detector.data_type.dtype.itemsize * colours


def asked_rate(config: Config) -> float:
    """Return the frame rate in Hz that the configuration asks for."""
    detector = config.detector
    exposed = 1.0 / detector.acquire_time if detector.acquire_time > 0 else float("inf")
    return min(detector.frame_rate, exposed)


def asked_bytes(config: Config) -> float:
    """Return the bytes/s that the configuration asks for."""
    return asked_rate(config) * frame_bytes(config)


def _memcpy(wanted: float) -> Finding:
    rate = memcpy_gbps(COPY_BYTES) * GB
    told = f"{rate / GB:.1f} GB/s, {wanted / GB:.2f} GB/s of frames asked for"
    if wanted > rate:
        return warning("memory copy", told, "fewer or smaller frames: one core cannot copy so much once")
    return good("memory copy", told)


def _disk(what: str, folder: Path, wanted: float) -> Finding:
    file = folder / f".rayfan-doctor-{os.getpid()}"
    piece = np.random.default_rng(0).integers(0, 256, DISK_PIECE, np.uint8).data
    begun = time.perf_counter()
    try:
        with file.open("wb") as out:
            for _ in range(DISK_BYTES // DISK_PIECE):
                out.write(piece)
            os.fdatasync(out.fileno())
    except OSError as error:
        return warning(what, f"{folder} cannot be written: {error.strerror}", "make the folder, or choose another")
    finally:
        file.unlink(missing_ok=True)
    rate = DISK_BYTES / (time.perf_counter() - begun)
    told = f"{rate / GB:.2f} GB/s into {folder}, {wanted / GB:.2f} GB/s of frames asked for"
    if wanted > rate:
        return warning(
            what, told, "compress, write a part of the frames, or use a faster disk: frames would be dropped"
        )
    return good(what, told)


def _codecs() -> Finding:
    try:
        compression: Any = import_module("ioc.channels.compression")  # late: the codecs are an extra
    except ImportError as error:
        return good("codecs", f"not measured: no {error.name}; pip install 'rayfan[compress]' where frames are packed")
    rows = np.add.outer(np.arange(CODEC_SHAPE[1]), np.arange(CODEC_SHAPE[2])) // 16
    noise = np.random.default_rng(0).poisson(3, CODEC_SHAPE)
    images = (rows + noise).astype(np.uint16)
    told = []
    for name in CODECS:
        options = compression.Options()
        begun, size = time.perf_counter(), 0
        for image in images:
            size += compression.compress(name, image, options).nbytes
        seconds = time.perf_counter() - begun
        told.append(f"{name} {images.nbytes / seconds / GB:.2f} GB/s to {100 * size / images.nbytes:.0f} %")
    return good("codecs", ", ".join(told))
