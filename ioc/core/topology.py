"""Who gives frames to whom: detector, groups and collectors as a graph without cycles, known by its edges.

A *giver* has frames for others: `detector`, `groups.NAME` (what the members of the group put out) or
`collectors.NAME`. Every group and every collector takes its frames from one giver, its `input`. `inputs` maps each
`groups.NAME` and `collectors.NAME`, in file order, to its giver.
"""

from collections.abc import Mapping

DETECTOR = "detector"


def faults(inputs: Mapping[str, str], remote: frozenset[str] = frozenset()) -> list[str]:
    """Return what is wrong with the edges, one sentence a fault; `remote` givers put out nothing here."""
    found = [sentence for taker, giver in inputs.items() if (sentence := _fault(inputs, remote, taker, giver))]
    return found or _cycle(inputs)


def depth(inputs: Mapping[str, str], node: str) -> int:
    """Return how many stages lie between the detector and a node, itself included; 0: the detector."""
    steps = 0
    while node != DETECTOR:
        node = inputs[node]
        steps += 1
    return steps


def takers(inputs: Mapping[str, str], giver: str) -> list[str]:
    """Return who takes the frames of a giver, in file order."""
    return [taker for taker, source in inputs.items() if source == giver]


def _fault(inputs: Mapping[str, str], remote: frozenset[str], taker: str, giver: str) -> str:
    if giver != DETECTOR and giver not in inputs:
        known = ", ".join([DETECTOR, *(node for node in inputs if node != taker)])
        return f"{taker}.input: expected one of {known}, found {giver!r}"
    if giver == DETECTOR and taker.startswith("collectors."):
        return f"{taker}.input: expected 'groups.NAME' or 'collectors.NAME', found {giver!r}, which is in order already"
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
        while (giver := inputs[way[-1]]) != DETECTOR:
            way.append(giver)
            if giver == start:
                return [
                    f"{start}.input: expected a way back to the detector, found a circle: {' <- '.join(way)}; "
                    "let one of them take its frames from 'detector'"
                ]
            if len(way) > len(inputs) + 1:
                break  # the circle lies further back: it is found from one of its own
    return []
