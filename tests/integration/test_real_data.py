"""Real detector data: files of synchrotron experiments, replayed. Skipped where they are not at hand."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from consumers.processors.statistics import Statistics
from detector_sim.source import Source, open_source
from ioc.core.config_detector import DetectorConfig
from ioc.core.errors import InputError
from ioc.core.frame import Frame

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def real(name: str, dataset: str | None = None) -> tuple[Path, Source]:
    """Open a real file, or skip the test."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    source = {"kind": "replay", "path": path, "dataset": dataset}
    return path, open_source(DetectorConfig.model_validate({"source": source}))


def test_every_frame_of_a_camera_is_replayed_as_it_was_taken() -> None:
    path, source = real("k11_detector.h5")
    assert (source.shape, source.dtype, source.period) == ((22, 26), np.uint16, 3201)
    with h5py.File(path) as file:
        expected = np.asarray(file["/entry/detector/detector"])
    out = np.empty((3201, 22, 26), np.uint16)
    for index in range(3201):
        source.fill(index, out[index])
    source.close()
    np.testing.assert_array_equal(out, expected)


def test_tomography_projections_by_name_of_their_data_set() -> None:
    path, source = real("tooth_projections.h5", "/exchange/data")
    assert (source.shape, source.dtype, source.period) == ((2, 640), np.float32, 181)
    out = np.empty(source.shape, source.dtype)
    source.fill(181 + 90, out)
    source.close()
    with h5py.File(path) as file:
        np.testing.assert_array_equal(out, np.asarray(file["/exchange/data"])[90])


def test_several_data_sets_are_listed_when_none_is_named() -> None:
    with pytest.raises(InputError, match=r"/exchange/data \(181, 2, 640\), /exchange/data_dark .*name one of them"):
        real("tooth_projections.h5")


@pytest.mark.parametrize(("name", "dataset"), [("k11_detector.h5", None), ("tooth_projections.h5", "/exchange/data")])
def test_statistics_of_real_frames_are_those_of_numpy(name: str, dataset: str | None) -> None:
    _, source = real(name, dataset)
    processor = Statistics()
    out = np.empty(source.shape, source.dtype)
    for index in range(0, source.period or 0, 20):
        source.fill(index, out)
        figures = processor.process(Frame(1, index + 1, 0, out), {}).attributes
        wide = out.astype(np.float64)
        np.testing.assert_allclose(
            [float(figures[key]) for key in ("MinValue", "MaxValue", "MeanValue", "Sigma", "Total")],
            [wide.min(), wide.max(), wide.mean(), wide.std(), wide.sum()],
            rtol=1e-12,
        )
    source.close()
