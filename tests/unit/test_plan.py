"""Names, order and the run folder of an appliance."""

import os
import stat
from pathlib import Path

import pytest

from ioc.core.config import Config, load
from ioc.core.errors import ConfigError
from ioc.core.status import ProcessSpec, Role
from ioc.supervisor.plan import (
    another_member,
    bound_to,
    consumer_names,
    destination,
    needs_port_of,
    plan,
    why_not_restarted,
)
from ioc.supervisor.run_folder import Birth, RunFolder, folder_of, slug

TEXT = """
[groups.first]
count = 2
[groups.far]
count = 3
placement = "remote"
[groups.second]
count = 1
[egress.out]
ingress = "in"
[egress.away]
uri = "ejfat://token@lb/lb/1?data=10.0.0.1:19522"
[ingress.in]
"""


def config() -> Config:
    """Return a configuration with everything in it."""
    return load(TEXT, "test")


def test_order_of_start_names_and_members() -> None:
    specs = plan(config(), Path("/run"))
    told = [(spec.role, spec.name, spec.table, spec.member) for spec in specs]
    assert told == [
        (Role.INGRESS, "EjfatIn1", "in", None),
        (Role.DETECTOR, "detector", None, None),
        (Role.CONSUMER, "Cons1", "first", 0),
        (Role.CONSUMER, "Cons2", "first", 1),
        (Role.CONSUMER, "Cons3", "second", 0),
        (Role.EGRESS, "Ejfat1", "out", None),
        (Role.EGRESS, "Ejfat2", "away", None),
        (Role.WEB, "Web1", None, None),
    ]
    without = plan(load(f"{TEXT}[web]\nenabled = false", "test"), Path("/run"))
    assert [spec.name for spec in without] == [spec.name for spec in specs][:-1]


def test_who_may_be_started_anew_by_command() -> None:
    text = (
        f'{TEXT}[groups.end]\ninput = "groups.first"\n[groups.away]\ninput = "groups.end"\noutputs = ["put://X:1"]\n'
        "[writers.w]\n[plugins]\n[balancers.b]\n"
        '[egress.again]\nuri = "ejfat://h?data=10.0.0.1:1"\nresend = true\ninput = "groups.second"\n'
        '[egress.pva]\nuri = "ejfat://h?data=10.0.0.1:1"\npayload = "pvapy"\n'
    )
    specs = plan(load(text, "test"), Path("/run"))
    reasons = {one.name: why_not_restarted(one.config, one.role, one.table) for one in specs}
    able = [name for name, reason in reasons.items() if reason is None]
    assert able == ["Cons1", "Cons2", "Cons3", "Cons4", "Ejfat1", "Ejfat2", "Web1"]
    told = {name: reason for name, reason in reasons.items() if reason is not None}
    assert set(told) == {"EjfatLb1", "EjfatIn1", "detector", "Cons5", "Plug1", "HDF1", "Ejfat3", "Ejfat4"}
    assert "elsewhere" in told["Cons5"] and "send again" in told["Ejfat3"] and "PvaPy" in told["Ejfat4"]


@pytest.mark.parametrize(
    ("collector", "reason"),
    [
        ("wait = 10.0", None),
        ("wait = 2.0", "collectors.c, behind it, waits 2 s for late frames: less than 10 s"),
        ("wait = 60.0\nmost_waiting = 100", "lets 100 frames wait, and up to 128 may have to"),
        ("wait = 60.0\nwaiting_bytes = 1000000", "no more than waiting_bytes"),
    ],
)
def test_who_gives_to_a_collector_is_started_anew_if_that_waits_for_it(collector: str, reason: str | None) -> None:
    text = f'[groups.a]\n[groups.b]\ninput = "groups.a"\ncount = 2\n[collectors.c]\ninput = "groups.b"\n{collector}\n'
    config = load(f'{text}[groups.e]\ninput = "collectors.c"\n', "test")
    for table in ("a", "b"):
        found = why_not_restarted(config, Role.CONSUMER, table)
        assert found is None if reason is None else reason in (found or "")
    assert why_not_restarted(config, Role.CONSUMER, "e") is None
    assert why_not_restarted(config, Role.COLLECTOR, "c") is None
    tiles = load(f"{text}tiles = 4\n", "test")
    assert "not whole yet" in (why_not_restarted(tiles, Role.COLLECTOR, "c") or "")


