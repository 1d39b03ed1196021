"""What the records of a process show of its metadata channels, and how they change them."""

from concurrent.futures import Future

from consumers.metadata import MetadataStage
from consumers.worker import Worker
from ioc.records.server import RecordServer
from ioc.records.table import Value


def demands(name: str, stage: MetadataStage | None) -> dict[str, Value]:
    """Return what the demands of process `name` are set to, by record name; nothing without channels."""
    found = stage.demands() if stage is not None else {}
    return {f"{name}:Meta:{key}": value for key, value in found.items()}


def read_backs(stage: MetadataStage | None) -> dict[str, Value]:
    """Return what the read-backs show, by name without process and `_RBV`; nothing without channels."""
    told = stage.values() | stage.demands() if stage is not None else {}
    return {f"Meta:{key}": value for key, value in told.items()}


def changing(worker: Worker, stage: MetadataStage, records: RecordServer, name: str, value: float) -> Future:
    """Change what record `name` stands for, from the next frame on; done when that is so."""

    def change() -> None:
        _, _, channel, key = name.split(":")
        stage.change(channel, key, value)
        records.set_many({f"{name}_RBV": value})

    return worker.submit(change)
