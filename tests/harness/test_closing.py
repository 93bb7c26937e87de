"""The questions after every case, and what becomes of their answers."""
from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sockstep import closing, faults, valgrind
from sockstep.failure import Failure, HarnessError
from sockstep.roles import Client, Server
from sockstep.stage import Stage

from workshop import ECHO, ECHO_C, ONE, Workshop


def talk(shop: Workshop, command: str, contract=None,
         under_valgrind: bool = False, **options) -> Stage:
    """Start a server, let it echo once, and give back its stage."""
    target = shop.target(command, **({"contract": contract} if contract
                                     else {}))
    stage = shop.stage(target, under_valgrind=under_valgrind)
    server = Server.launch(stage, target, **options)
    peer = server.connect()
    peer.send(b"hello\n")
    peer.expect(b"hello\n")
    server.quiet()
    return stage


def failure_of(act: Callable) -> Failure:
    with pytest.raises(Failure) as caught:
        act()
    return caught.value


def test_a_sound_server(shop: Workshop) -> None:
    stage = talk(shop, shop.listening(ECHO))
    stage.closing_questions()
    assert stage.subject.ending().status == 0


def test_a_server_without_a_handler(shop: Workshop) -> None:
    """That SIGTERM kills it is asked for by a case of its own."""
    talk(shop, shop.connected(
        "connection.sendall(connection.recv(99)); connection.recv(1); "
        "listener.accept()")).closing_questions()


def test_a_server_for_one_client(shop: Workshop) -> None:
    """It ends by itself once the harness has closed."""
    stage = talk(shop, shop.connected(
        "connection.sendall(connection.recv(99)); connection.recv(1)"), ONE)
    assert stage.subject.alive()
    stage.closing_questions()
    assert not stage.subject.ended_by_harness
    stage = talk(shop, shop.listening(ECHO), ONE)
    failure = failure_of(stage.closing_questions)
    assert (failure.kind, "does not end" in failure.message) == ("stuck",
                                                                 True)


_ECHO_ONCE = "connection.sendall(connection.recv(99))\n"
_ENDS = {
    "ended by itself": (_ECHO_ONCE + "sys.exit(0)", "exit",
                        "ended by itself .exit status 0. though it should"),
    "ended with an error": (_ECHO_ONCE + "print('why', file=sys.stderr); "
                            "sys.exit(1)", "exit", "ended by itself"),
    "crashed": (_ECHO_ONCE + "os.abort()", "crash", "SIGABRT"),
    "deaf": ("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + _ECHO_ONCE +
             "listener.accept()", "exit", "ignores SIGTERM"),
    "a bad status": ("signal.signal(signal.SIGTERM, lambda *_: os._exit(4))\n"
                     + _ECHO_ONCE + "listener.accept()", "exit",
                     "exit status 4 after SIGTERM"),
    "crashed at the end": ("signal.signal(signal.SIGTERM, "
                           "lambda *_: os.abort())\n" + _ECHO_ONCE +
                           "listener.accept()", "crash", "SIGABRT"),
}


@pytest.mark.parametrize(("body", "kind", "told"), _ENDS.values(), ids=_ENDS)
def test_ends(shop: Workshop, body: str, kind: str, told: str) -> None:
    stage = talk(shop, shop.connected(body))
    failure = failure_of(stage.closing_questions)
    assert failure.kind == kind
    assert re.search(told, failure.message), failure.message
    if "why" in body:
        assert "why" in failure.detail


def test_a_case_may_let_a_server_end(shop: Workshop) -> None:
    stage = talk(shop, shop.connected(_ECHO_ONCE + "sys.exit(1)"))
    stage.expect_exit(1)
    stage.closing_questions()


def test_an_end_after_the_clients_end(shop: Workshop) -> None:
    """That it serves no second client is asked for by cases of its own."""
    stage = talk(shop, shop.connected(_ECHO_ONCE + "sys.exit(0)"))
    assert stage.peers[0].until_end() == b""
    stage.closing_questions()
    stage = talk(shop, shop.connected(
        _ECHO_ONCE + "connection.recv(1); sys.exit(0)"))
    stage.peers[0].half_close()
    stage.quiet()
    assert not stage.subject.alive()
    stage.closing_questions()


