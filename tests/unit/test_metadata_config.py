"""The configuration of metadata: what is refused, with which words, and what a chain carries on."""

import pytest

from ioc.core.config import load
from ioc.core.errors import ConfigError
from ioc.core.id_stream import IdStream
from ioc.core.time_stream import TimeStream

TABLE = "[groups.g.metadata.channels.A]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('channel = "http://X"', "expected pva://NAME, ca://NAME or NAME, found 'http://X'"),
        ('channel = "ca://X"\nmatch = "id"', "expected 'time' with a ca:// channel"),
        ('channel = "X"\nfield = "a.b"', "expected none with a ca:// channel"),
        ('channel = "pva://X"\nmatch = "id"\ninterpolate = true', "expected with match = 'time' only"),
        ('channel = "pva://X"\nfield = "a..b"', "groups.g.metadata.channels.A.field"),
        ('channel = "pva://X"\nwindow = -1', "greater than or equal to 0"),
        ('channel = "pva://X"\noffset = "guess"', "offset"),
        ('channel = "pva://X"\nlate = "never"', "'missing', 'hold' or 'drop'"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"metadata\.channels\.A") as caught:
        load(f"{TABLE}{text}\n", "test.toml")
    assert said in str(caught.value)


def test_a_name_that_cannot_be_part_of_a_record_is_refused() -> None:
    with pytest.raises(ConfigError, match="a-b"):
        load('[groups.g.metadata.channels.a-b]\nchannel = "pva://X"\n', "test.toml")


def test_consumers_elsewhere_have_no_metadata_here() -> None:
    with pytest.raises(ConfigError, match="placement 'remote'"):
        load(f'[groups.g]\nplacement = "remote"\n{TABLE}channel = "pva://X"\n', "test.toml")


def test_channels_are_named_as_pvapy_names_them() -> None:
    config = load(f'{TABLE}channel = "X:Y"\n[groups.g.metadata.channels.B]\nchannel = "pva://$(P)Z"\n', "test.toml")
    first, second = config.groups["g"].metadata.channels.values()
    assert (first.protocol, first.name) == ("ca", "X:Y")
    assert (second.protocol, second.under("RF:").name) == ("pva", "RF:Z")


def test_windows_have_a_default_for_each_way_of_matching() -> None:
    lines = f'{TABLE}channel = "pva://X"\n[groups.g.metadata.channels.B]\nchannel = "pva://X"\nmatch = "id"\n'
    times, ids = (one.stream() for one in load(lines, "test.toml").groups["g"].metadata.channels.values())
    assert isinstance(times, TimeStream)
    assert isinstance(ids, IdStream)
    assert (times.rule.window_ns, ids.rule.window_ns) == (500_000, 1_000_000_000)


def test_values_are_carried_to_all_groups_behind() -> None:
    config = load(
        f'{TABLE}channel = "pva://X"\n[collectors.c]\ninput = "groups.g"\n[groups.h]\ninput = "collectors.c"\n'
        '[groups.h.metadata.channels.B]\nchannel = "pva://Y"\n[groups.i]\ninput = "groups.h"\n',
        "test.toml",
    )
    assert config.carried_metadata("detector") == ()
    assert config.carried_metadata("collectors.c") == ("A",)
    assert set(config.carried_metadata("groups.h") or ()) == {"A", "B"}


def test_values_are_known_behind_an_ejfat_hop() -> None:
    config = load(
        f'{TABLE}channel = "pva://X"\n[egress.e]\ninput = "groups.g"\ningress = "i"\n[ingress.i]\n'
        '[egress.e.metadata.channels.B]\nchannel = "pva://Y"\n[groups.h]\ninput = "ingress.i"\n'
        '[egress.back]\ninput = "groups.h"\ningress = "i"\n',
        "test.toml",
    )
    assert config.carried_metadata("ingress.i") is config.carried_metadata("groups.h") is None
    assert config.carried_metadata("groups.g") == ("A",)
    assert config.metadata_pvs("h") == {"A": "X", "B": "Y"}


def test_frames_of_a_mirrored_detector_say_themselves_what_goes_along() -> None:
    config = load('[detector]\nsource = { kind = "pva", channel = "X:Image" }\n[groups.g]\n', "test.toml")
    assert config.carried_metadata("detector") is None
