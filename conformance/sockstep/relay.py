"""A go-between for datagrams: it loses, holds, doubles and reorders them.

It stands between a client and a server, which may be a program of the
documents, the harness's own, or one under test.  Nothing goes by chance: a
case says what becomes of each datagram, or a seed does (`Weather`).
"""
from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .datagram import DatagramPeer
from .failure import Failure
from .listener import LOOPBACK

if TYPE_CHECKING:
    from .program import Program
    from .stage import Stage

#: Set it to see the weather of another seed.
SEED_VARIABLE = "SOCKSTEP_SEED"


@dataclass
class Parcel:
    """A datagram on its way.  Who never delivers it has lost it."""

    data: bytes
    sender: DatagramPeer        # from here the receiver is to get it
    receiver: tuple             # its address
    what: str                   # "request 2", "answer 1"

    def deliver(self) -> None:
        self.sender.send(self.data, self.receiver)


class Relay:
    """Clients send to `port`; each has a socket of its own to the server."""

    def __init__(self, stage: "Stage", server: tuple):
        self.stage = stage
        self.server = server
        self.near = stage.open_datagrams(LOOPBACK, None, "relay")
        self._far: dict[tuple, DatagramPeer] = {}
        self._count = {"request": 0, "answer": 0}

    @property
    def port(self) -> int:
        return self.near.port

    def request(self) -> Parcel:
        """The next datagram of a client, which is not passed on yet."""
        self.stage.wait(self.near.has_come, self.near,
                        "no (further) request of the client comes")
        return self._next()

    def answer(self) -> Parcel:
        """The next datagram of the server, which is not passed on yet."""
        self.stage.wait(lambda: any(far.has_come() for far in
                                    self._far.values()), None,
                        "no answer of the server comes")
        return self._next(answers=True)

    def lose(self, parcel: Parcel) -> None:
        """Note that it is lost; to forget a parcel has the same effect."""
        self.stage.transcript.add("harness", "relay", "lose",
                                  note=parcel.what)

    def pass_on(self, program: "Program", weather: "Weather") -> None:
        """Do with each datagram what the weather says until `program` ends.

        It fails if the client never asks.
        """
        self.stage.transcript.add("harness", "relay", "weather",
                                  note=f"seed {weather.seed}")

        def over() -> bool:
            while (parcel := self._next() or self._next(answers=True)):
                weather.meet(self, parcel)
            return not program.alive()

        self.stage.wait(over, self.near, "the client does not end",
                        program=program)
        if not self._count["request"]:
            raise Failure("output", "the client has ended and asked nobody")

    def _next(self, answers: bool = False) -> Parcel | None:
        """The next datagram that is here, from one side."""
        ends = self._far.items() if answers else [(None, self.near)]
        for client, end in ends:
            if end.has_come():
                data, sender = end.got.pop(0)
                kind = "answer" if answers else "request"
                self._count[kind] += 1
                what = f"{kind} {self._count[kind]}"
                if answers:
                    return Parcel(data, self.near, client, what)
                return Parcel(data, self._far_end(sender), self.server, what)
        return None

    def _far_end(self, client: tuple) -> DatagramPeer:
        if client not in self._far:
            self._far[client] = self.stage.open_datagrams(
                LOOPBACK, self.server, f"relay for port {client[1]}")
        return self._far[client]


class Weather:
    """What becomes of datagrams, by a seed.

    At most `losses` are lost, so that who asks again often enough gets an
    answer; one that is held comes after the next one, whichever way that goes.
    """

    def __init__(self, seed: int, losses: int):
        self.seed = int(os.environ.get(SEED_VARIABLE, seed))
        self._losses = losses
        self._chance = random.Random(self.seed)
        self._held: list[Parcel] = []

    def meet(self, relay: Relay, parcel: Parcel) -> None:
        fate = self._chance.choice(("pass", "lose", "hold", "double"))
        if fate in ("lose", "hold") and not self._losses:
            fate = "pass"
        if fate in ("lose", "hold"):
            self._losses -= 1           # one that is held may come too late
        if fate == "lose":
            relay.lose(parcel)
            return
        if fate == "hold":
            relay.stage.transcript.add("harness", "relay", "hold",
                                       note=parcel.what)
            self._held.append(parcel)
            return
        held, self._held = self._held, []
        for each in [parcel, *[parcel] * (fate == "double"), *held]:
            each.deliver()
