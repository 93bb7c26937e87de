"""sockdiag: the kernel's tables as sock_diag(7) tells them."""
from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sockstep import sockdiag
from sockstep.sockdiag import SockDiag


@pytest.fixture
def diag() -> Iterator[SockDiag]:
    made = SockDiag()
    yield made
    made.close()


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listener(sockets: ExitStack, family: int = socket.AF_INET,
             host: str = "127.0.0.1", dual: bool = False,
             backlog: int = 7) -> socket.socket:
    sock = sockets.enter_context(socket.socket(family, socket.SOCK_STREAM))
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
    try:
        sock.bind((host, 0))
    except OSError:
        if family == socket.AF_INET6:
            pytest.skip("this machine has no IPv6")
        raise
    sock.listen(backlog)
    return sock


def connected(sockets: ExitStack, server: socket.socket, host: str = ""
              ) -> tuple[socket.socket, socket.socket]:
    """(the client's end, the server's end)"""
    near = sockets.enter_context(socket.create_connection(
        (host or server.getsockname()[0], server.getsockname()[1])))
    far, _ = server.accept()
    return near, sockets.enter_context(far)


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def row_of(diag: SockDiag, sock: socket.socket) -> sockdiag.Row:
    return diag.lookup(sock.getsockname()[:2], sock.getpeername()[:2])


@pytest.mark.parametrize(("family", "host", "dual"), [
    (socket.AF_INET, "127.0.0.1", False), (socket.AF_INET, "0.0.0.0", False),
    (socket.AF_INET6, "::1", False), (socket.AF_INET6, "::", True)])
def test_listeners(diag: SockDiag, sockets: ExitStack, family: int, host: str,
                   dual: bool) -> None:
    server = listener(sockets, family, host, dual, backlog=7)
    mine = [row for row in diag.listeners() if row.inode == inode(server)]
    assert [(row.family, row.state, row.local, row.receive_queue,
             row.send_queue) for row in mine] == [
        (family, sockdiag.LISTEN, (host, server.getsockname()[1]), 0, 7)]
    assert str(mine[0]) == f"LISTEN {host}:{server.getsockname()[1]}"


def test_a_bound_socket_is_no_listener(diag: SockDiag,
                                       sockets: ExitStack) -> None:
    sock = sockets.enter_context(socket.socket())
    sock.bind(("127.0.0.1", 0))
    assert inode(sock) not in [row.inode for row in diag.listeners()]


def test_a_connection_that_waits_for_accept(diag: SockDiag,
                                            sockets: ExitStack) -> None:
    server = listener(sockets)
    near = sockets.enter_context(
        socket.create_connection(server.getsockname()))
    row = next(row for row in diag.listeners() if row.inode == inode(server))
    assert row.receive_queue == 1
    waiting = diag.lookup(near.getpeername(), near.getsockname())
    assert (waiting.state, waiting.inode) == (sockdiag.ESTABLISHED, 0)
    far = sockets.enter_context(server.accept()[0])
    taken = diag.lookup(near.getpeername(), near.getsockname())
    assert taken.inode == inode(far)


@pytest.mark.parametrize(("family", "host", "dual", "to"), [
    (socket.AF_INET, "127.0.0.1", False, "127.0.0.1"),
    (socket.AF_INET6, "::1", False, "::1"),
    (socket.AF_INET6, "::", True, "127.0.0.1")])
def test_lookup_counts_bytes(diag: SockDiag, sockets: ExitStack, until,
                             family: int, host: str, dual: bool, to: str
                             ) -> None:
    near, far = connected(sockets, listener(sockets, family, host, dual), to)
    ends = near.getpeername()[:2], near.getsockname()[:2]
    assert diag.lookup(*ends).inode == inode(far)
    near.sendall(b"12345")
    until(lambda: diag.lookup(*ends).received == 5)
    assert diag.lookup(*ends).receive_queue == 5
    assert far.recv(3) == b"123"
    row = diag.lookup(*ends)
    assert (row.received, row.receive_queue, row.sent) == (5, 2, 0)
    far.sendall(b"1234567")
    until(lambda: row_of(diag, near).received == 7)
    assert diag.lookup(*ends).sent == 7
    until(lambda: sockdiag.tcp_info(near)[:3] == (7, 5, 0))


def test_bytes_that_wait_for_the_window(diag: SockDiag, sockets: ExitStack
                                        ) -> None:
    near, far = connected(sockets, listener(sockets))
    near.setblocking(False)
    taken = 0
    with pytest.raises(BlockingIOError):
        while True:
            taken += near.send(bytes(1 << 16))
    row = row_of(diag, near)
    assert row.unsent > 0
    assert row.sent + row.unsent == taken
    assert row_of(diag, near).sent == diag.lookup(
        near.getpeername(), near.getsockname()).received


def test_states_of_an_end(diag: SockDiag, sockets: ExitStack, until) -> None:
    near, far = connected(sockets, listener(sockets))
    client = near.getsockname(), near.getpeername()
    server = client[::-1]
    near.close()
    until(lambda: diag.lookup(*server).state == sockdiag.CLOSE_WAIT)
    assert diag.lookup(*server).received == 1           # FIN counts as one
    until(lambda: diag.lookup(*client).state == sockdiag.FIN_WAIT2)
    assert diag.lookup(*client).inode == 0
    far.close()
    until(lambda: diag.lookup(*client).state == sockdiag.TIME_WAIT)
    assert diag.lookup(*client).inode == 0
    assert until(lambda: diag.lookup(*server) is None)


