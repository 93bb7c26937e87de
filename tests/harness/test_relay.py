"""The relay for datagrams, and time that runs faster for a program."""
from __future__ import annotations

import pytest

from sockstep import deadline, faults
from sockstep.contract import Contract
from sockstep.datagram import DatagramPeer
from sockstep.failure import Failure
from sockstep.relay import SEED_VARIABLE, Relay, Weather
from sockstep.roles import Client
from sockstep.stage import Stage

from workshop import Workshop

UDP = Contract("uppercase", "udp", 12000, "one", "in-turn")
_SOCKET = "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
_ASK = _SOCKET + "sock.sendto(b'x', address)\n"
#: Asks until there is an answer, a second between two tries.
_AGAIN = _SOCKET + ("sock.settimeout(1)\n"
                    "for _ in range(60):\n"
                    "    sock.sendto(b'x', address)\n"
                    "    try:\n"
                    "        print(sock.recv(9).decode())\n"
                    "        break\n"
                    "    except TimeoutError:\n"
                    "        pass\n")


@pytest.fixture(autouse=True)
def no_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SEED_VARIABLE, raising=False)


def start(shop: Workshop, body: str, **options
          ) -> tuple[Stage, DatagramPeer, Relay, Client]:
    """A client under test, a relay, and a server of the harness behind it."""
    target = shop.target(shop.python(body), contract=UDP, role="client")
    stage = shop.stage(target)
    server = stage.listen_datagrams()
    relay = Relay(stage, server.near)
    client = Client.launch(stage, target, port=relay.port, **options)
    return stage, server, relay, client


def notes(stage: Stage) -> str:
    return str(stage.transcript.as_json())


def test_a_relay_passes_both_ways(shop: Workshop) -> None:
    _, server, relay, client = start(shop, _AGAIN)
    relay.request().deliver()
    server.expect(b"x")
    server.send(b"X")
    parcel = relay.answer()
    assert (parcel.data, parcel.what) == (b"X", "answer 1")
    parcel.deliver()
    client.expect_exit(0)
    client.expect_replies(b"X")


def test_a_relay_loses(shop: Workshop) -> None:
    stage, server, relay, client = start(shop, _AGAIN,
                                         plan=deadline.hurry(20))
    relay.lose(relay.request())
    relay.request().deliver()
    server.expect(b"x")
    server.send(b"X")
    relay.answer().deliver()
    client.expect_exit(0)
    assert "request 1" in notes(stage)
    assert server.read() == []


def test_each_client_has_its_own_way_back(shop: Workshop) -> None:
    stage, server, relay, _client = start(shop, "signal.pause()\n")
    ends = [stage.open_datagrams("127.0.0.1", ("127.0.0.1", relay.port))
            for _ in range(3)]
    for number, end in enumerate(ends):
        end.send(b"%d" % number)
        relay.request().deliver()
        server.far = None               # who sent last
        assert server.receive() == b"%d" % number
        server.send(b"answer %d" % number)
        relay.answer().deliver()
    for number, end in enumerate(ends):
        end.expect(b"answer %d" % number)


def test_a_client_that_never_asks(shop: Workshop) -> None:
    _, _, relay, client = start(shop, "")
    with pytest.raises(Failure) as caught:
        relay.pass_on(client.program, Weather(1, losses=2))
    assert caught.value.kind == "output"


def test_a_client_that_waits_for_a_lost_answer(shop: Workshop) -> None:
    _, _, relay, _client = start(shop, _ASK + "sock.recv(9)\n")
    relay.lose(relay.request())
    with pytest.raises(Failure) as caught:
        relay.request()
    assert caught.value.kind == "stuck"


def fates(seed: int, losses: int = 2) -> list[str]:
    """What a weather does with ten datagrams."""
    done: list[str] = []

    class Noted:
        def __init__(self, what: str):
            self.what = what

        def deliver(self) -> None:
            done.append(self.what)

    class NoRelay:
        class stage:
            class transcript:
                add = staticmethod(lambda *_, **__: None)

        lose = staticmethod(lambda parcel: done.append("lost " + parcel.what))

    weather = Weather(seed, losses)
    for number in range(10):
        weather.meet(NoRelay, Noted(str(number)))
    return done


def test_a_weather_is_the_same_each_time() -> None:
    assert fates(1) == fates(1) != fates(2)


@pytest.mark.parametrize("seed", range(20))
def test_a_weather_loses_no_more_than_it_may(seed: int) -> None:
    done = fates(seed)
    arrived = {what for what in done if not what.startswith("lost")}
    assert len(arrived) >= 8
    assert fates(seed, losses=0) == sorted(fates(seed, losses=0))


def test_another_seed_by_the_environment(monkeypatch: pytest.MonkeyPatch
                                         ) -> None:
    monkeypatch.setenv(SEED_VARIABLE, "77")
    assert Weather(1, losses=0).seed == 77


def test_a_loaded_machine_hurries_less(monkeypatch: pytest.MonkeyPatch
                                       ) -> None:
    monkeypatch.setattr(deadline, "load_factor", lambda: 1.0)
    assert deadline.hurry(20) == "clock@*=fast:20"
    monkeypatch.setattr(deadline, "load_factor", lambda: 8.0)
    assert deadline.hurry(20) == "clock@*=fast:2"
    monkeypatch.setattr(deadline, "load_factor", lambda: 20.0)
    assert deadline.hurry(10) == "clock@*=fast:1"


@pytest.mark.parametrize(("plan", "due"), [
    ("", False), ("clock@*=fast:20", False), ("send@1=EINTR", True),
    ("clock@*=fast:20; send@1=EINTR", True),
    ("send@1=EINTR\nclock@*=fast:2", True)])
def test_a_fast_clock_is_no_fault(plan: str, due: bool) -> None:
    assert faults.plans_fault(plan) is due