def test_an_end_before_the_first_client(shop: Workshop) -> None:
    target = shop.target(shop.python(
        "signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))\n"
        "listener = socket.create_server(address)\nsignal.pause()"))
    stage = shop.stage(target)
    server = Server.launch(stage, target)
    server.program.signal(signal.SIGUSR1)
    stage.wait_end()
    assert failure_of(stage.closing_questions).kind == "exit"


_LEFT = {
    "a child": ("if os.fork() == 0: signal.pause()\n", r"1 process left"),
    "a session": ("if os.fork() == 0:\n    os.setsid()\n    signal.pause()\n",
                  r"1 process left"),
    "children": ("for _ in range(3):\n"
                 "    if os.fork() == 0: signal.pause()\n",
                 r"3 processes left"),
    "an orphan": ("if os.fork() == 0:\n"
                  "    if os.fork() == 0: signal.pause()\n"
                  "    os._exit(0)\n"
                  "os.wait()\n", r"1 process left"),
    "a file": ("open('core.txt', 'w').close()\n", r"files left .*core.txt"),
    "a folder": ("os.makedirs('a/b')\n", r"files left .*a"),
}


@pytest.mark.parametrize(("body", "told"), _LEFT.values(), ids=_LEFT)
def test_left_behind(shop: Workshop, body: str, told: str) -> None:
    stage = talk(shop, shop.listening(body + ECHO))
    failure = failure_of(stage.closing_questions)
    assert failure.kind == "leak"
    assert re.search(told, failure.message), failure.message


def test_a_child_that_waits_with_a_timer(shop: Workshop,
                                        monkeypatch: pytest.MonkeyPatch
                                        ) -> None:
    """It may be about to end: it is given its time, and no more."""
    monkeypatch.setattr(closing, "LEFT_SECONDS", 0.2)
    stage = talk(shop, shop.listening(
        "import time\nif os.fork() == 0: time.sleep(600)\n" + ECHO))
    failure = failure_of(stage.closing_questions)
    assert (failure.kind, "1 process left" in failure.message) == ("leak",
                                                                   True)


_NOT_LEFT = {
    "a zombie": "child = os.fork()\nif child == 0: os._exit(0)\n"
                "os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)\n",
    "a child that ends": "import time\nparent = os.getpid()\n"
                         "if os.fork() == 0:\n"
                         "    while os.getppid() == parent: time.sleep(0.01)\n"
                         "    time.sleep(0.1)\n    os._exit(0)\n",
}


@pytest.mark.parametrize("body", _NOT_LEFT.values(), ids=_NOT_LEFT)
def test_not_left_behind(shop: Workshop, body: str) -> None:
    """The dead, whom init would reap, and those that end with the program."""
    talk(shop, shop.listening(body + ECHO)).closing_questions()


def test_a_client_is_given_the_end_of_its_input(shop: Workshop) -> None:
    script = shop.python("socket.create_connection(address)\nos.read(0, 1)\n")
    target = shop.target(script, role="client")
    stage = shop.stage(target)
    Client.launch(stage, target).accept()
    stage.closing_questions()
    assert stage.subject.ending().status == 0


def test_a_client_that_does_not_end(shop: Workshop) -> None:
    script = shop.python("socket.create_connection(address)\n"
                         "signal.pause()\n")
    target = shop.target(script, role="client")
    stage = shop.stage(target)
    Client.launch(stage, target).accept()
    failure = failure_of(stage.closing_questions)
    assert failure.kind == "stuck"
    assert "does not end" in failure.message


# -- a client under test -------------------------------------------------------
_CLIENT = """
connection = socket.create_connection(address)
for line in sys.stdin.buffer:
    connection.sendall(line)
    print("> " + connection.recv(99).decode(), end="", flush=True)
"""


def test_a_client(shop: Workshop) -> None:
    target = shop.target(shop.python(_CLIENT), role="client")
    client = Client.launch(shop.stage(target), target)
    peer = client.accept()
    client.type(b"one\n")
    assert client.read_line(peer, b"one") == b"one\n"
    peer.send(b"one\n")
    client.quiet()
    client.expect_replies(b"one")
    with pytest.raises(Failure, match="two"):
        client.expect_replies(b"one", b"two")
    client.listener.nobody()
    client.end_input()
    client.expect_exit(0)
    client.stage.closing_questions()