def test_lookup_of_none(diag: SockDiag, sockets: ExitStack) -> None:
    """The listener is not taken for a connection to it."""
    server = listener(sockets)
    assert diag.lookup(server.getsockname(), ("127.0.0.1", 1)) is None
    assert diag.lookup(("127.0.0.1", 1), server.getsockname()) is None


def test_with_local_port(diag: SockDiag, sockets: ExitStack) -> None:
    server, other = listener(sockets), listener(sockets)
    near, far = connected(sockets, server)
    found = diag.with_local_port(server.getsockname()[1])
    assert {row.inode for row in found} == {inode(server), inode(far)}
    everything = {row.inode for row in diag.everything()}
    assert {inode(sock) for sock in (server, other, near, far)} <= everything


def test_a_link_is_settled(diag: SockDiag, sockets: ExitStack, until) -> None:
    server = listener(sockets)
    near, far = connected(sockets, server)
    ends = near.getsockname(), near.getpeername()
    assert diag.link_settled(*ends)
    near.sendall(b"unread")             # received by the kernel: not under way
    assert until(lambda: diag.link_settled(*ends))
    far.close()                         # with unread bytes: a reset
    assert until(lambda: diag.link_settled(*ends))


def test_a_link_that_is_being_made_is_not_settled(diag: SockDiag,
                                                  sockets: ExitStack) -> None:
    server = listener(sockets, backlog=0)
    waiting = []
    for _ in range(3):                  # a queue of 0 takes one; Linux
        sock = sockets.enter_context(socket.socket())
        sock.setblocking(False)
        sock.connect_ex(server.getsockname())
        waiting.append(sock)
    states = [row.state for row in diag.everything()
              if row.inode == inode(waiting[-1])]
    assert states == [sockdiag.SYN_SENT]
    assert not diag.link_settled(waiting[-1].getsockname(),
                                 server.getsockname())


def test_a_short_tcp_info_is_refused() -> None:
    with pytest.raises(OSError, match="4.19"):
        sockdiag.parse_tcp_info(bytes(200))


# -- sockets that are gone ---------------------------------------------------------
_LINGER = struct.pack("ii", 1, 0)


@pytest.fixture
def closings() -> Iterator[sockdiag.Closings]:
    made = sockdiag.Closings()
    yield made
    made.close()


def ends_of(near: socket.socket) -> tuple[tuple, tuple]:
    """(the far end, the near end): getpeername(2) fails after a reset."""
    return near.getpeername()[:2], near.getsockname()[:2]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize(("sent", "read"), [
    (5, 5), (5, 2), (5, 0), (0, 0), (5000, 1)])
def test_the_last_row_of_a_socket(
        sockets: ExitStack, closings: sockdiag.Closings,
        family: socket.AddressFamily, sent: int, read: int) -> None:
    """What was unread at the close, also of a socket of both families."""
    server = listener(sockets, family, "::" if family == socket.AF_INET6
                      else "127.0.0.1", dual=True)
    near, far = connected(sockets, server, "127.0.0.1")
    ends = ends_of(near)
    near.send(bytes(sent))
    if read:
        assert len(far.recv(read)) == read
    assert closings.of(*ends, 0) is None
    far.close()
    row = closings.of(*ends, 5.0)
    assert (row.received, row.receive_queue) == (sent, sent - read)
    # It is told as often as it is asked for.
    assert row is closings.of(*ends, 0)


def test_a_socket_that_was_thrown_away(
        sockets: ExitStack, closings: sockdiag.Closings) -> None:
    near, far = connected(sockets, listener(sockets))
    ends = ends_of(near)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    far.close()
    assert closings.of(*ends, 5.0).remote == ("127.0.0.1", 0)


def test_no_news(sockets: ExitStack, closings: sockdiag.Closings) -> None:
    """Of a socket that is there, and of one that went before."""
    near, far = connected(sockets, listener(sockets))
    ends = ends_of(near)
    assert closings.of(*ends, 0.05) is None
    far.close()
    near.close()
    assert closings.of(*ends, 5.0)
    late = sockdiag.Closings()
    assert late.of(*ends, 0.05) is None
    late.close()


def test_more_news_than_it_can_keep(
        sockets: ExitStack, closings: sockdiag.Closings) -> None:
    """Some are lost, and no error is made of it."""
    closings._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    server = listener(sockets, backlog=100)
    for _ in range(60):
        near, far = connected(sockets, server)
        far.close()
        near.close()
    near, far = connected(sockets, server)
    ends = ends_of(near)
    assert closings.of(*ends, 0.2) is None
    port = server.getsockname()[1]
    assert 0 < len([row for row in closings._rows if port in (
        row.local[1], row.remote[1])]) < 120        # both ends of 60
    far.close()
    assert closings.of(*ends, 5.0) is not None
