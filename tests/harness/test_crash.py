"""The second look at a program that crashed: crash, valgrind."""
from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from sockstep import crash, valgrind
from sockstep.deadline import load_factor
from sockstep.failure import Failure
from sockstep.roles import Server
from sockstep.valgrind import Crash, Finding

from test_submissions import Desk, desk, server   # noqa: F401 (a fixture)
from workshop import Workshop

def echo(body: str, before: str = "") -> str:
    """A server that echoes, in which `body` has the bytes that came: `buffer`
    and `got`.  Its line is `line_of(echo(body), body)`.
    """
    return server(before).replace(
        "        send(connection, buffer",
        f"    {{\n{body}\n    }}\n        send(connection, buffer").replace(
        "while ((got = recv(connection, buffer, sizeof(buffer), 0)) > 0)",
        "while ((got = recv(connection, buffer, sizeof(buffer), 0)) > 0) {"
    ).replace("MSG_NOSIGNAL);\n    close", "MSG_NOSIGNAL);\n    }\n    close")


def line_of(source: str, text: str) -> int:
    return source[:source.index(text)].count("\n") + 1


CRASHES = {
    "SIGSEGV": "*(volatile char *)(got - got) = buffer[0];",
    "SIGABRT": "if (got > 0) abort();",
    "SIGFPE": "volatile long zero = 0; buffer[0] = (char)(got / zero);",
    "SIGILL": "if (got > 0) __builtin_trap();",
    "SIGBUS": "if (got > 0) raise(SIGBUS);",
    "SIGPIPE": "int p[2]; if (pipe(p) == 0) { close(p[0]); "
               "if (write(p[1], p, 1) == 1) return; }",
}


@pytest.mark.parametrize(("name", "body"), CRASHES.items(), ids=CRASHES)
def test_the_line(desk: Desk, name: str, body: str) -> None:
    """The first run fails as it did; the place is that of the second."""
    source = echo(body)
    desk.put("server.c", source)
    run = desk.check()
    place = rf"server\.c:{line_of(source, body)} in echo\(\)"
    run.told("crash", rf"^the server was killed by {name} at {place} \(.*\) "
             r"after 0 of \d+ bytes$")
    detail = run.record["evidence"]["detail"]
    assert re.search(rf"^Valgrind: .+\n  at {place}\n  called from "
                     r"server\.c:\d+ in main\(\)$", detail, re.MULTILINE), \
        detail
    # Nothing of the second run is in the record of the first.
    assert run.record["evidence"]["process"]["argv"][0].endswith("/server")
    assert run.record["evidence"]["process"]["ended"] == f"killed by {name}"


@pytest.mark.parametrize(("body", "what"), [
    ("char *volatile copy = malloc(8); free(copy); free(copy);",
     "Invalid free"),
    ("char *volatile copy = malloc(24); memset(copy, got & 0, 40); "
     "free(copy); copy = malloc(2000); copy = malloc(70000);",
     "Invalid write")], ids=["double free", "overflow"])
def test_what_the_c_library_ends(desk: Desk, body: str, what: str) -> None:
    """Valgrind's own free() goes on: what it finds first is told."""
    source = echo(body)
    desk.put("server.c", source)
    run = desk.check()
    run.told("crash", r"killed by SIG\w+ .*; what is wrong, by Valgrind: "
             rf"{what}.*\(server\.c:{line_of(source, body)} in echo\(\)\)$")


def test_a_smashed_stack(desk: Desk) -> None:
    """The compiler's guard calls abort() at the end of the function."""
    source = echo("char small[8]; volatile size_t n = (size_t)got; "
                  "memcpy(small, buffer, n); zero = small[0];").replace(
        "static void echo", "static volatile int zero;\n"
        "__attribute__((noinline)) static void echo")
    desk.put("server.c", source)
    desk.put("Makefile", "server: server.c\n\t$(CC) -g -O0 -w "
             "-fstack-protector-all -o $@ $<\n")
    run = desk.check()
    run.told("crash", r"killed by SIGABRT at server\.c:\d+ in echo\(\)")
    assert "stack smashing" in run.record["evidence"]["stderr"]