def test_a_client_that_never_connects(shop: Workshop) -> None:
    target = shop.target(shop.python("sys.exit(1)"), role="client")
    client = Client.launch(shop.stage(target), target)
    failure = failure_of(client.accept)
    assert failure.kind == "exit"
    assert "the client does not connect" in failure.message


def test_a_connection_too_many(shop: Workshop) -> None:
    target = shop.target(shop.python(
        "a = socket.create_connection(address)\n"
        "b = socket.create_connection(address)\nos.read(0, 1)"),
        role="client")
    client = Client.launch(shop.stage(target), target)
    client.accept()
    client.quiet()
    assert failure_of(client.listener.nobody).kind == "output"


def test_input_that_is_not_read(shop: Workshop) -> None:
    """More than the pipe takes: the case goes on, the rest is kept."""
    target = shop.target(shop.python(
        "connection = socket.create_connection(address)\n"
        "connection.recv(1)\n"
        "print(len(sys.stdin.buffer.read()))\n"), role="client")
    client = Client.launch(shop.stage(target), target)
    peer = client.accept()
    client.type(bytes(1 << 18))
    client.quiet()
    assert client.program.input_pending() > 0
    client.end_input()
    peer.send(b"x")
    client.expect_exit(0)
    assert client.program.stdout == b"262144\n"


# -- Valgrind ------------------------------------------------------------------
def handling(code: str) -> str:
    """The sound server, with `code` run for each piece of data."""
    assert ECHO_C.count("/* HANDLE */") == 1
    return ECHO_C.replace("/* HANDLE */", code)


def line_of(source: str, code: str) -> int:
    return source[:source.index(code)].count("\n") + 1


def test_a_leak_is_told_at_its_line(shop: Workshop) -> None:
    code = "char *copy = strdup(\"x\"); copy[0] = 'y'; copy = NULL;"
    source = handling(code)
    stage = talk(shop, shop.c(source, "-O0"), under_valgrind=True)
    failure = failure_of(stage.closing_questions)
    assert failure.kind == "leak"
    assert f"server.c:{line_of(source, code)} in handle()" in failure.message
    assert "strdup()" in failure.detail
    assert stage.findings == [failure.detail]


def test_misused_memory_is_told_at_its_line(shop: Workshop) -> None:
    code = "free(malloc(1)); char *p = malloc(2); data[0] = p[2]; free(p);" \
        " data[0] = 'h';"
    source = handling(code)
    stage = talk(shop, shop.c(source, "-O0"), under_valgrind=True)
    failure = failure_of(stage.closing_questions)
    assert failure.kind == "memory"
    assert f"server.c:{line_of(source, code)} in handle()" in failure.message


def test_a_sound_server_under_valgrind(shop: Workshop) -> None:
    talk(shop, shop.c(ECHO_C), under_valgrind=True).closing_questions()


_LOG = """<?xml version="1.0"?>
<valgrindoutput>
<error><kind>{kind}</kind><what>It is bad</what><stack>
<frame><fn>malloc</fn><dir>./coregrind</dir><file>vg.c</file><line>9</line></frame>
<frame><fn>help</fn><dir>/library</dir><file>help.c</file><line>7</line></frame>
<frame><fn>serve</fn><dir>/own</dir><file>server.c</file><line>42</line></frame>
</stack><stack><frame><fn>other</fn></frame></stack></error>
</valgrindoutput>
"""


@pytest.mark.parametrize(("own", "place"), [
    ("/own", "server.c:42 in serve()"), ("/elsewhere", "help.c:7 in help()"),
    (None, "vg.c:9 in malloc()")])
def test_the_place_of_a_finding(own: str | None, place: str) -> None:
    found, = valgrind.findings(_LOG.format(kind="InvalidRead").encode(),
                               Path(own) if own else None)
    assert (found.place, found.is_leak) == (place, False)
    assert str(found) == f"It is bad ({place})"
    assert len(found.stack) == 3


def test_a_leak_among_the_findings() -> None:
    found, = valgrind.findings(
        _LOG.format(kind="Leak_DefinitelyLost").encode())
    assert found.is_leak


def test_a_missing_log_is_an_error() -> None:
    with pytest.raises(HarnessError, match="no log"):
        valgrind.findings(b"")


