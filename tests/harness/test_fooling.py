"""Programs that work on the runner instead of their task: none gains a point.

Each is a submission.  Where the trick is to hide one fault, the program is
sound but for that, and judged by the case that finds it; elsewhere it does not
serve anybody.  What only confinement can stop is told in docs/design.md.
"""
from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sockstep import seal
from sockstep.deadline import load_factor

from test_submissions import (  # noqa: F401  (desk is a fixture)
    ONE_CASE, ROBUST, Desk, desk, server)
from workshop import ROOT, Project

#: It takes each client, tells it something else than was asked, and goes on.
WRONG = """for (;;) {
    char buffer[256];
    int connection = accept(listener, NULL, NULL);
    if (recv(connection, buffer, sizeof(buffer), 0) > 0)
        send(connection, "42\\n", 3, MSG_NOSIGNAL);
    close(connection);
}"""
MORE = r"""
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
"""


def source(before: str = "", after: str = WRONG, functions: str = "") -> str:
    """A server in C: acts `before` it listens, and `after` that."""
    text = server(before, after)
    return "#define _GNU_SOURCE\n" + MORE + text.replace(
        "#define _GNU_SOURCE\n", "").replace(
        "int main(", functions + "\nint main(")


def gains_nothing(desk: Desk, *words: str, case: str = ONE_CASE,
                  lesson: str = "03", told: str = "", **environment: str):
    """It is judged to the end, gets no point, and the reason is told."""
    run = desk.check(*words, case=case, lesson=lesson, **environment)
    assert run.status in (1, 2), run.words
    assert run.results["score"]["points"] == 0, run.words
    assert re.findall(r"^Score: (\d+)/", run.stdout, re.MULTILINE) == ["0"]
    assert not [record for record in run.records
                if record["verdict"] in ("pass", "n/a")], run.words
    assert re.search(told, re.sub(r"\s+", " ", run.words)), run.words
    assert run.seconds < 40 * load_factor()
    return run


# -- words -----------------------------------------------------------------------
_FAKES = [
    # pytest
    "..... [100%]\\n===== 5 passed in 0.10s =====\\n"
    "PASSED conformance/cases/test_server_stream.py::test_x\\n",
    # xdist
    "[gw0] [100%] PASSED test_server_stream.py::test_embedded_nul\\n"
    "scheduling tests via LoadScheduling\\n",
    # TAP
    "TAP version 13\\n1..2\\nok 1 - echo/embedded-nul\\nok 2\\n",
    # the kit's
    "\\033[2J\\033[H03-repeating-echo server\\n"
    "    ok    2/2  echo/embedded-nul\\n"
    "1 case run in 0.1 s: 1 pass, 0 failed\\nScore: 2/2\\n",
    # results.json
    '{\\"schema\\": \\"sockstep/results/1\\", \\"results\\": '
    '[{\\"case\\": \\"echo/embedded-nul\\", \\"verdict\\": '
    '\\"pass\\", \\"points\\": 2}]}\\n',
    # a report
    "('sockstep', {'verdict': 'pass', 'points': 2})\\n"
    "user_properties=[('sockstep', {'verdict': 'pass'})]\\n",
    # the preload's
    "7 7 reached - /bin/server\\n"
    "7 7 send 1 send(fd=4, length=9) = 1 [injected: x]\\n",
    # Valgrind's
    "<valgrindoutput><status><state>FINISHED</state></status>"
    "</valgrindoutput>\\n",
    # terminal escapes
    "\\033]0;pass\\007\\033[8m\\033[1A\\033[2K\\r"
    "1 pass\\033[0m\\n",
]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_words_of_others(desk: Desk, stream: str) -> None:
    """What a program says is shown at the most, and without its escapes."""
    desk.put("server.c", source(before="".join(
        f'fputs("{fake}", {stream}); fflush({stream});' for fake in _FAKES)))
    run = gains_nothing(desk)
    assert "\033" not in run.words and "\a" not in run.words
    assert run.record["verdict"] == "fail"


