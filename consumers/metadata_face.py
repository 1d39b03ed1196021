"""What the records of a stage show of its metadata channels, and how they change them."""

from concurrent.futures import Future

from consumers.metadata import open_stage
from consumers.worker import Worker
from ioc.core.config_metadata import MetadataConfig
from ioc.core.status import ProcessSpec
from ioc.records.server import RecordServer
from ioc.records.table import Value


class MetadataFace:
    """The metadata channels of a worker, by their records `$(P)NAME:Meta:...`; nothing without channels."""

    def __init__(self, spec: ProcessSpec, config: MetadataConfig, worker: Worker) -> None:
        """Open the channels of `config`, and have the worker wait for their values."""
        self.stage = worker.metadata = open_stage(config, spec.config.prefix)
        self._name = spec.name
        self._worker = worker

    def demands(self) -> dict[str, Value]:
        """Return what the demands are set to, by record name."""
        found = self.stage.demands() if self.stage is not None else {}
        return {f"{self._name}:Meta:{key}": value for key, value in found.items()}

    def read_backs(self) -> dict[str, Value]:
        """Return what the read-backs show, by name without process and `_RBV`."""
        told = self.stage.values() | self.stage.demands() if self.stage is not None else {}
        return {f"Meta:{key}": value for key, value in told.items()}

    def figures(self) -> dict[str, float | int | str]:
        """Return what the status tells."""
        return self.stage.figures() if self.stage is not None else {}

    def put(self, records: RecordServer, name: str, value: float) -> Future | None:
        """Change what record `name` stands for, from the next frame on; done when that is so."""
        stage = self.stage
        if stage is None:
            return None

        def change() -> None:
            _, _, channel, key = name.split(":")
            stage.change(channel, key, value)
            records.set_many({f"{name}_RBV": value})

        return self._worker.submit(change)

    def close(self) -> None:
        """Let go of the channels."""
        if self.stage is not None:
            self.stage.close()
