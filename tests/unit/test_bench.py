"""The parts of the benchmarks that need no process: the search, the judgement of the peer, configurations, tables."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector_sim.images import FEWEST_SLOTS, MOST_PINNED_SHARE
from ioc.bench import cli, ejfat_table, pvapy, table, watched
from ioc.bench.appliance import Reading, lost_frames, trial
from ioc.bench.case import UNPACED, Case, processor_text, toml
from ioc.bench.ejfat import whole_toml
from ioc.bench.ejfat_pair import Load
from ioc.bench.knee import Knees, figures, memcpy_ratio
from ioc.bench.machine import conditions
from ioc.bench.pvapy_monitor import Notes
from ioc.bench.reading import sum_of
from ioc.bench.search import Effort, Trial, knee
from ioc.bench.workplace import environment, prefix, workplace
from ioc.core.config import load
from ioc.core.config_table import Policy
from ioc.core.errors import PeerError, UserError
from ioc.core.frame import DataType
from tests.campaigns import soak

EFFORT = Effort(seconds=10.0, probe_seconds=2.5, probes=10)


class Machine:
    """A sender and receiver that move at most `most`, and lose what is sent faster; every run is noted."""

    def __init__(self, most: float, most_for_long: float | None = None, loses_unpaced: bool = True) -> None:
        self.most = most
        self.most_for_long = most if most_for_long is None else most_for_long
        self.loses_unpaced = loses_unpaced
        self.runs: list[tuple[float | None, float]] = []

    def __call__(self, rate: float | None, seconds: float) -> Trial:
        self.runs.append((rate, seconds))
        most = self.most_for_long if seconds == EFFORT.seconds else self.most
        if rate is None:
            return Trial(None, most, int(self.loses_unpaced))
        return Trial(rate, min(rate, most), int(rate > most))


def test_the_knee_is_found_by_bisection_and_confirmed_at_full_length() -> None:
    machine = Machine(5000.0)
    best = knee(machine, EFFORT)
    assert best is not None and best.good
    assert 0.95 * 5000 < best.reached <= 5000
    assert machine.runs[-1] == (best.asked, EFFORT.seconds)


def test_a_knee_far_above_what_comes_through_unpaced_is_found() -> None:
    """Who is overrun takes less than it could."""
    machine = Machine(5000.0)
    best = knee(lambda rate, seconds: Trial(None, 900.0, 9) if rate is None else machine(rate, seconds), EFFORT)
    assert best is not None and best.good
    assert 0.9 * 5000 < best.reached <= 5000


def test_a_rate_that_nobody_reaches_tells_nothing_though_nothing_was_lost() -> None:
    """By luck a sender that was asked for too much goes slowly enough: what lies below is not shown to hold."""
    machine = Machine(3000.0)

    def run(rate: float | None, seconds: float) -> Trial:
        if rate is None:
            return Trial(None, 1600.0, 9)
        lucky = rate > 3000.0 and seconds < EFFORT.seconds
        return Trial(rate, 2400.0, 0) if lucky else machine(rate, seconds)

    best = knee(run, EFFORT)
    assert best is not None and best.good and 0.9 * 3000 < best.reached <= 3000


def test_what_never_loses_is_measured_unpaced() -> None:
    machine = Machine(5000.0, loses_unpaced=False)
    assert knee(machine, EFFORT) == Trial(None, 5000.0, 0)
    assert machine.runs == [(None, EFFORT.probe_seconds), (None, EFFORT.seconds)]


def test_a_probe_of_full_length_needs_no_confirmation() -> None:
    machine = Machine(5000.0, loses_unpaced=False)
    assert knee(machine, Effort(10.0, 10.0)) == Trial(None, 5000.0, 0)
    assert len(machine.runs) == 1


def test_runs_of_less_than_a_second_are_worth_one_probe() -> None:
    assert Effort.of(10.0, 0.25) == Effort(10.0, 2.5)
    assert Effort.of(2.0, 0.25) == Effort(2.0, 1.0)
    assert Effort.of(0.3, 0.25) == Effort(0.3, 0.3, probes=1)


def test_a_rate_that_does_not_hold_for_long_is_lowered_until_it_does() -> None:
    best = knee(Machine(5000.0, most_for_long=4000.0), EFFORT)
    assert best is not None
    assert 0.95 * 4000 < best.reached <= 4000


def test_a_later_repeat_looks_around_the_knee_before() -> None:
    machine = Machine(5000.0)
    best = knee(machine, EFFORT, Trial(4800.0, 4800.0, 0))
    assert best is not None and 0.95 * 5000 < best.reached <= 5000
    assert None not in [rate for rate, _ in machine.runs]


def test_a_later_repeat_goes_unpaced_again_if_that_was_the_knee() -> None:
    machine = Machine(5000.0, loses_unpaced=False)
    assert knee(machine, EFFORT, Trial(None, 4000.0, 0)) == Trial(None, 5000.0, 0)


@pytest.mark.parametrize("noisy", range(16))
def test_one_noisy_run_does_not_lower_the_knee(noisy: int) -> None:
    machine = Machine(5000.0)

    def run(rate: float | None, seconds: float) -> Trial:
        trial = machine(rate, seconds)
        return replace(trial, lost=7) if len(machine.runs) == noisy + 1 else trial

    best = knee(run, EFFORT)
    assert best is not None and best.good
    assert 0.95 * 5000 < best.reached <= 5000


def test_no_knee_where_every_run_loses() -> None:
    assert knee(lambda rate, seconds: Trial(rate, 100.0, 1), EFFORT) is None


def test_a_side_through_which_nothing_comes_is_given_up_after_a_few_runs() -> None:
    runs: list[float | None] = []

    def silent(rate: float | None, seconds: float) -> Trial:
        runs.append(rate)
        return Trial(rate, 0.0, 0)

    with pytest.raises(PeerError, match=r"none in 3 runs in a row, the last as fast as it goes for 2.5 s"):
        knee(silent, EFFORT)
    assert runs == [None] * 3
    runs.clear()
    with pytest.raises(PeerError, match=r"none in 3 runs in a row, the last \d+ Hz"):
        knee(silent, EFFORT, Trial(4800.0, 4800.0, 0))
    assert len(runs) == 3


def test_single_runs_without_frames_do_not_end_the_search() -> None:
    machine, silent = Machine(5000.0), iter([True, True, False, True, False])

    def run(rate: float | None, seconds: float) -> Trial:
        return Trial(rate, 0.0, 0) if next(silent, False) else machine(rate, seconds)

    best = knee(run, EFFORT)
    assert best is not None and best.good and 0.95 * 5000 < best.reached <= 5000


def test_a_run_without_frames_is_not_good() -> None:
    assert not Trial(100.0, 0.0, 0).good


def notes(*clients: dict[int, int]) -> list[np.ndarray]:
    """Return what clients noted, from mappings of id to time (ns)."""
    return [np.array([list(client), list(client.values())], np.int64) for client in clients]


def test_frames_of_the_peer_count_within_the_window_and_cost_is_shared() -> None:
    taken = notes({n: n * 1_000_000_000 for n in range(1, 11)})
    judged = pvapy.judged(taken, (3_000_000_000, 7_000_000_000), cpu=1.0, asked=1.0)
    assert judged == Trial(1.0, 5 / 4, 0, 0.2)


@pytest.mark.parametrize(
    ("clients", "lost"),
    [
        (({1: 5, 2: 6, 4: 7}, {}), 1),
        (({1: 5, 3: 7}, {2: 6, 4: 8}), 0),
        (({1: 5, 3: 7}, {2: 6, 3: 8}), 1),
        (({1: 5, 4: 7}, {3: 6, 2: 99}), 0),
        (({5: 5, 6: 6}, {}), 0),
    ],
    ids=["a gap", "in turn", "twice", "late", "joined late"],
)
def test_ids_that_no_client_got_and_ids_that_came_twice_are_losses(clients: Any, lost: int) -> None:
    assert pvapy.judged(notes(*clients), (0, 10), 0.0, None).lost == lost


def test_a_peer_without_frames_reached_nothing() -> None:
    assert not pvapy.judged(notes({}), (0, 10), 0.0, None).good


def test_a_client_alone_asks_for_all_and_several_for_their_turn() -> None:
    assert "pydistributor" not in pvapy.request(Case(512))
    assert "pydistributor=group:bench" in pvapy.request(Case(512, consumers=4))
    assert pvapy.request(Case(4096)) == "record[queueSize=128]field()"
    assert pvapy.request(Case(64)) == "record[queueSize=2000]field()"


def test_a_client_notes_ids_and_leaves_the_empty_frame_out(tmp_path: Path) -> None:
    noted = Notes()
    for unique_id in (0, 7, 8):
        noted.take({"uniqueId": unique_id})
    noted.write(tmp_path / "notes")
    ids, times = np.fromfile(tmp_path / "notes", np.int64).reshape(2, -1)
    assert ids.tolist() == [7, 8]
    assert times[0] <= times[1]


def test_the_configuration_of_a_case_is_one_that_rayfan_takes() -> None:
    case = Case(128, DataType.UINT16, consumers=3, policy=Policy.BOUNDED, batch=8, idle_groups=2)
    config = load(toml(case, None), "bench")
    assert config.detector.frame_rate == UNPACED
    assert config.detector.data_type is DataType.UINT16
    assert config.detector.acquire_time == 0
    group = config.groups["bench"]
    assert (group.count, group.policy, group.processor) == (3, Policy.BOUNDED, "bench.py:Bench")
    assert group.queue_size >= 2 * 8
    assert [name for name, one in config.groups.items() if one.count == 0] == ["idle0", "idle1"]
    assert load(toml(Case(), 250.5), "bench").detector.frame_rate == 250.5


@pytest.mark.parametrize("size", [128, 512, 4096])
def test_frames_are_copied_only_where_they_are_to_be_written_anew(size: int) -> None:
    for fresh in (False, True):
        config = load(toml(Case(size, fresh=fresh), None), "bench")
        images = (config.detector.source.prepared or 0) * size * size
        laid_out = images <= config.budget.images * MOST_PINNED_SHARE
        assert laid_out != fresh
        assert not fresh or config.budget.images // (size * size) >= FEWEST_SLOTS


def test_the_sum_is_of_every_byte() -> None:
    assert sum_of(np.array([[1, 2, 3]], np.uint8)) == 6
    words = np.arange(12, dtype=np.uint64).reshape(3, 4)
    assert sum_of(words.view(np.uint16)) == words.sum()
    assert "sum_of(frame.data)" in processor_text(Case(read=True))
    assert "Bench" in toml(Case(read=True), None)


def test_the_copy_rate_is_told_only_where_frames_are_copied() -> None:
    assert memcpy_ratio(Case(fresh=True), {"gbytes_per_s": 9.0}, 10.0) == pytest.approx(0.9)
    assert memcpy_ratio(Case(), {"gbytes_per_s": 9.0}, 10.0) is None


def test_the_configuration_with_egress_and_ingress_is_one_that_rayfan_takes() -> None:
    config = load(whole_toml(Load(1 << 20, 1500), 0.5), "bench")
    assert config.detector.size == (1024, 1024)
    assert config.egress["bench"].rate == 4.0  # Gbit/s
    assert config.egress["bench"].mtu == 1500
    assert load(whole_toml(Load(1 << 18, 9000), None), "bench").egress["bench"].rate is None


def test_a_whole_appliance_needs_square_frames() -> None:
    with pytest.raises(UserError, match="--size: expected the bytes of a square frame"):
        whole_toml(Load(1000, 1500), None)


def test_the_ejfat_table_has_a_line_for_every_case_and_says_which_one_failed() -> None:
    found = {"ratio": 0.75, "gbytes_per_s": 2.5, "frames_per_s": 2400.0, "cpu_seconds_per_gbyte": 0.6, "lost": 0}
    rows = [{"title": row.title, "least": row.least, "of": row.ratio, **found} for row in ejfat_table.ROWS]
    rows[-1] = {**rows[-1], "absent": "no rate without a loss"}
    result = {"rows": rows, "seconds": 5.0, "repeats": 3, "conditions": conditions(), "load_after": 1.5}
    text = ejfat_table.markdown(result)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(ejfat_table.ROWS)
    assert {line.count("|") for line in lines} == {11}
    assert "| 1 MiB, MTU 1500 | 2.50 | 2400 | 0.75 | a bare pair | 0.7 | - | 0.60 | - | 0 |" in lines
    assert "load balancer, 4 workers" in text and "packet by packet" in text and "no rate without a loss" in text
    assert len({row.title for row in ejfat_table.ROWS}) == len(ejfat_table.ROWS)


def report(**changes: Any) -> dict[str, Any]:
    """Return a report of one member that processed 10 of 10 frames, with changes to its stage."""
    stage = {"group": "bench", "processed": 10, "failed": 0, "queued": 0, "in_flight": 0, "dropped": {}}
    return {"published": 10, "stages": [{**stage, "group": "Pva1", "processed": 0}, {**stage, **changes}]}


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({}, 0),
        ({"dropped": {"queue_full": 2}, "processed": 8}, 2),
        ({"dropped": {"duplicate": 2}}, 0),
        ({"failed": 1, "processed": 9}, 1),
        ({"processed": 7}, 3),
    ],
)
def test_losses_are_read_from_the_ledger(changes: dict[str, Any], lost: int) -> None:
    assert lost_frames(report(**changes)) == lost


def test_a_rate_is_the_difference_of_two_readings() -> None:
    assert trial(None, Reading(10.0, 1000, 2.0), Reading(12.0, 5000, 4.0), 0) == Trial(None, 2000.0, 0, 0.0005)
    assert not trial(None, Reading(10.0, 1000, 2.0), Reading(12.0, 1000, 4.0), 0).good


def test_medians_and_ratio() -> None:
    ours = [Trial(None, rate, 0, 1e-5) for rate in (3000.0, 1000.0, 2000.0)]
    result = figures(Case(), Knees(ours, [Trial(None, 500.0, 0, 1e-4)]))
    assert (result["knee_fps"], result["peer_knee_fps"], result["ratio"]) == (2000.0, 500.0, 4.0)
    assert [run["fps"] for run in result["runs"]] == [3000.0, 1000.0, 2000.0]


def test_without_a_peer_its_figures_are_null() -> None:
    result = figures(Case(), Knees([Trial(None, 10.0, 0)], [], "not installed"))
    assert (result["peer_knee_fps"], result["ratio"], result["peer_cpu_seconds_per_frame"]) == (None, None, None)
    json.dumps(result, allow_nan=False)


def test_the_table_has_a_line_for_every_case_and_point() -> None:
    row = figures(Case(), Knees([Trial(None, 10.0, 0)], [], "not installed"))
    result = {
        "cases": [{"title": case.title, "at_least": least, "memcpy_ratio": None, **row} for case, least in table.CASES],
        "watched": {"absent": "not measured"},
        "growth": [{"of": "idle_groups", "value": 3, "title": "", **row}],
        "limits": {
            "memcpy_gbps": 10.0,
            "tcp_loopback_gbps": 3.0,
            "udp_bare_gbps": {"1500": 4.0, "9000": None},
            "sendmsg_gbps": {"1500": 4.5, "9000": None},
            "conditions": conditions(),
        },
        "seconds": 1.0,
        "repeats": 1,
    }
    text = table.markdown(result)
    assert "| 512x512 UInt8, 4 consumers in turn | 10 | - | - | 6 |" in text
    assert "| idle groups | 3 | 10 |" in text
    widths = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert set(widths) == {10, 6}
    assert "status PV: not measured" in text


def test_the_table_tells_what_watching_costs() -> None:
    phases = {name: [watched.Phase(100.0, 1e-5)] for name in ("unwatched", "watched", "control")}
    result = {**watched.figures(phases), "clients": 50, "names": 600, "channels_wanted": 30_000}
    lines = table.watched_lines(result)
    assert lines[-3:] == ["| unwatched | 100 | 10.0 |\n", "| watched | 100 | 10.0 |\n", "| control | 100 | 10.0 |\n"]


def test_what_watching_costs_is_told_beside_clients_that_watch_something_else() -> None:
    def phases(rate: float, **more: Any) -> list[watched.Phase]:
        return [watched.Phase(rate * part, 1e-5, **more) for part in (0.5, 1.0, 2.0)]

    busy = {"clients_cpu": 0.3, "events": 2000.0, "channels": 50}
    result = watched.figures(
        {"unwatched": phases(1000.0), "watched": phases(800.0, **busy), "control": phases(820.0, **busy)}
    )
    assert (result["ratio"], result["ratio_to_control"]) == (0.8, pytest.approx(800 / 820))
    assert (result["channels"], result["events_per_s"], result["clients_cpu_per_s"]) == (50, 2000.0, 0.3)
    json.dumps(result, allow_nan=False)


def test_every_read_only_record_of_the_listing_is_watched() -> None:
    found = watched.names("X:")
    assert {"X:cam1:ArrayCounter_RBV", "X:Cons1:LatencyP99_RBV", "X:Ledger:Residue_RBV"} <= set(found)
    assert not [name for name in found if "$" in name or "Ejfat" in name]


def test_the_workplace_is_gone_afterwards_and_nothing_of_epics_leaks_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPICS_PVA_NAME_SERVERS", "somewhere")
    with pytest.raises(KeyboardInterrupt), workplace() as folder:
        (folder / "file").write_text("x")
        raise KeyboardInterrupt
    assert not folder.exists()
    variables = environment()
    assert "EPICS_PVA_NAME_SERVERS" not in variables
    ports = [value for name, value in variables.items() if name.endswith("PORT")]
    assert len(set(ports)) == 4
    assert prefix() != prefix()


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add(parser.add_subparsers())
    return parser.parse_args(["bench", *words])


def test_the_command_of_the_issue_is_understood() -> None:
    words = "knee --size 512 --consumers 1 --policy lossless --peer pvapy --dtype uint8 --seconds 10 --repeats 5 --json"
    options = parse(*words.split())
    assert (options.size, options.consumers, options.policy, options.seconds, options.json) == (
        (512, 1, "lossless", 10.0, True)
    )


@pytest.mark.parametrize("words", [["knee", "--size", "0"], ["ejfat", "--mtu", "100"], ["limits", "--seconds", "nan"]])
def test_bad_numbers_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(*words)
    assert "expected" in capsys.readouterr().err


def test_a_process_that_grows_is_told_from_one_that_only_wavers(capsys: pytest.CaptureFixture[str]) -> None:
    times = [10.0 * number for number in range(12)]
    wavering = soak.growth("wavers", times, [1000 + 15 * (number % 2) for number in range(12)])
    growing = soak.growth("grows", times, [1000 + 3 * number for number in range(12)])
    assert wavering.flat and not growing.flat
    assert growing.part == pytest.approx(33 / 1016.5)
    good = {"residue": 0, **report()}
    assert soak.verdict(good, 1.0, [wavering]) == 0
    assert soak.verdict(good, 1.0, [wavering, growing]) == 1
    assert soak.verdict({**good, "residue": 1}, 1.0, [wavering]) == 1
    assert soak.verdict({**good, **report(dropped={"queue_full": 1})}, 1.0, [wavering]) == 1
    assert "GROWS" in capsys.readouterr().out


def test_a_case_with_metadata_has_the_same_channels_on_both_sides() -> None:
    case = Case(metadata=2)
    config = load(toml(case, None), "bench")
    channels = config.groups["bench"].metadata.channels
    assert list(config.detector.metadata) == list(channels) == ["M1", "M2"]
    assert not config.detector.acquire_at_start
    assert channels["M1"].under("B:").name == "B:Meta:M1"
    assert pvapy.metadata_channels(case) == "pva://bench:M1,pva://bench:M2"