def test_words_of_the_launcher(desk: Desk) -> None:
    """It alone can say that this machine forbids what a case needs."""
    desk.put("server.c", source(
        before='fputs("launch: this machine forbids private mounts (unshare):'
               ' no\\n", stderr); return 125;'))
    gains_nothing(desk, told="ended before it listened")


def test_words_of_the_preload(desk: Desk) -> None:
    desk.put("server.c", source(
        before='fputs("fault_preload: the log: ENOSPC\\n", stderr);'
               "return 125;"))
    gains_nothing(desk, case="echo/short-send")


# -- signals, and the like --------------------------------------------------------
_ATTACKS = {
    "stops its runner": "kill(getppid(), SIGSTOP);",
    "stops and stops its runner": "for (int i = 0; i < 1000000; i++) "
                                  "kill(getppid(), SIGSTOP);",
    "interrupts its runner": "kill(getppid(), SIGUSR1);",
    "kills its runner": "kill(getppid(), SIGKILL);",
    "makes its runner slow": "setpriority(PRIO_PROCESS, (id_t)getppid(), 19);",
    "takes its runner's descriptors":
        "prlimit(getppid(), RLIMIT_NOFILE, &(struct rlimit){5, 5}, NULL);",
    "takes its runner's time":
        "prlimit(getppid(), RLIMIT_CPU, &(struct rlimit){0, 0}, NULL);",
    "signals its group": "kill(0, SIGTERM);",
}


@pytest.mark.parametrize("act", _ATTACKS.values(), ids=_ATTACKS)
def test_acts_on_the_runner(desk: Desk, act: str) -> None:
    """Neither this case nor another one on the same worker is passed."""
    desk.put("server.c", source(before=act))
    gains_nothing(desk, "--jobs", "1", case=f"{ONE_CASE} echo/all-bytes")


def test_a_stopped_runner_is_told(desk: Desk) -> None:
    desk.put("server.c", source(before=_ATTACKS["stops its runner"]))
    gains_nothing(desk, told=r"noticed: a program stopped its runner")


def test_a_killed_runner_is_told(desk: Desk) -> None:
    desk.put("server.c", source(before=_ATTACKS["kills its runner"]))
    gains_nothing(desk, told=r"noticed: a runner was killed in test_embedded")


def test_signals_to_all(desk: Desk) -> None:
    """In a process name space of their own, where all are but a few."""
    space = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*space, "true"], capture_output=True,
                      check=False).returncode:
        pytest.skip("no process name space can be made here")
    desk.put("server.c", source(before="kill(-1, SIGKILL);"))
    # The first process of the space is the shell, which nobody can kill.
    command = desk.command("--submission", str(desk.folder), "--lesson", "03",
                           "--case", ONE_CASE)
    subprocess.run([*space, "sh", "-c", '"$@"; exit 3', "sh", *command],
                   cwd=ROOT, env={**desk.environment,
                                  "SOCKSTEP_CGROUPS": "no"},
                   capture_output=True, stdin=subprocess.DEVNULL, timeout=100,
                   check=False)
    results = (desk.report / "results.json").read_text()
    assert '"complete": false' in results and '"pass"' not in results
    for left in desk.temporary.iterdir():   # there was nobody to remove it
        shutil.rmtree(left)
    for left in (ROOT / "build").glob("submission.*"):
        if list(left.glob(f"*/{next(desk.folder.glob('mark-*')).name}")):
            shutil.rmtree(left)


# -- what belongs to the runner ------------------------------------------------------
_LOOK = r"""
static int looks_into(pid_t pid)
{
    static const char *names[] = {"mem", "environ", "fd/0", "maps", "cwd/."};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/%s", pid, names[i]);
        if (open(path, O_RDONLY) != -1)
            return 1;
    }
    return ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0;
}
"""


