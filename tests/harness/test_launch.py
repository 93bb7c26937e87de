"""launch: what a program finds when it is started."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sockstep import confine, names, procfs
from sockstep.failure import HarnessError
from sockstep.program import Program
from sockstep.tools import Tools
from sockstep.roles import Server
from sockstep.transcript import Transcript

from workshop import ECHO, Workshop


def launch(tools: Tools, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([tools.launch, *words], capture_output=True,
                          text=True, timeout=30)


def limits_of(text: str) -> dict[str, tuple[str, str]]:
    """Soft and hard limits as /proc/PID/limits has them."""
    found = {}
    for line in text.strip().splitlines()[1:]:
        name, soft, hard = line[:26].strip(), *line[26:].split()[:2]
        found[name] = (soft, hard)
    return found


@pytest.mark.parametrize(("key", "name", "due"), [
    ("nofile=77", "Max open files", ("77", "77")),
    ("fsize=4096", "Max file size", ("4096", "4096")),
    ("cpu=9", "Max cpu time", ("9", "11")),
    ("as=2147483648", "Max address space", ("2147483648", "2147483648")),
    ("nproc=4000", "Max processes", ("4000", "4000"))])
def test_limits(tools: Tools, key: str, name: str, due: tuple[str, str]
                ) -> None:
    before = limits_of(Path("/proc/self/limits").read_text())
    done = launch(tools, key, "--", "cat", "/proc/self/limits")
    after = limits_of(done.stdout)
    assert (done.returncode, after.pop(name)) == (0, due)
    before.pop(name)
    assert after == before


def test_nice(tools: Tools) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    done = launch(tools, "nice=3", "--", "nice")
    assert (done.returncode, done.stdout) == (0, f"{own + 3}\n")


def test_hold(tools: Tools) -> None:
    script = "for fd in /proc/$$/fd/*; do readlink $fd; done"
    held = launch(tools, "hold=10", "--", "sh", "-c", script).stdout
    free = launch(tools, "--", "sh", "-c", script).stdout
    assert held.count("/dev/null") - free.count("/dev/null") == 7
    done = launch(tools, "hold=10", "--", sys.executable, "-ISc",
                  "import os; print(os.open('/', os.O_RDONLY))")
    assert done.stdout == "10\n"


@pytest.mark.parametrize(("words", "told"), [
    (["bogus=1", "--", "true"], "unknown key: bogus"),
    (["nofile", "--", "true"], "not KEY=VALUE: nofile"),
    (["nofile=", "--", "true"], "not a number"),
    (["nofile=1x", "--", "true"], "not a number: 1x"),
    (["nofile=-1", "--", "true"], "not a number: -1"),
    (["cpu=99999999999999999999999", "--", "true"], "not a number"),
    (["--", "/nowhere/program"], "/nowhere/program: No such file"),
    (["--", "/"], "Permission denied"),
    (["--"], "usage: launch"),
    ([], "usage: launch")])
def test_what_can_not_be_started(tools: Tools, words: list[str], told: str
                                 ) -> None:
    done = launch(tools, *words)
    assert (done.returncode, done.stdout) == (125, "")
    assert told in done.stderr


def test_a_program_that_is_missing_is_no_fault_of_a_program(shop: Workshop
                                                            ) -> None:
    target = shop.target("/nowhere/program")
    with pytest.raises(HarnessError, match="/nowhere/program"):
        Server.launch(shop.stage(target), target)


def test_the_status_is_the_programs_own(tools: Tools) -> None:
    assert launch(tools, "--", "sh", "-c", "exit 7").returncode == 7
    assert launch(tools, "--", "sh", "-c", "kill -SEGV $$").returncode == \
        -signal.SIGSEGV


def test_a_session_of_its_own(tools: Tools) -> None:
    done = launch(tools, "--", "sh", "-c", "echo $$; cat /proc/$$/stat")
    pid, stat = done.stdout.split("\n", 1)
    group, session = stat[stat.rindex(")"):].split()[3:5]
    assert pid == group == session


def test_usual_dispositions(shop: Workshop, usual_signals,
                            until) -> None:
    """Whatever this process ignores or blocks, the program starts clean."""
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGHUP,
                   signal.SIGTERM, signal.SIGCHLD, signal.SIGXFSZ,
                   signal.SIGRTMIN + 3):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [
        signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM, signal.SIGRTMAX])
    stage = shop.stage(shop.target("cat", role="client"))
    # It stays for its input: with SIGCHLD ignored an ended one is gone at once.
    program = stage.start(["cat", "/proc/self/status", "-"])
    until(lambda: b"nonvoluntary_ctxt_switches" in program.stdout)
    assert signals_in(program.stdout.decode()) == dict.fromkeys(_SETS, 0)


_SETS = ("SigIgn", "SigBlk", "SigCgt", "SigPnd", "ShdPnd")


def signals_in(status: str) -> dict[str, int]:
    """The sets of signals in the text of /proc/PID/status."""
    fields = dict(line.split(":\t") for line in status.splitlines()
                  if ":\t" in line)
    return {name: int(fields[name], 16) for name in _SETS}


def test_the_c_librarys_own_signals(tools: Tools, tmp_path: Path) -> None:
    """posix_spawn(3), by which make starts programs, ignores two of them."""
    spawned = []
    for command in (["cat", "/proc/self/status"],
                    [str(tools.launch), "--", "cat", "/proc/self/status"]):
        out = tmp_path / f"status{len(spawned)}"
        pid = os.posix_spawnp(command[0], command, os.environ, file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, out, os.O_WRONLY | os.O_CREAT, 0o600)])
        assert os.waitpid(pid, 0)[1] == 0
        spawned.append(signals_in(out.read_text())["SigIgn"])
    before, after = spawned
    if before == 0:
        pytest.skip("this C library ignores no signal")
    assert after == 0


def test_the_end_of_the_starter_ends_the_program(shop: Workshop, tools: Tools
                                                 ) -> None:
    """Not even SIGKILL of the runner leaves a program behind."""
    starter = subprocess.Popen(
        [sys.executable, "-ISc", "import os, subprocess, sys\n"
         "made = subprocess.Popen(sys.argv[1:])\n"
         "print(made.pid, flush=True)\nos.read(0, 1)",
         str(tools.launch), "--", sys.executable, "-ISc",
         # It says so when it is ready: then launch has done its work.
         "import signal\nprint('ready', flush=True)\nsignal.pause()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    lines = {starter.stdout.readline(), starter.stdout.readline()}
    pid = int((lines - {"ready\n"}).pop())
    assert procfs.stat(pid).session == pid
    starter.kill()
    starter.communicate()
    _, status = os.waitpid(pid, 0)      # adopted by this process
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_what_a_program_finds(shop: Workshop, until, monkeypatch) -> None:
    """Limits, an empty folder of its own, a small environment."""
    monkeypatch.setenv("SOCKSTEP_SECRET", "x")
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
    script = shop.python(
        "print(sorted(os.environ), os.listdir('.'), os.getcwd())\n"
        "print(open('/proc/self/limits').read())\n"
        "print(sorted(os.listdir('/proc/self/fd')), file=sys.stderr)\n")
    stage = shop.stage(shop.target(script))
    program = stage.start([script], nofile=99,
                          environment={"EXTRA": "1"})
    assert until(program.ending).status == 0
    first, _, rest = program.stdout.decode().partition("\n")
    names, _, places = first.partition("] ")
    # Python itself may set LC_CTYPE.
    assert names.replace("'LC_CTYPE', ", "") == \
        "['EXTRA', 'HOME', 'LANG', 'PATH', 'TMPDIR', 'TZ'"
    assert places == f"[] {program.workplace}"
    limits = limits_of(rest)
    assert limits["Max open files"] == ("99", "99")
    assert limits["Max file size"][0] == str(confine.MAX_FILE_BYTES)
    assert limits["Max cpu time"][0] == str(confine.MAX_CPU_SECONDS)
    # Three, and the one that reads the folder.
    assert program.stderr.decode().strip() == "['0', '1', '2', '3']"


def test_roles_and_standard_input(shop: Workshop) -> None:
    script = shop.python("print(os.readlink('/proc/self/fd/0')[:5])")
    for role, due in (("server", b"/dev/"), ("client", b"pipe:")):
        program = Program([script], shop.folder / role, shop.tools,
                          Transcript(), label=role, role=role)
        assert program.process.wait(30) == 0
        assert program.stdout.strip() == due
        program.close()


def test_endings(shop: Workshop, until) -> None:
    stage = shop.stage(shop.target("sh"))
    for script, due in (("exit 3", "exit status 3"),
                        ("kill -ABRT $$", "killed by SIGABRT")):
        program = stage.start(["sh", "-c", script])
        assert str(until(program.ending)) == due
        assert not program.alive()
        program.signal(signal.SIGTERM)          # nobody is hit by it
        assert str(program.ending()) == due


def test_close_ends_all_that_was_started(shop: Workshop) -> None:
    """A program, its children and grandchildren, deaf to SIGTERM."""
    script = shop.listening("""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        os.fork()
        signal.pause()