@pytest.mark.parametrize("kept", [1, 30, 200, len(_LOG) - 10])
def test_a_cut_log_is_an_error(kept: int) -> None:
    with pytest.raises(HarnessError, match="cut off"):
        valgrind.findings(_LOG[:kept].encode())


@pytest.mark.parametrize("hidden", [
    "<!--{}-->", "<more><![CDATA[{}]]></more>", "<more xmlns='x'>{}</more>"])
def test_a_log_in_which_a_finding_is_hidden(hidden: str) -> None:
    """A program can write to the pipe, though not take back what is in it."""
    error = _LOG[_LOG.index("<error>"):_LOG.index("</valgrindoutput>")]
    log = _LOG.replace(error, hidden.format(error))
    with pytest.raises(Failure, match="the program has written to it"):
        valgrind.findings(log.encode())


def test_a_program_that_was_not_run_under_valgrind(shop: Workshop) -> None:
    """What serves is looked at whenever Valgrind should have run."""
    stage = talk(shop, shop.listening(ECHO))
    stage.subject.under_valgrind = True
    with pytest.raises(HarnessError, match="runs outside of Valgrind"):
        stage.closing_questions()


# -- faults --------------------------------------------------------------------
def test_a_fault_that_happens(shop: Workshop) -> None:
    stage = talk(shop, shop.c(ECHO_C), plan="send@*=short:2")
    stage.closing_questions()
    sent = [call for call in stage.subject.calls() if call.cls == "send"]
    assert [call.number for call in sent] == [1, 2, 3]
    # The last of them asked for two bytes: nothing had to be changed.
    assert [call.injected for call in sent] == [True, True, False]


def test_calls_are_logged_without_a_fault(shop: Workshop) -> None:
    """A plan that names no fault only logs."""
    stage = talk(shop, shop.c(ECHO_C), plan=";")
    stage.closing_questions()
    calls = stage.subject.calls()
    assert not any(call.injected for call in calls)
    assert [call.cls for call in calls][:3] == ["socket", "bind", "listen"]
    assert calls[2].argument("backlog") == "8"
    assert calls[2].argument("nothing") == ""


def test_a_fault_that_never_happens(shop: Workshop) -> None:
    stage = talk(shop, shop.c(ECHO_C), plan="send@99=short:1")
    with pytest.raises(HarnessError, match="send@99=short:1 never happened"):
        stage.closing_questions()


def test_a_static_program(shop: Workshop) -> None:
    with pytest.raises(HarnessError, match="link it dynamically"):
        talk(shop, shop.c(ECHO_C, "-static"), plan="send@*=short:1")


def test_a_plan_that_can_not_be_read(shop: Workshop) -> None:
    with pytest.raises(HarnessError, match="SOCKSTEP_FAULTS"):
        talk(shop, shop.c(ECHO_C), plan="send@*=nonsense")


_BEFORE_VALGRIND = ["/bin/dash", "/usr/bin/valgrind.bin"]


@pytest.mark.parametrize(("programs", "due"), [
    ([], False), (["/x"], True), (_BEFORE_VALGRIND, False),
    ([*_BEFORE_VALGRIND, "/x"], True)])
def test_who_was_reached(tmp_path: Path, programs: list[str], due: bool
                         ) -> None:
    """Valgrind loads the preload too, before a static program."""
    log = tmp_path / "calls"
    log.write_text("".join(f"7 7 reached - {name}\n" for name in programs))
    assert faults.reached(log) is due


def test_a_log_that_is_missing(tmp_path: Path) -> None:
    assert not faults.reached(tmp_path / "calls")
    assert faults.calls(tmp_path / "calls") == []


def test_lines_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    log.write_text(
        "7 7 reached - /bin/x\n"
        "7 7 accept 1 accept(fd=3) = 4\n"
        "7 8 send 2 send(fd=4, length=9) = 1 [injected: short:1]\n"
        "7 8 close - close(fd=9) = -1 EBADF\n"
        "7 8 inject - recv 1 signal:SIGTERM\n"
        "9 9 forked - parent=7\n")
    assert faults.reached(log)
    found = faults.calls(log)
    assert [(call.pid, call.cls, call.number, call.injected)
            for call in found] == [(7, "accept", 1, False),
                                   (7, "send", 2, True),
                                   (7, "inject", 0, True)]
    assert found[1].argument("length") == "9"
    assert str(found[0]) == "accept 1: accept(fd=3) = 4"