def test_looks_into_the_runner(desk: Desk) -> None:
    """A server that echoes only if it could look into the runner's process.

    Its memory, its environment and its descriptors, the pipe on which a worker
    reports among them, are closed to programs, also to root's.
    """
    desk.put("server.c", source(
        functions=_LOOK, after=f"if (!looks_into(getppid())) {WRONG}\n"
                               "for (;;) echo(listener);"))
    gains_nothing(desk, told="wrong bytes came back")


def test_looks_into_itself(desk: Desk) -> None:
    """The same server, sound because it may look into itself: it would work.
    """
    desk.put("server.c", source(
        functions=_LOOK, after=f"if (!looks_into(getpid())) {WRONG}\n"
                               "for (;;) echo(listener);"))
    run = desk.check()
    assert run.record["verdict"] == "pass", run.words


#: Writes a text into each file of the run that can be found, from the folder
#: where the program works: its own output, what others have, a plan.
_SCRAWL = r"""
static void scrawl(const char *place, const char *text, int depth)
{
    DIR *folder = opendir(place);
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        char path[4096];
        struct stat facts;
        snprintf(path, sizeof(path), "%s/%s", place, entry->d_name);
        if (entry->d_name[0] == '.' || lstat(path, &facts) == -1)
            continue;
        if (S_ISDIR(facts.st_mode) && depth > 0)
            scrawl(path, text, depth - 1);
        if (!S_ISREG(facts.st_mode))
            continue;
        int fd = open(path, O_WRONLY | O_TRUNC);
        write(fd, text, strlen(text));
        close(fd);
    }
    if (folder != NULL)
        closedir(folder);
}
"""


def test_scrawls_over_the_run(desk: Desk) -> None:
    """There is no file from which the runner would take a verdict."""
    desk.put("server.c", source(
        functions=_SCRAWL,
        before='scrawl("../../../..", "{\\"verdict\\": \\"pass\\"}", 5);'))
    gains_nothing(desk, "--jobs", "2", case=f"{ONE_CASE} echo/all-bytes",
                  told="wrong bytes came back")


@pytest.mark.parametrize("act", [
    'int fd = open(RESULTS, O_WRONLY | O_TRUNC);'
    'write(fd, FORGED, sizeof(FORGED) - 1);',
    'unlink(RESULTS); symlink("/dev/null", RESULTS);',
    'unlink(RESULTS); mkdir(RESULTS, 0700); mkdir(RESULTS "/x", 0700);',
    'unlink(RESULTS); rmdir(REPORT);'],
    ids=["written", "a link", "a folder", "gone"])
def test_forged_results(desk: Desk, act: str) -> None:
    """What stands in the report at the end comes from the runner's memory."""
    forged = '{\\"score\\": {\\"points\\": 2, \\"of\\": 2}, \\"results\\": []}'
    desk.put("server.c", source(
        functions=f'#define REPORT "{desk.report}"\n'
        '#define RESULTS REPORT "/results.json"\n'
        f'#define FORGED "{forged}"\n', before=act))
    run = gains_nothing(desk, told="wrong bytes came back")
    assert run.results["environment"]["complete"] is True
    assert run.record["verdict"] == "fail"


@pytest.mark.parametrize("act", [
    'unlink("../stdout"); mkfifo("../stdout", 0600);',
    'unlink("../stderr"); symlink("/dev/zero", "../stderr");',
    'rmdir("../work"); symlink("/", "../work");',
    'chmod("..", 0); chmod("../..", 0);'],
    ids=["a FIFO", "an endless file", "the root", "closed folders"])
def test_traps_for_the_runner(desk: Desk, act: str) -> None:
    """Other things in the place of its files do not hold the runner up."""
    desk.put("server.c", source(before=act, after="for (;;) echo(listener);"))
    run = desk.check("--jobs", "1", case=f"{ONE_CASE} echo/all-bytes")
    assert len(run.records) == 2, run.words
    assert run.results["environment"]["complete"] is True
    assert run.seconds < 40 * load_factor()


