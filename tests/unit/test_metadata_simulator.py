"""What the simulated metadata channels do with frames: by plan, without a server."""

import itertools
from pathlib import Path

import pytest

from detector_sim.metadata import MetadataSimulator, Script
from detector_sim.records import records_of
from ioc.core.config import Config
from ioc.core.config_metadata import SimulatedChannel
from ioc.core.status import ProcessSpec, Role
from ioc.pvlist_command import rows

SECOND = 1_000_000_000


def plans(count: int, **faults: object) -> list[tuple[int, float, int]]:
    """Return id, value and error of the stamp (ns) of each update that so many frames of 1 ms make, as sent."""
    script = Script(SimulatedChannel(**faults))  # pyright: ignore[reportArgumentType]
    sent = []
    for unique_id in range(1, count + 1):
        stamp = SECOND + unique_id * 1_000_000
        for _, (value, stamp_ns, own_id) in script.plan(unique_id, stamp, 0):
            assert own_id is not None
            sent.append((own_id, value, stamp_ns - own_id * 1_000_000 - SECOND))
    return sent


def test_a_channel_follows_its_frames() -> None:
    assert plans(3) == [(1, 1.0, 0), (2, 2.0, 0), (3, 3.0, 0)]
    assert [one[:2] for one in plans(5, every=2, shift=0.5)] == [(1, 1.5), (3, 3.5), (5, 5.5)]


def test_the_clock_of_a_channel_is_off_and_drifts() -> None:
    errors = [error for _, _, error in plans(1001, offset=2.0, drift=100.0)]
    assert (errors[0], errors[-1]) == (2 * SECOND, 2 * SECOND + 100_000)


def test_stamps_jitter_by_no_more_than_was_asked_for() -> None:
    errors = [abs(error) for _, _, error in plans(500, jitter=0.0001)]
    assert 50_000 < max(errors) <= 100_000


def test_gaps_doubles_and_swaps_come_in_the_part_asked_for() -> None:
    assert 800 < len(plans(1000, gaps=0.1)) < 980
    assert 1020 < len(plans(1000, doubles=0.1)) < 1200
    swapped = [unique_id for unique_id, _, _ in plans(1000, swaps=0.1)]
    backwards = sum(later < earlier for earlier, later in itertools.pairwise(swapped))
    assert 30 < backwards < 200
    assert sorted(swapped)[:900] == list(range(1, 901))


def test_an_update_is_due_later_by_its_delay() -> None:
    (update,) = Script(SimulatedChannel(delay=0.25)).plan(1, SECOND, 100)
    assert update.due_ns == 100 + SECOND // 4


@pytest.mark.parametrize("protocol", ["pva", "ca"])
def test_a_channel_is_served_by_one_protocol_and_listed(protocol: str) -> None:
    config = Config.model_validate({"detector": {"metadata": {"A": {"protocol": protocol}}}})
    simulator = MetadataSimulator("RF:", config.detector.metadata, lambda _name, _value: None)
    spec = ProcessSpec(role=Role.DETECTOR, name="detector", config=config, run_dir=Path())
    records = [record.name for record in records_of(spec) if record.name.startswith("Meta:")]
    served = list(simulator.server.channels), records
    assert served == ((["RF:Meta:A"], []) if protocol == "pva" else ([], ["Meta:A"]))
    assert [row.name for row in rows(config, "detector")].count("RF:Meta:A") == 1
