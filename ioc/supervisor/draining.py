"""In which order the processes of an appliance drain: with the flow of frames, who sends stops before who receives.

0 are the detector, with its distributor, and the intakes; then the groups and collectors by their distance from them;
then, one role after the other, those of `LAST`. What lies behind an ingress comes after that, by its distance from it;
and an ingress that is sent to from there drains later still. Who has nothing to do with frames is with the last.
"""

from ioc.core.config import Config
from ioc.core.status import ProcessSpec, Role
from ioc.core.topology import GIVERS, depth, ingress_node, root
from ioc.supervisor.plan import ASIDE, NODES, node_of

LAST = (Role.PLUGINS, Role.WRITER, Role.EGRESS, Role.BALANCER, Role.INGRESS)
KINDS = {Role.EGRESS: "egress.", Role.WRITER: "writer.", Role.INGRESS: "ingress."}


def drain_step(spec: ProcessSpec) -> int:
    """Return when a process drains."""
    config = spec.config
    if spec.role in ASIDE:
        return drain_steps(config) - 1
    if spec.role in (Role.PLUGINS, Role.BALANCER):
        return _front(config) + LAST.index(spec.role)
    return _step(config, node_of(spec)) if spec.role in NODES else 0


def drain_steps(config: Config) -> int:
    """Return how many steps the draining of an appliance has."""
    nodes = [*config.inputs, *(ingress_node(name) for name in config.ingress)]
    return 1 + max([_front(config) + len(LAST) - 1, *(_step(config, node) for node in nodes)])


def _step(config: Config, node: str, way: tuple[str, ...] = ()) -> int:
    inputs = config.inputs
    source = root(inputs, node)
    if source.startswith("ingress.") and source != node:
        return _step(config, source, (*way, node)) + depth(inputs, node)
    last = next((at for at, role in enumerate(LAST) if node.startswith(KINDS.get(role, " "))), None)
    if last is None:
        return depth(inputs, node)
    step = _front(config) + last
    if not node.startswith("ingress."):
        return step
    feeders = [one for one in _feeders(config, node) if one not in way]
    return max([step, *(1 + _step(config, one, (*way, node)) for one in feeders)])


def _front(config: Config) -> int:
    """Return the step of the first of `LAST`."""
    inputs = config.inputs
    chained = [node for node in inputs if node.startswith(GIVERS) and not root(inputs, node).startswith("ingress.")]
    return 1 + max((depth(inputs, node) for node in chained), default=0)


def _feeders(config: Config, node: str) -> list[str]:
    """Return the egresses of this file that send to an ingress and lie behind one themselves."""
    table = node.partition(".")[2]
    ingress = config.ingress[table]
    found = []
    for name, egress in config.egress.items():
        to = egress.ingress == table or (egress.balancer is not None and egress.balancer == ingress.balancer)
        if to and root(config.inputs, f"egress.{name}").startswith("ingress."):
            found.append(f"egress.{name}")
    return found