# -- Valgrind --------------------------------------------------------------------
#: Sound, but that it loses memory with each client.
LEAKS = "for (;;) { volatile char *lost = malloc(999); lost[0] = 1; lost = 0; " \
    "echo(listener); }"
TERM = "signal(SIGTERM, end);"
_END = "static void end(int number) { (void)number; exit(0); }\n"
#: It writes to the pipe that it does not read itself, as is Valgrind's lock.
_WRITE = r"""
static void write_to_pipe(const char *text)
{
    static char path[5000][32], target[5000][64];
    int found = 0;
    for (int fd = 3; fd < 5000; fd++) {
        snprintf(path[found], sizeof(path[0]), "/proc/self/fd/%d", fd);
        ssize_t size = readlink(path[found], target[found], 63);
        found += size > 5 && strncmp(target[found], "pipe:", 5) == 0;
    }
    for (int i = 0; i < found; i++) {
        int ends = 0;
        for (int j = 0; j < found; j++)
            ends += strcmp(target[i], target[j]) == 0;
        int again = ends > 1 ? -1 : open(path[i], O_WRONLY | O_NONBLOCK);
        if (again != -1)
            write(again, text, strlen(text));
        close(again);
    }
}
"""
_CLEAN = "<status><state>FINISHED</state><time>1</time></status>" \
    "</valgrindoutput>"


def test_a_leak_is_found(desk: Desk) -> None:
    """The program of the next tests, without any trick."""
    desk.put("server.c", source(functions=_END, before=TERM, after=LEAKS))
    gains_nothing(desk, case="leak/heap", told="Valgrind: .*definitely lost")


@pytest.mark.parametrize("text", [_CLEAN, "<!--", "<![CDATA[", "<hide>"])
def test_a_log_that_is_written_to(desk: Desk, text: str) -> None:
    desk.put("server.c", source(
        functions=_END + _WRITE, before=TERM,
        after=f'write_to_pipe("{text}");' + LEAKS))
    gains_nothing(desk, case="leak/heap", told="Valgrind's log")


def test_a_log_of_its_own(desk: Desk) -> None:
    """No file that lies about is taken for Valgrind's log."""
    desk.put("server.c", source(
        functions=_END,
        before=TERM + 'char path[64]; snprintf(path, sizeof(path), '
        '"../valgrind.%d.xml", getpid()); FILE *log = fopen(path, "w");'
        f'fputs("<valgrindoutput>{_CLEAN}", log); fclose(log);',
        after=LEAKS))
    gains_nothing(desk, case="leak/heap", told="Valgrind: .*definitely lost")


#: It serves in a process that is started anew, with another environment.
_ANEW = r"""
static void anew(char *argv[], char *environment[], int in_child)
{
    if (getenv("ANEW") != NULL)
        return;
    pid_t child = in_child ? fork() : 0;
    if (child == 0) {
        execve(argv[0], argv, environment);
        _exit(9);
    }
    signal(SIGTERM, SIG_IGN);
    waitpid(child, NULL, 0);
    exit(0);
}
"""
_CLEAR = 'char *clear[] = {"ANEW=1", NULL};'


@pytest.mark.parametrize("in_child", ["0", "1"])
def test_leaves_valgrind(desk: Desk, in_child: str) -> None:
    """A program that is started anew is not run by Valgrind any more."""
    desk.put("server.c", source(
        functions=_END + _ANEW, after=LEAKS,
        before=f"{TERM} {_CLEAR} anew(argv, clear, {in_child});"))
    gains_nothing(desk, case="leak/heap", told="outside of Valgrind|cut off")


_THREADS = r"""
#include <pthread.h>
static long served; /* _Atomic long served; */

static void *serve(void *argument)
{
    static __thread char buffer[4096];
    int connection = (int)(long)argument;
    ssize_t got;
    served++; /* atomic_fetch_add() */
    while ((got = recv(connection, buffer, sizeof(buffer), 0)) > 0)
        send(connection, buffer, (size_t)got, MSG_NOSIGNAL);
    close(connection);
    return NULL;
}
"""


