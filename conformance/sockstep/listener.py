"""A server of the harness's own, for clients under test."""
from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from .failure import Failure
from .peer import Peer
from .unix import UnixPeer, address

if TYPE_CHECKING:
    from .stage import Stage

LOOPBACK = "127.0.0.1"


class Listener:
    """A listening socket of the harness, for a client under test.

    `receive_buffer`, `send_buffer` and `segment` are in bytes and make its
    connections narrow.  They are set here because the kernel makes a
    connection before anybody accepts it.  `host` is the numeric address.
    """

    def __init__(self, stage: "Stage", backlog: int, receive_buffer: int = 0,
                 send_buffer: int = 0, segment: int = 0,
                 host: str = LOOPBACK):
        self.stage = stage
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        stage.sockets.append(self.sock)
        for level, option, size in (
                (socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer),
                (socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer),
                (socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)):
            if size:
                self.sock.setsockopt(level, option, size)
        self.sock.bind((host, 0))
        if backlog >= 0:
            self.sock.listen(backlog)
        self.sock.setblocking(False)
        self.address = self.sock.getsockname()[:2]

    @property
    def port(self) -> int:
        return self.address[1]

    def accept(self) -> Peer:
        """The client's connection, once it is there."""
        def accepted() -> tuple[socket.socket, tuple] | None:
            try:
                return self.sock.accept()
            except BlockingIOError:
                return None

        connection, far = self.stage.wait(accepted, None,
                                          "the client does not connect")
        if self.stage.subject:
            self.stage.look_into(self.stage.subject)
        self.stage.sockets.append(connection)
        label = "server" if not self.stage.peers else \
            f"server, connection {len(self.stage.peers) + 1}"
        peer = self._peer(connection, label, far)
        self.stage.peers.append(peer)
        self.stage.transcript.add("program", peer.label, "connect")
        return peer

    def _peer(self, connection: socket.socket, label: str,
              far: tuple) -> Peer:
        return Peer(self.stage, connection, label, far)

    def nobody(self) -> None:
        """No connection waits here."""
        try:
            self.sock.accept()[0].close()
        except BlockingIOError:
            return
        raise Failure("output", "the client made a connection where none "
                      "was due")


class UnixListener(Listener):
    """The same at an AF_UNIX address: `path`, or an abstract ``@name``."""

    def __init__(self, stage: "Stage", path: str, backlog: int):
        self.stage = stage
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stage.sockets.append(self.sock)
        self.sock.bind(address(path))
        if backlog >= 0:
            self.sock.listen(backlog)
        self.sock.setblocking(False)

    def _peer(self, connection: socket.socket, label: str,
              far: tuple) -> Peer:
        return UnixPeer(self.stage, connection, label)
