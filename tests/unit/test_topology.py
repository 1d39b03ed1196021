"""Who gives frames to whom: chains are drained from front to back, circles and unknown names are refused."""

from pathlib import Path

import pytest

from consumers.collector import gives_in_order, withheld_before
from ioc.console import picture
from ioc.core.config import Config, load
from ioc.core.errors import ConfigError
from ioc.core.status import ProcessSpec, Role, StageStatus, State, Status
from ioc.core.topology import DETECTOR, depth, takers
from ioc.distributor.takers import takers_of
from ioc.supervisor.draining import drain_step, drain_steps
from ioc.supervisor.plan import plan

CHAIN = """
[groups.save]
input = "collectors.all"
[groups.first]
count = 2
[groups.second]
input = "groups.first"
count = 2
policy = "bounded"
[collectors.all]
input = "groups.second"
[egress.out]
ingress = "in"
[ingress.in]
[writers.disk]
[balancers.lab]
"""


def config() -> Config:
    """Return a configuration with a chain through a collector."""
    return load(CHAIN, "test")


def specs() -> dict[str, ProcessSpec]:
    """Return the processes of the chain by name."""
    return {spec.name: spec for spec in plan(config(), Path("/run"))}


def test_processes_drain_along_the_chain() -> None:
    order = sorted(specs().values(), key=drain_step)
    assert [spec.name for spec in order] == [
        "detector",
        *("Cons2", "Cons3"),
        *("Cons4", "Cons5"),
        "Coll1",
        "Cons1",
        "HDF1",
        "Ejfat1",
        "EjfatLb1",
        "EjfatIn1",
        "Web1",
    ]
    steps = [drain_step(spec) for spec in order]
    assert steps == [0, 1, 1, 2, 2, 3, 4, 6, 7, 8, 9, 9], "between, plug-ins would drain"
    assert drain_steps(config()) == 10
    assert drain_steps(Config()) == 6


def test_what_lies_behind_an_ingress_drains_after_it() -> None:
    behind = load(CHAIN + """
[groups.far]
input = "ingress.in"
[writers.far]
input = "groups.far"
[egress.back]
input = "groups.far"
ingress = "last"
[ingress.last]
[groups.end]
input = "ingress.last"
""", "test")  # fmt: skip
    order = {spec.name: drain_step(spec) for spec in plan(behind, Path("/run"))}
    assert {name: order[name] for name in ("HDF1", "Ejfat1", "EjfatIn1")} == {"HDF1": 6, "Ejfat1": 7, "EjfatIn1": 9}
    late = {"Cons6": 10, "HDF2": 11, "Ejfat2": 11, "EjfatIn2": 12, "Cons7": 13}
    assert {name: order[name] for name in late} == late
    assert drain_steps(behind) == 14
    assert picture(behind)[-6:] == [
        "  EjfatIn1: ingress.in",
        "     -> far: Cons6",
        "        -> back: Ejfat2",
        "        -> far: HDF2",
        "  EjfatIn2: ingress.last",
        "     -> end: Cons7",
    ]
    assert not gives_in_order(behind, "groups.far"), "packets overtake each other"
    circle = load(
        CHAIN.replace("[egress.out]", '[egress.out]\ninput = "groups.x"') + '[groups.x]\ninput = "ingress.in"', "t"
    )
    assert drain_steps(circle) > 0, "frames that are sent in a circle have no order, but an end"


def test_takers_and_depth() -> None:
    inputs = config().inputs
    assert takers(inputs, DETECTOR) == ["groups.first", "egress.out", "writer.disk"]
    assert takers(inputs, "groups.second") == ["collectors.all"]
    assert depth(inputs, "groups.save") == 4


def test_the_groups_of_a_givers_distributor() -> None:
    (taker,) = takers_of(config(), "groups.first")
    assert (taker.slot, taker.shape.name, taker.shape.count, taker.members) == (1, "second", 2, ["Cons4", "Cons5"])
    assert taker.shape.limits.policy.may_drop
    (collector,) = takers_of(config(), "groups.second")
    assert (collector.shape.name, collector.members) == ("collectors.all", ["Coll1"])
    budget = config().budget
    assert budget.chain == (budget.pool + 5 * budget.chain) // 3 // 5 > 0, "Cons2 to Cons5 and Coll1 give"