def test_a_comment_is_no_atomic(desk: Desk) -> None:
    """Helgrind's finding stays, whatever stands in a comment beside it."""
    desk.put("server.c", source(
        functions=_END + _THREADS, before=TERM, after="""for (;;) {
        long connection = accept(listener, NULL, NULL);
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, (void *)connection) == 0)
            pthread_detach(thread);
        }"""))
    gains_nothing(desk, lesson="06", case="race/threads", told="data race")


# -- the fault preload --------------------------------------------------------------
def test_a_short_send_is_found(desk: Desk) -> None:
    """The program of the next tests takes one send() for all."""
    desk.put("server.c", source(after="for (;;) echo(listener);"))
    gains_nothing(desk, case="echo/short-send", told="of 40 bytes came back")


#: A send that the plan makes short, on a connection with nobody.
_DECOY = 'int pair[2]; socketpair(AF_UNIX, SOCK_STREAM, 0, pair); ' \
    'for (int i = 0; i < 9; i++) send(pair[0], "decoy", 5, 0);'


@pytest.mark.parametrize("in_child", ["0", "1"])
@pytest.mark.parametrize("decoy", ["", _DECOY], ids=["", "after a decoy"])
def test_drops_the_preload(desk: Desk, in_child: str, decoy: str) -> None:
    """A program that is started anew without LD_PRELOAD meets no fault."""
    desk.put("server.c", source(
        functions=_ANEW,
        before=f'if (!getenv("ANEW")) {{ {decoy} }} {_CLEAR}'
               f"anew(argv, clear, {in_child});",
        after="for (;;) echo(listener);"))
    gains_nothing(desk, case="echo/short-send",
                  told="the fault preload did not reach the program")


def test_a_log_of_calls_of_its_own(desk: Desk) -> None:
    """A file in the place of the log is not the log."""
    desk.put("server.c", source(
        functions=_ANEW,
        before='if (!getenv("ANEW")) { unlink("../calls"); '
               'FILE *log = fopen("../calls", "w"); fprintf(log, "1 1 reached '
               '- /x\\n%d %d send 1 send(fd=4) = 1 [injected: short:1]\\n", '
               'getpid(), getpid()); fclose(log); }'
               f"{_CLEAR} anew(argv, clear, 0);",
        after="for (;;) echo(listener);"))
    gains_nothing(desk, case="echo/short-send")


def test_leaves_when_it_is_watched(desk: Desk) -> None:
    """Who ends when a fault is planned, or under Valgrind, has not passed."""
    desk.put("server.c", source(
        functions=_END, before=TERM + """
        FILE *maps = fopen("/proc/self/maps", "r");
        char line[512];
        while (fgets(line, sizeof(line), maps) != NULL)
            if (strstr(line, "fault_preload") || strstr(line, "valgrind"))
                return 0;
        fclose(maps);""", after=LEAKS))
    gains_nothing(desk, case="leak/heap echo/short-send",
                  told="ended before it listened")


# -- children ----------------------------------------------------------------------
_DAEMON = """if (fork() == 0) {
    setsid();
    if (fork() == 0) {
        for (int fd = 0; fd < 1024; fd++)
            if (fd != %s) close(fd);
        for (;;) pause();
    }
    _exit(0);
}
wait(NULL);"""


@pytest.mark.parametrize("kept", ["-1", "listener"])
def test_leaves_a_daemon(desk: Desk, kept: str) -> None:
    """Orphaned, in a session of its own, with nothing or the port open."""
    desk.put("server.c", source(
        functions=_END, before=TERM,
        after=_DAEMON % kept + "for (;;) echo(listener);"))
    gains_nothing(desk, told="1 process left behind: server")


# -- programs of others ----------------------------------------------------------------
KITS = ROOT / "build/lessons/03-repeating-echo/server-9-robust"


