"""Who is before and behind whom in a chain: the takers of each process that gives, and why frames were withheld."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ioc.channels.book import book_name
from ioc.core.ledger import Reason
from ioc.core.status import ProcessSpec, Role
from ioc.core.topology import DETECTOR, PLUGINS_GROUP, collector_group, egress_group, writer_group
from ioc.supervisor.plan import keeps_book, node_of
from ioc.supervisor.series import Place
from ioc.supervisor.worker import Worker

TAKING = (Role.CONSUMER, Role.COLLECTOR, Role.PLUGINS, Role.WRITER, Role.EGRESS)
"""Who takes frames from a giver of this appliance."""
GROUPS = {Role.EGRESS: egress_group, Role.WRITER: writer_group, Role.COLLECTOR: collector_group}


def giver_of(spec: ProcessSpec) -> str | None:
    """Return the node that a process takes its frames from; None if it takes them from no giver."""
    if spec.role not in TAKING:
        return None
    return DETECTOR if spec.role is Role.PLUGINS else spec.config.inputs.get(node_of(spec), DETECTOR)


def is_behind(spec: ProcessSpec) -> bool:
    """Return whether a process takes its frames from another one than the detector."""
    return giver_of(spec) not in (None, DETECTOR)


def takers_from(giver: Worker, workers: Iterable[Worker]) -> Sequence[Worker]:
    """Return the processes of this host that take what a process gives, and keep a book of it."""
    node = DETECTOR if giver.spec.role is Role.DETECTOR else node_of(giver.spec)
    return [one for one in workers if giver_of(one.spec) == node and keeps_book(one.spec)]


def taker_files(spec: ProcessSpec, giver: str) -> tuple[str, str]:
    """Return the name of a process's book with a giver, and of its account in its journal."""
    if giver_of(spec) == DETECTOR:
        return book_name(spec.name, None), spec.name
    return book_name(spec.name, giver), giver


def place_of(spec: ProcessSpec) -> Place:
    """Return the place of a process in the ledger."""
    if spec.role is Role.PLUGINS:
        return Place(PLUGINS_GROUP, spec.name)
    return Place(GROUPS.get(spec.role, str)(spec.table or ""), spec.name)


def withheld(workers: Iterable[Worker]) -> dict[str, dict[str, int]]:
    """Return why processes say that they withheld frames, by name."""
    told = {one.name: one.status for one in workers if one.status is not None and one.spec.role in TAKING}
    return {name: status.stage.withheld for name, status in told.items()}


def reasons(counted: Counter[str], told: Mapping[str, int]) -> Counter[str]:
    """Return why frames were withheld, as far as the process has told; the rest of the count is `filtered`."""
    total = sum(counted.values())
    found = Counter({reason: count for reason, count in told.items() if count})
    if found.total() > total:
        return counted  # told after the books were read
    found[Reason.FILTERED.value] += total - found.total()
    return +found
