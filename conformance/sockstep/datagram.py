"""Scripted ends for datagrams: udp(7)."""
from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from .failure import Failure, HarnessError, mismatch
from .transcript import count, shorten

if TYPE_CHECKING:
    from .stage import Stage

#: The most that a UDP datagram over IPv4 can carry: 65,535 less two headers.
MOST_BYTES = 65_507
_FLUSH_SECONDS = 5.0


class DatagramPeer:
    """One UDP socket of the harness: a client of a server under test, or the
    server of a client.

    `got` holds what came and was not taken yet: each datagram with its
    sender's address.  `far` is where `send` sends; None: to whoever sent last.
    """

    def __init__(self, stage: "Stage", sock: socket.socket, label: str,
                 far: tuple | None):
        self.stage = stage
        self.sock = sock
        self.label = label
        self.far = far
        self.near = sock.getsockname()[:2]
        self.got: list[tuple[bytes, tuple]] = []
        self.sent = 0                       # datagrams
        self.end: str | None = None         # there is no end of a stream
        self.end_looked_for = False
        self.half_closed = False
        self.closed = False
        sock.setblocking(False)

    @property
    def port(self) -> int:
        return self.near[1]

    # -- acts ---------------------------------------------------------------
    def send(self, data: bytes, to: tuple | None = None) -> None:
        """Send one datagram, to `to` or to `far`."""
        to = to or self.far
        if to is None:
            raise HarnessError(f"{self.label} has nobody to send to")
        # A queue of the sender's own can be full for a moment.
        self.sock.setblocking(True)
        try:
            self.sock.sendto(data, to)
        except ConnectionRefusedError:      # told of an earlier one: icmp(7)
            self.sock.sendto(data, to)
        finally:
            self.sock.setblocking(False)
        self.sent += 1
        self.stage.transcript.add("harness", self.label, "send", data,
                                  note=f"to {to[0]} port {to[1]}")

    def close(self) -> None:
        if not self.closed:
            self.stage.transcript.add("harness", self.label, "close")
            self.closed = True
            self.sock.close()

    # -- expectations -------------------------------------------------------
    def receive(self, what: str = "no datagram came") -> bytes:
        """The next datagram; its sender becomes `far` if there was none."""
        self.stage.wait(self.has_come, self, what)
        data, sender = self.got.pop(0)
        self.sender = sender
        if self.far is None:
            self.far = sender
        return data

    def expect(self, data: bytes) -> None:
        """The next datagram is `data`, whole and nothing else."""
        came = self.receive(f"no datagram came; {count(len(data), 'byte')} "
                            "were due")
        if came != data:
            wrong = mismatch(data, came)
            raise Failure("wrong-bytes", "another datagram came than is due, "
                          f"of {count(len(came), 'byte')} instead of "
                          f"{len(data):,}: expected "
                          f"{shorten(data[wrong.offset:])}, got "
                          f"{shorten(came[wrong.offset:])} at byte "
                          f"{wrong.offset:,}", mismatch=wrong)

    def expect_silence(self) -> None:
        """Nothing comes: the program is at rest."""
        self.stage.quiet()
        self._pull()
        if self.got:
            data, _sender = self.got[0]
            raise Failure("wrong-bytes", "a datagram came where none was "
                          f"due: {shorten(data)}", mismatch=mismatch(b"", data))

    def read(self) -> list[bytes]:
        """What has come and was not taken yet, without waiting."""
        self._pull()
        fresh = [data for data, _sender in self.got]
        self.got.clear()
        return fresh

    # -- what a stage asks of every peer --------------------------------------
    def has_come(self) -> bool:
        """Whether there is a datagram that was not taken yet."""
        self._pull()
        return bool(self.got)

    def _pull(self) -> None:
        while not self.closed:
            try:
                data, sender = self.sock.recvfrom(1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ECONNREFUSED:
                    raise
                self.stage.transcript.add("kernel", self.label, "refused")
                continue
            self.got.append((data, sender[:2]))
            self.stage.transcript.add(
                "program", self.label, "send", data,
                note=f"from {sender[0]} port {sender[1]}")

    def ended(self) -> bool:
        return self.closed

    def settled(self) -> bool:
        """What is under way is asked of the whole loopback; see `Flush`."""
        return True


class Flush:
    """Waits until every packet sent so far over the loopback has arrived.

    The kernel hands a packet that was sent on a processor over to a queue of
    that processor, which it works off in order, at once or (under load) a
    little later.  A datagram of our own, sent on each processor in turn,
    comes out behind all that went in before it; the second round lets those
    arrive that the first has caused, such as ICMP errors.
    """

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.connect(self._sock.getsockname())
        self._sock.settimeout(_FLUSH_SECONDS)
        self._number = 0

    def close(self) -> None:
        self._sock.close()

    def __call__(self) -> None:
        allowed = os.sched_getaffinity(0)
        try:
            for _round in range(2):
                for processor in sorted(allowed):
                    os.sched_setaffinity(0, {processor})
                    self._once()
        finally:
            os.sched_setaffinity(0, allowed)

    def _once(self) -> None:
        self._number += 1
        mark = self._number.to_bytes(8, "big")
        self._sock.send(mark)
        try:
            while self._sock.recv(16) != mark:
                pass                        # of an earlier, broken-off call
        except TimeoutError:
            raise HarnessError("the loopback delivered no datagram within "
                               f"{_FLUSH_SECONDS:.0f} s") from None
