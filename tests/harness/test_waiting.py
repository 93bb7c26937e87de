"""What a blocked program waits in, in words: watched, waiting."""
from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import pytest

from sockstep import procfs, watched
from sockstep.procfs import Wait
from sockstep.roles import Server
from sockstep.stage import Stage
from sockstep.watched import Watched

from workshop import ONE, Workshop

#: A server that has one client, `f`, and then waits in its BODY.
SOURCE = r"""
#define _GNU_SOURCE
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;
static char big[1 << 20];

static void *lock(void *none)
{
    pthread_mutex_lock(&mutex);
    return none;
}

static void *rest(void *none)
{
    pause();
    return none;
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char byte;
    pthread_t thread;
    struct epoll_event event = {.events = EPOLLIN};
    int l = socket(AF_INET, SOCK_STREAM, 0);
    bind(l, (struct sockaddr *)&address, sizeof(address));
    listen(l, 8);
    int f = accept(l, NULL, NULL);
    (void)f, (void)byte, (void)thread, (void)event, (void)lock, (void)rest;
    (void)condition, (void)semaphore, (void)big;
    BODY
}
"""
_SETS = "fd_set in, out; FD_ZERO(&in); FD_ZERO(&out); "
_EPOLL = "int e = epoll_create1(0); "

WAITS = {
    "poll": (
        "struct pollfd p[] = {{l, POLLIN, 0}, {-1, POLLIN, 0}, "
        "{f, POLLIN, 0}, {0, 0, 0}}; poll(p, 4, -1);",
        "poll() for input on the connection with client 1 and the listening "
        "socket and for a hang-up on standard input"),
    "poll-both": (
        "while (send(f, big, sizeof(big), MSG_DONTWAIT) > 0) ; "
        "struct pollfd p[] = {{f, POLLIN | POLLOUT, 0}}; poll(p, 1, -1);",
        "poll() for input or room on the connection with client 1"),
    "poll-timeout": (
        "struct pollfd p[] = {{l, POLLIN, 0}}; poll(p, 1, 600000);",
        "poll() for input on the listening socket, for 600 s at the most"),
    "poll-nothing": (
        "poll(NULL, 0, -1);", "poll() with no descriptor to wait for"),
    "ppoll": (
        "struct timespec t = {600, 0}; struct pollfd p[] = "
        "{{f, POLLRDHUP, 0}}; sigset_t none; sigemptyset(&none); "
        "ppoll(p, 1, &t, &none);",
        "ppoll() for a hang-up on the connection with client 1, for 600 s "
        "at the most"),
    "select": (
        _SETS + "while (send(f, big, sizeof(big), MSG_DONTWAIT) > 0) ; "
        "FD_SET(l, &in); FD_SET(f, &out); "
        "select(f + 1, &in, &out, NULL, NULL);",
        "select() for input on the listening socket and for room on the "
        "connection with client 1"),
    "select-high": (
        _SETS + "dup2(f, 700); FD_SET(700, &in); "
        "select(701, &in, NULL, NULL, NULL);",
        "select() for input on the connection with client 1"),
    "select-timeout": (
        _SETS + "struct timeval t = {600, 500000}; FD_SET(f, &in); "
        "select(f + 1, &in, NULL, NULL, &t);",
        "select() for input on the connection with client 1, for "
        r"6\d\d s at the most"),
    "epoll": (
        _EPOLL + "epoll_ctl(e, EPOLL_CTL_ADD, f, &event); "
        "epoll_ctl(e, EPOLL_CTL_ADD, eventfd(0, 0), &event); "
        "epoll_ctl(e, EPOLL_CTL_ADD, l, &event); "
        "epoll_wait(e, &event, 1, -1);",
        "epoll_wait() for input on the connection with client 1, the "
        "listening socket and an eventfd"),
    "epoll-closed": (
        _EPOLL + "epoll_ctl(e, EPOLL_CTL_ADD, f, &event); "
        "dup2(f, 700); dup2(l, f); epoll_wait(e, &event, 1, -1);",
        "epoll_wait() for input on the connection with client 1"),
    "epoll-nothing": (
        _EPOLL + "epoll_wait(e, &event, 1, -1);",
        "epoll_wait() with no descriptor to wait for"),
    "recv": ("recv(f, &byte, 1, 0);",
             r"recv(fd \d+) on the connection with client 1"),
    "join": ("pthread_create(&thread, NULL, rest, NULL); "
             "pthread_join(thread, NULL);",
             "pthread_join() for a thread to end, and in pause() for a "
             "signal"),
    "mutex": ("lock(NULL); pthread_create(&thread, NULL, lock, NULL); "
              "pause();",
              "pause() for a signal, and in pthread_mutex_lock() for a mutex "
              "that another thread holds"),
    "mutex-own": ("lock(NULL); lock(NULL);",
                  "pthread_mutex_lock() for a mutex that this thread holds"),
    "condition": ("lock(NULL); pthread_cond_wait(&condition, &mutex);",
                  "pthread_cond_wait() or sem_wait()"),
    "semaphore": ("sem_init(&semaphore, 0, 0); sem_wait(&semaphore);",
                  "pthread_cond_wait() or sem_wait()"),
    "child": ("if (fork() == 0) pause(); wait(NULL);",
              "wait4() for a child process to end, and in pause() for a "
              "signal"),
    "sleep": ("sleep(600);", "clock_nanosleep() for 600 s"),
}