def test_sockets_of_givers_are_told_apart() -> None:
    coll, cons = specs()["Coll1"], specs()["Cons4"]
    assert coll.output_socket("groups.second", "Cons4") == cons.output_socket("groups.second", "Cons4")
    assert coll.output_socket("collectors.all", "Coll1").name == "frames.4.Coll1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[groups.a]\ninput = "groups.b"', r"groups\.a\.input: expected one of detector, found 'groups\.b'"),
        ('[groups.a]\ninput = "groups.a"', r"groups\.a\.input: expected a way back to the detector, found a circle"),
        (
            '[groups.a]\ninput = "collectors.c"\n[groups.b]\ninput = "groups.a"\n[collectors.c]\ninput = "groups.b"',
            r"a circle: groups\.a <- collectors\.c <- groups\.b <- groups\.a; let one of them",
        ),
        (
            '[groups.x]\ninput = "groups.a"\n[groups.a]\ninput = "groups.b"\n[groups.b]\ninput = "groups.a"',
            r"groups\.a\.input: .*found a circle: groups\.a <- groups\.b <- groups\.a",
        ),
        (
            '[groups.a]\nplacement = "remote"\n[collectors.c]\ninput = "groups.a"',
            r"collectors\.c\.input: expected a giver",
        ),
        (
            '[groups.a]\n[groups.b]\nplacement = "remote"\ninput = "groups.a"',
            r"groups\.b\.input: expected 'detector' with another placement than 'local'",
        ),
        ('[collectors.c]\ninput = "detector"', r"collectors\.c\.input: expected 'groups\.NAME'"),
        ("[collectors.c]", r"key 'collectors\.c\.input'"),
    ],
)
def test_what_cannot_flow_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(text, "chain.toml")


def test_only_groups_of_the_detector_take_its_slots() -> None:
    groups = "\n".join(f'[groups.g{n}]\ninput = "groups.first"' for n in range(12))
    load(f"[groups.first]\n{groups}", "test")
    with pytest.raises(ConfigError, match="at most 8 together, found 9"):
        load("\n".join(f"[groups.g{n}]" for n in range(9)), "test")
    others = '[egress.out]\ningress = "in"\n[ingress.in]\n[writers.disk]'
    with pytest.raises(ConfigError, match="at most 8 together, found 9"):
        load("\n".join([*(f"[groups.g{n}]" for n in range(7)), others]), "test")


def test_the_console_draws_chains_only() -> None:
    assert picture(Config()) == []
    assert picture(config()) == [
        "Frames go:",
        "  detector",
        "     -> first: Cons2 Cons3",
        "        -> second: Cons4 Cons5",
        "           -> all: Coll1",
        "              -> save: Cons1",
        "     -> out: Ejfat1",
        "     -> disk: HDF1",
    ]


def test_when_a_gap_need_not_be_waited_for() -> None:
    assert not gives_in_order(config(), "groups.second"), "its members mix two streams"
    assert gives_in_order(config(), "groups.first")
    assert gives_in_order(config(), "collectors.all")
    moved = load('[groups.a]\npolicy = "acknowledged"\n[collectors.c]\ninput = "groups.a"', "test")
    assert not gives_in_order(moved, "groups.a")


def test_a_collector_is_a_process() -> None:
    spec = specs()["Coll1"]
    assert (spec.role, spec.table) == (Role.COLLECTOR, "all")


def test_why_earlier_lives_of_a_collector_withheld_frames(tmp_path: Path) -> None:
    spec = specs()["Coll1"].model_copy(update={"run_dir": tmp_path})
    assert withheld_before(spec, 0) == {}
    assert withheld_before(spec, 3) == {"before_restart": 3}
    stage = StageStatus(withheld={"late": 2})
    told = Status(role=spec.role, name=spec.name, pid=1, state=State.RUNNING, heartbeat_ns=1, stage=stage)
    spec.status_file.write_text(told.model_dump_json())
    assert withheld_before(spec, 5) == {"late": 2, "before_restart": 3}
    assert withheld_before(spec, 1) == {"before_restart": 1}, "the book is right"
