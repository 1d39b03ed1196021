"""What comes in from outside: its configuration, its ids, its place in the graph of givers and takers."""

from pathlib import Path

import pytest

from consumers.remote_output import remote_outputs
from detector_sim.app import make_distributor
from detector_sim.forwarding import forwarding_of
from ioc.channels.journal import Journal
from ioc.channels.pva_receiver import IdWatch
from ioc.channels.stream import Numbering, StreamSettings
from ioc.cli import main
from ioc.console import picture
from ioc.core.camera_config import SourceConfig
from ioc.core.config import load
from ioc.core.errors import ConfigError, ProtocolError
from ioc.core.stream_ids import LARGEST_GAP, Place, Source, StreamIds
from ioc.core.topology import depth, takers
from ioc.distributor.takers import takers_of
from ioc.supervisor.draining import drain_step
from ioc.supervisor.plan import plan

TEXT = """
[groups.first]
input = "pva://Other:Pva1:Image"
outputs = ["pva", "put://Far:*", "rpc://Service"]
[groups.second]
input = "pva://Other:Pva1:Image"
policy = "bounded"
outputs = ["put://Far:*"]
[intake.named]
url = ["put://Ours:1", "rpc://Ours:2"]
[collectors.all]
input = "intake.named"
[egress.out]
input = "groups.first"
ingress = "in"
[ingress.in]
[writers.disk]
input = "collectors.all"
"""


def test_a_url_as_an_input_is_one_stream_for_all_who_name_it() -> None:
    config = load(TEXT, "test")
    url = "pva://Other:Pva1:Image"
    assert list(config.intake) == ["named", url]
    assert config.intake[url].url == [url]
    assert takers(config.inputs, f"intake.{url}") == ["groups.first", "groups.second"]
    assert type(config).model_validate_json(config.model_dump_json()) == config, "as processes get it"


def test_the_prefix_is_put_into_the_url_of_an_input() -> None:
    text = 'prefix = "BL9:"\n[groups.first]\n[groups.second]\ninput = "pva://$(P)Cons1:Image"\n'
    config = load(text, "test")
    (one,) = config.intake.values()
    assert one.under(config.prefix).url == ["pva://BL9:Cons1:Image"]
    assert "  In1: pva://BL9:Cons1:Image" in picture(config)


