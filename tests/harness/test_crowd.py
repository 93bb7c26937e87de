"""Many clients at once, races between threads, and what a dead server leaves."""
from __future__ import annotations

import os
import signal

import pytest

from sockstep import procfs
from sockstep.contract import Contract
from sockstep.crowd import fill, gather, talk
from sockstep.failure import Failure
from sockstep.roles import Server

from workshop import Workshop

MANY = Contract("echo", "tcp", 8080, "many", "many")
#: The body of a server that serves many at once, `LIMIT` of them at most.
ECHO_MANY = """
import selectors
LIMIT = 1000
selector, clients = selectors.DefaultSelector(), set()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
selector.register(listener, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        if key.fileobj is listener:
            connection, _ = listener.accept()
            clients.add(connection)
            selector.register(connection, selectors.EVENT_READ)
            if len(clients) == LIMIT:
                selector.unregister(listener)
        elif data := key.fileobj.recv(4096):
            key.fileobj.sendall(data)
        else:
            selector.unregister(key.fileobj)
            if len(clients) == LIMIT:
                selector.register(listener, selectors.EVENT_READ)
            clients.remove(key.fileobj)
            key.fileobj.close()
"""


def launch(shop: Workshop, command: str, **options) -> Server:
    target = shop.target(command, contract=MANY)
    return Server.launch(shop.stage(target), target, **options)


# -- crowds ------------------------------------------------------------------------
def test_talk(shop: Workshop) -> None:
    server = launch(shop, shop.listening(ECHO_MANY))
    done = []
    requests = {peer: b"%d\n" % number * (number + 1)
                for number, peer in enumerate(gather(server, 40))}
    talk(server, requests, after=done.append)
    assert sorted(map(id, done)) == sorted(map(id, requests))
    for peer, request in requests.items():
        assert peer.got == request
        peer.expect(request)


def test_talk_ends_when_nothing_more_can_come(shop: Workshop) -> None:
    server = launch(shop, shop.listening(
        ECHO_MANY.replace("sendall(data)", "sendall(data[:3])")))
    first, second = gather(server, 2)
    done = []
    talk(server, {first: b"all", second: b"of it"}, after=done.append)
    assert done == [first]
    with pytest.raises(Failure, match="3 of 5 bytes came back") as caught:
        second.expect(b"of it")
    assert caught.value.kind == "stuck"


def test_a_crowd_that_has_room(shop: Workshop) -> None:
    """Who waits in the queue of the listening socket is connected, too."""
    server = launch(shop, shop.listening(ECHO_MANY.replace("1000", "4")))
    peers = fill(server, 10)
    assert len(peers) == 10
    server.exchange(1, peers[3])
    for peer in peers[:4]:
        peer.close()
    server.exchange(2, peers[4])


def test_a_crowd_that_has_no_room(shop: Workshop) -> None:
    server = launch(shop, shop.listening("listener.listen(2)\nsignal.pause()"))
    assert len(fill(server, 10)) == 3           # Linux: one more than asked
    with pytest.raises(Failure, match="client 1 of 4 finds no room") as caught:
        gather(server, 4)
    assert caught.value.kind == "refused"


def test_a_crowd_that_ends_the_server(shop: Workshop) -> None:
    server = launch(shop, shop.listening(
        ECHO_MANY.replace("            if len", "            "
                          "if len(clients) == 3: sys.exit(1)\n"
                          "            if len")))
    with pytest.raises(Failure) as caught:
        fill(server, 10)
        server.expect_alive("ten clients")
    assert caught.value.kind == "exit"


# -- what is frozen, and what is left --------------------------------------------------
_CHILD = """
child = os.fork()
if child == 0:
    listener.close() if {closed} else None
    signal.pause()
signal.pause()
"""


def test_freeze_one_process(shop: Workshop) -> None:
    server = launch(shop, shop.listening(_CHILD.format(closed=True)))
    server.quiet()
    server.program.freeze(alone=True)
    child, = procfs.children(server.program.pid)
    assert procfs.thread_state(server.program.pid, server.program.pid) == "T"
    assert procfs.thread_state(child, child) == "S"
    server.thaw()
    server.quiet()
    assert not server.program.stopped()


@pytest.mark.parametrize("closed", [True, False])
def test_a_port_after_a_servers_death(shop: Workshop, closed: bool) -> None:
    server = launch(shop, shop.listening(_CHILD.format(closed=closed)))
    server.quiet()
    server.program.ended_by_harness = True
    server.program.signal(signal.SIGKILL)
    server.stage.wait_end(server.program)
    assert server.stage.port_stays_open(server.port) is not closed
    server.stage.end_children()


def test_the_names_of_threads() -> None:
    assert procfs.thread_name(os.getpid(), os.getpid())
    assert procfs.thread_name(os.getpid(), 1 << 22) == ""


# -- races ---------------------------------------------------------------------------------
_THREADS = r"""
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int served;
static atomic_int counted;

static void count_one(void)
{
    COUNT
}

static void *serve(void *argument)
{
    int *connection = argument;
    char data[100];
    count_one();
    for (ssize_t n; (n = recv(*connection, data, sizeof(data), 0)) > 0;)
        send(*connection, data, (size_t)n, MSG_NOSIGNAL);
    close(*connection);
    free(connection);
    return NULL;
}

static void on_signal(int number)
{
    (void)number;
    _exit(0);
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    signal(SIGTERM, on_signal);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) == -1 ||
        listen(listener, 8) == -1)
        return 1;
    for (;;) {
        int *connection = malloc(sizeof(int));
        *connection = accept(listener, NULL, NULL);
        pthread_t thread;
        pthread_create(&thread, NULL, serve, connection);
        pthread_detach(thread);
    }
}
"""


@pytest.mark.parametrize(("count", "raced"), [
    ("served++;", True),
    ("pthread_mutex_lock(&lock); served++; pthread_mutex_unlock(&lock);",
     False),
    ("counted++;", False),
    ("atomic_fetch_add(&counted, 1);", False)])
def test_races(shop: Workshop, count: str, raced: bool) -> None:
    """Told at the program's own line; atomics are none."""
    source = _THREADS.replace("COUNT", count)
    server = launch(shop, shop.c(source, "-O0"), under_valgrind=True,
                    watch_threads=True)
    for seed in range(3):
        server.exchange(seed)
    server.quiet()
    if not raced:
        server.stage.closing_questions()
        return
    with pytest.raises(Failure) as caught:
        server.stage.closing_questions()
    line = source[:source.index(count)].count("\n") + 1
    assert caught.value.kind == "race"
    assert f"server.c:{line} in count_one()" in caught.value.message
