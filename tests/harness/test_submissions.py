"""Submissions as they come: sound, broken, and bad on purpose.

Each is judged by the kit's own cases, one or two of them, as a user would run
them.  Afterwards no process may be left, no file of the run, and no copy of
the submission.
"""
from __future__ import annotations

import ctypes
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sockstep import build, confine, procfs
from sockstep.deadline import load_factor

from workshop import ROOT

_PR_SET_CHILD_SUBREAPER = 36
ROBUST = ROOT / "lessons/03-repeating-echo/server-9-robust.c"
ONE_CASE = "echo/embedded-nul"

#: A C server that takes -P and -H; `body` finds its `listener`.
HEAD = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int listen_as_told(int argc, char *argv[])
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "-P") == 0)
            address.sin_port = htons((unsigned short)atoi(argv[i + 1]));
        else
            inet_aton(argv[i + 1], &address.sin_addr);
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) == -1 ||
        listen(listener, 8) == -1)
        exit(1);
    return listener;
}

static void echo(int listener)
{
    static char buffer[4096];
    int connection = accept(listener, NULL, NULL);
    ssize_t got;
    while ((got = recv(connection, buffer, sizeof(buffer), 0)) > 0)
        send(connection, buffer, (size_t)got, MSG_NOSIGNAL);
    close(connection);
}
"""


def server(before: str = "", after: str = "for (;;) echo(listener);") -> str:
    """C source: acts `before` it listens, and `after` that."""
    return (HEAD + "int main(int argc, char *argv[])\n{\n" + before +
            "\nint listener = listen_as_told(argc, argv);\n" + after +
            "\nreturn 0;\n}\n")


class Run:
    """One run of `check` on a submission, and what it left."""

    def __init__(self, process: subprocess.CompletedProcess, report: Path,
                 seconds: float):
        self.status = process.returncode
        self.stdout, self.stderr = process.stdout, process.stderr
        self.words = process.stdout + process.stderr
        self.seconds = seconds
        path = report / "results.json"
        self.results = json.loads(path.read_text()) if path.exists() else None

    @property
    def records(self) -> list[dict]:
        assert self.results, self.words
        return [record for record in self.results["results"]
                if record["verdict"] != "n/a"]

    @property
    def record(self) -> dict:
        assert len(self.records) == 1, self.words
        return self.records[0]

    def told(self, kind: str, words: str) -> None:
        """The one case failed, for this reason, in these words."""
        record = self.record
        assert (record["verdict"], record["evidence"]["kind"]) == \
            ("fail", kind), self.words
        assert re.search(words, record["message"]), record["message"]
        assert self.status == 1
        assert re.search(r"^Score: 0/\d+$", self.stdout, re.MULTILINE)


class Desk:
    """Where submissions are handed in."""

    def __init__(self, tmp_path: Path):
        self.folder = tmp_path / "submission"
        self.report = tmp_path / "report"
        self.temporary = tmp_path / "tmp"
        self.temporary.mkdir()
        self.folder.mkdir()
        # Known again in a copy of the submission.
        (self.folder / f"mark-{os.getpid()}-{id(self)}").touch()
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG")
               if name in os.environ},
            "TMPDIR": str(self.temporary),
            "PYTHONPYCACHEPREFIX": str(ROOT / "build/pycache"),
            "PYTHONPATH": str(ROOT / "conformance")}

    def put(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "sockstep", "check", "--out",
                str(self.report), *words]

    def check(self, *words: str, lesson: str = "03", case: str = ONE_CASE,
              **environment: str) -> Run:
        chosen = ["--lesson", lesson] if lesson else []
        return self._run(self.command("--submission", str(self.folder),
                                      "--case", case, *chosen, *words),
                         environment)

    def make(self, *words: str, **environment: str) -> Run:
        # With the flags of the kit's last build: nothing is built anew while
        # other tests use it.
        if "-Werror" in (ROOT / "build/flags").read_text():
            words = (*words, "WERROR=yes")
        return self._run(["make", "check", f"SUBMISSION={self.folder}",
                          f"OUT={self.report}", f"PYTHON={sys.executable}",
                          *words], environment)

    def _run(self, command: list[str], environment: dict[str, str]) -> Run:
        start = time.monotonic()
        process = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True,
            errors="backslashreplace", stdin=subprocess.DEVNULL, timeout=400,
            env={**self.environment, **environment})
        return Run(process, self.report, time.monotonic() - start)

    def clean(self) -> None:
        """Nothing of a run is left."""
        # The dead do not count: elsewhere init has reaped them.
        left = [facts for facts in map(procfs.stat, procfs.descendants(
            os.getpid())) if facts and facts.state not in "ZX"]
        confine.end_all(lambda: procfs.descendants(os.getpid()))
        confine.reap_adopted()
        assert not left, f"processes are left: {left}"
        assert not list(self.temporary.iterdir())
        mark = next(self.folder.glob("mark-*")).name
        assert not list((ROOT / "build").glob(f"submission.*/*/{mark}"))


@pytest.fixture
def desk(tmp_path: Path, tools) -> Iterator[Desk]:
    # What a run leaves behind becomes a child of this process.
    assert ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    made = Desk(tmp_path)
    yield made
    made.clean()


# -- what is handed in ------------------------------------------------------------
def test_does_not_compile(desk: Desk) -> None:
    desk.put("server.c", "int main(void) { retrn 0; }\n")
    run = desk.check(case="echo/*")
    assert run.status == 1
    assert "retrn" in run.stdout and "server.c:1:18: error" in run.stdout
    assert len(run.records) > 10
    assert {(record["verdict"], record["evidence"]["kind"])
            for record in run.records} == {("fail", "build")}
    assert all("retrn" in record["evidence"]["detail"]
               for record in run.records)
    assert run.stdout.count("could not be built") == 1
    assert re.search(r"^Score: 0/\d\d$", run.stdout, re.MULTILINE)


def test_one_role_does_not_compile(desk: Desk) -> None:
    """The other role is judged all the same."""
    shutil.copy(ROBUST, desk.folder / "server.c")
    desk.put("client.c", "#error not yet\n")
    run = desk.check(case=f"{ONE_CASE} client/refused")
    assert run.status == 1
    assert [record["verdict"] for record in run.records
            if record["role"] == "server"] == ["pass"]
    assert "not yet" in run.stdout and "Score: 2/4" in run.stdout


def test_make_check(desk: Desk) -> None:
    """As it is typed, with a path that a shell would take apart."""
    desk.folder = desk.folder.rename(
        desk.folder.with_name("it's $HOME; a \"folder\" & more"))
    shutil.copy(ROBUST, desk.folder / "server.c")
    run = desk.make("LESSON=03", f"CASE={ONE_CASE}")
    assert (run.status, run.record["verdict"]) == (0, "pass"), run.words
    assert run.stdout.endswith("Score: 2/2\n")
    assert f"SUBMISSION={shlex.quote(str(desk.folder))}" in \
        run.record["evidence"]["repeat"]
    desk.put("server.c", "")
    run = desk.make("LESSON=03", f"CASE={ONE_CASE}")
    assert run.status == 2 and "Error 1" in run.stderr
    assert "undefined reference to `main'" in run.stdout


@pytest.mark.parametrize(("files", "words", "told"), [
    ({}, ["--lesson", "03", "--submission", "/nowhere"],
     "there is no folder /nowhere"),
    ({"serve.c": "int main(void) { return 0; }"}, ["--lesson", "03"],
     "has no server.c and no client.c"),
    ({"client.c": "int main(void) { return 0; }"},
     ["--lesson", "03", "--role", "server"], "has no server.c"),
    ({"server.c": ""}, [], "say which lesson .* is for: LESSON=NN"),
    ({"server.c": ""}, ["--lesson", "02 03"], "say which lesson"),
    ({"server.c": ""}, ["--lesson", "03", "--step", "2"],
     "a submission has none"),
    ({"server.c": ""}, ["--lesson", "03", "--turn", "yes"],
     "a submission is asked all"),
    ({"Makefile": "all:\n\ttrue\n"}, ["--lesson", "03"],
     "no Makefile or program.toml that makes one"),
    ({"program.toml": "[server]\nrun = 'server'\n"}, ["--lesson", "03"],
     r"program.toml: \[server\]: 'run' must be a list of words"),
    ({"program.toml": "[server\n"}, ["--lesson", "03"], "program.toml: "),
    ({"program.toml": "lesson = '99'\n[server]\nrun = ['./s']\n"}, [],
     "no lesson is called '99'")])
def test_refused(desk: Desk, files: dict[str, str], words: list[str],
                 told: str) -> None:
    """Wrong usage: told in a line, status 2, and no report."""
    for name, text in files.items():
        desk.put(name, text)
    if "--submission" not in words:
        words = ["--submission", str(desk.folder), *words]
    run = desk._run(desk.command(*words), {})
    assert (run.status, run.results) == (2, None)
    assert run.stderr.startswith("sockstep: ") and \
        run.stderr.count("\n") == 1
    assert re.search(told, run.stderr), run.stderr


def test_too_large(desk: Desk) -> None:
    with open(desk.put("core", ""), "wb") as file:
        file.truncate(65 << 20)
    run = desk.check()
    assert run.status == 2 and "holds 65 MiB" in run.stderr


def test_folders_named_like_lessons(desk: Desk) -> None:
    for lesson, step in (("02-single-shot-echo", "server-9-robust.c"),
                         ("03-repeating-echo", "server-9-robust.c")):
        desk.put(f"{lesson}/server.c",
                 (ROOT / "lessons" / lesson / step).read_text())
    run = desk.check(lesson="")
    assert run.status == 0
    assert sorted((record["lesson"], record["verdict"]) for record
                  in run.records) == [("02-single-shot-echo", "pass"),
                                     ("03-repeating-echo", "pass")]


def test_own_files_and_warnings(desk: Desk) -> None:
    """Files beside server.c are built in; a FIFO among them harms nobody."""
    desk.put("server.c", server().replace("int main", '#include "more.h"\n'
                                          "int main"))
    desk.put("more.h", "extern int more(void);\n")
    desk.put("more.c", '#include "more.h"\n'
             "int more(void) { int unused; return 1; }\n")
    os.mkfifo(desk.folder / "pipe")
    before = sorted(desk.folder.rglob("*"))
    run = desk.check()
    assert (run.status, run.record["verdict"]) == (0, "pass")
    assert re.search(r"^more\.c:2:\d+: warning: unused variable", run.stderr,
                     re.MULTILINE)
    assert sorted(desk.folder.rglob("*")) == before


LINKED = "#include <math.h>\n" + server(
    before="volatile double one = 1; if (cos(one) > 1) return 1;")


def test_links(desk: Desk) -> None:
    """The head comment says which libraries a file needs."""
    desk.put("server.c", "/*\n * Mine.\n * Links: -lm\n */\n" + LINKED)
    run = desk.check()
    assert (run.status, run.record["verdict"]) == (0, "pass"), run.words


def test_own_makefile(desk: Desk) -> None:
    """It makes `server` in its own way and finds the kit's library."""
    desk.put("parts/program.c", server().replace(
        "int main", "#include NEEDED\nint main"))
    desk.put("Makefile", "server: parts/program.c\n"
             "\t$(CC) -DNEEDED='\"ss_io.h\"' -I$(SOCKSTEP)/src -o $@ $< "
             "$(SOCKSTEP)/build/src/libsockstep.a\n")
    run = desk.check()
    assert (run.status, run.record["verdict"]) == (0, "pass"), run.words
    assert {record["role"] for record in run.results["results"]
            if record["verdict"] != "n/a"} == {"server"}