@pytest.mark.parametrize(("files", "told"), [
    ({"program.toml": '[server]\nrun = ["{kit}/build/lessons/'
                      '03-repeating-echo/server-9-robust"]\n'},
     "is the kit's own lessons/03-repeating-echo/server-9-robust"),
    ({"program.toml": '[server]\nrun = ["{python}", "{kit}/conformance/peers/'
                      'echo_server_in_turn.py", "{host}", "{port}"]\n'},
     "echo_server_in_turn.py is not in the submission's folder"),
    ({"Makefile": f"server:\n\tcp {KITS} server\n"},
     "server is the kit's own lessons/03-repeating-echo/server-9-robust"),
    ({"Makefile": f"server:\n\tln -s {KITS} server\n"},
     "server is the kit's own lessons/03-repeating-echo/server-9-robust"),
    ({"Makefile": "server:\n\tprintf '#!/bin/sh\\nexec "
                  f'{KITS} "$$@"\\n\' >server; chmod +x server\n'},
     "it is the kit's own program that does the work here, lessons/03-repeat"),
    ({"Makefile": "server:\n\tprintf '#!/bin/sh\\ncp "
                  f'{KITS} mine; exec ./mine "$$@"\\n\' >server; '
                  "chmod +x server\n"},
     "it is the kit's own program that does the work here, lessons/03-repeat"),
], ids=["a command", "a peer", "a copy", "a link", "a script",
        "a late copy"])
def test_the_kits_own_programs(desk: Desk, files: dict[str, str], told: str
                               ) -> None:
    for name, text in files.items():
        desk.put(name, text)
    gains_nothing(desk, "--role", "server", told=told)


def test_another_students_program(desk: Desk, tmp_path: Path) -> None:
    theirs = tmp_path / "another" / "server"
    theirs.parent.mkdir()
    (theirs.parent / "server.c").write_text(ROBUST.read_text())
    subprocess.run(["cc", "-o", theirs, theirs.parent / "server.c"],
                   check=True)
    desk.put("program.toml", f'[server]\nrun = ["{theirs}"]\n')
    gains_nothing(desk, "--role", "server",
                  told="another/server is not in the submission's folder")


def test_what_is_not_asked_is_told(desk: Desk) -> None:
    """A program.toml can keep cases away, and their points with them."""
    shutil.copy(ROBUST, desk.folder / "mine.c")
    desk.put("program.toml", '[server]\nbuild = [["cc", "-o", "server", '
             '"mine.c"]]\nrun = ["./server"]\nmemory = "managed"\n')
    run = desk.check("--role", "server", case="leak/heap limit/memory "
                     + ONE_CASE)
    assert run.record["verdict"] == "pass"
    assert "not asked of the server, as its program.toml has it: 2 cases, " \
        "4 points" in run.stdout


# -- the kit itself ---------------------------------------------------------------
@pytest.fixture
def kit(project: Project) -> Project:
    """A kit of its own, with tools that may be written over."""
    for name in ("launch", "fault_preload.so", "libsockstep.a"):
        path = project.folder / "build/src" / name
        real = path.resolve()
        path.unlink()
        shutil.copy(real, path)
    project.step("other", "raise SystemExit")
    project.cases("""
@tiny("tiny/echo")
def test_echo(server):
    '''It echoes.'''
    peer = server.connect()
    peer.send(b"hello")
    peer.expect(b"hello")

@tiny("tiny/again")
def test_again(server):
    '''It echoes again.'''
    server.exchange()
""")
    return project


