"""What servers and viewers say of and to each other: read as it was said, or one error, whatever the bytes."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.channels import local_view_wire as words
from ioc.channels.local_lease import Mapped, Returns, leased
from ioc.channels.pva_standing import Standing, Way, choose, heard, told
from ioc.core.errors import ProtocolError

NAMES = st.text(min_size=1, max_size=60)
STANDINGS = st.builds(Standing, NAMES, st.integers(0, 1 << 32), st.none() | NAMES, st.integers(0, 9))


@given(STANDINGS)
def test_what_a_server_says_of_itself_is_heard(standing: Standing) -> None:
    text = told(standing)
    assert heard(text) == (standing if len(text) <= 1024 else None)


@given(st.text() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_words_of_others_are_no_standing(text: str) -> None:
    assert heard(text) is None


@given(st.dictionaries(st.sampled_from(["rayfan", "boot", "user", "door"]), st.none() | st.integers() | st.text()))
def test_a_standing_is_whole_or_none(said: dict[str, object]) -> None:
    found = heard(json.dumps(said))
    whole = type(said.get("rayfan")) is int and type(said.get("user")) is int and isinstance(said.get("boot"), str)
    assert (found is not None) == (whole and isinstance(said.get("door"), str | None) and len(json.dumps(said)) <= 1024)


@pytest.mark.parametrize(
    ("server", "way", "reason"),
    [
        (None, Way.PLAIN, "not Rayfan's"),
        (Standing("boot", 7, "door", 99), Way.PLAIN, "version 99"),
        (Standing("boot", 7, None), Way.PLAIN, "not for everybody"),
        (Standing("other", 7, "door"), Way.PIPELINED, "another host"),
        (Standing("boot", 8, "door"), Way.PIPELINED, "another user, 8"),
        (Standing("boot", 7, "door"), Way.SHARED, ""),
    ],
)
def test_the_fastest_safe_way_is_chosen(server: Standing | None, way: Way, reason: str) -> None:
    choice = choose(server, Standing("boot", 7))
    assert choice.way is way
    shown = str(choice.when_taken())
    assert way.value in shown and reason in shown, "nothing of why is left out"
    assert ("once frames are taken" in shown) is (way is not Way.PLAIN), "a plain monitor is there from the start"
    assert reason in choice.reason and bool(reason) == bool(choice.reason)


@given(NAMES, st.integers(1, 1000))
def test_a_wish_is_read_as_it_was_said_within_bounds(channel: str, frames: int) -> None:
    wish = words.parse_hello(words.hello(words.Wish(channel, frames)))
    assert wish == words.Wish(channel, min(frames, words.MOST_FRAMES))


@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=words.MOST_FREED), st.integers(0, 1 << 31))
def test_numbers_are_read_as_they_were_said(numbers: list[int], room: int) -> None:
    assert list(words.parse_free(words.free(numbers))) == numbers
    assert words.parse_room(words.room(room)) == room


@given(st.binary(max_size=200), st.sampled_from([b"", words.HELLO, words.FREE, words.ROOM, words.BYE]))
def test_bytes_are_a_word_or_one_error(data: bytes, kind: bytes) -> None:
    for parse in (words.parse_hello, words.parse_free, words.parse_room):
        try:
            parse(kind + data)
        except ProtocolError:
            continue
    assert isinstance(words.parse_bye(kind + data), str)


@given(st.integers(0, 80), st.sampled_from([(2, 3), (8, 8), (2, 2, 3)]), st.sampled_from(["u1", "u2", "f8"]))
def test_a_lease_lies_within_its_memory_and_is_returned_once(offset: int, shape: tuple[int, ...], kind: str) -> None:
    memory, returns = np.arange(100, dtype=np.uint8), Returns()
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    place = (offset, shape, np.dtype(kind))
    mapped = Mapped(memory, returns)
    if offset + size > 100 or offset % np.dtype(kind).itemsize:
        with pytest.raises(ProtocolError, match="place of a frame"):
            leased(mapped, place, 3)
        assert returns.take(9) == []
        return
    array = leased(mapped, place, 3)
    assert array.shape == shape and not array.flags.writeable
    assert array.tobytes() == memory[offset : offset + size].tobytes()
    part = array[1:]
    del array
    assert returns.take(9) == []
    del part
    assert returns.take(9) == [3]
