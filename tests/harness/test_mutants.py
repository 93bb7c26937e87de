"""Mutants, and the programs whose failures are known: `make prove`."""
from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sockstep import golden
from sockstep.mutants import MutantError, load_mutants

from workshop import ECHO, ECHO_C, Project

BASE = "lessons/01-tiny/server-1-base.c"
SOUND = {"name": "one", "case": "tiny/echo", "base": BASE,
         "fault": "It is bad.", "kind": "wrong-bytes",
         "edit": [{"find": "b = 2;", "replace": "b = 3;"}]}


def write(folder: Path, *entries: dict, name: str = "tiny.toml") -> None:
    """tests/mutants/NAME with these entries."""
    lines = []
    for entry in entries:
        lines.append("[[mutant]]")
        lines += [f"{key} = {json.dumps(value)}"
                  for key, value in entry.items() if key != "edit"]
        for edit in entry.get("edit", []):
            lines.append("[[mutant.edit]]")
            lines += [f"{key} = {json.dumps(value)}"
                      for key, value in edit.items()]
    path = folder / "tests/mutants" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    base = tmp_path / BASE
    base.parent.mkdir(parents=True)
    base.write_text("int a = 1;\nint b = 2;\nint c = 1;\n")
    return tmp_path


def test_a_mutant(kit: Path) -> None:
    write(kit, SOUND)
    found, = load_mutants(kit)
    assert found.source == "int a = 1;\nint b = 3;\nint c = 1;\n"
    assert (found.name, found.case, found.lesson, found.role, found.kind) == (
        "tiny/one", "tiny/echo", "01-tiny", "server", "wrong-bytes")


def test_edits_are_made_in_order(kit: Path) -> None:
    write(kit, {**SOUND, "edit": [
        {"find": "b = 2;", "replace": "b = 3;"},
        {"find": "b = 3;\nint c", "replace": "b = 4;\nint d"}]})
    found, = load_mutants(kit)
    assert found.source == "int a = 1;\nint b = 4;\nint d = 1;\n"


def without(key: str) -> dict:
    return {name: value for name, value in SOUND.items() if name != key}


def edited(find: str, replace: str) -> dict:
    return {**SOUND, "edit": [{"find": find, "replace": replace}]}


@pytest.mark.parametrize(("entries", "told"), [
    ([edited("= 9;", "= 3;")], "occurs 0 times.*= 9;"),
    ([edited("= 1;", "= 3;")], "occurs 2 times"),
    ([edited("", "x")], "occurs 34 times"),
    ([edited("b = 2;", "b = 3;") | {"edit": [{"find": "b = 2;"}]}],
     "must have find and replace"),
    ([{**SOUND, "edit": [{"find": "b = 2;", "replace": "b = 2;"}]}], "does not differ"),
    ([{**SOUND, "edit": [{"find": "b = 2;", "replace": "b = 3;"},
                         {"find": "b = 3;", "replace": "b = 2;"}]}],
     "does not differ"),
    ([{**SOUND, "kind": "bad-luck"}], "no kind of failure.*bad-luck"),
    ([{**SOUND, "Kind": "reset"}], "must have.*and has"),
    ([{**SOUND, "base": "lessons/01-tiny/no.c"}], "no.c"),
    ([SOUND, SOUND], "two mutants are called tiny/one"),
    *[([without(key)], "it must have") for key in SOUND]])
def test_mutants_that_do_not_apply(kit: Path, entries: list[dict], told: str
                                   ) -> None:
    """Each is an error: a mutant that is not there looks like a kill."""
    write(kit, *entries)
    with pytest.raises(MutantError, match=told):
        load_mutants(kit)


def test_mutants_that_can_not_be_read(kit: Path) -> None:
    write(kit, SOUND)
    write(kit, SOUND, name="other.toml")            # another file, no clash
    assert len(load_mutants(kit)) == 2
    (kit / "tests/mutants/other.toml").write_text("[[mutant]\n")
    with pytest.raises(MutantError, match="other.toml"):
        load_mutants(kit)