@pytest.mark.parametrize(("makefile", "told"), [
    ("server: nothing.c\n", "No rule to make target 'nothing.c', needed by"),
    ("server:\n\ttrue\n", "made no file 'server'"),
    ("server:\n\t@echo so far; exit 3\n", "so far")])
def test_a_makefile_that_fails(desk: Desk, makefile: str, told: str) -> None:
    desk.put("Makefile", makefile)
    run = desk.check("--role", "server")
    assert run.status == 1 and run.record["evidence"]["kind"] == "build"
    assert told in run.stdout


OVERRUN = ROBUST.read_text().replace(
    "        if (got == 0)", "        buffer[got] = 0;\n        if (got == 0)", 1)


def test_an_array_overrun(desk: Desk) -> None:
    """No block of the heap: Valgrind sees nothing, a sanitizer the line."""
    desk.put("server.c", OVERRUN)
    line = 1 + OVERRUN[:OVERRUN.index("buffer[got] = 0;")].count("\n")
    run = desk.check(case="memory/*")
    told = {record["case"]: (record["verdict"], record["message"])
            for record in run.records}
    assert told["memory/misuse"] == ("pass", ""), run.words
    verdict, message = told["memory/bounds"]
    assert verdict == "fail" and message.startswith(f"server.c:{line}:"), \
        message
    assert "index 1024 out of bounds" in message


