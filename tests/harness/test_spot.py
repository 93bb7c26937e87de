"""Where in its source a thread is: spot."""
from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable

import pytest

from sockstep import procfs, spot
from sockstep import stage as stage_module
from sockstep.failure import Failure
from sockstep.roles import Server
from sockstep.stage import Stage

from workshop import ONE, Workshop

#: Lines are counted from here: the first is empty.
SOURCE = r"""
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile int zero;
static void __attribute__((noinline)) serve(int fd)
{
    char byte[8] = "";
    struct pollfd one = {fd, POLLIN, 0};
    (void)byte, (void)one;
    BODY;
    zero = byte[0];
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int l = socket(AF_INET, SOCK_STREAM, 0);
    bind(l, (struct sockaddr *)&address, sizeof(address));
    listen(l, 8);
    serve(accept(l, NULL, NULL));
}
"""
LINE = 1 + SOURCE[:SOURCE.index("BODY")].count("\n")

x86_only = pytest.mark.skipif(os.uname().machine != "x86_64",
                              reason="its calls are known of x86-64 alone")


def serving(shop: Workshop, body: str, *flags: str, told: bool = True
            ) -> Stage:
    """A server that is in `body`, in its function serve()."""
    target = shop.target(shop.c(SOURCE.replace("BODY", body), *flags),
                         contract=ONE)
    stage = shop.stage(target, told=told)
    Server.launch(stage, target).connect()
    return stage


def failure_of(act: Callable) -> Failure:
    with pytest.raises(Failure) as caught:
        act()
    return caught.value


@x86_only
@pytest.mark.parametrize("flags", [(), ("-no-pie",), ("-O0",), ("-O2",)],
                         ids=lambda flags: " ".join(flags) or "usual")
@pytest.mark.parametrize("body", [
    "recv(fd, byte, 1, 0)", "read(fd, byte, 1)", "poll(&one, 1, -1)"])
def test_blocked(shop: Workshop, body: str, flags: tuple[str, ...]) -> None:
    stage = serving(shop, body, *flags)
    failure = failure_of(lambda: stage.peers[0].expect(b"x"))
    assert failure.kind == "stuck"
    assert failure.detail == \
        f"the server waits at server.c:{LINE} in serve()"


def test_blocked_deep_in_the_library(shop: Workshop) -> None:
    """The stack is not searched far, as old addresses lie there: the line is
    told, or none.
    """
    stage = serving(shop, "fgets(byte, 2, fdopen(fd, \"r\"))")
    assert failure_of(lambda: stage.peers[0].expect(b"x")).detail in (
        "", f"the server waits at server.c:{LINE} in serve()")