def hand_in(kit: Project, **files: str) -> subprocess.CompletedProcess:
    folder = kit.folder.parent / "handed-in"
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    done = kit.run("check", "--submission", str(folder), "--lesson", "01",
                   "--jobs", "1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert kit.results()["score"]["points"] == 0
    assert "Score: 0/4" in done.stdout
    return done


@pytest.mark.parametrize("victim", [
    "build/src/launch", "build/lessons/01-tiny/server-1-other",
    "conformance/cases/test_tiny.py", "build/src/more"])
def test_a_build_that_writes_to_the_kit(kit: Project, victim: str) -> None:
    """It is told, nothing is judged, and what was made is made anew."""
    done = hand_in(kit, Makefile="server:\n\tcp evil $(SOCKSTEP)/" + victim
                   + "\n\tcc -w -o server right.c\n", evil="#!/bin/sh\n",
                   right_c=source(after="for (;;) echo(listener);"))
    assert f"its build has changed the kit's own {victim}" in done.stdout
    assert (kit.folder / victim).exists() is victim.startswith("conformance")


def test_a_program_that_writes_to_the_kit(kit: Project) -> None:
    victim = kit.folder / "conformance/cases/test_tiny.py"
    done = hand_in(kit, server_c=source(
        before=f'FILE *file = fopen("{victim}", "a"); fputs("# easy\\n", '
               "file); fclose(file);", after="for (;;) echo(listener);"))
    assert "noticed: nothing of this run counts: a program has changed the " \
        "kit's own conformance/cases/test_tiny.py" in done.stdout
    assert kit.results()["environment"]["complete"] is False


def test_what_python_has_compiled(tmp_path: Path) -> None:
    """The runner's own interpreter writes there: what is new is not trusted,
    and nobody is blamed for it.
    """
    compiled = tmp_path / "build/pycache/home"
    compiled.mkdir(parents=True)
    kept, changed, new = (compiled / f"{name}.cpython-311.pyc"
                          for name in ("kept", "changed", "new"))
    kept.write_bytes(b"1")
    changed.write_bytes(b"1")
    sealed = seal.seal(tmp_path)
    changed.write_bytes(b"2")
    new.write_bytes(b"1")
    assert seal.broken(tmp_path, sealed) == []
    assert [kept.exists(), changed.exists(), new.exists()] == \
        [True, False, False]


def test_a_file_that_another_run_removes(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python renames there what it has compiled, and another run that is over
    throws it away: it may be gone when its turn to be read comes.
    """
    gone = tmp_path / "build/pycache/gone.pyc"
    gone.parent.mkdir(parents=True)
    gone.touch()
    (tmp_path / "Makefile").touch()
    digest = seal.digest

    def too_late(path: Path) -> str:
        if path == gone:
            path.unlink()
        return digest(path)

    monkeypatch.setattr(seal, "digest", too_late)
    assert list(seal.seal(tmp_path)) == ["Makefile"]


# -- known answers ------------------------------------------------------------------
def made(desk: Desk, *flags: str) -> None:
    for role in ("server", "client"):
        subprocess.run([ROOT / "tests/fooling/build.sh", ROOT, "03", role,
                        *flags], cwd=desk.folder, check=True)
    desk.put("Makefile", "server client:\n\ttest -f $@\n")


def test_answers_of_an_earlier_run(desk: Desk, tmp_path: Path) -> None:
    """A program with a table of what was asked in an earlier run.

    It is perfect when the same is asked again, and else it has nothing but
    what needs no answer.
    """
    table = tmp_path / "table"
    with open(table, "wb") as file:
        file.truncate(16 << 20)
    known = f'-DTABLE="{table}"'

    def judged(seed: str, **environment: str) -> dict:
        run = desk.check("--leaks", "no", "--seed", seed,
                         case="echo/c* echo/e*", **environment)
        return {"passed": {record["case"] for record in run.records
                           if record["verdict"] == "pass"},
                **run.results["score"]}

    made(desk, known, "-DRECORD")
    whole = judged("1")
    assert whole["points"] == whole["of"]
    made(desk, known)
    assert judged("1") == whole
    assert judged("2")["points"] == 0
    # Nor would it gain anything by serving as well.
    guessed = judged("2", SOCKSTEP_PROOF="no")
    made(desk)
    assert guessed["passed"] == judged("2", SOCKSTEP_PROOF="no")["passed"]
