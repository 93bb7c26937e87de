"""The fault sweep: what it counts, what it provokes, what it finds."""
from __future__ import annotations

import functools

from sockstep.sweep import FAULTS, Sweep, run_client, run_server, sweep

from workshop import ECHO_C, IN_TURN, Workshop

#: It tells what failed, and gives up a client whose reply can't be sent.
_SERVER = ECHO_C.replace(
    "        return 1;",
    '        return fprintf(stderr, "server: start: it failed\\n") > 0;'
).replace("                break;", """\
            {
                close(fd);
                return;
            }""").replace("#include <netinet", """\
#include <errno.h>
#include <stdio.h>
#include <netinet""")
_CLIENT = r"""
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((unsigned short)atoi(argv[argc - 1])),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char line[80];
    ssize_t length = read(0, line, sizeof(line));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (length == -1 || fd == -1 ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) == -1 ||
        send(fd, line, (size_t)length, MSG_NOSIGNAL) != length ||
        shutdown(fd, SHUT_WR) == -1 ||
        (length = recv(fd, line, sizeof(line), MSG_WAITALL)) == -1) {
        fprintf(stderr, "client: talk: it failed\n");
        return 1;
    }
    return write(1, line, (size_t)length) == length ? 0 : STATUS;
}
"""


def swept(shop: Workshop, source: str, role: str = "server") -> Sweep:
    target = shop.target(shop.c(source), role=role, contract=IN_TURN)
    run = run_server if role == "server" else \
        functools.partial(run_client, whole=[])
    return sweep(shop.stage(target), run, signals=role == "server")


def test_a_sound_server(shop: Workshop) -> None:
    found = swept(shop, _SERVER)
    assert found.findings == []
    assert found.calls >= 10 and found.provoked > 20
    assert found.runs >= found.provoked


def test_a_server_that_crashes_where_a_call_fails(shop: Workshop) -> None:
    found = swept(shop, _SERVER.replace(
        "serve(fd);", "serve(fd); else if (errno == EPROTO) abort();"))
    assert {(each.plan, each.kind) for each in found.findings} == {
        (f"accept@{number}=EPROTO", "crash") for number in (1, 2)}


def test_one_plan_alone(shop: Workshop) -> None:
    """It can be played again, and the transcript is that of its run."""
    target = shop.target(shop.c(_SERVER.replace(
        "serve(fd);", "serve(fd); else if (errno == EPROTO) abort();")),
        contract=IN_TURN)
    for plan, kinds in (("accept@2=EPROTO", ["crash"]), ("accept@2=EINTR", [])):
        stage = shop.stage(target)
        stage.only_plan = plan
        found = sweep(stage, run_server, signals=True)
        assert [each.kind for each in found.findings] == kinds
        assert (found.runs, found.provoked) == (1, 1)
        told = str(stage.transcript.as_json())
        assert (plan in told) == bool(kinds)


def test_a_client_that_does_not_tell(shop: Workshop) -> None:
    """A short read or write of its input and output is taken for all."""
    found = swept(shop, _CLIENT.replace("STATUS", "1"), "client")
    kinds = {each.plan: each.kind for each in found.findings}
    assert kinds["write@1=short:1"] == "output"     # status 1, no message
    assert "send@1=EINTR" not in kinds              # told, with status 1
    found = swept(shop, _CLIENT.replace("STATUS", "7"), "client")
    kinds = {each.plan: each.message for each in found.findings}
    assert "status 0 or 1 is due" in kinds["write@1=ENOSPC"]


def test_every_class_is_of_the_preload() -> None:
    """Classes that the preload knows, such as `dup`, may be left out."""
    from workshop import ROOT
    text = (ROOT / "src/fault_plan.c").read_text()
    assert all(f'"{cls}"' in text for cls in FAULTS)