signal.pause()
""")
    target = shop.target(script)
    stage = shop.stage(target)
    server = Server.launch(stage, target)
    shop.stages.remove(stage)
    server.quiet()
    below = procfs.descendants(server.program.pid)
    assert len(below) == 6
    stage.close()
    assert [pid for pid in [server.program.pid, *below]
            if procfs.stat(pid)] == []
    assert not stage.directory.exists()


def test_a_sound_server_starts(shop: Workshop) -> None:
    target = shop.target(shop.listening(ECHO))
    server = Server.launch(shop.stage(target), target)
    assert server.address == ("127.0.0.1", server.port)
    assert server.port not in (0, target.contract.port)


# -- files in place of the system's ------------------------------------------------
@pytest.fixture
def own_files(tools: Tools) -> None:
    """This machine lets a program have mounts of its own."""
    done = launch(tools, "file=/etc/hosts:/etc/hosts", "--", "true")
    if "this machine forbids" in done.stderr:
        pytest.skip(done.stderr)


def test_a_file_of_its_own(tools: Tools, tmp_path: Path, own_files: None
                           ) -> None:
    """The program sees it, and nobody else does."""
    before = Path("/etc/hosts").read_bytes()
    (tmp_path / "hosts").write_text("127.0.0.9 house\n")
    (tmp_path / "other").write_text("other\n")
    done = launch(tools, f"file=/etc/hosts:{tmp_path}/hosts",
                  f"file=/etc/passwd:{tmp_path}/other", "--", "sh", "-c",
                  "cat /etc/hosts /etc/passwd; id -u")
    assert done.stdout == f"127.0.0.9 house\nother\n{os.getuid()}\n"
    assert Path("/etc/hosts").read_bytes() == before


@pytest.mark.parametrize(("word", "told"), [
    ("file=/etc/hosts", "not OLD:NEW"),
    ("file=/nowhere/at/all:/etc/hosts", "replace /nowhere/at/all: No such"),
    ("file=/etc/hosts:/nowhere", "replace /etc/hosts: No such")])
def test_files_that_are_not_there(tools: Tools, word: str, told: str,
                                  own_files: None) -> None:
    done = launch(tools, word, "--", "true")
    assert (done.returncode, done.stdout) == (125, "")
    assert told in done.stderr


def test_names_of_a_programs_own(shop: Workshop, until, own_files: None
                                 ) -> None:
    """Each name has its addresses, and the machine's names are unknown."""
    stage = shop.stage(shop.target("getent"))
    found = []
    for name in ("pair", "both", "localhost"):
        program = stage.start(["getent", "ahosts", name], files=names.private(
            pair="127.0.0.3 127.0.0.2", both="127.0.0.1 2001:db8::7"))
        until(program.ending)
        found.append({line.split()[0] for line
                      in program.stdout.decode().splitlines()})
    assert found == [{"127.0.0.2", "127.0.0.3"}, {"127.0.0.1", "2001:db8::7"},
                     set()]