def test_a_child_that_crashes(desk: Desk) -> None:
    """Its parent alone knows how it ended, and Valgrind."""
    body = "*(volatile char *)(got - got) = buffer[0];"
    source = echo(body).replace(
        "for (;;) echo(listener);",
        "signal(SIGCHLD, SIG_IGN); for (;;) if (fork() == 0) "
        "{ echo(listener); _exit(0); } else pause();")
    desk.put("server.c", source)
    run = desk.check()
    assert run.record["evidence"]["kind"] in ("end-of-stream", "reset")
    assert run.record["message"].endswith(
        "; under Valgrind a child process was killed by SIGSEGV at "
        f"server.c:{line_of(source, body)} in echo()")


def counted(tmp_path: Path, body: str, again: str = "") -> tuple[str, Path]:
    """A server that notes each of its starts, and where.

    It is in `body` only the first time; `again` is what it does before it
    listens at the others.
    """
    starts = tmp_path / "starts"
    source = echo(f"if (first) {{ {body} }}", f"""
    FILE *note = fopen("{starts}", "a");
    first = ftell(note) == 0;
    fputs("x", note);
    fclose(note);
    if (!first) {{ {again} }}""")
    return source.replace("static void echo",
                          "static int first;\nstatic void echo"), starts


@pytest.mark.parametrize("again", ["", "return 3;"], ids=["echoes", "ends"])
def test_it_does_not_happen_again(desk: Desk, tmp_path: Path, again: str
                                  ) -> None:
    """Then the record says so, and no line is made up."""
    source, starts = counted(tmp_path, "abort();", again)
    desk.put("server.c", source)
    run = desk.check()
    run.told("crash", r"^the server was killed by SIGABRT \(.*\) after 0 of "
             r"\d+ bytes$")
    assert run.record["evidence"]["detail"] == \
        "SIGABRT did not happen again in a second run, under Valgrind, so " \
        "no line can be told."
    assert starts.read_text() == "xx"
    assert len(run.results["results"]) == len(
        {record["case"] for record in run.results["results"]})


@pytest.mark.parametrize("body", ["buffer[0] ^= 1;", "return;", "exit(3);",
                                  "raise(SIGTERM);"])
def test_one_run_without_a_crash(desk: Desk, tmp_path: Path, body: str
                                 ) -> None:
    """What is no crash costs nothing."""
    source, starts = counted(tmp_path, body)
    desk.put("server.c", source)
    assert desk.check().record["verdict"] == "fail"
    assert starts.read_text() == "x"


def test_a_crash_under_valgrind(desk: Desk, tmp_path: Path) -> None:
    """The case runs it there: its log is at hand, and one run is enough."""
    body = "abort();"
    source, starts = counted(tmp_path, body)
    desk.put("server.c", source)
    run = desk.check(case="memory/misuse")
    run.told("crash", "killed by SIGABRT at server.c:"
             f"{line_of(source, body)} in ")
    assert starts.read_text() == "x"


def test_few_looks(desk: Desk, tmp_path: Path) -> None:
    """A program that always crashes does not take for ever."""
    source = echo("abort();")
    desk.put("server.c", source)
    run = desk.check("--jobs", "1", "--leaks", "no",
                     case="echo/* turn/*")
    told = [record for record in run.records
            if "SIGABRT" in record["message"]]
    assert len(told) > crash.MOST_LOOKS
    assert len([record for record in told
                if "SIGABRT at server.c" in record["message"]]) == \
        crash.MOST_LOOKS


@pytest.mark.parametrize("body", [
    "import time\nwhile True: time.sleep(0.001)", "while True: pass"],
    ids=["sleeps", "spins"])
def test_a_look_is_bounded(shop: Workshop, monkeypatch: pytest.MonkeyPatch,
                           body: str) -> None:
    """All waits together take no longer than one look may."""
    monkeypatch.setattr(crash, "LOOK_SECONDS", 0.5 / load_factor())
    target = shop.target(shop.listening(body))
    stage = shop.stage(target, find_crash=True)
    start = time.monotonic()
    server = None
    for _ in range(20):
        with pytest.raises(Failure):
            server = server or Server.launch(stage, target)
            stage.wait(lambda: False, None, "it does not come")
        with pytest.raises(Failure):
            stage.quiet()
    assert stage.factor() == 0
    assert time.monotonic() - start < 5 * load_factor()


