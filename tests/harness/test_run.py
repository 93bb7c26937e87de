"""Whole runs of a small kit: verdicts, results, exit status, killed runs."""
from __future__ import annotations

import json
import os
import select
import signal
import time
from pathlib import Path

import jsonschema
import pytest

from sockstep import procfs, run
from sockstep.case import Case
from sockstep.deadline import load_factor
from sockstep.failure import Failure, HarnessError, mismatch
from sockstep.results import Results, environment

from workshop import ECHO, IN_TURN, ROOT, Project

SCHEMA = jsonschema.Draft202012Validator(json.loads(
    (ROOT / "docs/results.schema.json").read_text()))

ENTRY = Case("tiny/one", "server", "MUST", 2, "G", "It is so.", "", "S",
             ("First.", "Second."), "", (), ("echo",), ("tcp",), ("many",),
             ("in-turn",), False, False, False, False, False, False)


def target(**more):
    from sockstep.contract import Target
    return Target("01-tiny", "server", "server-1-tiny", ["/x"], IN_TURN,
                  **more)


# -- records -------------------------------------------------------------------
BAD = Failure("wrong-bytes", "wrong", "more of it", mismatch(b"ab", b"ax"))


@pytest.mark.parametrize(("errors", "verdict", "kind", "message"), [
    ([], "pass", None, ""),
    ([BAD], "fail", "wrong-bytes", "wrong"),
    ([HarnessError("broken")], "error", "harness", "HarnessError: broken"),
    ([KeyError("x")], "error", "harness", "KeyError: 'x'"),
    ([AssertionError("no")], "error", "harness", "AssertionError: no"),
    ([OSError("one\ntwo")], "error", "harness", "OSError: one"),
    ([BAD, Failure("leak", "left")], "fail", "wrong-bytes", "wrong"),
    ([BAD, KeyError("x")], "error", "wrong-bytes", "wrong")])
def test_records(errors: list, verdict: str, kind: str | None, message: str
                 ) -> None:
    """A failure and the harness's own error are never mixed up."""
    record = run.record_of(ENTRY, target(repeat="LESSON=01"), 0.5, errors,
                           {})
    assert (record["verdict"], record["evidence"]["kind"],
            record["message"]) == (verdict, kind, message)
    assert record["evidence"]["repeat"] == \
        "make check LESSON=01 CASE=tiny/one"
    for error in errors[1:]:
        assert str(error) in record["evidence"]["detail"]
    if BAD in errors:
        assert record["evidence"]["mismatch"] == {
            "offset": 1, "start": 0, "expected": b"ab".hex(),
            "got": b"ax".hex()}


@pytest.mark.parametrize(("verdict", "listed", "due"), [
    ("pass", False, "pass"), ("pass", True, "fail"), ("fail", False, "fail"),
    ("fail", True, "gap"), ("error", False, "error"),
    ("error", True, "error")])
def test_gaps_are_strict_both_ways(verdict: str, listed: bool, due: str
                                   ) -> None:
    record = run.record_of(ENTRY, target(), 0.0, [], {})
    record["verdict"] = verdict
    settled = run.settle(record, target(gaps=["tiny/one"] if listed else
                                        ["tiny/other"]))
    assert settled["verdict"] == due
    assert ("gap" in settled["message"]) is (verdict == "pass" and listed)


def test_what_is_not_built_fails() -> None:
    record = run.not_built(ENTRY, target(build_error="server.c:1: no"))
    assert (record["verdict"], record["evidence"]["kind"],
            record["evidence"]["detail"]) == ("fail", "build",
                                              "server.c:1: no")
    assert run.not_asked(ENTRY, target())["verdict"] == "n/a"


# -- the file of results -----------------------------------------------------------
def results_file(path: Path) -> Results:
    return Results(path, environment("make check", 1, 0),
                   {ENTRY.slug: ENTRY}, [target()], [])


