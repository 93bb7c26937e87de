"""The stage: ready, at rest, frozen, told by the kernel and by no clock."""
from __future__ import annotations

import dataclasses
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from sockstep import procfs, sockdiag
from sockstep import stage as stage_module
from sockstep.deadline import Deadline, load_factor
from sockstep.failure import Failure, TooLate
from sockstep.program import told_by, waits_of
from sockstep.roles import Server, _free_ports, _instead
from sockstep.sockdiag import SockDiag

from workshop import ECHO, ECHO_C, IN_TURN, ONE, Workshop


class Soon(Deadline):
    """A deadline that is near, whatever the load of the machine."""

    def __init__(self, seconds: float = 0.2, factor: float = 1.0):
        super().__init__(seconds / load_factor(), factor)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call of this on, the next deadlines are near."""
    return lambda: monkeypatch.setattr(stage_module, "Deadline", Soon)


class Slack(Soon):
    """A deadline that is near, and long when it is given once more."""

    def extend(self) -> None:
        self._end += 10.0


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call of this on, the next deadlines are such."""
    return lambda: monkeypatch.setattr(stage_module, "Deadline", Slack)


@pytest.fixture
def small_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of a second of processor time counts as spinning."""
    monkeypatch.setattr(stage_module, "SPIN_CPU_SECONDS", 0.1)


def launch(shop: Workshop, *command: str, contract=IN_TURN,
           under_valgrind: bool = False, told: bool = False,
           **options) -> Server:
    target = shop.target(*command, contract=contract)
    return Server.launch(
        shop.stage(target, under_valgrind=under_valgrind, told=told),
        target, **options)


def failure_of(act: Callable, *arguments, **named) -> Failure:
    with pytest.raises(Failure) as caught:
        act(*arguments, **named)
    return caught.value


# -- READY ---------------------------------------------------------------------
def test_ready_makes_no_connection(shop: Workshop) -> None:
    """A server for one client gets the first client of the case."""
    server = launch(shop, shop.connected(
        "listener.close()\nconnection.sendall(connection.recv(10))\n"),
        contract=ONE)
    peer = server.connect()
    peer.send(b"first")
    peer.expect(b"first")
    peer.expect_end()
    server.expect_exit(0)


def test_ready_after_some_work(shop: Workshop) -> None:
    """Bound, then busy, then listening: ready is when it listens."""
    server = launch(shop, shop.python("""
import time
sock = socket.socket()
sock.bind(address)
while time.process_time() < 0.15:
    pass
sock.listen()
print("listens", flush=True)
sock.accept()
"""))
    server.quiet()
    assert server.program.stdout == b"listens\n"
    server.connect()


def test_ready_after_a_timer(shop: Workshop) -> None:
    server = launch(shop, shop.python(
        "import time\ntime.sleep(0.3)\nsocket.create_server(address).accept()"
    ))
    server.connect()


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_ready_on_all_addresses(shop: Workshop, family: str) -> None:
    if family == "AF_INET6" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    server = launch(shop, shop.python(
        f"listener = socket.create_server(('', address[1]), "
        f"family=socket.{family}, "
        f"dualstack_ipv6={family == 'AF_INET6'})" + ECHO), host=None)
    peer = server.connect()
    peer.send(b"x")
    peer.expect(b"x")


def test_ready_where_a_child_listens(shop: Workshop) -> None:
    server = launch(shop, shop.python(
        "if os.fork():\n    os.wait()\n"
        "listener = socket.create_server(address)" + ECHO))
    peer = server.connect()
    peer.send(b"x")
    peer.expect(b"x")


def held_port() -> tuple[socket.socket, socket.socket, int]:
    """A port that a program may bind, and the one with its bytes swapped."""
    while True:
        first, second = socket.socket(), socket.socket()
        for sock in (first, second):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1]
        try:
            second.bind(("127.0.0.1", socket.htons(port)))
            if socket.htons(port) != port:
                return first, second, port
        except OSError:                 # a privileged one
            pass
        first.close()
        second.close()


@pytest.mark.parametrize(("change", "told", "not_told"), [
    ("socket.htons(address[1])", "htons", "-P"),
    ("0", "instead of", "htons")])
def test_ready_on_a_wrong_port(shop: Workshop, change: str, told: str,
                               not_told: str) -> None:
    first, second, port = held_port()
    script = shop.python(f"address = address[0], {change}\n"
                         "socket.create_server(address).accept()")
    with first, second:
        failure = failure_of(launch, shop, script, port=port)
    assert failure.kind == "startup"
    assert f"instead of {port}" in failure.message
    assert told in failure.message and not_told not in failure.message


def test_ready_on_the_default_port(shop: Workshop) -> None:
    """-P 0 was given, and the server listens on the document's port."""
    first, second, port = held_port()
    script = shop.python(
        f"socket.create_server(('127.0.0.1', {port})).accept()")
    with first, second:
        failure = failure_of(launch, shop, script, contract=
                             dataclasses.replace(IN_TURN, port=port))
    assert failure.kind == "startup"
    assert str(port) in failure.message and "-P" in failure.message


def low_port() -> tuple[socket.socket, int]:
    """A port that a program may bind and that the kernel never chooses."""
    for port in range(_free_ports().start - 1, 1024, -1):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            return sock, port
        except OSError:
            sock.close()
    raise AssertionError("no port is free")


def test_ready_on_a_port_of_its_own(shop: Workshop) -> None:
    """The kernel's choice is known by its range."""
    sock, port = low_port()
    with sock:
        failure = failure_of(launch, shop, shop.python(
            f"socket.create_server(('127.0.0.1', {port})).accept()"))
    assert failure.kind == "startup"
    assert f"listens on port {port} although -P 0" in failure.message


