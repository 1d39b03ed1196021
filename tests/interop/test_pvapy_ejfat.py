"""PvaPy's EJFAT classes at the other end: frames go to its receiver, through its publisher, and come back."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from ioc.channels.ejfat import EjfatPublisher, EjfatReceiver, PublisherSettings, ReceiverSettings
from ioc.channels.ejfat_payload import PvapyWriter, reader_of
from ioc.core.compressed import NAME, SHAPE, TYPE
from ioc.core.frame import Attribute, EndOfSeries, Frame, Item
from tests.integration.test_ejfat_channel import assert_same, collect

ROOT = Path(__file__).parents[2]
STAMP = 1_700_000_000_123_456_789
PUBLISHED = 2
"""Images that the process publishes of its own."""


def some_frames() -> list[Frame]:
    noted: dict[str, Attribute] = {"exposure": 0.25, "sample": "Grüße", "shutter": True, "counts": 1 << 40, "bin": -3}
    random = np.random.default_rng(1)
    packed: dict[str, Attribute] = {NAME: "lz4", SHAPE: "20,30", TYPE: "UInt16"}
    return [
        Frame(1_700_000_000_000_000, 1, STAMP, random.integers(0, 1 << 16, (120, 100), np.uint16), noted),
        Frame(1_700_000_000_000_000, 2, STAMP + 1, random.integers(-9, 9, (7, 5, 3), np.int8), {}),
        Frame(1_700_000_000_000_000, 4, STAMP + 2, random.random((6, 4)), {"only": 1}),
        Frame(1_700_000_000_000_000, 5, STAMP + 3, random.integers(0, 256, (1, 300), np.uint8), packed),
    ]


def test_frames_go_through_pvapys_receiver_and_publisher_and_come_back() -> None:
    sent = some_frames()
    reader = reader_of("auto")
    source = EjfatReceiver.open(ReceiverSettings(memory=64 << 20), reader)
    command = [sys.executable, "-m", "tests.support.pvapy_ejfat", str(source.port), str(PUBLISHED)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, "PvaPy's process ended before it listened"
        sink = EjfatPublisher.open(PublisherSettings("127.0.0.1", json.loads(line)["port"], mtu=1500), PvapyWriter())
        items: list[Item] = [*sent, EndOfSeries(sent[0].series, 5)]
        assert sink.publish(items).count == len(items)
        told = [json.loads(process.stdout.readline()) for _ in sent]
        got = collect(source, PUBLISHED + len(sent))
        sink.close(drain=True)
        assert (sink.figures().frames, sink.figures().ends, sink.figures().errors) == (4, 0, 0)
    finally:
        source.close(drain=False)
        process.communicate("", timeout=30)
    for one, frame in zip(told, sent, strict=True):
        assert one["class"] == "NtNdArray" and one["id"] == frame.unique_id and one["seconds"] == STAMP // 10**9
        assert one["sum"] == hashlib.sha256(frame.data.tobytes()).hexdigest()
    assert [one["field"] for one in told] == ["ushortValue", "byteValue", "doubleValue", "ubyteValue"]
    assert [one["sizes"] for one in told] == [[100, 120], [3, 5, 7], [4, 6], [30, 20]]
    assert told[3]["codec"] == "lz4" and told[1]["attributes"] == {"ColorMode": 2, "Series": sent[0].series}
    assert told[0]["attributes"] == {**sent[0].attributes, "ColorMode": 0, "Series": sent[0].series}
    assert_same(got[PUBLISHED:], sent)
    assert reader.is_dealt(sent[0].series) and source.figures().corrupt == 0
    for number, item in enumerate(got[:PUBLISHED]):
        assert isinstance(item, Frame)
        assert (item.series, item.unique_id) == ((5 << 32) + 1, number + 1)
        assert item.attributes["SourceUniqueId"] == 100 + number
        np.testing.assert_array_equal(item.data, (np.arange(15) * 1000 + number).reshape(3, 5))