def waiting(shop: Workshop, body: str, under_valgrind: bool = False
            ) -> tuple[Stage, list[Wait]]:
    """A server that waits in `body`, and what each of its threads is in."""
    target = shop.target(shop.c(SOURCE.replace("BODY", body)), contract=ONE)
    stage = shop.stage(target, under_valgrind=under_valgrind)
    server = Server.launch(stage, target)
    server.connect()
    server.quiet()
    return stage, server.program.waits()


def pattern(told: str) -> str:
    """`told` as a regular expression, in which \\d keeps its meaning."""
    return re.escape(told).replace(re.escape(r"\d"), r"\d") \
        .replace(r"\d\+", r"\d+")


@pytest.mark.parametrize("under_valgrind", [False, True],
                         ids=["alone", "valgrind"])
@pytest.mark.parametrize(("body", "told"), WAITS.values(), ids=WAITS)
def test_in_words(shop: Workshop, body: str, told: str, under_valgrind: bool
                  ) -> None:
    stage, waits = waiting(shop, body, under_valgrind)
    words = stage.describe(waits)
    assert re.fullmatch(pattern(told), words), words


def test_the_connection_is_told_first(shop: Workshop) -> None:
    """Of many descriptors the first ones need not be of interest."""
    stage, waits = waiting(shop, """
    for (int i = 0; i < 9; i++) {
        int e = epoll_create1(0);
        if (i < 8)
            continue;
        epoll_ctl(e, EPOLL_CTL_ADD, eventfd(0, 0), &event);
        epoll_ctl(e, EPOLL_CTL_ADD, epoll_create1(0), &event);
        epoll_ctl(e, EPOLL_CTL_ADD, l, &event);
        epoll_ctl(e, EPOLL_CTL_ADD, f, &event);
        epoll_wait(e, &event, 1, -1);
    }""")
    assert re.fullmatch(
        r"epoll_wait\(\) for input on the connection with client 1, the "
        r"listening socket and an (eventfd|epoll set) \.\.\.",
        stage.describe(waits))


def test_like_threads_are_told_once(shop: Workshop) -> None:
    stage, waits = waiting(shop, "for (int i = 0; i < 5; i++) "
                           "pthread_create(&thread, NULL, rest, NULL); "
                           "rest(NULL);")
    assert len(waits) == 6
    assert stage.describe(waits) == "pause() for a signal"


# -- what can't be known ---------------------------------------------------------
def changed(wait: Wait, **arguments: int) -> Wait:
    """The wait with other arguments, by their numbers: a1 is the second."""
    every = list(wait.arguments)
    for name, value in arguments.items():
        every[int(name[1:])] = value
    return dataclasses.replace(wait, arguments=tuple(every))


@pytest.mark.parametrize("arguments", [
    {"a0": 0}, {"a0": 8}, {"a0": (1 << 64) - 1}, {"a0": 1 << 47},
    {"a1": 1 << 40}, {"a1": 1 << 17}, {"a1": 5000}], ids=str)
def test_a_pointer_that_makes_no_sense(
        shop: Workshop, monkeypatch: pytest.MonkeyPatch,
        arguments: dict[str, int]) -> None:
    """Registers may be another's, as under an emulator: nothing is told."""
    monkeypatch.setattr(watched, "_goes_on", lambda _wait: True)
    stage, (wait,) = waiting(
        shop, "struct pollfd p[] = {{l, POLLIN, 0}}; poll(p, 1, -1);")
    assert watched.descriptors(wait) == [Watched(3, True, False)]
    odd = changed(wait, **arguments)
    assert watched.descriptors(odd) is None
    assert stage.describe([odd]) == "poll()"


@pytest.mark.parametrize(("body", "arguments"), [
    (_SETS + "FD_SET(f, &in); select(f + 1, &in, NULL, NULL, NULL);",
     {"a0": 1 << 30}),
    (_SETS + "FD_SET(f, &in); select(f + 1, &in, NULL, NULL, NULL);",
     {"a1": 16}),
    (_EPOLL + "epoll_wait(e, &event, 1, -1);", {"a0": 0}),
    (_EPOLL + "epoll_wait(e, &event, 1, -1);", {"a0": 99})])