def test_nothing_is_told_of_a_gap(shop: Workshop,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads it, so it costs nothing."""
    def never(*_arguments):
        raise AssertionError("this costs time")

    monkeypatch.setattr(spot, "of", never)
    monkeypatch.setattr(spot, "of_spin", never)
    monkeypatch.setattr(stage_module, "SPIN_CPU_SECONDS", 0.1)
    stage = serving(shop, "recv(fd, byte, 1, 0)", told=False)
    assert failure_of(lambda: stage.peers[0].expect(b"x")).kind == "stuck"
    stage = serving(shop, "for (;;) zero++", told=False)
    assert failure_of(lambda: stage.peers[0].expect(b"x")).kind == "spin"


@pytest.mark.parametrize(("flags", "told"), [
    (("-g0",), ""), (("-g0", "-s"), ""), (("-static",), f":{LINE} in serve()")],
    ids=["no -g", "stripped", "static"])
def test_other_builds(shop: Workshop, flags: tuple[str, ...], told: str
                      ) -> None:
    """Without a line nothing is told, and nothing goes wrong."""
    stage = serving(shop, "recv(fd, byte, 1, 0)", *flags)
    assert failure_of(lambda: stage.peers[0].expect(b"x")) \
        .detail.endswith(told)


def test_under_valgrind(shop: Workshop) -> None:
    """There the program runs in code of Valgrind's: no place is known."""
    target = shop.target(shop.c(SOURCE.replace(
        "BODY", "recv(fd, byte, 1, 0)")), contract=ONE)
    stage = shop.stage(target, told=True, under_valgrind=True)
    peer = Server.launch(stage, target).connect()
    assert failure_of(lambda: peer.expect(b"x")).detail == ""
    assert spot.of(stage.subject.pid, stage.subject.pid) == ""


@pytest.mark.parametrize(("body", "told"), [
    ("for (;;) zero++", rf", mostly at server\.c:{LINE} in serve\(\)"),
    pytest.param(
        "shutdown(fd, 0); while (recv(fd, byte, 1, 0) == 0)",
        rf", mostly in recv\(\) at server\.c:{LINE} in serve\(\)",
        marks=x86_only),
    pytest.param(
        "for (;;) poll(&one, 1, 0)",
        rf", mostly in poll\(\) at server\.c:{LINE} in serve\(\)",
        marks=x86_only)], ids=["computes", "recv", "poll"])
def test_a_spin(shop: Workshop, monkeypatch: pytest.MonkeyPatch, body: str,
                told: str) -> None:
    monkeypatch.setattr(stage_module, "SPIN_CPU_SECONDS", 0.1)
    stage = serving(shop, body)
    failure = failure_of(stage.quiet)
    assert failure.kind == "spin"
    assert re.search(told + "$", failure.message), failure.message
    assert re.match(r"\d+ of 15 looks: (in \w+\(\) )?at server\.c:\d+ in serve",
                    failure.detail), failure.detail


def test_the_thread_that_spins(shop: Workshop) -> None:
    """One of several threads, in one of several processes."""
    stage = serving(shop, "if (fork() == 0) pause(); "
                    "while (zero == 0) one.fd++", "-O0")
    monkey = stage.subject
    while monkey.cpu_seconds() < 0.1:
        monkey.pace(0.01)
    clause, lines = spot.of_spin(monkey.tree())
    assert clause == f", mostly at server.c:{LINE} in serve()"
    assert lines == f"15 of 15 looks: at server.c:{LINE} in serve()"
    # It goes on: each look has let it go.
    before = monkey.cpu_seconds()
    assert not monkey.stopped()
    while monkey.cpu_seconds() == before:
        monkey.pace(0.01)


def test_a_program_that_ends_meanwhile(shop: Workshop) -> None:
    stage = serving(shop, "pause()")
    stage.quiet()
    pid = stage.subject.pid
    stage.subject.signal(signal.SIGKILL)
    assert spot.of_spin([pid]) == ("", "")
    stage.subject.close()
    assert spot.of_spin([pid]) == ("", "")
    assert spot.of_spin([]) == ("", "")
    assert spot.of(pid, pid) == ""
    assert procfs.thread_ticks(pid, pid) == 0


@pytest.mark.parametrize(("code", "is_call"), [
    ("90 90 e8 01 02 03 04", True),             # call rel32
    ("90 ff 15 01 02 03 04", True),             # call *disp32(%rip)
    ("ff 94 24 01 02 03 04", True),             # call *disp32(%rsp)
    ("90 90 90 90 90 ff d0", True),             # call *%rax
    ("90 90 90 90 ff 50 08", True),             # call *8(%rax)
    ("90 90 90 90 41 ff d4", True),             # call *%r12
    ("90 90 e9 01 02 03 04", False),            # jmp rel32
    ("90 90 90 90 90 ff e0", False),            # jmp *%rax
    ("90 90 90 90 ff 40 08", False),            # incl 8(%rax)
    ("00 00 00 00 00 00 00", False)])
def test_what_is_a_call(code: str, is_call: bool) -> None:
    """Intel SDM, volume 2."""
    assert spot._is_call(bytes.fromhex(code)) is is_call
    assert not spot._is_call(None)


def test_without_the_tool(shop: Workshop, monkeypatch: pytest.MonkeyPatch
                          ) -> None:
    stage = serving(shop, "recv(fd, byte, 1, 0)")
    monkeypatch.setattr(spot.shutil, "which", lambda _name: None)
    assert failure_of(lambda: stage.peers[0].expect(b"x")).detail == ""
