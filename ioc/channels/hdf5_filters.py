"""areaDetector's choices of compression as HDF5 filters; those that HDF5 lacks come with the package hdf5plugin."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hdf5plugin

from ioc.core.errors import RefusedError, mismatch

COMPRESSIONS = ("None", "N-bit", "szip", "zlib", "Blosc", "BSLZ4", "LZ4", "JPEG")
"""ADCore's choices, all of them: clients check the texts when they connect."""
UNSERVED = ("N-bit", "szip", "JPEG")
"""Choices that are refused: the first two lose or need bits that HDF5's wheels lack, JPEG no reader undoes."""
BLOSC_COMPRESSORS = ("BloscLZ", "LZ4", "LZ4HC", "SNAPPY", "ZLIB", "ZSTD")
BLOSC_SHUFFLES = ("None", "Byte", "Bit")


@dataclass(frozen=True, slots=True)
class Compression:
    """How the chunks of a file are compressed."""

    name: str = "None"
    zlib_level: int = 6
    blosc_compressor: str = "BloscLZ"
    blosc_level: int = 5
    blosc_shuffle: str = "Byte"

    def filters(self) -> Mapping[str, Any]:
        """Return what h5py's create_dataset takes.

        Raises:
            RefusedError: nothing here writes this compression.
        """
        if self.name == "None":
            return {}
        if self.name == "zlib":
            return {"compression": "gzip", "compression_opts": self.zlib_level}
        if self.name == "LZ4":
            return dict(hdf5plugin.LZ4())
        if self.name == "BSLZ4":
            return dict(hdf5plugin.Bitshuffle(cname="lz4"))
        if self.name == "Blosc":
            shuffle = BLOSC_SHUFFLES.index(self.blosc_shuffle)
            compressor: Any = self.blosc_compressor.lower()
            return dict(hdf5plugin.Blosc(compressor, self.blosc_level, shuffle))
        served = ", ".join(name for name in COMPRESSIONS if name not in UNSERVED)
        raise RefusedError(mismatch("Compression", served, self.name))