# -- Valgrind's log ----------------------------------------------------------------
_FRAME = "<frame><ip>0x1</ip><fn>{}</fn><dir>{}</dir><file>{}</file>" \
    "<line>{}</line></frame>"
_STACK = "<stack><frame><ip>0x1</ip><fn>raise</fn></frame>" + \
    _FRAME.format("abort", "./stdlib/./stdlib", "abort.c", 79) + \
    _FRAME.format("check", "/s/parts", "check.c", 7) + \
    _FRAME.format("main", "/s", "server.c", 42) + "</stack>"
_ERROR = "<error><kind>InvalidWrite</kind><what>Invalid write of size 1" \
    "</what><stack>" + _FRAME.format("fill", "/s", "server.c", 30) + \
    "</stack></error>"
_LEAK = "<error><kind>Leak_DefinitelyLost</kind><what>lost</what>" \
    "<stack></stack></error>"
_SEGV = "<fatal_signal><tid>1</tid><signo>11</signo><event>Bad</event>" \
    "<siaddr>{}</siaddr>" + _STACK + "</fatal_signal>"
_ABRT = "<fatal_signal><tid>1</tid><signo>6</signo>" + _STACK + \
    "</fatal_signal>"
_LINES = ("check.c:7 in check()", "server.c:42 in main()")
_BEFORE = Finding("InvalidWrite", "Invalid write of size 1",
                  "server.c:30 in fill()", ("server.c:30 in fill()",))


@pytest.mark.parametrize(("text", "found"), [
    (_LEAK, Crash(0, "", "", (), None)),
    (_ERROR, Crash(0, "", "", (), _BEFORE)),
    (_ABRT, Crash(6, "SIGABRT", _LINES[0], _LINES, None)),
    (_ERROR + _ABRT, Crash(6, "SIGABRT", _LINES[0], _LINES, _BEFORE)),
    (_SEGV.format("0x0"), Crash(
        11, "Bad at address 0x0, a null pointer", _LINES[0], _LINES, None)),
    (_SEGV.format("0x18"), Crash(
        11, "Bad at address 0x18, next to a null pointer", _LINES[0], _LINES,
        None)),
    (_SEGV.format("0x7000000"), Crash(
        11, "Bad at address 0x7000000", _LINES[0], _LINES, None)),
    ("<fatal_signal><signo>11</signo><stack><frame><ip>0x1</ip></frame>"
     "</stack></fatal_signal>", Crash(11, "SIGSEGV", "", (), None))],
    ids=["leak", "error", "abort", "error and abort", "null", "near null",
         "wild", "no line"])
def test_logs(text: str, found: Crash) -> None:
    whole = ("<?xml version='1.0'?><valgrindoutput>" + text +
             "</valgrindoutput>").encode()
    own = Path("/s")
    assert valgrind.crashes([whole], own) == [found]
    if found.signal and not found.calls:
        assert "No line of the source is known" in found.told()
    # One that a SIGKILL has cut off tells what is whole in it.
    cut = whole[:whole.index(b"</valgrindoutput>")]
    assert valgrind.crashes([cut], own) == [found]
    for end in range(0, len(cut), 7):
        crashes = valgrind.crashes([cut[:end]], own)
        assert crashes in ([found], [Crash(0, "", "", (), None)],
                           [Crash(0, "", "", (), found.before)])


def test_what_came_before(tmp_path: Path) -> None:
    told = Crash(6, "SIGABRT", _LINES[0], _LINES, _BEFORE).told()
    assert told.splitlines() == [
        "Valgrind: SIGABRT", "  at check.c:7 in check()",
        "  called from server.c:42 in main()",
        "Valgrind, before that: Invalid write of size 1 (server.c:30 in "
        "fill())"]
