"""Which records a process of this package has, known from its spec alone, for listings."""

from consumers.loading import load_processor
from consumers.plugins.kinds import all_records
from consumers.plugins.sizes import Sizes
from consumers.records import (
    balancer_records,
    collector_records,
    consumer_records,
    egress_records,
    ingress_records,
    intake_records,
    metadata_records,
)
from consumers.writer_records import writer_records
from ioc.core.status import ProcessSpec, Role
from ioc.records.table import Record


def records_of(spec: ProcessSpec) -> list[Record]:
    """Return the records of a process.

    Raises:
        ConfigError: the processor of a consumer cannot be loaded.
    """
    if spec.role is Role.CONSUMER:
        assert spec.table is not None
        processor = load_processor(spec.config.groups[spec.table].processor, f"groups.{spec.table}.processor")
        records = consumer_records(spec.name, processor.declared_settings, processor.declared_statistics)
        return [*records, *metadata_records(spec.name, spec.config.groups[spec.table].metadata.channels)]
    if spec.role is Role.PLUGINS:
        assert spec.config.plugins is not None
        return all_records(spec.name, spec.config.plugins.names, Sizes())
    table = {
        Role.COLLECTOR: collector_records,
        Role.EGRESS: egress_records,
        Role.BALANCER: balancer_records,
        Role.INGRESS: ingress_records,
        Role.WRITER: writer_records,
        Role.INTAKE: intake_records,
    }[spec.role]
    return table(spec.name)
