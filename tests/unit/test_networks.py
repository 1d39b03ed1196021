"""The processors that hand frames to a large library: PtychoNN's network, pyFAI's integration.

The libraries are imported in the tests: all workers of the test run collect this module, and one runs it.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from consumers.batch import Batch
from consumers.processor import frames_of
from consumers.processors.integrate import Integrate
from consumers.processors.ptychonn import PtychoNN
from ioc.core.errors import InputError, RefusedError
from tests.support.frames import configured, frame, noise
from tests.support.network import magnitude

MODEL = Path(os.environ.get("RAYFAN_PTYCHONN", Path(__file__).parents[3] / "shared" / "data" / "ptychonn_8.onnx"))
"""The trained network, where it is at hand."""


def network(folder: Path, *shape: int | str) -> str:
    """Write a network; return its file's name."""
    path = folder / "network.onnx"
    path.write_bytes(magnitude(shape))
    return str(path)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_batches_go_through_the_network_filled_up_with_zeros(count: int, tmp_path: Path) -> None:
    processor = configured(PtychoNN, Model=network(tmp_path, 4, 1, 6, 5), Device="cpu", BatchTimeout=0.5)
    assert (processor.batch_size, processor.batch_timeout) == (4, 0.5)
    frames = [frame(noise((6, 5), "int16", number), number) for number in range(count)]
    found = frames_of(processor.process_batch(Batch(frames), [{}] * count))
    assert [one.unique_id for one in found] == list(range(count))
    for one, given in zip(found, frames, strict=True):
        assert one.data.dtype == np.float32
        np.testing.assert_array_equal(one.data, np.abs(given.data.astype(np.float32)))
    assert processor.statistics() == {"Inferred": count, "Padded": 4 - count, "Device": "cpu"}


def test_what_came_out_before_is_not_written_over(tmp_path: Path) -> None:
    processor = configured(PtychoNN, Model=network(tmp_path, 2, 1, 3, 3))
    first = frames_of(processor.process_batch(Batch([frame(np.full((3, 3), -1.0))]), [{}]))
    frames_of(processor.process_batch(Batch([frame(np.full((3, 3), -9.0))]), [{}]))
    assert first[0].data.max() == 1


def test_an_open_number_of_images_is_the_setting(tmp_path: Path) -> None:
    assert configured(PtychoNN, Model=network(tmp_path, "n", 1, 3, 3), BatchSize=5).batch_size == 5


def test_frames_of_another_size_fail_with_what_to_do(tmp_path: Path) -> None:
    processor = configured(PtychoNN, Model=network(tmp_path, 2, 1, 3, 3))
    with pytest.raises(InputError, match=r"frames of \(3, 3\) \(y, x\), found \(3, 4\); put a processor `region`"):
        processor.process_batch(Batch([frame(np.zeros((3, 4)))]), [{}])


def test_what_is_no_such_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    for name, message in (("", "an .onnx file"), ("nothing.onnx", "an .onnx file"), ("text.onnx", "text.onnx: ")):
        with pytest.raises(RefusedError, match=f"setting Model: .*{message}"):
            configured(PtychoNN, Model=str(tmp_path / name) if name else "")
    for shape in ((2, 3, 4, 4), (2, 16), (2, 1, "y", 4)):
        with pytest.raises(RefusedError, match=r"one input \[n, 1, y, x\]"):
            configured(PtychoNN, Model=network(tmp_path, *shape))
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(RefusedError, match=r"setting Device: expected a provider of .*install onnxruntime-gpu"):
            configured(PtychoNN, Model=network(tmp_path, 2, 1, 3, 3), Device="cuda")


