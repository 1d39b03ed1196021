"""The groups of a giver's distributor, as a configuration asks for them: who takes frames, and by which rules."""

from collections.abc import Iterator
from dataclasses import dataclass

from ioc.core.config import Config
from ioc.core.config_collector import CollectorConfig
from ioc.core.config_ejfat import EgressConfig
from ioc.core.config_writer import WriterConfig
from ioc.core.overflow import WIDEST_WINDOW, Limits
from ioc.core.topology import collector_group, egress_group, takers, writer_group
from ioc.distributor.group import GroupShape
from ioc.supervisor.plan import collector_names, consumer_names, single_names


@dataclass(frozen=True, slots=True)
class Taker:
    """One group in its slot (from 1), and the names of the members that will be started for it."""

    slot: int
    shape: GroupShape
    members: list[str]


def takers_of(config: Config, giver: str) -> Iterator[Taker]:
    """Yield the groups that take the frames of a giver: groups, collectors, egresses, writers, each in file order."""
    names = consumer_names(config) | collector_names(config) | single_names(config)
    singles: dict[str, CollectorConfig | EgressConfig | WriterConfig] = {
        collector_group(name): one for name, one in config.collectors.items()
    }
    singles |= {egress_group(name): one for name, one in config.egress.items()}
    singles |= {writer_group(name): one for name, one in config.writers.items()}
    for slot, node in enumerate(takers(config.inputs, giver), 1):
        kind, _, table = node.partition(".")
        if kind == "groups":
            group = config.groups[table]
            limits = Limits(group.policy, group.queue_size, group.queue_bytes, group.drop)
            shape = GroupShape(table, group.count, group.sets, group.updates, limits, group.ack_timeout)
            yield Taker(slot, shape, names.get(table, []))
        else:
            yield Taker(slot, GroupShape(node, 1, None, 1, _limits(singles[node])), names[node])


def _limits(config: CollectorConfig | EgressConfig | WriterConfig) -> Limits:
    if isinstance(config, WriterConfig):
        return Limits(config.policy, config.queue_size, config.queue_bytes)
    return Limits(config.policy, config.queue_size, config.queue_bytes, config.drop)


def useful_slots(config: Config, giver: str) -> int:
    """Return how many frames can be on their way from one giver's process at a time, over all its groups."""
    shapes = [taker.shape for taker in takers_of(config, giver)]
    return sum(shape.limits.frames * max(shape.count, 1) + WIDEST_WINDOW for shape in shapes) + 1