def test_intakes_stand_beside_the_detector() -> None:
    config = load(TEXT, "test")
    specs = {spec.name: spec for spec in plan(config, Path("/run"))}
    order = sorted(specs.values(), key=drain_step)
    assert [spec.name for spec in order][:3] == ["detector", "In1", "In2"]
    assert depth(config.inputs, "writer.disk") == 2
    assert list(takers_of(config, "detector")) == []
    assert [group.slot for group in make_distributor(config).groups.values()] == [0], "the clients of the image channel"
    (taker,) = takers_of(config, "collectors.all")
    assert (taker.shape.name, taker.members, taker.shape.limits.frames) == ("writer.disk", ["HDF1"], 512)
    sockets = {specs["In1"].output_socket(giver, "x").name for giver in [*config.inputs, *config.intakes]}
    assert len(sockets) == len([*config.inputs, *config.intake, *config.ingress])
    assert picture(config)[-4:] == [
        "  In2: pva://Other:Pva1:Image",
        "     -> first: Cons1",
        "        -> out: Ejfat1",
        "     -> second: Cons2",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[groups.a]\ninput = "intake.none"', "expected one of detector, found"),
        ('[intake.x]\nurl = "http://here"', "expected pva://NAME"),
        ('[intake.x]\nurl = "pva://with space"', "expected pva://NAME"),
        ("[intake.x]\nurl = []", "at least 1"),
        ('[intake.x]\nurl = ["pva://A", "pva://A"]', "expected different streams"),
        ('[intake.x]\nurl = "pva://A"\nid_field = "a b"', "expected the path of a field"),
        ('[groups.a]\noutputs = ["pva://A"]', "expected pva (a channel of ours), put://NAME"),
        ('[groups.a]\ninput = "egress.b"\n[egress.b]\nuri = "ejfat://1.2.3.4"', "expected one of detector"),
        ('[detector.source]\nforward_controls = ["Acquire"]', "forward_controls: expected kind 'pva'"),
        (
            '[groups.a]\nplacement = "remote"\ninput = "put://A"',
            "expected 'detector' with another placement than 'local'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(text, "test")
    assert message in str(error.value)


def test_a_star_is_the_number_of_the_process() -> None:
    config = load(TEXT, "test")
    specs = {spec.name: spec for spec in plan(config, Path("/run"))}
    outputs = remote_outputs(config.groups["second"], specs["Cons2"], Journal())
    try:
        assert [(one.url, one.status().policy) for one in outputs] == [("put://Far:2", "bounded")]
    finally:
        for one in outputs:
            one.close(drain=False)


def places(ids: StreamIds, *sources: tuple[int, int]) -> list[Place | None]:
    """Return where frames belong, given as (series, id)."""
    return [ids.place(Source(*source)) for source in sources]


def test_gaps_are_missing_from_the_second_id_on() -> None:
    assert places(StreamIds(), (0, 5), (0, 6), (0, 9)) == [Place(0), Place(0), Place(0, (7, 8, 1))]
    assert places(StreamIds(3), (0, 2), (0, 5), (0, 14)) == [Place(0), Place(0), Place(0, (8, 11, 3))]
    assert Place(0, (8, 11, 3)).missed == 2
    assert places(StreamIds(0), (0, 2), (0, 900)) == [Place(0), Place(0)]


def test_a_source_that_begins_again_begins_an_epoch() -> None:
    assert places(StreamIds(), (0, 5), (0, 5), (0, 4)) == [Place(0), Place(1), Place(2)]
    assert places(StreamIds(epoch=4), (7, 1), (8, 2)) == [Place(4), Place(5, (1, 1, 1))], "it told its series"
    assert places(StreamIds(), (0, 1), (0, LARGEST_GAP + 3)) == [Place(0), Place(1)], "not believed"


def test_what_is_shown_again_after_a_reconnection_is_left_out() -> None:
    ids = StreamIds()
    places(ids, (3, 5))
    ids.reconnected()
    assert places(ids, (3, 5), (3, 8)) == [None, Place(0, (6, 7, 1))]
    ids.reconnected()
    assert places(ids, (4, 3)) == [Place(1)], "nobody was there when that series began"
    assert ids.repeated == 1


def test_ids_count_from_the_first() -> None:
    assert Numbering(StreamSettings(first_id=0)).number(0) == 1
    own = Numbering(StreamSettings(id_field=""))
    assert [own.number(None), own.number(99)] == [1, 2]
    for found in (0, True, "7", 1 << 63, None):
        with pytest.raises(ProtocolError):
            Numbering(StreamSettings()).number(found)


def test_controls_are_beside_the_channel_unless_it_is_said() -> None:
    assert SourceConfig(kind="pva", channel="BL1:DET:Pva1:Image").controls_prefix == "BL1:DET:cam1:"
    assert SourceConfig(kind="pva", channel="X:Image", controls="OTHER:").controls_prefix == "OTHER:"


def test_only_controls_can_be_forwarded() -> None:
    source = SourceConfig(kind="pva", channel="A:Pva1:Image", forward_controls=["ArrayRate"])
    with pytest.raises(ConfigError, match="expected controls of cam1:, such as AcquireTime"):
        forwarding_of(source, lambda: 0, lambda: True)
    assert forwarding_of(SourceConfig(kind="pva", channel="A:Pva1:Image"), lambda: 0, lambda: True) is None


def test_the_first_ids_of_a_series_that_began_while_somebody_listened_are_missed() -> None:
    late, there, numbered = IdWatch(), IdWatch(), IdWatch()
    assert late.is_new(5, 3) and not late.missed, "nobody listened when it began"
    assert late.is_new(6, 2)
    assert (late.missed, [(one.series, one.first, one.last) for one in late.ranges()]) == (1, [(6, 1, 1)])
    there.listening()
    assert there.is_new(5, 4) and there.is_new(5, 6)
    assert there.missed == 4
    numbered.listening()
    assert numbered.is_new(0, 7) and not numbered.missed, "the source does not say where it began"


def test_a_mirror_is_an_appliance_with_another_source(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["mirror", "13SIM1:Pva1:Image", "--prefix", "M:", "--forward", "Acquire", "--print-config"]
    assert main(command) == 0
    config = load(capsys.readouterr().out, "printed")
    assert (config.prefix, config.groups) == ("M:", {})
    source = config.detector.source
    assert (source.kind, source.channel, source.forward_controls) == ("pva", "13SIM1:Pva1:Image", ["Acquire"])