def test_a_variant_of_a_submission(desk: Desk) -> None:
    desk.put("server.c", OVERRUN)
    run = desk.check("--variant", "address", case="echo/large-message")
    assert run.record["verdict"] == "fail"
    assert run.record["evidence"]["kind"] == "memory"
    desk.put("Makefile", "server: server.c\n\t$(CC) -o $@ $<\n")
    run = desk.check("--variant", "address", case="echo/large-message")
    assert run.status == 2 and "not built by the kit: 03" in run.stderr


def test_no_sanitizers_on_this_machine(desk: Desk) -> None:
    """What can't be built so is not judged so, and that is said."""
    compiler = desk.put("cc", "#!/bin/sh\ncase \"$*\" in *-fsanitize=*) exit 1;;"
                              "esac\nexec cc \"$@\"\n")
    compiler.chmod(0o755)
    desk.put("server.c", OVERRUN)
    run = desk.check(case="memory/*", CC=str(compiler))
    assert run.status == 0, run.words
    assert [record["case"] for record in run.records] == ["memory/misuse"]
    assert "nothing is judged with sanitizers" in run.stderr


def test_another_language(desk: Desk) -> None:
    """Python by its manifest: Valgrind has nothing to say of it."""
    desk.put("echo.py", (ROOT / "tests/foreign/python/server.py")
             .read_text())
    desk.put("program.toml", 'lesson = "03"\n[server]\n'
             'run = ["{python}", "./echo.py"]\nmemory = "managed"\n')
    run = desk.check(lesson="", case=f"{ONE_CASE} memory/misuse")
    assert (run.status, run.record["verdict"]) == (0, "pass"), run.words
    assert "Score: 2/2" in run.stdout