def test_a_misspelt_table_is_no_empty_list(kit: Path) -> None:
    write(kit, SOUND)
    path = kit / "tests/mutants/tiny.toml"
    path.write_text(path.read_text().replace("[[mutant", "[[mutants"))
    with pytest.raises(MutantError, match="tiny.toml.*holds: mutants"):
        load_mutants(kit)


# -- programs of other authors --------------------------------------------------
STRANGER = "tests/foreign/stranger/server.c"
STRANGE = {**SOUND, "base": STRANGER, "lesson": "01",
           "edit": [{"find": "d = 4;", "replace": "d = 5;"}]}


@pytest.fixture
def foreign(kit: Path) -> Path:
    (kit / "lessons/01-tiny/lesson.toml").write_text("")
    folder = (kit / STRANGER).parent
    folder.mkdir(parents=True)
    (kit / STRANGER).write_text('#include "common.h"\n'
                                '#include "nowhere.h"\nint e = 1;\n')
    (folder.parent / "common.h").write_text("int d = 4;\n")
    return kit


def test_a_mutant_of_a_foreign_program(foreign: Path) -> None:
    """The headers of its kind are a part of its text."""
    write(foreign, STRANGE)
    found, = load_mutants(foreign)
    assert found.source == 'int d = 5;\n#include "nowhere.h"\nint e = 1;\n'
    assert (found.lesson, found.role, found.is_foreign) == (
        "01-tiny", "server", True)


@pytest.mark.parametrize(("entry", "told"), [
    ({key: value for key, value in STRANGE.items() if key != "lesson"},
     "it must have .*lesson"),
    ({**STRANGE, "lesson": "07"}, "no lesson has the number 07"),
    ({**SOUND, "lesson": "01"}, "and has .*lesson")])
def test_the_lesson_of_a_mutant(foreign: Path, entry: dict, told: str
                                ) -> None:
    write(foreign, entry)
    with pytest.raises(MutantError, match=told):
        load_mutants(foreign)


# -- make prove -----------------------------------------------------------------
CASES = """
@tiny("tiny/echo")
def test_echo(server):
    '''What is sent comes back.'''
    peer = server.connect()
    peer.send(b"abc")
    peer.expect(b"abc")

@tiny("tiny/alive")
def test_alive(server):
    '''It starts.'''
"""
ECHOES = {"base": BASE, "case": "tiny/echo"}
MUTANTS = {
    "caught": {**ECHOES, "fault": "A byte is changed.", "kind": "wrong-bytes",
               "edit": [{"find": "/* HANDLE */", "replace": "data[0] ^= 1;"}]},
    "alive": {"base": BASE, "case": "tiny/alive", "fault": "It ends.",
              "kind": "startup", "edit": [
                  {"find": "    int listener =",
                   "replace": "    return 3;\n    int listener ="}]},
    "green": {**ECHOES, "fault": "Only the letter z is changed.",
              "kind": "wrong-bytes", "edit": [
                  {"find": "/* HANDLE */",
                   "replace": "if (data[0] == 'z') data[0] ^= 1;"}]},
    "other": {**ECHOES, "fault": "It says nothing.", "kind": "reset",
              "edit": [{"find": "/* HANDLE */", "replace": "pause();"}]},
    "nobody": {**ECHOES, "case": "tiny/nobody", "fault": "No such case.",
               "kind": "reset", "edit": [
                   {"find": "/* HANDLE */", "replace": "pause();"}]},
    "broken": {**ECHOES, "fault": "It is no C.", "kind": "reset", "edit": [
        {"find": "/* HANDLE */", "replace": "pause(;"}]},
}


def proving(project: Project, *names: str) -> Project:
    project.cases(CASES)
    project.step("base", ECHO)
    (project.folder / BASE).write_text(ECHO_C)
    write(project.folder, *({"name": name, **MUTANTS[name]}
                            for name in names))
    return project


