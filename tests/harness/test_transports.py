"""The stage over UDP and AF_UNIX: ready, at rest, stuck, and scripted ends."""
from __future__ import annotations

import dataclasses
import os
import socket

import pytest

from sockstep.contract import Contract
from sockstep.datagram import MOST_BYTES, Flush
from sockstep.failure import Failure
from sockstep.roles import Client, Server
from sockstep.sockdiag import SockDiag

from workshop import Workshop

UDP = Contract("uppercase", "udp", 12000, "one", "in-turn")
UNIX = Contract("echo", "unix", 0, "many", "in-turn")
_UDP = ("server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "server.bind(address)\n")
_UNIX = ("path = options['-U']\n"
         "name = '\\0' + path[1:] if path[0] == '@' else path\n"
         "listener = socket.socket(socket.AF_UNIX)\n"
         "listener.bind(name)\nlistener.listen(1)\n")
_UPPER = _UDP + ("while True:\n"
                 "    data, sender = server.recvfrom(65536)\n"
                 "    server.sendto(data.upper(), sender)\n")
_ECHO = _UNIX + ("while True:\n"
                 "    connection, _ = listener.accept()\n"
                 "    while data := connection.recv(4096):\n"
                 "        connection.sendall(data)\n"
                 "    connection.close()\n")


def launch(shop: Workshop, body: str, contract: Contract, **options
           ) -> Server:
    target = shop.target(shop.python(body), contract=contract)
    return Server.launch(shop.stage(target), target, **options)


def launch_client(shop: Workshop, body: str, contract: Contract) -> Client:
    target = shop.target(shop.python(body), contract=contract, role="client")
    return Client.launch(shop.stage(target), target)


def failure_of(act, *arguments) -> Failure:
    with pytest.raises(Failure) as caught:
        act(*arguments)
    return caught.value


# -- UDP -----------------------------------------------------------------------
@pytest.mark.parametrize("size", [0, 1, 2048, MOST_BYTES])
def test_a_datagram_is_answered(shop: Workshop, size: int) -> None:
    peer = launch(shop, _UPPER, UDP).connect()
    peer.send(b"x" * size)
    peer.expect(b"X" * size)
    peer.expect_silence()


def test_many_datagrams_keep_their_order(shop: Workshop) -> None:
    server = launch(shop, _UPPER, UDP)
    peers = [server.connect() for _ in range(3)]
    for number in range(30):
        peers[number % 3].send(b"line %d" % number)
    for number in range(30):
        peers[number % 3].expect(b"LINE %d" % number)


def test_no_answer_to_a_datagram(shop: Workshop) -> None:
    peer = launch(shop, _UDP + "server.recvfrom(10)\nserver.recvfrom(10)\n",
                  UDP).connect()
    peer.send(b"hello")
    failure = failure_of(peer.expect, b"HELLO")
    assert failure.kind == "stuck"
    assert "recvfrom(fd 3) on its UDP socket" in failure.message


def test_another_answer_than_is_due(shop: Workshop) -> None:
    peer = launch(shop, _UPPER, UDP).connect()
    peer.send(b"hello")
    failure = failure_of(peer.expect, b"HELLo")
    assert failure.kind == "wrong-bytes" and failure.mismatch.offset == 4


def test_a_server_without_its_udp_socket(shop: Workshop) -> None:
    failure = failure_of(launch, shop, "sys.exit(3)\n", UDP)
    assert failure.kind == "startup"
    failure = failure_of(launch, shop, "signal.pause()\n", UDP)
    assert "never binds a UDP socket" in failure.message


def test_a_client_of_datagrams(shop: Workshop) -> None:
    client = launch_client(shop, (
        "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "sock.sendto(input().encode(), address)\n"
        "print(sock.recvfrom(2048)[0].decode())\n"), UDP)
    client.type(b"hello\n")
    assert client.listener.receive() == b"hello"
    client.listener.send(b"HELLO")
    client.expect_exit(0)
    client.expect_replies(b"HELLO")


def test_the_flush_keeps_the_processors(shop: Workshop) -> None:
    allowed = os.sched_getaffinity(0)
    flush = Flush()
    flush()
    flush.close()
    assert os.sched_getaffinity(0) == allowed


def test_the_table_of_udp_sockets() -> None:
    diag = SockDiag()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        inode = os.fstat(sock.fileno()).st_ino
        row, = [row for row in diag.datagram_sockets() if row.inode == inode]
        assert row.local == sock.getsockname()
    diag.close()


# -- AF_UNIX -------------------------------------------------------------------
@pytest.mark.parametrize("path", ["", "@sockstep.test.%d" % os.getpid()],
                         ids=["file", "abstract"])
def test_an_echo_over_unix(shop: Workshop, path: str) -> None:
    server = launch(shop, _ECHO, UNIX, path=path)
    for number in range(3):
        peer = server.exchange(number)
        peer.half_close()
        peer.expect_end()
        peer.close()


def test_pieces_over_unix(shop: Workshop) -> None:
    server = launch(shop, _ECHO, UNIX)
    peer = server.connect()
    for piece in (b"in ", b"three ", b"pieces"):
        peer.send(piece)
        server.quiet()
    assert peer.taken() == 15
    peer.expect(b"in three pieces")
    peer.expect_silence()


def test_what_a_unix_server_has_not_taken(shop: Workshop) -> None:
    server = launch(shop, _ECHO, UNIX)
    server.exchange()
    server.freeze()
    peer = server.connect()
    peer.send(b"unread")
    assert peer.taken() == 0
    server.stage.peers[0].close()
    server.thaw()
    peer.expect(b"unread")


def test_stuck_over_unix(shop: Workshop) -> None:
    peer = launch(shop, _UNIX + "connection, _ = listener.accept()\n"
                  "connection.recv(5)\nconnection.recv(5)\n", UNIX).connect()
    peer.send(b"hello")
    failure = failure_of(peer.expect, b"hello")
    assert failure.kind == "stuck"
    assert "on the connection with client 1" in failure.message


def test_no_unix_server(shop: Workshop) -> None:
    server = launch(shop, _ECHO, UNIX)
    server.path += ".other"
    failure = failure_of(server.connect)
    assert failure.kind == "refused" and "No such file" in failure.message
    failure = failure_of(launch, shop, "signal.pause()\n", UNIX)
    assert "never listens on an AF_UNIX socket" in failure.message


def test_a_reset_over_unix(shop: Workshop) -> None:
    """Bytes that were never read make the end a reset there too."""
    peer = launch(shop, _UNIX + "connection, _ = listener.accept()\n"
                  "signal.pause() if listener.accept() else 0\n", UNIX)
    first = peer.connect()
    first.send(b"never read")
    peer.stage.end_in_order(peer.program)
    first.until_end()
    assert first.end == "reset"


def test_breaking_off_over_unix(shop: Workshop) -> None:
    """A close with unread bytes is what a reset is over TCP."""
    server = launch(shop, _ECHO, UNIX)
    peer = server.connect()
    peer.send(b"never read")
    server.quiet()
    peer.reset()
    server.quiet()
    assert b"ConnectionResetError" in server.program.stderr


def test_the_queue_of_a_unix_server(shop: Workshop) -> None:
    server = launch(shop, _UNIX + "signal.pause()\n", UNIX)
    server.connect()
    row, = server.listening()
    assert (row.receive_queue, row.send_queue) == (1, 1)


def test_a_server_that_is_found_later(shop: Workshop) -> None:
    server = launch(shop, _ECHO, UNIX, ready=False)
    server.find()
    server.exchange()


def test_the_paths_of_two_servers(shop: Workshop) -> None:
    """What one leaves behind is in no other's way; waits look at one."""
    target = shop.target(shop.python(_ECHO), contract=UNIX)
    stage = shop.stage(target)
    first, second = (Server.launch(stage, target) for _ in range(2))
    assert first.path != second.path
    assert stage.subject is second.program
    second.done()
    stage.look_at(first.program)
    assert stage.subject is first.program
    first.exchange()


def test_a_client_over_unix(shop: Workshop) -> None:
    client = launch_client(shop, (
        "sock = socket.socket(socket.AF_UNIX)\n"
        "sock.connect(options['-U'])\n"
        "sock.sendall(input().encode())\n"
        "print(sock.recv(100).decode())\n"), UNIX)
    client.type(b"hello\n")
    peer = client.accept()
    peer.expect(b"hello")
    peer.send(b"back")
    client.expect_exit(0)
    client.expect_replies(b"back")


# -- contracts -----------------------------------------------------------------
def test_the_words_for_a_file() -> None:
    from sockstep.contract import Target
    target = Target("07", "client", "client", ["/x"],
                    dataclasses.replace(UDP, transport="tcp", service="file"))
    assert target.argv_file(target.argv("h", 7), "a b") == \
        ["/x", "-H", "h", "-P", "7", "-F", "a b"]
    target.command = ["python3", "c.py", "{port}", "{file}"]
    assert target.argv_file(target.argv("h", 7), "a b") == \
        ["python3", "c.py", "7", "a b"]