def test_the_file_is_valid_after_each_record(tmp_path: Path) -> None:
    path = tmp_path / "deep/results.json"
    results = results_file(path)
    for number in range(4):
        found = json.loads(path.read_text())
        SCHEMA.validate(found)
        assert len(found["results"]) == number
        assert found["environment"]["complete"] is False
        results.add(run.record_of(ENTRY, target(), 0.1, [Failure(
            "output", "line " * 10 * (4 - number), "\u2028\x00é")], {}))
    results.finish(1.5, True, {"points": 2, "of": 4})
    found = json.loads(path.read_text())
    SCHEMA.validate(found)
    assert found["environment"]["complete"] is True
    assert (found["score"], len(found["results"])) == (
        {"points": 2, "of": 4}, 4)
    assert found == json.loads(json.dumps(results.as_json()))


def test_results_of_an_earlier_run_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("x" * 100_000)
    results_file(path)
    assert json.loads(path.read_text())["results"] == []


# -- whole runs ------------------------------------------------------------------
CASES = """
@tiny("tiny/echo")
def test_echo(server):
    '''What is sent comes back.

    It matters.'''
    peer = server.connect()
    peer.send(b"abc")
    peer.expect(b"abc")

@tiny("tiny/turned", level="SHOULD")
def test_turned(server):
    '''What is sent comes back turned.'''
    peer = server.connect()
    peer.send(b"abc")
    peer.expect(b"cba")

@tiny("tiny/key")
def test_key(server):
    '''This case has a fault of its own.'''
    {}["key"]

@tiny("tiny/harness")
def test_harness(server):
    '''The harness can not judge.'''
    raise HarnessError("no such tool")

@tiny("tiny/before")
def test_before(nothing_like_this, server):
    '''It has a fault before the program starts.'''

@tiny("tiny/file")
def test_file(server):
    '''It passes; what it leaves is asked for afterwards.'''
    server.connect().send(b"file")
    server.quiet()

@tiny("tiny/leak", leaks=True)
def test_leak(server):
    '''Left out where leaks are not asked for.'''

@tiny("tiny/one", clients=("one",))
def test_one(server):
    '''Not asked of a server that serves in turn.'''

@tiny("tiny/client", role="client")
def test_client(client):
    '''Asked of clients alone.'''
    client.accept()
"""
LEAVES_A_FILE = ECHO.replace(
    "connection.sendall(data)",
    "connection.sendall(data)\n"
    "                if data == b'file': open('left', 'w')")
TURNED = ECHO.replace("sendall(data)", "sendall(data[::-1])")
DIES = "\nlistener.accept()\nos.abort()"


def filled(project: Project) -> Project:
    project.cases(CASES)
    project.step("plain", LEAVES_A_FILE, ("tiny/file", "tiny/echo"))
    project.step("turned", TURNED, ("tiny/echo",))
    project.step("dies", DIES)
    return project


@pytest.mark.parametrize("jobs", ["0", "2"])
def test_verdicts(project: Project, jobs: str) -> None:
    done = filled(project).run("check", "--jobs", jobs)
    assert done.returncode == 1, done.stderr
    errors = {"key": "error", "harness": "error", "before": "error",
              "one": "n/a"}
    rows = {
        # It passes tiny/echo although that is listed as a gap.
        "server-1-plain": {"echo": "fail", "turned": "fail", "file": "gap",
                           "leak": "pass", **errors},
        "server-2-turned": {"echo": "gap", "turned": "pass", "file": "pass",
                            "leak": "pass", **errors},
        "server-3-dies": {"echo": "fail", "turned": "fail", "file": "fail",
                          "leak": "pass", **errors}}
    found = project.verdicts()
    # tiny/client is of the other role: it leaves no record at all.
    assert found == {
        f"{program} tiny/{name}": verdict for program, row in rows.items()
        for name, verdict in row.items()}
    results = project.results()
    SCHEMA.validate(results)
    assert results["environment"]["complete"] is True
    by_key = {f"{row['program']} {row['case']}": row
              for row in results["results"]}
    died = by_key["server-3-dies tiny/echo"]
    assert died["evidence"]["kind"] == "crash"
    assert died["evidence"]["process"]["ended"] == "killed by SIGABRT"
    turned = by_key["server-1-plain tiny/turned"]
    assert turned["evidence"]["mismatch"]["offset"] == 0
    assert [row["act"] for row in turned["evidence"]["transcript"]] == [
        "start", "connect", "send", "send"]
    key = by_key["server-1-plain tiny/key"]
    assert key["message"] == "KeyError: 'key'"
    assert 'in test_key' in key["evidence"]["detail"]
    assert "tiny/echo" in done.stdout
    assert "9 errors" in done.stdout
    assert not list(Path(project.folder).rglob("left"))