def test_other_calls_that_make_no_sense(
        shop: Workshop, monkeypatch: pytest.MonkeyPatch, body: str,
        arguments: dict[str, int]) -> None:
    monkeypatch.setattr(watched, "_goes_on", lambda _wait: True)
    _stage, (wait,) = waiting(shop, body)
    assert watched.descriptors(wait) is not None
    assert watched.descriptors(changed(wait, **arguments)) is None


def test_a_descriptor_that_is_not_open(shop: Workshop) -> None:
    """No poll() waits for one, so it is not its array that was read."""
    _stage, (wait,) = waiting(
        shop, "struct pollfd p[] = {{f, POLLIN, 0}}; poll(p, 1, -1);")
    found, = watched.descriptors(wait)
    known = procfs.descriptors(wait.pid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(procfs, "descriptors", lambda _pid: {
            fd: name for fd, name in known.items() if fd != found.fd})
        assert watched.descriptors(wait) is None


def test_a_thread_that_has_gone_on(shop: Workshop) -> None:
    """What was read may be of another call by then."""
    stage, (wait,) = waiting(
        shop, "struct pollfd p[] = {{f, POLLIN, 0}}; poll(p, 1, -1); "
        "poll(p + 1, 0, -1);")
    assert watched.descriptors(wait) is not None
    stage.peers[0].send(b"x")
    stage.quiet()
    assert watched.descriptors(wait) is None
    assert watched.descriptors(stage.subject.waits()[0]) == []


def test_memory_that_may_not_be_read(shop: Workshop,
                                     monkeypatch: pytest.MonkeyPatch
                                     ) -> None:
    """Then the call alone is told."""
    stage, (wait,) = waiting(
        shop, "struct pollfd p[] = {{f, POLLIN, 0}}; poll(p, 1, 600000);")

    def forbidden(*_arguments, **_more):
        raise PermissionError

    monkeypatch.setattr("builtins.open", forbidden)
    assert procfs.memory(wait.pid, wait.arguments[0], 8) is None
    assert stage.describe([wait]) == "poll() for 600 s"


def test_memory_of_a_process_that_is_gone(shop: Workshop) -> None:
    stage, (wait,) = waiting(shop, "pause();")
    stage.subject.close()
    assert procfs.memory(wait.pid, 4096, 8) is None
    assert watched.descriptors(dataclasses.replace(wait, call="poll")) is None
    assert watched.lock(dataclasses.replace(wait, call="futex")) == ""


def test_a_futex_of_another_kind(shop: Workshop) -> None:
    """Only what glibc surely means is told."""
    stage, (wait,) = waiting(shop, "lock(NULL); lock(NULL);")
    for arguments in ({"a1": 0}, {"a2": 1}, {"a0": 8}, {"a0": 0}):
        assert watched.lock(changed(wait, **arguments)) == ""
        assert stage.describe([changed(wait, **arguments)]) == "futex()"


# -- both ends ---------------------------------------------------------------------
def test_a_deadlock_of_two_programs(shop: Workshop) -> None:
    """Both wait for the other: both calls are told."""
    target = shop.target(shop.c(SOURCE.replace(
        "BODY", "while (recv(f, &byte, 1, 0) == 1) ;")), contract=ONE)
    stage = shop.stage(target)
    server = Server.launch(stage, target)
    client = stage.assist("client", "echo_client_repeating.py", "127.0.0.1",
                          str(server.port))
    client.type(b"one\n\n")
    client.end_input()
    with pytest.raises(Exception) as caught:
        stage.wait(client.ending, None, "the client does not end",
                   program=server.program)
    assert re.fullmatch(
        r"the client does not end, then the server waits in recv\(fd \d\) on "
        r"the connection with the document's client, the document's client in "
        r"recv\(fd \d\) on the connection with the server, and nothing more "
        r"can come", caught.value.message), caught.value.message


def test_a_deadlock_over_unix(shop: Workshop) -> None:
    """Descriptors of AF_UNIX connections between programs are told, too."""
    script = shop.python("""
import threading
path = "\\0" + "sockstep.test." + str(os.getpid())
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
if os.fork() == 0:
    server.close()
    mine = socket.socket(socket.AF_UNIX)
    mine.connect(path)
    mine.recv(1)
theirs, _ = server.accept()
server.close()
theirs.recv(1)
""")
    stage = shop.stage(shop.target(script))
    program = stage.start([script])
    stage.quiet()
    assert stage.describe(program.waits()).startswith("recv(fd ")
    assert "the connection with the server" in stage.describe(
        program.waits())