def test_the_kernel_may_choose_the_default_port(shop: Workshop,
                                                tmp_path: Path) -> None:
    """Once, by chance: the server is sound, and it is started again."""
    first, second, port = held_port()
    assert port in _free_ports()
    script = shop.python(
        f"chosen = {port} if not os.path.exists({str(tmp_path / 'x')!r}) "
        f"else 0\nopen({str(tmp_path / 'x')!r}, 'w')\n"
        "address = address[0], chosen\n"
        "listener = socket.create_server(address)" + ECHO)
    with first, second:
        server = launch(shop, script, contract=dataclasses.replace(
            IN_TURN, port=port))
    assert server.port != port
    assert server.stage.programs == [server.program]
    peer = server.connect()
    peer.send(b"x")
    peer.expect(b"x")
    server.stage.closing_questions()


def test_a_port_in_use_where_any_would_do(shop: Workshop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        failure = failure_of(launch, shop, shop.python(
            f"socket.create_server(('127.0.0.1', {other.getsockname()[1]}))"))
    assert re.search(r"\(exit status 1, it said \"OSError: .*Address already in "
                     r"use.*\"\); with -P 0 the kernel chooses a free port, so "
                     "the server asks for one of its own$", failure.message)


def test_a_held_port(shop: Workshop) -> None:
    """For a program that can't take port 0; it must set SO_REUSEADDR."""
    script = shop.listening(ECHO).replace("'", "")
    target = shop.target("/bin/sh", "-c", f"exec {script} -H {{host}} "
                         "-P {port}", port_mode="held")
    server = Server.launch(shop.stage(target), target)
    asked = int(server.program.argv[-1].split()[-1])
    assert server.port == asked != 0
    peer = server.connect()
    peer.send(b"x")
    peer.expect(b"x")


def test_a_held_port_is_nobody_elses(shop: Workshop) -> None:
    """A program may bind it at every address, so it is taken at every one."""
    port = shop.stage(shop.target("true")).hold_port()
    with socket.socket() as other:
        with pytest.raises(OSError, match="Address already in use"):
            other.bind(("127.0.0.9", port))


@pytest.mark.parametrize(("body", "kind", "told"), [
    ("signal.pause()", "startup",
     "never listens on a TCP port: it has no socket, and it waits in pause"),
    ("s = socket.socket(); s.bind(address); signal.pause()", "startup",
     r"never listens on a TCP port: it has a TCP socket on port \d+ and has "
     r"not called listen\(\), and it waits in pause"),
    ("s = socket.socket(); signal.pause()", "startup",
     r"it has a TCP socket without a port: bind\(\) is missing"),
    ("s = socket.socket(type=socket.SOCK_DGRAM); s.bind(address); s.recv(1)",
     "startup", r"never listens on a TCP port: it has UDP port \d+, and it "
     r"waits in recv\(fd \d\) on its UDP socket"),
    ("s = socket.socket(type=socket.SOCK_DGRAM); signal.pause()",
     "startup", r"it has a UDP socket without a port: bind\(\) is missing"),
    ("s = socket.socket(socket.AF_UNIX); s.bind('here'); s.listen(); "
     "s.accept()", "startup", "it listens at here"),
    ("a, b = socket.socketpair(); a.recv(1)", "startup",
     r"it has an AF_UNIX socket without a name: bind\(\) is missing"),
    ("print('no\\nport', file=sys.stderr); sys.exit(3)", "startup",
     'ended before it listened .exit status 3, it said "port"'),
    ("os.kill(os.getpid(), signal.SIGSEGV)", "crash",
     "killed by SIGSEGV before it listened"),
    ("while True: pass", "spin",
     "never listens on a TCP port: it has no socket, and it burns")])
def test_never_ready(shop: Workshop, small_spin: None, body: str, kind: str,
                     told: str) -> None:
    failure = failure_of(launch, shop, shop.python(body))
    assert failure.kind == kind
    assert re.search(told, failure.message)
    if "stderr" in body:
        assert failure.detail == "standard error: no\nport"


def test_never_ready_with_a_timer(shop: Workshop, soon: Callable) -> None:
    """A timer may change things: it is given until the deadline."""
    soon()
    failure = failure_of(launch, shop, shop.python(
        "import time\nwhile True: time.sleep(0.01)"))
    assert failure.kind == "startup"
    assert "never listens" in failure.message


# -- QUIET ----------------------------------------------------------------------
# The reply is there at once after quiet(): read() does not wait.
_BUSY = ("import time\n"
         "def busy():\n"
         "    end = time.process_time() + 0.15\n"
         "    while time.process_time() < end: pass\n")


def test_quiet_after_computing(shop: Workshop) -> None:
    server = launch(shop, shop.connected(_BUSY + """
while data := connection.recv(100):
    busy()
    connection.sendall(data[::-1])
"""))
    peer = server.connect()
    for _ in range(2):
        peer.send(b"123")
        server.quiet()
        assert peer.read() == b"321"


def test_quiet_after_the_last_thread(shop: Workshop) -> None:
    """One thread waits for ever; the other one is busy."""
    server = launch(shop, shop.connected(_BUSY + """
import threading
def serve():
    while data := connection.recv(100):
        busy()
        connection.sendall(data)
threading.Thread(target=serve).start()
listener.accept()
"""))
    peer = server.connect()
    peer.send(b"12")
    server.quiet()
    assert peer.read() == b"12"


def test_quiet_after_the_last_child(shop: Workshop) -> None:
    """The parent waits in accept; a grandchild is busy."""
    server = launch(shop, shop.connected(_BUSY + """
if os.fork() == 0:
    if os.fork() == 0:
        while data := connection.recv(100):
            busy()
            connection.sendall(data)
        os._exit(0)
    os.wait()
    os._exit(0)
connection.close()
os.wait()
"""))
    peer = server.connect()
    peer.send(b"12")
    server.quiet()
    assert peer.read() == b"12"


def test_quiet_under_valgrind(shop: Workshop) -> None:
    server = launch(shop, shop.c(ECHO_C), under_valgrind=True)
    peer = server.connect()
    for size in (1, 4000):
        peer.send(b"x" * size)
        server.quiet()
        assert peer.read() == b"x" * size
    server.done()
    assert server.stage.programs[0].ending().status == 0


def test_quiet_when_all_was_read(shop: Workshop) -> None:
    """Pieces, each sent when the program rests, come as pieces."""
    server = launch(shop, shop.connected(
        "while data := connection.recv(100): print(len(data), flush=True)"))
    peer = server.connect()
    for piece in (b"1", b"22", b"333"):
        peer.send(piece)
        server.quiet()
    assert server.program.stdout == b"1\n2\n3\n"


def test_quiet_where_data_are_not_read(shop: Workshop) -> None:
    """Bytes that the program leaves in its queue are under way no more."""
    server = launch(shop, shop.connected("signal.pause()"))
    peer = server.connect()
    peer.send(b"unread")
    server.quiet()
    assert peer.read() == b""
    assert server.stage.quiet_now()


@pytest.mark.parametrize(("name", "answers"), [
    ("turns", ["1", "2"]), ("thread_state", ["S", "R"]),
    ("thread_state", ["D"])])
def test_not_quiet_where_a_thread_ran_between_two_looks(
        shop: Workshop, monkeypatch: pytest.MonkeyPatch, name: str,
        answers: list[str]) -> None:
    """It was blocked whenever it was looked at, and yet it may have run."""
    server = launch(shop, shop.listening("signal.pause()"))
    server.quiet()
    assert server.program.waits() is not None
    left = iter(answers)
    monkeypatch.setattr(procfs, name, lambda pid, tid: next(left))
    assert server.program.waits() is None
    assert list(left) == []


def test_not_quiet_where_a_process_came_between_two_looks(
        shop: Workshop) -> None:
    server = launch(shop, shop.listening("signal.pause()"))
    server.quiet()
    pid = server.program.pid
    assert waits_of(lambda: [pid]) is not None
    left = iter([[pid], [pid, pid]])
    assert waits_of(lambda: next(left)) is None
    assert waits_of(lambda: []) is None


def test_not_quiet_where_a_thread_came_between_two_looks(
        shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that started it was blocked by then, and was seen to be so."""
    server = launch(shop, shop.listening(
        "import threading\nthreading.Thread(target=signal.pause).start()\n"
        "signal.pause()"))
    server.quiet()
    pid = server.program.pid
    both = procfs.threads(pid)
    assert len(both) == len(waits_of(lambda: [pid])) == 2
    left = iter([both[:1], both])
    monkeypatch.setattr(procfs, "threads", lambda pid: next(left))
    assert waits_of(lambda: [pid]) is None
    assert list(left) == []


_IO_WORKER = r"""
#include <liburing.h>
int main(void)
{
    struct io_uring ring;
    struct io_uring_cqe *done;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (io_uring_queue_init(4, &ring, 0) != 0)
        return 1;
    struct io_uring_sqe *asked = io_uring_get_sqe(&ring);
    io_uring_prep_nop(asked);
    io_uring_sqe_set_flags(asked, IOSQE_ASYNC);
    io_uring_submit(&ring);
    if (io_uring_wait_cqe(&ring, &done) != 0 || listen(listener, 1) == -1)
        return 1;
    accept(listener, NULL, NULL);
}
"""


@pytest.mark.skipif(bool(procfs.lacks_io_uring()), reason="no io_uring here")
def test_quiet_beside_a_worker_of_io_uring(shop: Workshop) -> None:
    """The kernel keeps that thread for seconds, with nothing to do."""
    server = launch(shop, shop.c(_IO_WORKER, "-luring"))
    server.quiet()
    pid = server.program.pid
    assert [procfs.is_io_worker(pid, tid) for tid in procfs.threads(pid)] == \
        [False, True]
    assert [wait.name for wait in server.program.waits()] == ["accept"]


_BLOCKED_IO_WORKER = r"""
#include <liburing.h>
#include <poll.h>
static char reply[64 << 20];
int main(void)
{
    struct io_uring ring;
    struct io_uring_cqe *done;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (io_uring_queue_init(4, &ring, 0) != 0 || listen(listener, 1) == -1)
        return 1;
    int connection = accept(listener, NULL, NULL);
    struct io_uring_sqe *first = io_uring_get_sqe(&ring);
    io_uring_prep_poll_add(first, connection, POLLIN);
    io_uring_sqe_set_flags(first, IOSQE_IO_LINK);
    struct io_uring_sqe *second = io_uring_get_sqe(&ring);
    io_uring_prep_send(second, connection, reply, sizeof(reply), MSG_WAITALL);
    io_uring_sqe_set_flags(second, IOSQE_ASYNC);
    io_uring_submit(&ring);
    send(connection, "+", 1, 0);
    while (io_uring_cq_ready(&ring) == 0) // the worker is made in no call
        continue;
    io_uring_wait_cqe_nr(&ring, &done, 2);
}
"""


@pytest.mark.skipif(bool(procfs.lacks_io_uring()), reason="no io_uring here")
def test_quiet_while_a_worker_of_io_uring_is_blocked(shop: Workshop) -> None:
    """It sends to one who does not read."""
    server = launch(shop, shop.c(_BLOCKED_IO_WORKER, "-luring"))
    peer = server.connect(receive_buffer=4096)
    peer.expect(b"+")
    peer.send(b"x")
    server.quiet()
    pid = server.program.pid
    assert [procfs.is_io_worker(pid, tid) for tid in procfs.threads(pid)] == \
        [False, True]
    assert [wait.name for wait in server.program.waits()] == \
        ["io_uring_enter"]
    assert peer.read()


def test_what_is_left_open_is_reset(shop: Workshop) -> None:
    """Nothing of it stays in TIME_WAIT, on either side."""
    server = launch(shop, shop.connected(
        "connection.recv(1)\nconnection.close()\nsignal.pause()"))
    peer = server.connect()
    server.quiet()
    shop.stages.pop().close()
    diag = SockDiag()
    assert diag.with_local_port(peer.near[1]) == []
    assert diag.with_local_port(peer.far[1]) == []
    diag.close()


class Late:
    """Kernel tables that tell of bytes `looks` looks too late."""

    def __init__(self, diag: SockDiag, looks: int, change: Callable):
        self._diag = diag
        self.looks = looks
        self._change = change

    def __getattr__(self, name: str):
        return getattr(self._diag, name)

    def lookup(self, local: tuple, remote: tuple) -> sockdiag.Row | None:
        row = self._diag.lookup(local, remote)
        if row is None or self.looks == 0:
            return row
        self.looks -= 1
        return self._change(row)


@pytest.mark.parametrize("change", [
    lambda row: dataclasses.replace(row, received=row.received - 1),
    lambda row: dataclasses.replace(row, sent=row.sent + 1),
    lambda row: dataclasses.replace(row, state=sockdiag.SYN_RECV)],
    ids=["not received", "not come back", "not connected"])
def test_not_quiet_while_data_are_under_way(shop: Workshop, change: Callable
                                            ) -> None:
    server = launch(shop, shop.listening(ECHO))
    peer = server.connect()
    peer.send(b"12")
    peer.expect(b"12")
    server.quiet()
    late = Late(server.stage.diag, 25, change)
    server.stage.diag = late
    assert not server.stage.quiet_now()
    server.quiet()
    assert late.looks == 0


def test_not_quiet_before_the_end_of_stream_is_there(shop: Workshop) -> None:
    server = launch(shop, shop.connected(
        "while connection.recv(9): pass\nlistener.accept()"))
    peer = server.connect()
    server.quiet()
    assert server.stage.quiet_now()
    late = Late(server.stage.diag, 25, lambda row: dataclasses.replace(
        row, state=sockdiag.ESTABLISHED))
    server.stage.diag = late
    peer.half_close()
    server.quiet()
    assert late.looks == 0


def test_quiet_where_the_end_of_stream_finds_no_room(
        shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a window a FIN stays where it is until the program reads."""
    server = launch(shop, shop.connected("signal.pause()"))
    peer = server.connect()
    server.quiet()
    server.stage.diag = Late(server.stage.diag, 1 << 30, lambda row:
                             dataclasses.replace(
                                 row, state=sockdiag.ESTABLISHED))
    peer.half_close()
    assert not server.stage.quiet_now()
    monkeypatch.setattr(sockdiag, "send_window", lambda _sock: 0)
    server.quiet()


def test_quiet_with_a_timer(shop: Workshop) -> None:
    """A timer does not hinder rest; it hinders giving up."""
    server = launch(shop, shop.listening(
        "import select\nwhile True: select.poll().poll(600_000)"))
    server.quiet()
    assert server.stage.quiet_now(timers=True)
    assert not server.stage.quiet_now()


def test_quiet_after_the_end(shop: Workshop) -> None:
    server = launch(shop, shop.connected("connection.recv(1)"), contract=ONE)
    server.connect().send(b"x")
    server.quiet()
    assert server.program.ending().status == 0


def test_never_quiet(shop: Workshop, small_spin: None) -> None:
    server = launch(shop, shop.listening("while True: pass"))
    failure = failure_of(server.quiet)
    assert failure.kind == "spin"


_ONE_BY_ONE = _BUSY + """
listener.settimeout(None)
while True:
    connection = listener.accept()[0]
    busy()                          # more than a spin is allowed
    connection.close()
    HEAD
"""


def test_a_crowd_is_worked_off(shop: Workshop, monkeypatch) -> None:
    """As long as fewer clients wait than before a server does not spin."""
    monkeypatch.setattr(stage_module, "SPIN_CPU_SECONDS", 0.2)
    server = launch(shop, shop.listening(_ONE_BY_ONE.replace("HEAD", "")),
                    contract=IN_TURN)
    server.freeze()
    peers = [server.connect() for _ in range(6)]
    server.thaw()
    server.quiet()
    assert all(peer.ended() for peer in peers)


def test_a_crowd_that_waits_on(shop: Workshop, monkeypatch) -> None:
    monkeypatch.setattr(stage_module, "SPIN_CPU_SECONDS", 0.2)
    server = launch(shop, shop.listening(
        _ONE_BY_ONE.replace("HEAD", "while True: pass")), contract=IN_TURN)
    server.freeze()
    for _ in range(6):
        server.connect()
    server.thaw()
    failure = failure_of(server.quiet)
    assert failure.kind == "spin"
    told, = re.findall(r"([\d.]+) s of processor time", failure.message)
    assert 0.2 <= float(told) <= server.program.cpu_seconds() + 0.05


# -- FREEZE ---------------------------------------------------------------------
_PIECES = """
listener.settimeout(None)
while data := connection.recv(100):
    print(len(data), flush=True)
"""


def test_freeze(shop: Workshop) -> None:
    """What is sent to a frozen program is met all at once."""
    server = launch(shop, shop.connected(_PIECES))
    peer = server.connect()
    server.quiet()
    server.freeze()
    for piece in (b"1", b"22", b"333"):
        peer.send(piece)
    peer.half_close()
    server.thaw()
    server.quiet()
    assert server.program.stdout == b"6\n"
    assert server.program.ending().status == 0


def test_freeze_stops_every_thread(shop: Workshop) -> None:
    server = launch(shop, shop.connected(
        "import threading\nfor _ in range(3):\n"
        "    threading.Thread(target=lambda: connection.recv(1)).start()"))
    server.connect()
    server.quiet()
    server.freeze()
    assert server.program.stopped()
    status = [open(f"/proc/{server.program.pid}/task/{tid}/stat").read()
              for tid in os.listdir(f"/proc/{server.program.pid}/task")]
    assert len(status) == 4
    assert all(text.split(") ")[1][0] == "T" for text in status)
    server.thaw()
    server.quiet()
    assert not server.program.stopped()


def test_connections_to_a_frozen_server(shop: Workshop) -> None:
    """They wait in the queue; one that is reset there is met as such."""
    server = launch(shop, shop.listening("""
listener.listen(8)
for _ in range(2):
    connection, _ = listener.accept()
    try:
        print(connection.recv(10), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""), contract=ONE)
    server.freeze()
    first, second = server.connect(), server.connect()
    first.reset()
    second.send(b"hello")
    server.thaw()
    server.quiet()
    assert server.program.stdout == b"ConnectionResetError\nb'hello'\n"


def test_a_frozen_program_is_not_given_up(shop: Workshop, soon: Callable) -> None:
    """It may go on at any time: only the deadline ends the wait."""
    server = launch(shop, shop.listening(ECHO))
    peer = server.connect()
    server.quiet()
    server.freeze()
    peer.send(b"x")
    soon()
    assert failure_of(peer.expect, b"x").kind == "timeout"


# -- the ways in which it goes wrong -----------------------------------------------
_LINGER = ("import struct\nconnection.setsockopt(socket.SOL_SOCKET, "
           "socket.SO_LINGER, struct.pack('ii', 1, 0))\n")
_ANSWERS = {
    "end-of-stream": ("connection.recv(9); connection.close(); "
                      "listener.accept()",
                      "end-of-stream", "the stream ended after 0 of 5 bytes"),
    "cut": ("connection.recv(9); connection.sendall(b'12'); "
            "connection.close(); listener.accept()",
            "end-of-stream", "after 2 of 5 bytes"),
    "ended": ("connection.recv(9); sys.exit(3)",
              "end-of-stream", "after 0 of 5 bytes.*exit status 3"),
    "reset": (_LINGER + "connection.recv(9); connection.close(); "
              "listener.accept()",
              "reset", "reset after 0 of 5 bytes"),
    "unread": ("connection.recv(3); connection.close(); listener.accept()",
               "reset", "reset after 0 of 5 bytes"),
    "silent": ("connection.recv(9); connection.recv(9)",
               "stuck", r"0 of 5 bytes came back.*recv\(fd \d+\) on the "
               "connection with client 1"),
    "elsewhere": ("connection.recv(9); listener.accept()",
                  "stuck", r"accept4?\(fd \d+\) on the listening socket"),
    "partly": ("connection.recv(9); connection.sendall(b'123'); "
               "connection.recv(9)", "stuck", "3 of 5 bytes came back"),
    "wrong": ("connection.recv(9); connection.sendall(b'12X45'); "
              "connection.recv(9)", "wrong-bytes", "wrong bytes"),
    "crash": ("connection.recv(9); os.kill(os.getpid(), signal.SIGSEGV)",
              "crash", "killed by SIGSEGV"),
    "sigpipe": ("connection.recv(9); connection.sendall(b'12'); "
                "r, w = os.pipe(); os.close(r); os.write(w, b'x')",
                "crash", "killed by SIGPIPE .*after 2 of 5 bytes"),
    "spin": ("connection.recv(9)\nwhile True: pass", "spin",
             "0 of 5 bytes came back.*processor time"),
}


@pytest.mark.parametrize(("body", "kind", "told"), _ANSWERS.values(),
                         ids=_ANSWERS)
def test_answers(shop: Workshop, small_spin: None, body: str, kind: str,
                 told: str) -> None:
    server = launch(shop, shop.connected(body))
    peer = server.connect()
    peer.send(b"12345")
    failure = failure_of(peer.expect, b"12345")
    assert failure.kind == kind
    assert re.search(told, failure.message), failure.message
    came = {"cut": b"12", "partly": b"123", "wrong": b"12X45",
            "sigpipe": b"12"}
    due = next((came[name] for name, row in _ANSWERS.items()
                if row[0] == body and name in came), b"")
    assert failure.mismatch.expected == b"12345"
    assert failure.mismatch.got == due
    assert failure.mismatch.offset == (2 if kind == "wrong-bytes"
                                       else len(due))


def test_no_answer_before_the_deadline(shop: Workshop, soon: Callable) -> None:
    """A program with a timer is given until the deadline, then told."""
    server = launch(shop, shop.connected(
        "import time\nwhile True: time.sleep(0.02)"))
    peer = server.connect()
    peer.send(b"x")
    soon()
    failure = failure_of(peer.expect, b"x")
    assert failure.kind == "timeout"
    assert "0 of 1 byte came back" in failure.message


@pytest.mark.parametrize("told", [True, False])
def test_an_answer_that_comes_too_late(shop: Workshop, slack: Callable,
                                       told: bool) -> None:
    """It is told apart from one that never comes, where that is read."""
    server = launch(shop, shop.connected(
        "import time\ndata = connection.recv(9)\ntime.sleep(0.7)\n"
        "connection.sendall(data)\nconnection.recv(9)"), told=told)
    peer = server.connect()
    peer.send(b"12")
    slack()
    failure = failure_of(peer.expect, b"12")
    assert failure.kind == "timeout"
    assert isinstance(failure, TooLate) is told
    if told:
        found = re.fullmatch(
            r"0 of 2 bytes came back within \d+ s, the time allowed; what was "
            r"due came after (\d+\.\d) s, right but too late", failure.message)
        assert float(found[1]) >= 0.2
    else:
        assert re.fullmatch(
            r"0 of 2 bytes came back, nothing more came within \d+ s; the "
            r"server is in clock_nanosleep\(\)", failure.message)


def test_a_wrong_answer_that_comes_late_is_wrong(shop: Workshop,
                                                 slack: Callable) -> None:
    server = launch(shop, shop.connected(
        "import time\ntime.sleep(0.7)\nconnection.sendall(b'x')\n"
        "connection.recv(9)"), told=True)
    peer = server.connect()
    slack()
    assert failure_of(peer.expect, b"y").kind == "wrong-bytes"


def test_ready_too_late(shop: Workshop, slack: Callable) -> None:
    slack()
    failure = failure_of(launch, shop, shop.python(
        "import time\ntime.sleep(0.7)\nsocket.create_server(address).accept()"
    ), told=True)
    assert failure.kind == "startup" and isinstance(failure, TooLate)
    assert re.match(r"the server does not listen within \d+ s, the time "
                    "allowed; what was due came after", failure.message)


_LINE = b"one\ntwo\n"


@pytest.mark.parametrize(("sent", "kind", "told"), [
    (b"one\ntwo", "stuck", r"^7 of 8 bytes came back, all but the newline at "
     r"the end, then the server waits"),
    (b"onetwo\n", "wrong-bytes", ": the newline before it is missing$"),
    (b"one\r\ntwo\r\n", "wrong-bytes",
     ": the line ends with a carriage return and a newline$"),
    (b"one\n\0two\n", "wrong-bytes",
     ": a NUL was sent, such as the one that ends a string of C$"),
    (b"one\n\ntwo\n", "wrong-bytes", ": a newline came that is not due$"),
    (b"\none\ntwo\n", "wrong-bytes", ": a newline came that is not due$"),
    (b"one\nTWO\n", "wrong-bytes", r'got "TWO\\n"$'),
    (b"one\n\0\0\0\0", "wrong-bytes", r'got "\\x00\\x00\\x00\\x00"$'),
    (b"one", "stuck", "^3 of 8 bytes came back, then the server")])
def test_small_differences_in_words(shop: Workshop, sent: bytes, kind: str,
                                    told: str) -> None:
    server = launch(shop, shop.connected(
        f"connection.sendall({sent!r}); connection.recv(9)"))
    failure = failure_of(server.connect().expect, _LINE)
    assert failure.kind == kind
    assert re.search(told, failure.message), failure.message


@pytest.mark.parametrize(("output", "told"), [
    (b"", ", which is empty"), (b"> the reply", ": no newline follows it"),
    (b"> the reply <\n", ": it is there, and more follows it on its line"),
    (b"> the re\nply\n", ": the line ends after 6 of its bytes"),
    (b"something else\n", ""), (b"> the rxply\n", "")])
def test_a_reply_that_is_not_on_its_line(output: bytes, told: str) -> None:
    assert _instead(b"the reply", output) == told


def test_the_last_words(shop: Workshop) -> None:
    """Of many, the last; of like ones, one."""
    stage = shop.stage(shop.target("python"))
    program = stage.start([shop.python(
        "for _ in range(9000): print('again', file=sys.stderr)\n"
        "print('x' * 300, file=sys.stderr)\n"
        "print('the end \\x1b[2J', file=sys.stderr)\nsys.exit(1)")])
    stage.wait_end(program)
    assert program.ended() == \
        r'exit status 1, it said "the end \x1b[2J"'
    assert told_by(program).splitlines() == [
        "standard error: again  (again and again)", "x" * 200,
        "the end \x1b[2J"]
    assert len(program.last_words) <= 4096
    quiet = stage.start([shop.python("sys.exit(1)")])
    stage.wait_end(quiet)
    assert (quiet.ended(), told_by(quiet)) == ("exit status 1", "")
    well = stage.start([shop.python("print('all is well', file=sys.stderr)")])
    stage.wait_end(well)
    assert well.ended() == "exit status 0"


@pytest.mark.parametrize("offset", [0, 15, 16, 37, 99])
def test_where_the_first_wrong_byte_is(shop: Workshop, offset: int) -> None:
    data = bytes(range(100))
    server = launch(shop, shop.connected(
        f"data = bytearray(connection.recv(100)); data[{offset}] ^= 0x80; "
        "connection.sendall(data); connection.recv(1)"))
    peer = server.connect()
    peer.send(data)
    failure = failure_of(peer.expect, data)
    wrong = failure.mismatch
    assert (failure.kind, wrong.offset) == ("wrong-bytes", offset)
    assert wrong.start <= offset < wrong.start + len(wrong.got)
    assert wrong.expected == data[wrong.start:wrong.start + 48]
    changed = bytearray(data)
    changed[offset] ^= 0x80
    assert wrong.got == changed[wrong.start:wrong.start + 48]


_LEFT = {
    "nothing": ("connection.close(); listener.accept()", "end-of-stream",
                "the stream ended after 0 of 5 bytes: the server closed the "
                "connection, having read nothing"),
    "all": ("connection.recv(9); connection.sendall(b'12'); "
            "connection.close(); listener.accept()", "end-of-stream",
            "the stream ended after 2 of 5 bytes: the server closed the "
            "connection, having read all that came from client 1"),
    "unread": ("connection.recv(3); connection.sendall(b'12'); "
               "connection.close(); listener.accept()", "reset",
               "the connection was reset after 2 of 5 bytes: the server "
               "closed the connection, with 2 bytes from client 1 unread"),
    "linger": (_LINGER + "connection.recv(9); connection.close(); "
               "listener.accept()", "reset",
               "the connection was reset after 0 of 5 bytes: the server "
               "closed the connection, by SO_LINGER with a time of 0"),
    "ended": ("connection.recv(4); print('no', file=sys.stderr); sys.exit(3)",
              "reset", "the connection was reset after 0 of 5 bytes; the "
              "server has ended (exit status 3, it said \"no\"), with 1 byte "
              "from client 1 unread"),
    "shut": ("connection.recv(9); connection.shutdown(socket.SHUT_WR); "
             "listener.accept()", "end-of-stream",
             "the stream ended after 0 of 5 bytes"),
}


@pytest.mark.parametrize(("body", "kind", "told"), _LEFT.values(), ids=_LEFT)
def test_how_a_program_left(shop: Workshop, body: str, kind: str, told: str
                            ) -> None:
    """The kernel knows what was unread at the close."""
    target = shop.target(shop.connected(body), contract=ONE)
    stage = shop.stage(target, told=True)
    peer = Server.launch(stage, target).connect()
    stage.quiet()                           # it may have closed by now
    peer.send(b"12345")
    failure = failure_of(peer.expect, b"12345")
    assert (failure.kind, failure.message) == (kind, told)


_WAIT_A_WHILE = {
    "nanosleep": "import time\ntime.sleep(0.3)\n",
    "poll": "import select\nselect.poll().poll(300)\n",
    "select": "import select\nselect.select([], [], [], 0.3)\n",
    "futex": "import threading\nthreading.Event().wait(0.3)\n",
    "SO_RCVTIMEO": "import struct\nconnection.setsockopt(socket.SOL_SOCKET, "
                   "socket.SO_RCVTIMEO, struct.pack('ll', 0, 300000))\n"
                   "try: connection.recv(1)\n"
                   "except BlockingIOError: pass\n",
}


@pytest.mark.parametrize("wait", _WAIT_A_WHILE.values(), ids=_WAIT_A_WHILE)
def test_a_reply_after_a_timer_is_waited_for(shop: Workshop, wait: str
                                             ) -> None:
    server = launch(shop, shop.connected(
        "data = connection.recv(9)\n" + wait + "connection.sendall(data)\n"
        "connection.recv(9)"))
    peer = server.connect()
    peer.send(b"x")
    peer.expect(b"x")


def test_a_reply_of_another_thread_after_a_timer(shop: Workshop) -> None:
    server = launch(shop, shop.connected("""
import threading, time
def serve():
    data = connection.recv(9)
    time.sleep(0.3)
    connection.sendall(data)
threading.Thread(target=serve).start()
listener.accept()
"""))
    peer = server.connect()
    peer.send(b"x")
    peer.expect(b"x")


def test_data_and_their_end_are_judged_apart(shop: Workshop) -> None:
    """A reply that is followed by a reset is a reply."""
    server = launch(shop, shop.connected(
        "connection.recv(3); connection.sendall(b'all of it'); "
        "connection.close(); listener.accept()"))
    peer = server.connect()
    peer.send(b"more than is read")
    peer.expect(b"all of it")
    failure = failure_of(peer.expect_end)
    assert failure.kind == "reset"
    assert "unread" in failure.detail


@pytest.mark.parametrize(("taken", "is_reset"), [(9, True), (99, False)])
def test_a_reset_behind_the_end(shop: Workshop, taken: int, is_reset: bool
                                ) -> None:
    """What is unread at close(2) makes one, after shutdown(2) as well."""
    server = launch(shop, shop.connected(
        "connection.shutdown(socket.SHUT_WR); "
        f"connection.recv({taken}); connection.close(); listener.accept()"))
    peer = server.connect()
    assert peer.until_end() == b""
    peer.send(b"more than nine bytes")
    server.quiet()
    peer.expect_end()
    if is_reset:
        assert failure_of(peer.expect_no_reset).kind == "reset"
    else:
        peer.expect_no_reset()


@pytest.mark.parametrize(("body", "kind", "told"), [
    ("connection.recv(9); connection.sendall(b'123'); connection.close(); "
     "listener.accept()", "wrong-bytes", "more came than was asked for"),
    ("connection.recv(9); connection.sendall(b'1'); listener.accept()",
     "stuck", "kept open")])
def test_the_end_that_is_due(shop: Workshop, body: str, kind: str, told: str
                             ) -> None:
    server = launch(shop, shop.connected(body))
    peer = server.connect()
    peer.send(b"x")
    peer.expect(b"1")
    failure = failure_of(peer.expect_end)
    assert failure.kind == kind
    assert told in failure.message


def test_silence(shop: Workshop) -> None:
    server = launch(shop, shop.connected(
        "connection.recv(9); connection.recv(9); connection.sendall(b'no'); "
        "connection.recv(9)"))
    peer = server.connect()
    peer.send(b"x")
    peer.expect_silence()
    peer.send(b"x")
    failure = failure_of(peer.expect_silence)
    assert failure.kind == "wrong-bytes"
    assert '"no"' in failure.message


def test_output_without_end(shop: Workshop) -> None:
    server = launch(shop, shop.connected(
        "while True: connection.sendall(b'y' * 65536)"))
    server.stage.flood_limit = 1 << 20
    peer = server.connect()
    failure = failure_of(peer.until_end)
    assert failure.kind == "wrong-bytes"
    assert "without end" in failure.message


def test_nobody_takes_what_is_sent(shop: Workshop) -> None:
    server = launch(shop, shop.connected("connection.recv(1)\n"
                                         "listener.accept()"))
    peer = server.connect(send_buffer=4096)
    failure = failure_of(peer.send, bytes(16 << 20))
    assert failure.kind == "stuck"
    assert "16,777,216 bytes and then read no more" in failure.message


def test_sending_to_a_peer_that_left(shop: Workshop) -> None:
    server = launch(shop, shop.connected("connection.close()\n"
                                         "listener.accept()"))
    peer = server.connect()
    assert peer.until_end() == b""
    failure = failure_of(lambda: [peer.send(bytes(1 << 20))
                                  for _ in range(8)])
    assert failure.kind == "reset"


def test_back_pressure(shop: Workshop) -> None:
    """An echo that stores nothing stops; one that drops all does not."""
    peer = launch(shop, shop.listening(ECHO)).connect(receive_buffer=4096)
    data = os.urandom(24 << 20)
    taken = peer.send_until_blocked(data)
    assert 4096 < taken < len(data)
    peer.expect(data[:taken])
    peer = launch(shop, shop.connected(
        "while connection.recv(1 << 20): pass")).connect()
    failure = failure_of(peer.send_until_blocked, data)
    assert failure.kind == "output"
    assert f"{len(data):,} bytes" in failure.message


def test_no_server_no_connection(shop: Workshop) -> None:
    server = launch(shop, shop.connected("listener.close()\n"
                                         "signal.pause()"))
    server.connect()
    server.quiet()
    failure = failure_of(server.connect)
    assert failure.kind == "refused"
    assert "refused" in failure.message


def test_a_full_queue_takes_no_connection(shop: Workshop, soon: Callable) -> None:
    server = launch(shop, shop.python(
        "listener = socket.create_server(address, backlog=0)\n"
        "signal.pause()"))
    server.connect()
    soon()
    failure = failure_of(lambda: [server.connect() for _ in range(2)])
    assert failure.kind == "refused"
    assert "queue" in failure.message


# -- ends -----------------------------------------------------------------------
def test_an_end_that_does_not_come(shop: Workshop) -> None:
    server = launch(shop, shop.listening("signal.pause()"))
    failure = failure_of(server.expect_exit, 0)
    assert failure.kind == "stuck"
    assert "does not end" in failure.message


@pytest.mark.parametrize(("body", "kind", "told"), [
    ("sys.exit(2)", "exit", "exit status 1 is due.*exit status 2"),
    ("os.abort()", "crash", "SIGABRT")])
def test_another_end_than_is_due(shop: Workshop, body: str, kind: str,
                                 told: str) -> None:
    stage = shop.stage(shop.target("python"))
    stage.start([shop.python("print('words', file=sys.stderr)\n"
                             "sys.stderr.flush()\n" + body)])
    failure = failure_of(stage.expect_exit, 1)
    assert failure.kind == kind
    assert re.search(told, failure.message)
    assert "words" in failure.detail


@pytest.mark.parametrize(("handler", "told"), [
    ("lambda *_: os._exit(0)", None),
    ("lambda *_: os._exit(1)", "exit status 1"),
    ("signal.SIG_DFL", "killed by SIGTERM"),
    ("signal.SIG_IGN", "does not end")])
def test_an_orderly_end(shop: Workshop, handler: str, told: str | None
                        ) -> None:
    server = launch(shop, shop.listening(
        f"signal.signal(signal.SIGTERM, {handler})\n"
        "print('ready', flush=True)\nwhile True: listener.accept()"))
    server.quiet()
    if told is None:
        server.expect_orderly_end()
    else:
        failure = failure_of(server.expect_orderly_end)
        assert told in failure.message


def test_alive_after_something(shop: Workshop) -> None:
    server = launch(shop, shop.listening(ECHO))
    server.expect_alive("nothing")
    for body, kind in (("sys.exit(0)", "exit"), ("os.abort()", "crash")):
        server = launch(shop, shop.connected(body))
        server.connect()
        failure = failure_of(server.expect_alive, "a connection")
        assert failure.kind == kind
        assert "a connection" in failure.message


def test_a_plan_that_stops_the_server(shop: Workshop) -> None:
    """signal:SIGSTOP at a call: the case goes on in the middle of it."""
    server = launch(shop, shop.c(ECHO_C), plan="recv@1=signal:SIGSTOP")
    peer = server.connect()
    server.wait_frozen()
    assert server.program.stopped()
    peer.send(b"12")
    peer.send(b"34")
    server.thaw()
    peer.expect(b"1234")


def test_too_many_processes(shop: Workshop) -> None:
    """What the task limit tells ends a wait at once."""
    class Limit:
        def reset(self) -> None: pass
        def exceeded(self) -> bool: return True
        def forbid_forks(self) -> None: pass

    target = shop.target(shop.listening(
        "import time\nwhile True: time.sleep(0.01)"))
    stage = shop.stage(target)
    server = Server.launch(stage, target)
    peer = server.connect()
    stage.task_limit = Limit()
    failure = failure_of(peer.expect, b"x")
    assert failure.kind == "leak"
    assert "processes and threads" in failure.message


def test_kinds_of_failure_are_known() -> None:
    with pytest.raises(ValueError, match="bad-luck"):
        Failure("bad-luck", "it rained")


def test_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """They grow with the load of the machine, and with Valgrind."""
    from sockstep import deadline
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for load, factor in ((0.0, 1.0), (2.0, 1.0), (6.0, 3.0), (99.0, 20.0)):
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
        made = deadline.Deadline(5.0, 10.0)
        assert made.seconds == 50.0 * factor
        assert 0 < made.left() <= made.seconds and not made.expired()
    assert deadline.Deadline(0.0).expired()
    assert deadline.Deadline(0.0).left() == 0.0
