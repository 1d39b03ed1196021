"""The example configurations: accepted, and their processors with their settings, too."""

from pathlib import Path

import pytest

from consumers.consumer import open_processor
from consumers.key_ring import VARIABLE
from ioc.core.config import load
from tests.support.network import magnitude

EXAMPLES = Path(__file__).parents[2] / "ops" / "examples"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_every_processor_of_an_example_takes_its_settings(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES.parents[1])  # where the examples say that they are run
    monkeypatch.setenv(VARIABLE, f"first {'07' * 32}")
    (tmp_path / "ptychonn_8.onnx").write_bytes(magnitude((8, 1, 128, 128)))
    text = example.read_text(encoding="utf-8").replace("MODELS", str(tmp_path))
    config = load(text, str(example))
    for table, group in config.groups.items():
        processor, settings = open_processor(group, f"groups.{table}")
        assert set(group.settings) <= set(settings)
        assert processor.batch_size >= 1
