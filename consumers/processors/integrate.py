"""Processor `integrate`: azimuthal integration of every frame, by pyFAI."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyFAI
from pyFAI.integrator.azimuthal import AzimuthalIntegrator

from consumers.image_file import read_image
from consumers.processor import Metadata, Processor, Setting, Statistic, Value
from ioc.core.errors import InputError, RefusedError, mismatch
from ioc.core.frame import Frame

UNITS = ("q_nm^-1", "q_A^-1", "2th_deg", "r_mm")


class Integrate(Processor):
    """Returns one frame `[2, Points]` float32 a frame: radial positions in `Unit`, and the mean intensity there."""

    declared_settings = (
        Setting("PoniFile", "", description="Geometry of the detector (.poni)"),
        Setting("MaskFile", "", description="Mask [y, x], not 0: bad (.npy, .h5)"),
        Setting("Points", 500, low=2, high=65536, description="Radial positions"),
        Setting("Unit", "q_nm^-1", choices=UNITS, description="Of the radial positions"),
        Setting("Polarization", 0.0, low=-1, high=1, description="Factor; 0: circular"),
    )
    declared_statistics = (
        Statistic("PeakPosition", description="Radial position of the strongest point"),
        Statistic("PeakIntensity", description="Intensity there"),
    )

    def configure(self, settings: Mapping[str, Value]) -> None:
        self._integrator = _load(str(settings["PoniFile"]))
        mask = read_image(str(settings["MaskFile"]), "setting MaskFile")
        self._mask = None if mask is None else (mask != 0).astype(np.int8)
        self.settings = settings

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        if frame.data.ndim != 2:
            raise InputError(mismatch(f"frame {frame.unique_id}", "a mono image [y, x]", frame.data.shape))
        chosen = self.settings
        found = self._integrator.integrate1d(
            frame.data,
            int(chosen["Points"]),
            mask=self._mask,
            unit=str(chosen["Unit"]),
            polarization_factor=float(chosen["Polarization"]) or None,
            method=("bbox", "csr", "cython"),
        )
        strongest = int(np.argmax(found.intensity))
        self.report(PeakPosition=float(found.radial[strongest]), PeakIntensity=float(found.intensity[strongest]))
        return replace(frame, data=np.stack([found.radial, found.intensity]).astype(np.float32))


def _load(name: str) -> AzimuthalIntegrator:
    path = Path(name).expanduser()
    if not name or not path.is_file():
        raise RefusedError(mismatch("setting PoniFile", "a .poni file", name))
    try:
        return pyFAI.load(str(path))
    except Exception as error:  # noqa: BLE001 - pyFAI raises all sorts of errors on a damaged file
        raise RefusedError(f"setting PoniFile: {path}: {type(error).__name__}: {error}; is it a .poni file?") from None
