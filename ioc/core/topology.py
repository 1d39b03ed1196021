"""Who gives frames to whom: detector, intakes, ingresses, groups and collectors as trees, known by their edges.

A *giver* has frames for others: `detector`, `intake.NAME` (what comes from outside) and `ingress.NAME` (what comes by
EJFAT), which take from nobody here,
`groups.NAME` (what the members of the group put out) and `collectors.NAME`. Every group, collector, egress and writer
takes its frames from one giver, its `input`. `inputs` maps each taker, in file order, to its giver.
"""

from collections.abc import Mapping, Sequence

DETECTOR = "detector"
GIVERS = ("groups.", "collectors.")
"""What the names of takers begin with that may give frames to others."""
PLUGINS_GROUP = "plugins.graph"
"""The distributor group whose one member is the process of areaDetector's plug-ins."""
IMAGE_GROUP = "Pva1"
"""The group of the clients that look at `$(P)Pva1:Image`: viewers, whose losses are no loss of the appliance."""


def collector_group(table: str) -> str:
    """Return the name of the distributor group whose one member is the collector of a table."""
    return f"collectors.{table}"


def egress_group(table: str) -> str:
    """Return the name of the distributor group whose one member is the egress of a table."""
    return f"egress.{table}"


def writer_group(table: str) -> str:
    """Return the name of the distributor group whose one member is the writer of a table."""
    return f"writer.{table}"


def ingress_node(table: str) -> str:
    """Return what an ingress is in the graph of givers and takers."""
    return f"ingress.{table}"


def intake_node(table: str) -> str:
    """Return what an intake is in the graph of givers and takers."""
    return f"intake.{table}"


def faults(inputs: Mapping[str, str], remote: frozenset[str] = frozenset(), intakes: Sequence[str] = ()) -> list[str]:
    """Return what is wrong with the edges, one sentence a fault; `remote` givers put out nothing here."""
    givers = [DETECTOR, *intakes, *(node for node in inputs if node.startswith(GIVERS))]
    found = [sentence for taker, giver in inputs.items() if (sentence := _fault(givers, remote, taker, giver))]
    return found or _cycle(inputs)


def depth(inputs: Mapping[str, str], node: str) -> int:
    """Return how many stages lie between the detector or intake and a node, itself included; 0: one of these."""
    steps = 0
    while node in inputs:
        node = inputs[node]
        steps += 1
    return steps


def root(inputs: Mapping[str, str], node: str) -> str:
    """Return the giver that the frames of a node come from in the end, which takes from nobody here."""
    while node in inputs:
        node = inputs[node]
    return node


def leads(inputs: Mapping[str, str], giver: str, node: str) -> bool:
    """Return whether frames of a giver come to a node."""
    while node in inputs and node != giver:
        node = inputs[node]
    return node == giver


def takers(inputs: Mapping[str, str], giver: str) -> list[str]:
    """Return who takes the frames of a giver, in file order."""
    return [taker for taker, source in inputs.items() if source == giver]


def _fault(givers: Sequence[str], remote: frozenset[str], taker: str, giver: str) -> str:
    if giver not in givers:
        known = ", ".join(node for node in givers if node != taker)
        return f"{taker}.input: expected one of {known}, found {giver!r}"
    if giver == DETECTOR and taker.startswith("collectors."):
        expected = "'groups.NAME', 'collectors.NAME', 'intake.NAME' or 'ingress.NAME'"
        return f"{taker}.input: expected {expected}, found {giver!r}, which is in order already"
    if giver in remote:
        return (
            f"{taker}.input: expected a giver whose members run on this host, found {giver!r} with another "
            "placement than 'local', whose output goes elsewhere"
        )
    if taker in remote and giver != DETECTOR:
        return f"{taker}.input: expected 'detector' with another placement than 'local', found {giver!r}"
    return ""


def _cycle(inputs: Mapping[str, str]) -> list[str]:
    for start in inputs:
        way = [start]
        while (giver := inputs[way[-1]]) in inputs:
            way.append(giver)
            if giver == start:
                return [
                    f"{start}.input: expected a way back to the detector, found a circle: {' <- '.join(way)}; "
                    "let one of them take its frames from 'detector'"
                ]
            if len(way) > len(inputs) + 1:
                break  # the circle lies further back: it is found from one of its own
    return []