def test_all_is_as_it_should_be(project: Project) -> None:
    filled(project)
    done = project.run("check", "--step", "2", "--case",
                       "tiny/echo tiny/turned tiny/file", "--jobs", "0",
                       "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project.folder / "build/report/index.html").exists()
    assert project.results()["environment"]["command"] == \
        "make check STEP=2 CASE='tiny/echo tiny/turned tiny/file' SEED=7"


@pytest.mark.parametrize(("words", "told"), [
    (["--case", "tiny/one"], "no case matches"),
    (["--case", "tiny/leak", "--leaks", "no"], "LEAKS=no"),
    (["--case", "tiny/ecko"], "did you mean tiny/echo"),
    (["--step", "9"], "no step is called '9'"),
    (["--lesson", "07"], "no lesson is called '07'"),
    (["--role", "clinet"], "client"),
    (["--role", "client"], "no case matches"),
    (["--submission", "/nowhere"], "no folder /nowhere"),
    (["--out", "/dev/null"], "written to OUT=/dev/null: File exists"),
    (["--out", "/dev/null/x"], "written to OUT=/dev/null/x: Not a directory")])
def test_a_run_of_nothing_is_no_success(project: Project, words: list[str],
                                        told: str) -> None:
    done = filled(project).run("check", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_leaks_no_and_a_report_elsewhere(project: Project, tmp_path: Path
                                         ) -> None:
    out = tmp_path / "a b"
    filled(project).run("check", "--step", "2", "--leaks", "no", "--jobs",
                        "0", "--out", str(out))
    results = json.loads((out / "results.json").read_text())
    SCHEMA.validate(results)
    found = {row["case"]: row["verdict"] for row in results["results"]}
    assert found.get("tiny/leak") in (None, "n/a")
    assert found["tiny/file"] == "pass"
    assert not (project.folder / "build/report").exists()


def test_cases_that_can_not_be_loaded(project: Project) -> None:
    """A module of cases that breaks is never a shorter run."""
    filled(project)
    project.cases("def broken(:\n", "test_broken.py")
    done = project.run("check", "--jobs", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "SyntaxError" in done.stderr and "test_broken.py" in done.stderr


@pytest.mark.parametrize("jobs", ["0", "1"])
def test_a_case_that_pytest_refuses(project: Project, jobs: str) -> None:
    """No case runs, and that is no Ctrl-C."""
    filled(project)
    project.cases("@tiny('bad/one')\ndef test_bad():\n    'It is bad.'\n",
                  "test_bad.py")
    done = project.run("check", "--jobs", jobs)
    assert done.returncode == 1
    assert "test_bad" in done.stdout and "interrupted" not in done.stdout
    assert project.results()["environment"]["complete"] is False


# -- runs that are cut off ---------------------------------------------------------
#: A case that says who runs it, and goes on when it is told to.
WAITS = """
@tiny("tiny/first")
def test_first(server):
    '''Comes first.'''

@tiny("tiny/waits")
def test_waits(server):
    '''Waits.'''
    with open({fifo!r}, "w") as file:
        file.write(f"{{os.getpid()}} {{server.program.pid}}\\n")
    with open({gate!r}) as file:
        file.read()

@tiny("tiny/last")
def test_last(server):
    '''Comes last.'''
"""


class Waiting:
    """A project whose run stands in the middle of its second case."""

    def __init__(self, project: Project, jobs: str):
        self.project = project
        fifo, gate = project.folder / "fifo", project.folder / "gate"
        os.mkfifo(fifo)
        os.mkfifo(gate)
        project.cases(WAITS.format(fifo=str(fifo), gate=str(gate)))
        project.step("echo", ECHO)
        self.temporary = project.folder / "tmp"
        self.temporary.mkdir()
        self.runner = project.start("check", "--jobs", jobs,
                                    TMPDIR=str(self.temporary))
        # The line comes when the case is there, or the runner ends.
        line = self._line_of(fifo)
        assert line, self.told()
        self.worker, self.program = map(int, line.split())

    def _line_of(self, fifo: Path) -> str:
        with open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            pidfd = os.pidfd_open(self.runner.pid)
            poll = select.poll()
            poll.register(file, select.POLLIN)
            poll.register(pidfd, select.POLLIN)
            poll.poll(60_000)
            os.close(pidfd)
            return (file.read() or b"").decode()

    def told(self) -> str:
        return self.runner.communicate(timeout=60)[0]


def gone(pid: int) -> bool:
    facts = procfs.stat(pid)
    return facts is None or facts.state in "ZX"


@pytest.mark.parametrize("jobs", ["0", "1"])
def test_results_survive_sigkill(project: Project, jobs: str, until) -> None:
    """What was recorded is there and valid; no program is left."""
    waiting = Waiting(project, jobs)
    until(lambda: project.results()["results"])
    waiting.runner.kill()
    waiting.runner.wait()
    results = project.results()
    SCHEMA.validate(results)
    assert results["environment"]["complete"] is False
    assert [row["case"] for row in results["results"]] == ["tiny/first"]
    until(lambda: gone(waiting.program))
    until(lambda: gone(waiting.worker))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("jobs", ["0", "1"])
def test_an_interrupted_run(project: Project, jobs: str,
                            number: signal.Signals, until) -> None:
    """SIGINT comes from a terminal, to the workers as well."""
    waiting = Waiting(project, jobs)
    until(lambda: project.results()["results"])
    if number == signal.SIGINT:
        os.killpg(waiting.runner.pid, number)
    else:
        waiting.runner.send_signal(number)
    start = time.monotonic()
    told = waiting.told()
    # execnet waits 5 s for a worker that was not told.
    assert time.monotonic() - start < 4.0 * load_factor()
    assert waiting.runner.returncode == 130, told
    assert "interrupted" in told
    results = project.results()
    SCHEMA.validate(results)
    assert results["environment"]["complete"] is False
    assert "tiny/first" in [row["case"] for row in results["results"]]
    assert gone(waiting.program) and gone(waiting.worker)
    assert list(waiting.temporary.iterdir()) == []


def test_a_killed_worker_is_no_shorter_run(project: Project, until) -> None:
    """The other cases run on, and the run as a whole has failed."""
    waiting = Waiting(project, "1")
    os.kill(waiting.worker, signal.SIGKILL)
    told = waiting.told()
    assert waiting.runner.returncode == 1, told
    assert "noticed: a runner was killed in test_waits[" in told
    results = project.results()
    SCHEMA.validate(results)
    assert results["environment"]["complete"] is False
    assert [row["verdict"] for row in results["results"]
            if row["case"] != "tiny/waits"] == ["pass", "pass"]
    assert "tiny/waits" not in [row["case"] for row in results["results"]
                                if row["verdict"] == "pass"]
    until(lambda: gone(waiting.program))