def test_names_of_consumers_by_group() -> None:
    assert consumer_names(config()) == {"first": ["Cons1", "Cons2"], "second": ["Cons3"]}


def test_one_more_member_takes_the_next_free_number() -> None:
    more = another_member(plan(config(), Path("/run")), "first", 2)
    assert (more.role, more.name, more.table, more.member) == (Role.CONSUMER, "Cons4", "first", 2)


def test_only_an_egress_without_uri_waits_for_an_ingress() -> None:
    waits = {spec.name: needs_port_of(spec) for spec in plan(config(), Path("/run"))}
    assert {name: table for name, table in waits.items() if table} == {"Ejfat1": "in"}


def test_an_ingress_comes_back_on_its_port() -> None:
    spec = plan(config(), Path("/run"))[0]
    assert bound_to(spec, 4711).config.ingress["in"].port == 4711
    assert spec.config.ingress["in"].port == 0


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", "127.0.0.1:9"), ("0.0.0.0", "127.0.0.1:9"), ("::", "[::1]:9"), ("10.1.2.3", "10.1.2.3:9")],
)
def test_where_an_ingress_is_reached(address: str, expected: str) -> None:
    assert destination(address, 9) == expected


def test_every_prefix_has_a_folder_of_its_own() -> None:
    prefixes = ["RF:", "RF;", "RF", "RF-", ":", "::", "<a>", "{a}"]
    names = [slug(prefix) for prefix in prefixes]
    assert len(set(names)) == len(names)
    assert not {".", "..", ""}.intersection(names)
    assert not any("/" in name for name in names)


def test_the_run_folder_is_under_the_runtime_folder_if_there_is_one(tmp_path: Path) -> None:
    assert folder_of(Config(), {"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "rayfan" / "RF+"
    assert folder_of(Config(), {}).parent.name == f"rayfan-{os.getuid()}"
    assert folder_of(Config(run_dir=tmp_path), {"XDG_RUNTIME_DIR": "/nowhere"}) == tmp_path


def test_a_run_folder_is_its_owners_only(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / "b")
    folder.prepare()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.path.parent.stat().st_mode) == 0o700


def test_a_folder_that_others_can_read_is_refused_unless_empty(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    RunFolder(tmp_path).prepare()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    tmp_path.chmod(0o755)
    (tmp_path / "thesis").touch()
    with pytest.raises(ConfigError, match=r"expected mode 0700, found '0755'; chmod 700 "):
        RunFolder(tmp_path).prepare()


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="expected a folder"):
        RunFolder(tmp_path / "file").prepare()
    with pytest.raises(ConfigError, match="cannot be made"):
        RunFolder(tmp_path / "file" / "below").prepare()


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    longest = 107 - len("/frames") - len(str(tmp_path)) - 1
    RunFolder(tmp_path / ("x" * longest)).prepare()
    with pytest.raises(ConfigError, match="expected a path of at most 100 bytes, found '101 bytes'"):
        RunFolder(tmp_path / ("x" * (longest + 1))).prepare()


def test_the_lock_is_there_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    held = folder.lock("RF:")
    with pytest.raises(ConfigError, match=rf"prefix 'RF:'.* process {os.getpid()}"):
        RunFolder(tmp_path).lock("RF:")
    os.close(held)
    os.close(folder.lock("RF:"))


def test_cleaning_leaves_what_is_not_ours(tmp_path: Path) -> None:
    for name in ("notes.txt", "Cons1.status", "Cons1.book", "detector.log", "supervisor.log", "ledger.json"):
        (tmp_path / name).touch()
    RunFolder(tmp_path).clean()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "supervisor.log"]


def test_a_birth_survives_its_file_and_a_broken_one_is_left_aside(tmp_path: Path) -> None:
    spec = ProcessSpec(role=Role.CONSUMER, name="Cons1", config=config(), run_dir=tmp_path, table="first", member=0)
    birth = Birth(spec=spec, pid=12, started=34, restarts=5)
    folder = RunFolder(tmp_path)
    folder.write("Cons1.spec", birth.model_dump_json())
    (tmp_path / "Cons2.spec").write_text("{")
    assert folder.births() == [birth]


def test_the_last_words_of_a_process(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.last_words("Cons1") == ""
    (tmp_path / "Cons1.log").write_text("first\nImportError: no\n\n")
    assert folder.last_words("Cons1") == "ImportError: no"