# -- builds that go wrong -----------------------------------------------------------
@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "BUILD_SECONDS", 1)
    monkeypatch.setattr(build, "MAX_FILE_BYTES", 1 << 20)
    monkeypatch.setattr(confine, "MAX_TASKS", 40)


@pytest.mark.parametrize(("command", "told"), [
    (["sh", "-c", "sleep 1000 & sleep 1000"], "not done after 1 s"),
    (["yes"], r"\Ay\ny\n.*\n\[\.\.\.\]\n.*\ny\Z"),
    (["sh", "-c", "kill -SEGV $$"], "killed by SIGSEGV"),
    (["no-such-command"], "no-such-command: No such file"),
    (["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do for j in 1 2 3 4 5 6 7 8 9; "
      "do sleep 1000 & done; done; wait"], "more than 40 processes")])
def test_bounded_builds(desk: Desk, small_bounds: None, command: list[str],
                        told: str) -> None:
    limit = confine.TaskLimit()
    try:
        with pytest.raises(build.BuildError) as caught:
            build.run(command, desk.folder, limit)
    finally:
        confine.end_all(lambda: procfs.descendants(os.getpid()), limit)
        confine.reap_adopted()
        limit.leave()
    assert re.search(told, str(caught.value), re.DOTALL)
    assert len(str(caught.value)) < 3 * build.MAX_WORDS_BYTES


# -- programs that go wrong -----------------------------------------------------------
_BAD = {
    "never listens": (
        server(before="for (;;) pause();"), "startup",
        r"never listens on a TCP port: it has no socket, and it waits in "
        r"pause\(\)"),
    "ends at once": (
        server(before="return 0;"), "startup",
        r"ended before it listened \(exit status 0\)"),
    "dies at once": (
        server(before="abort();"), "crash",
        r"SIGABRT at server\.c:\d+ in main\(\) before it listened"),
    "spins at the start": (
        server(before="for (;;) ;"), "spin", "burns processor time"),
    "spins later": (
        server(after="for (;;) ;"), "spin", "burns processor time"),
    "never accepts": (
        server(after="for (;;) pause();"), "stuck",
        r"0 of \d+ bytes came back, then the server waits in pause\(\)"),
    "closes at once": (
        server(after="for (;;) close(accept(listener, NULL, NULL));"),
        "end-of-stream|reset", "after 0 of"),
    "sends without end": (
        server(after="int c = accept(listener, NULL, NULL);\n"
               "while (send(c, argv[0], 1, MSG_NOSIGNAL) > 0) ;"),
        "wrong-bytes", "wrong bytes came back"),
    "writes without end": (
        server(before="for (;;) puts(argv[0]);"), "crash",
        "killed by SIGXFSZ before it listened"),
    "leaves a file": (
        server(before='fclose(fopen("left.txt", "w"));'), "leak",
        "left.txt"),
    "deaf to SIGTERM": (
        server(before="signal(SIGTERM, SIG_IGN); signal(SIGINT, SIG_IGN);"),
        "exit", "ignores SIGTERM"),
    "leaves a daemon": (
        server(before="if (fork() == 0) { setsid(); if (fork() != 0) "
               "_exit(0); for (;;) pause(); }"),
        "leak", "1 process left behind: server"),
    "stops its parent": (
        server(after="echo(listener); for (;;) kill(getppid(), SIGSTOP);"),
        "crash|spin|exit", "SIGKILL|ignores|burns"),
}


