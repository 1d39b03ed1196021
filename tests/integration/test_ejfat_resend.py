"""Lost packets are asked for and sent again, over real sockets; who does not offer it is not asked."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from ioc.channels import ejfat_resend_wire as wire
from ioc.channels.ejfat import EjfatPublisher, PublisherSettings
from ioc.channels.ejfat_resend import Resend
from ioc.channels.ejfat_resend_store import KeepLimits
from ioc.channels.ejfat_resend_wire import Ask
from ioc.channels.ejfat_wire import HEAD_BYTES, parse_segment
from ioc.core.frame import DataType, EndOfSeries, Item
from tests.integration.test_ejfat_channel import assert_same, collect, frame, random_data, receiver, wait_for
from tests.support.lossy_relay import by_chance, lossy

HOST = "127.0.0.1"
PATIENCE = 30.0
LIMITS = KeepLimits(64 << 20, 60.0)


@contextmanager
def publisher(port: int, limits: KeepLimits | None = LIMITS, **changes: object) -> Iterator[EjfatPublisher]:
    settings = replace(PublisherSettings(HOST, port, mtu=1500, rate_gbps=0.5), **changes)
    opened = EjfatPublisher.open(settings, resend=Resend(1, limits, 0) if limits is not None else None)
    try:
        yield opened
    finally:
        opened.close(drain=True)


def server_of(sink: EjfatPublisher) -> Resend:
    assert sink._resend is not None
    return sink._resend


def frames(count: int, shape: tuple[int, int]) -> list[Item]:
    return [frame(number, random_data(number, shape, DataType.UINT16)) for number in range(1, count + 1)]


def test_nothing_is_lost_where_one_packet_in_a_hundred_is() -> None:
    sent = [*frames(100, (100, 200)), EndOfSeries(1, 100)]
    with receiver(resend_delay=0.02, event_timeout=PATIENCE) as source, lossy(source.port, by_chance(0.01, 7)) as relay:
        with publisher(relay.port) as sink:
            sink.publish(sent)
            got = collect(source, len(sent))
        assert got[-1] == sent[-1]  # the end marker waits for what is asked for
        assert_same(sorted(got[:-1], key=lambda item: item.unique_id), sent[:-1])  # type: ignore[union-attr]
        figures, asking = source.figures(), source.asking()
        assert relay.lost > 5
        assert (figures.incomplete, figures.corrupt, figures.bad) == (0, 0, 0)
        assert source.lost_ranges() == {1: []}
        assert asking.recovered > 0 and asking.given_up == 0 and asking.resent >= asking.recovered
        assert server_of(sink).figures().sent == asking.resent


def test_events_of_which_no_packet_came_are_asked_for_by_their_numbers() -> None:
    lost = {3, 4, 9, 12, 13}  # the last frame and the end marker, too: the sender names the last event when it ends

    def loses(packet: bytes) -> bool:
        return parse_segment(packet[:HEAD_BYTES], len(packet)).event in lost

    sent = [*frames(12, (8, 8)), EndOfSeries(1, 12)]
    with receiver(resend_delay=0.02, event_timeout=PATIENCE) as source, lossy(source.port, loses) as relay:
        with publisher(relay.port) as sink:
            sink.publish(sent)
            wait_for(lambda: server_of(sink).figures().clients == 1, server_of(sink).figures)
        got = collect(source, len(sent))
        assert got[-1] == sent[-1]
        assert_same(sorted(got[:-1], key=lambda item: item.unique_id), sent[:-1])  # type: ignore[union-attr]
        assert source.asking().recovered == 5
        wait_for(lambda: source.figures().lost == 0, source.figures)


def test_who_does_not_offer_it_is_not_asked_and_who_does_not_want_it_does_not_connect() -> None:
    for wanted, limits in ((0.02, None), (None, LIMITS)):
        with (
            receiver(resend_delay=wanted, event_timeout=PATIENCE) as source,
            lossy(source.port, first_of(2)) as relay,
            publisher(relay.port, limits) as sink,
        ):
            sent = frames(3, (100, 200))
            sink.publish(sent)
            assert_same(collect(source, 2), [sent[0], sent[2]])
            wait_for(lambda source=source: source.figures().unfinished == 1, source.figures)
            assert source.asking().asked == 0
            assert limits is None or server_of(sink).figures().clients == 0


def first_of(number: int) -> Callable[[bytes], bool]:
    """Lose the first packet of an event."""

    def loses(packet: bytes) -> bool:
        found = parse_segment(packet[:HEAD_BYTES], len(packet))
        return found.event == number and found.offset == 0

    return loses


def test_what_is_not_kept_any_more_is_given_up_and_counted() -> None:
    with (
        receiver(resend_delay=0.02, event_timeout=PATIENCE) as source,
        lossy(source.port, first_of(2)) as relay,
        publisher(relay.port, KeepLimits(1 << 15, 60.0)) as sink,
    ):
        sink.publish(frames(4, (100, 200)))  # 40 kB each: there is room for none
        collect(source, 3)
        wait_for(lambda: source.asking().given_up == 1, source.asking)
        assert server_of(sink).figures().gone == 1 and server_of(sink).events.unkept == 4


def test_hostile_clients_are_let_go_and_others_are_answered() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        with publisher(sock.getsockname()[1]) as sink:
            sink.publish(frames(1, (100, 200)))
            server = server_of(sink)._server
            assert server is not None
            offer = server.offer
            hostile = [
                b"GET / HTTP/1.0\r\n\r\n",
                wire.hello(b"x" * 8),
                wire.hello(offer.token) + b"\x02\x00\x00\x00\x14" + bytes(20),
                wire.hello(offer.token) + b"\x01\xff\xff\xff\xff",
                wire.hello(offer.token) + wire.ask(Ask(1, ((5, 5),))),
                wire.hello(offer.token) + wire.ask(Ask(1, ())),
            ]
            for number, data in enumerate(hostile, start=1):
                with socket.create_connection((HOST, offer.port), PATIENCE) as client:
                    client.sendall(data)
                    wait_for(lambda number=number: server.figures.refused == number, lambda: server.figures)
            with socket.create_connection((HOST, offer.port), PATIENCE) as client:
                client.settimeout(PATIENCE)
                client.sendall(
                    wire.hello(offer.token) + wire.ask(Ask(1, ((0, 50), (100, 150)))) + wire.ask(Ask(9, (wire.WHOLE,)))
                )
                wanted = wire.HELLO_BYTES + 2 * (5 + 20 + 50) + 5 + 8
                data = b""
                while len(data) < wanted:
                    part = client.recv(4096)
                    assert part, f"{len(data)} of {wanted} bytes"
                    data += part
                records = list(wire.Records(asks=False).feed(data[wire.HELLO_BYTES :]))
                assert [type(record).__name__ for record in records] == ["Resent", "Resent", "Gone"]
                whole = b"".join(map(bytes, server._events._kept[1].content[None]))
                assert records[1].datagram[20:] == whole[100:150]  # type: ignore[union-attr]