def test_ptychonn_itself_gives_what_the_bare_network_gives() -> None:
    if not MODEL.exists():
        pytest.skip(f"{MODEL} is not there; RAYFAN_PTYCHONN names another place")
    import onnxruntime

    processor = configured(PtychoNN, Model=str(MODEL), Device="cpu")
    patterns = np.random.default_rng(1).poisson(20, (8, 128, 128)).astype(np.int16)
    found = frames_of(processor.process_batch(Batch([frame(one, at) for at, one in enumerate(patterns)]), [{}] * 8))
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    bare = np.asarray(session.run(None, {session.get_inputs()[0].name: patterns[:, np.newaxis].astype(np.float32)})[0])
    assert bare.std() > 0
    np.testing.assert_allclose([one.data for one in found], bare[:, 0], rtol=1e-4, atol=1e-5)


@pytest.fixture
def poni(tmp_path: Path) -> Path:
    """Return the geometry of a small detector whose beam hits its middle."""
    from pyFAI.detectors import Detector
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    integrator = AzimuthalIntegrator(
        dist=0.1, poni1=0.005, poni2=0.006, detector=Detector(1e-4, 1e-4, max_shape=(100, 120)), wavelength=1e-10
    )
    integrator.save(str(tmp_path / "detector.poni"))
    return tmp_path / "detector.poni"


def test_rings_are_where_they_were_drawn(poni: Path) -> None:
    y, x = np.indices((100, 120))
    radius = np.hypot((y + 0.5) * 0.1 - 5.0, (x + 0.5) * 0.1 - 6.0)  # mm, from the beam
    image = (1000 * np.exp(-(((radius - 3.0) / 0.2) ** 2))).astype(np.uint16)
    processor = configured(Integrate, PoniFile=str(poni), Points=80, Unit="r_mm")
    (found,) = frames_of(processor.process(frame(image), {}))
    assert found.data.shape == (2, 80)
    assert found.data.dtype == np.float32
    assert processor.statistics()["PeakPosition"] == pytest.approx(3.0, abs=0.1)
    assert processor.statistics()["PeakIntensity"] == pytest.approx(1000, rel=0.1)


def test_the_curve_is_pyfais_and_that_of_numpy(poni: Path, tmp_path: Path) -> None:
    import pyFAI

    image = np.random.default_rng(2).poisson(50, (100, 120)).astype(np.uint16)
    bad = np.zeros(image.shape, bool)
    bad[10:20, 30:60] = True
    np.save(tmp_path / "bad.npy", bad)
    processor = configured(Integrate, PoniFile=str(poni), MaskFile=str(tmp_path / "bad.npy"), Points=20, Unit="r_mm")
    (found,) = frames_of(processor.process(frame(image), {}))
    reference = pyFAI.load(str(poni)).integrate1d(
        image, 20, mask=bad.astype(np.int8), unit="r_mm", method=("bbox", "csr", "cython")
    )
    np.testing.assert_allclose(found.data, [reference.radial, reference.intensity], rtol=1e-6)
    y, x = np.indices(image.shape)
    radius = np.hypot((y + 0.5) * 0.1 - 5.0, (x + 0.5) * 0.1 - 6.0)[~bad]
    place = np.digitize(radius, found.data[0]) - 1
    plain = np.array([image[~bad][place == at].mean() for at in range(3, 18)])
    np.testing.assert_allclose(found.data[1][3:18], plain, rtol=0.1)


def test_integration_needs_a_geometry_and_mono_frames(poni: Path, tmp_path: Path) -> None:
    (tmp_path / "text.poni").write_text("Distance: near\n")
    with pytest.raises(RefusedError, match=r"setting PoniFile: .*text\.poni: ValueError"):
        configured(Integrate, PoniFile=str(tmp_path / "text.poni"))
    for name in ("", "nothing.poni"):
        with pytest.raises(RefusedError, match=r"setting PoniFile: expected a \.poni file"):
            configured(Integrate, PoniFile=str(tmp_path / name) if name else "")
    processor = configured(Integrate, PoniFile=str(poni))
    with pytest.raises(InputError, match="expected a mono image"):
        processor.process(frame(np.zeros((100, 120, 3), np.uint8)), {})