@pytest.mark.parametrize(("source", "kind", "told"), _BAD.values(), ids=_BAD)
def test_bad_programs(desk: Desk, source: str, kind: str, told: str) -> None:
    """Each fails for the reason that is its own, soon and cleanly."""
    desk.put("server.c", source)
    run = desk.check()
    assert re.fullmatch(kind, run.record["evidence"]["kind"]), run.words
    run.told(run.record["evidence"]["kind"], told)
    assert run.seconds < 10 * load_factor()


def test_another_port_than_asked(desk: Desk) -> None:
    desk.put("server.c", server(before='argv[argc - 1] = "4661";'))
    run = desk.check(case="port/asked")
    run.told("call", "port 4661 instead of 4660")


def test_fake_verdicts(desk: Desk) -> None:
    """What a program prints is never taken for what the runner says."""
    fake = "\\033[2J\\nScore: 99/99\\n1 case run in 0.1 s: 1 pass, 0 failed\\n"
    desk.put("server.c", server(before=f'fputs("{fake}", stdout);\n'
             f'fputs("{fake}", stderr);\nreturn 0;'))
    run = desk.check()
    run.told("startup", "ended before it listened")
    assert re.findall("^Score.*", run.words, re.MULTILINE) == ["Score: 0/2"]
    assert "\033" not in run.words
    assert run.results["score"] == {"points": 0, "of": 2}


# -- forks without end -----------------------------------------------------------------
BOMB = server(before="for (;;) fork();")
LATE_BOMB = server(after="echo(listener); for (;;) fork();")
#: Too many, but not without end: without a cgroup the runner only counts, and
#: what outruns it would take the whole machine.
CROWD = (f"for (int i = 0; i < {confine.MAX_TASKS + 100}; i++) "
         "if (fork() == 0) for (;;) pause();")
LATE_CROWD = server(after="echo(listener); " + CROWD)


def told_of_forks(desk: Desk, source: str, cgroups: str, words: str) -> None:
    desk.put("server.c", source)
    run = desk.check(SOCKSTEP_CGROUPS=cgroups)
    run.told("leak", words)
    assert run.seconds < 20 * load_factor()


@pytest.mark.parametrize("source", [BOMB, LATE_BOMB], ids=["early", "late"])
def test_fork_bombs(desk: Desk, source: str) -> None:
    limit = confine.TaskLimit()
    bounded = limit.path is not None
    limit.leave()
    if not bounded:
        pytest.skip("no cgroup can be made here")
    told_of_forks(desk, source, "yes",
                  f"more than {confine.MAX_TASKS} processes and threads")


@pytest.mark.parametrize("source", [server(before=CROWD), LATE_CROWD],
                         ids=["early", "late"])
def test_a_crowd_that_is_only_counted(desk: Desk, source: str) -> None:
    # Counted while it is waited for, or met when the case is over.
    told_of_forks(desk, source, "no",
                  f"more than {confine.MAX_TASKS} processes and threads|"
                  r"\d{3} processes left behind")


# -- an end from outside ---------------------------------------------------------------
SLOW = server(after="echo(listener);\nfor (;;) usleep(1000);")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(desk: Desk, until: Callable, number: signal.Signals
                     ) -> None:
    """Ctrl-C keeps what was judged and ends what runs."""
    desk.put("server.c", SLOW)
    process = subprocess.Popen(
        desk.command("--submission", str(desk.folder), "--lesson", "03",
                     "--jobs", "2"),
        cwd=ROOT, env=desk.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True)
    path = desk.report / "results.json"

    def some() -> bool:
        return path.exists() and '"verdict"' in path.read_text()

    try:
        until(some, 60)
        if number == signal.SIGINT:         # as a terminal does: to all
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        words, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, words
    results = json.loads(path.read_text())
    assert results["environment"]["complete"] is False
    assert 0 < len(results["results"])
    assert "interrupted" in words


def test_killed_runner(desk: Desk) -> None:
    """A program that kills its runner gets no verdict out of it."""
    desk.put("server.c", server(after="echo(listener); "
                                "kill(getppid(), SIGKILL);\npause();"))
    run = desk.check()
    assert run.status == 1
    assert run.results["environment"]["complete"] is False
    assert not [record for record in run.records
                if record["verdict"] == "pass"]
    assert re.search(r"^Score: 0/2$", run.stdout, re.MULTILINE), run.words