def test_mutants_that_are_caught(project: Project) -> None:
    done = proving(project, "caught", "alive").run(
        "prove", "--only", "mutants", "--jobs", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mutants: 2 built, 2 caught by the case and for the reason that " \
        "they name, 0 otherwise, 0 missed; " in done.stdout
    assert "2 cases: 0 with three mutants or more, 0 on two programs or " \
        "more; 0 mutants in another author's style" in done.stdout


def test_mutants_that_are_not_caught(project: Project) -> None:
    """Green, red for another reason, of no case; a case without one."""
    done = proving(project, "caught", "green", "other", "nobody").run(
        "prove", "--only", "mutants", "--jobs", "0")
    assert done.returncode == 1, done.stdout + done.stderr
    problems = [line for line in done.stdout.splitlines()
                if line.startswith("  not so: ")]
    told = "\n".join(problems)
    assert len(problems) == 4
    assert "tiny/nobody names no case: tiny/nobody" in told
    assert "tiny/alive has no mutant" in told
    assert "tiny/green (Only the letter z is changed.): tiny/echo stays " \
        "green" in told
    assert "tiny/other (It says nothing.): tiny/echo is red for another " \
        "reason: stuck instead of reset" in told
    assert "mutants: 3 built, 1 caught" in done.stdout
    assert "1 otherwise, 1 missed" in done.stdout


def test_a_mutant_that_only_another_case_catches(project: Project) -> None:
    """It is told which: either the mutant names the wrong case, or a case
    has lost its rule.
    """
    write(proving(project).folder, {"name": "stray", **MUTANTS["caught"],
                                    "case": "tiny/alive"})
    done = project.run("prove", "--only", "mutants", "--jobs", "0")
    assert done.returncode == 1
    assert "tiny/stray (A byte is changed.): tiny/alive stays green, only " \
        "tiny/echo goes red" in done.stdout
    assert "0 caught by the case and for the reason that they name, 1 " \
        "otherwise, 0 missed" in done.stdout


def test_one_mutant_of_each_case(project: Project) -> None:
    """Outside of git it is the first one."""
    write(proving(project, "caught", "alive").folder,
          {"name": "second", **MUTANTS["green"]}, name="more.toml")
    done = project.run("prove", "--only", "mutants", "--turn", "yes",
                       "--jobs", "0")
    assert "mutants: 2 built" in done.stdout, done.stdout + done.stderr
    assert "one of each case, by the turn of this commit; `make prove` judges " \
        "all 3" in done.stdout


def test_a_mutant_of_a_step_that_fails_as_it_is(project: Project) -> None:
    """It would be caught without its fault: it proves nothing."""
    proving(project, "caught", "alive")
    toml = project.folder / "lessons/01-tiny/lesson.toml"
    toml.write_text(toml.read_text().replace("gaps = []",
                                             'gaps = ["tiny/echo"]'))
    done = project.run("prove", "--only", "mutants", "--jobs", "0")
    assert done.returncode == 1
    assert f"tiny/caught: {BASE} fails tiny/echo as it is" in done.stdout


def test_a_mutant_that_does_not_compile(project: Project) -> None:
    done = proving(project, "caught", "broken").run("prove", "--jobs", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "mutant tiny/broken can't be built" in done.stderr
    assert "error:" in done.stderr


def test_a_mutant_is_compiled_anew_when_it_changes(project: Project) -> None:
    """What an earlier run built is no proof for the mutant of today."""
    proving(project, "caught").run("prove", "--case", "tiny/echo", "--only",
                                   "mutants", "--jobs", "0")
    write(project.folder, {"name": "caught", **MUTANTS["green"]})
    done = project.run("prove", "--case", "tiny/echo", "--only", "mutants",
                       "--jobs", "0")
    assert done.returncode == 1
    assert "stays green" in done.stdout


STRANGE_ECHO = """[server]
build = [["cc", "-I{kit}/tests/foreign", "-o", "deep/echo", "server.c"]]
run = ["./deep/echo"]
"""


def test_a_mutant_of_a_foreign_program_is_built_by_its_manifest(
        project: Project) -> None:
    write(proving(project, "alive").folder,
          {"name": "stranger", **MUTANTS["caught"], "lesson": "01",
           "base": STRANGER}, name="others.toml")
    folder = (project.folder / STRANGER).parent
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/keep").touch()
    (folder / "program.toml").write_text('lesson = "01"\n' + STRANGE_ECHO)
    head, rest = ECHO_C.split("\n", 1)
    (folder.parent / "head.h").write_text(head + "\n")
    (project.folder / STRANGER).write_text('#include "head.h"\n' + rest)
    done = project.run("prove", "--only", "mutants", "--jobs", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mutants: 2 built, 2 caught" in done.stdout
    assert "1 mutants in another author's style" in done.stdout


# -- make matrix ----------------------------------------------------------------
def test_the_matrix(project: Project) -> None:
    """`alive` turns both cases red: that tiny/alive bites, tiny/echo shows."""
    proving(project, "caught", "alive")
    reasons = project.folder / "tests/shared-cases.toml"
    reasons.write_text('"tiny/alive" = "It tells why."\n')
    done = project.run("matrix", "--jobs", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "matrix: 2 cases, 4 case runs" in done.stdout
    text = (project.folder / "docs/mutants.md").read_text()
    assert re.search(r"\| `tiny/echo` \| 1 \| .+ \| `tiny/caught` \|\n", text)
    assert "2 mutants of 2 cases; 1 has one that no other" in text
    assert text.endswith("- `tiny/alive` (1 mutant, caught by `tiny/echo` as "
                         "well): It tells why.\n")


@pytest.mark.parametrize(("listed", "told"), [
    ("", "tiny/alive: other cases catch each of its mutants, too"),
    ('"tiny/alive" = "R"\n"tiny/echo" = "R"\n', "tiny/echo: it is in")])
def test_shared_cases_are_looked_at(project: Project, listed: str, told: str
                                    ) -> None:
    proving(project, "caught", "alive")
    (project.folder / "tests/shared-cases.toml").write_text(listed)
    done = project.run("matrix", "--jobs", "0")
    assert done.returncode == 1
    assert told in done.stdout


def test_the_next_mutant_is_asked(project: Project) -> None:
    """Until there is one that the case alone catches."""
    proving(project)
    write(project.folder,
          {"name": "ends", **MUTANTS["alive"], "case": "tiny/echo"},
          {"name": "second", **MUTANTS["caught"]})
    done = project.run("matrix", "--jobs", "0", "--case", "tiny/echo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| `tiny/second` |" in done.stdout
    assert "matrix: 1 case, 4 case runs" in done.stdout


# -- what is told, kept -----------------------------------------------------------
def keep(project: Project, name: str, *texts: str) -> Path:
    path = project.folder / "tests/golden" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("A head.\n\n" + "\n\n".join(texts) + "\n")
    return path


def prove(project: Project, *words: str):
    return project.run("prove", "--case", "tiny/echo", "--only", "mutants",
                       "--jobs", "0", *words)


def aborting(project: Project, tmp_path: Path) -> Path:
    """A kit with a mutant that aborts, and where that notes its starts."""
    starts = tmp_path / "starts"
    proving(project, "caught")
    write(project.folder, {"name": "caught", **MUTANTS["caught"]}, {
        "name": "aborts", **ECHOES, "fault": "It aborts.", "kind": "crash",
        "edit": [{"find": "/* HANDLE */", "replace": "abort();"},
                 {"find": "int main(void)\n{",
                  "replace": "#include <stdio.h>\nint main(void)\n{\n"
                             f'    FILE *note = fopen("{starts}", "a");\n'
                             "    fputc('x', note);\n    fclose(note);"}]})
    return starts


def test_texts_are_written_and_compared(project: Project, tmp_path: Path
                                        ) -> None:
    starts = aborting(project, tmp_path)
    messages = keep(project, "messages.txt", "== tiny/aborts: old", "== "
                    "tiny/caught: old\nolder")
    shown = keep(project, "transcripts.txt", "== tiny/aborts:\nx")
    done = prove(project, "--golden")
    assert done.returncode == 0, done.stdout + done.stderr
    assert starts.read_text() == "xx"       # the place is in the texts
    assert messages.read_text() == """\
What the cases say of broken programs: `make golden` writes this.
N stands for numbers that differ from run to run.

== tiny/aborts: It aborts.
tiny/echo, crash
  the server was killed by SIGABRT at server.c:N in handle() (abort(), often \
the C library's check of the heap or of a buffer's size) after 0 of 3 bytes
    Valgrind: SIGABRT
      at server.c:N in handle()
      called from server.c:N in serve()
      called from server.c:N in main()

== tiny/caught: A byte is changed.
tiny/echo, wrong-bytes
  wrong bytes came back: expected "abc", got "`bc"
"""
    text = shown.read_text()
    for part in ("FAIL  tiny/echo  01-tiny server  (MUST, 2 points)\n"
                 "  asked   What is sent comes back.\n  seen    the server was",
                 "           ms  the harness                               the "
                 "program\n            N  server: start server -H 127.0.0.1 -P "
                 "0\n            N  client 1: connect to 127.0.0.1 port N\n",
                 "  hint    First.\n  source  S\n  repeat  make check LESSON=01 "
                 "SUBMISSION=my-own ROLE=server CASE=tiny/echo\n"):
        assert part in text, text
    done = prove(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 texts as kept" in done.stdout
    messages.write_text(messages.read_text().replace('"abc"', '"abd"'))
    done = prove(project)
    assert done.returncode == 1
    assert "tiny/caught: what is told has changed" in done.stdout
    assert "2 texts as kept" in done.stdout, done.stdout


def test_no_second_look_at_what_is_not_kept(project: Project, tmp_path: Path
                                            ) -> None:
    """Nobody reads what is said of the other mutants."""
    starts = aborting(project, tmp_path)
    keep(project, "messages.txt", "== tiny/caught: old")
    done = prove(project)
    assert "tiny/caught: what is told has changed" in done.stdout
    assert starts.read_text() == "x"


def test_a_text_of_no_mutant(project: Project) -> None:
    proving(project, "caught")
    keep(project, "transcripts.txt", "== tiny/gone: It was here.\nx")
    done = prove(project)
    assert done.returncode == 1
    assert "transcripts.txt names no mutant: tiny/gone" in done.stdout


@pytest.mark.parametrize(("told", "kept"), [
    ("port 43569, 127.0.0.1 and 1,048,576 bytes (RFC 9293 3.6)",
     "port N, 127.0.0.1 and N bytes (RFC 9293 3.6)"),
    ("12 of 40 bytes, fd 4", "12 of 40 bytes, fd 4"),
    ("at server.c:42 in serve()", "at server.c:N in serve()"),
    ("it spins, mostly in recv() at server.c:4 in f(): so",
     "it spins, mostly PLACE: so"),
    ("it spins, mostly at server.c:4 in f()", "it spins, mostly PLACE"),
    ("7 of 9 looks: in recv() at a.c:4 in f()\n2 of 9 looks: at a.c:5 in f()",
     "N of N looks: PLACE\n"),
    ("lost\n  malloc()\n  stdio.h:9 in f()\n  client.c:7 in main()",
     "lost\n  client.c:N in main()"),
    ("/dev/shm/sockstep.x1/worker.y2/17/files/a", "FOLDER/files/a"),
    ("0.6 s of processor time", "N s of processor time"),
    ("9 runs", "N runs")])
def test_what_differs_from_run_to_run(told: str, kept: str) -> None:
    record = {"message": told, "evidence": {"t": 1.5, "data": "3132333435"}}
    assert golden._still(Path("/x"), record) == {
        "message": kept, "evidence": {"t": 0, "data": "3132333435"}}


# -- null and foreign programs ------------------------------------------------------
def program(project: Project, kind: str, name: str, body: str, expected: str
            ) -> None:
    folder = project.folder / "tests" / kind / name
    folder.mkdir(parents=True)
    (folder / "server.py").write_text(
        "import signal, socket, sys, os\n"
        "address = '127.0.0.1', int(sys.argv[4])\n"
        "listener = socket.create_server(address)\n" + body)
    (folder / "program.toml").write_text(
        'lesson = "01-tiny"\n[server]\n'
        'run = ["python3", "-IS", "{here}/server.py"]\n' + expected)


_ALIVE = '"tiny/alive" = "It does start."\n'
_ECHO = '"tiny/echo" = "It is dumb, or is it?"\n'


@pytest.mark.parametrize(("kind", "sound", "others"), [
    ("null", "[server.passes]\n" + _ALIVE, {
        "too-few": ("[server.passes]\n", "tiny/alive: fail", "as a gap"),
        "too-many": ("[server.passes]\n" + _ALIVE + _ECHO,
                     "tiny/echo: fail", "0 of 3 bytes")}),
    ("foreign", "[server.gaps]\n" + _ECHO, {
        "too-few": ("", "tiny/echo: fail", "0 of 3 bytes"),
        "too-many": ("[server.gaps]\n" + _ALIVE + _ECHO,
                     "tiny/alive: fail", "as a gap")})])
def test_programs_as_told(project: Project, kind: str, sound: str,
                          others: dict) -> None:
    """The program starts and never answers: no more, no less is accepted."""
    proving(project)
    body = "listener.accept(); signal.pause()\n"
    program(project, kind, "sound", body, sound)
    done = project.run("prove", "--only", kind, "--jobs", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kind} programs: 1, 2 case runs, 0 not as told" in done.stdout
    for name, (expected, _, _) in others.items():
        program(project, kind, name, body, expected)
    done = project.run("prove", "--only", kind, "--jobs", "0")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{kind} programs: 3, 6 case runs, 2 not as told" in done.stdout
    problems = [line for line in done.stdout.splitlines()
                if line.startswith("  not so: ")]
    for name, (_, case, told) in others.items():
        assert [name in line and case in line and told in line
                for line in problems].count(True) == 1


def test_programs_by_turn(project: Project) -> None:
    """Of two cases the first program is asked one, the second one none."""
    proving(project)
    body, gaps = "listener.accept(); signal.pause()\n", "[server.gaps]\n" + _ECHO
    program(project, "foreign", "first", body, gaps)
    program(project, "foreign", "second", body, gaps)
    done = project.run("prove", "--only", "foreign", "--turn", "yes",
                       "--jobs", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "foreign programs: 1, 1 case run, 0 not as told" in done.stdout
    assert "01-tiny/first-server" in done.stdout


@pytest.mark.parametrize(("key", "told"), [
    ("tiny/none", "no case is called tiny/none"),
    ("02:tiny/echo", "[server] is not asked 02:tiny/echo")])
@pytest.mark.parametrize("name", ["passes", "skips"])
def test_a_list_of_what_is_not_asked(project: Project, name: str, key: str,
                                     told: str) -> None:
    """A reason that no case needs would be kept for ever."""
    proving(project)
    program(project, "null", "dumb", "signal.pause()\n",
            f'[server.{name}]\n"{key}" = "No such case."\n')
    done = project.run("prove", "--only", "null", "--jobs", "0")
    assert done.returncode == 2
    assert told in done.stderr


def test_a_program_that_is_not_installed(project: Project) -> None:
    """It is an error, but for one that may be left out: then that is said."""
    proving(project)
    needs = 'needs = ["no-such-command"]\n'
    program(project, "foreign", "dumb", "signal.pause()\n",
            f"{needs}optional = true\n[server.gaps]\n" + _ECHO)
    program(project, "foreign", "sound", "listener.accept(); signal.pause()\n",
            "[server.gaps]\n" + _ECHO)
    done = project.run("prove", "--only", "foreign", "--jobs", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not tried: dumb-server: no-such-command is not installed" \
        in done.stdout
    assert "foreign programs: 1, 2 case runs, 0 not as told" in done.stdout
    program(project, "foreign", "needy", "signal.pause()\n", needs)
    done = project.run("prove", "--only", "foreign", "--jobs", "0")
    assert done.returncode == 2
    assert "no-such-command is needed and not installed" in done.stderr
