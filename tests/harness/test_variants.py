"""Programs built in other ways; with sanitizers, each finding is a failure, none is lost."""
from __future__ import annotations

import pytest

from sockstep import variants
from sockstep.failure import Failure
from sockstep.roles import Server

from workshop import ECHO_C, Workshop

#: The handler of ECHO_C ends the process by _exit(), which looks for no leak.
_ORDERLY = ECHO_C.replace("_exit(0)", "exit(0)")
_RACE = r"""
#include <pthread.h>
static int count;
static void *add(void *argument) { count++; return argument; }
"""
_TWO_THREADS = r"""
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, add, NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
"""


def finding(shop: Workshop, kind: str, handle: str, head: str = ""
            ) -> Failure | None:
    """What is found in a server that runs `handle` for each message."""
    source = head + _ORDERLY.replace("/* HANDLE */", handle)
    flags = variants.FLAGS["address" if kind == "bounds" else kind]
    target = shop.target(shop.c(source, *flags), variant=kind)
    stage = shop.stage(target)
    server = Server.launch(stage, target)
    try:
        server.exchange()
        stage.closing_questions()
    except Failure as failure:
        return failure
    return None


@pytest.mark.parametrize("kind", ["address", "thread"])
def test_a_sound_program(shop: Workshop, kind: str) -> None:
    assert finding(shop, kind, "") is None


@pytest.mark.parametrize(("handle", "told"), [
    ("char *p = malloc(6); memcpy(p, data, 6); free(p); data[0] = p[0];",
     "heap-use-after-free"),
    ("int v = 2147483647; v += (int)length; data[0] = (char)v;",
     "signed integer overflow"),
    ("volatile int number[2] = {0, 0}; number[length] = 1;",
     "out of bounds|stack-buffer-overflow"),
])
@pytest.mark.parametrize("kind", ["address", "bounds"])
def test_what_is_found(shop: Workshop, kind: str, handle: str, told: str
                       ) -> None:
    """The program may end at once: the log is what counts."""
    source = _ORDERLY.replace("/* HANDLE */", handle)
    command = shop.c(source, *variants.FLAGS["address"])
    target = shop.target(command, variant=kind)
    stage = shop.stage(target)
    server = Server.launch(stage, target)
    peer = server.connect()
    peer.send(b"hello\n")
    try:
        server.quiet()
        stage.closing_questions()
    except Failure:
        pass                        # it was ended by what was found
    lines = [line for program in stage.programs
             for line, _report in variants.findings(
                 program.directory, program.stderr.decode())]
    assert any(word in line for line in lines for word in told.split("|")), \
        lines


def test_a_leak_is_a_failure_of_its_kind(shop: Workshop) -> None:
    failure = finding(shop, "address",
                      "char *volatile p = malloc(9); p[0] = 1; p = NULL;")
    assert failure.kind == "leak" and "9 byte(s) leaked" in failure.message


def test_a_build_for_bounds_looks_for_no_leak(shop: Workshop) -> None:
    leak = "char *volatile p = malloc(9); p[0] = 1; p = NULL;"
    assert finding(shop, "bounds", leak) is None


def test_a_race(shop: Workshop) -> None:
    failure = finding(shop, "thread", _TWO_THREADS, _RACE)
    assert failure.kind == "memory"
    assert "data race" in failure.message and "server.c:" in failure.message
