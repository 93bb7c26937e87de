"""Small programs, stages and whole kits, built in code for one test."""
from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import sockstep
from sockstep.contract import Contract, Target
from sockstep.tools import Tools
from sockstep.stage import Stage

ROOT = Path(__file__).parents[2]
PACKAGE = Path(sockstep.__file__).parent

IN_TURN = Contract("echo", "tcp", 9090, "many", "in-turn")
ONE = Contract("echo", "tcp", 8080, "one", "one")

# Each program takes the options of the program contract. Python ignores
# SIGPIPE and handles SIGINT, which a program in C does not.
_PYTHON_HEAD = f"""#!{sys.executable} -IS
import os, signal, socket, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.SIG_DFL)
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
address = options.get("-H", "127.0.0.1"), int(options.get("-P", "0"))
"""
_LISTENER = "listener = socket.create_server(address)\n"
_CONNECTION = _LISTENER + "connection, _ = listener.accept()\n"

#: A sound server in C: it echoes, in turn, and ends in order at SIGTERM.
ECHO_C = r"""
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[4096];

static void on_signal(int number)
{
    (void)number;
    _exit(0);
}

static void handle(char *data, ssize_t length)
{
    (void)data;
    (void)length;
    /* HANDLE */
}

static void serve(int fd)
{
    ssize_t length;
    while ((length = recv(fd, buffer, sizeof(buffer), 0)) > 0) {
        handle(buffer, length);
        for (ssize_t sent = 0, n; sent < length; sent += n)
            if ((n = send(fd, buffer + sent, (size_t)(length - sent),
                          MSG_NOSIGNAL)) == -1)
                break;
    }
    close(fd);
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) == -1 ||
        listen(listener, 8) == -1)
        return 1;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd != -1)
            serve(fd);
    }
}
"""


def python(path: Path, body: str) -> Path:
    """An executable script; `body` finds `address` and its modules there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_PYTHON_HEAD + body)
    path.chmod(0o755)
    return path


class Workshop:
    """Programs and stages of one test; `close` gives all of them back."""

    def __init__(self, folder: Path, compiled: Path, tools: Tools):
        self.folder = folder
        self.compiled = compiled
        self.tools = tools
        self.stages: list[Stage] = []
        self._count = 0

    def python(self, body: str) -> str:
        self._count += 1
        return str(python(self.folder / f"program{self._count}", body))

    def listening(self, body: str) -> str:
        """A Python server whose `body` finds its `listener`."""
        return self.python(_LISTENER + body)

    def connected(self, body: str) -> str:
        """A Python server whose `body` finds its first `connection`."""
        return self.python(_CONNECTION + body)

    def c(self, source: str, *flags: str) -> str:
        """A compiled program; the same text is compiled but once."""
        text = "\0".join([source, *flags])
        folder = self.compiled / hashlib.sha256(text.encode()).hexdigest()[:16]
        program = folder / "server"
        if not program.exists():
            folder.mkdir()
            (folder / "server.c").write_text(source)
            subprocess.run(["cc", "-g", "-O1", "-pthread", "-o", program,
                            folder / "server.c", *flags], check=True)
        return str(program)

    def target(self, *command: str, role: str = "server",
               contract: Contract = IN_TURN, **more) -> Target:
        return Target("01-tiny", role, f"{role}-1-tiny", list(command),
                      contract, source=str(Path(command[0]).parent), **more)

    def stage(self, target: Target, **options) -> Stage:
        made = Stage(self.folder / f"stage{len(self.stages) + 1}", self.tools,
                     target, **options)
        self.stages.append(made)
        return made

    def close(self) -> None:
        for stage in self.stages:
            stage.close()


class Project:
    """A kit in miniature: a copy of the runner, and what a test puts in."""

    LESSON = "01-tiny"

    def __init__(self, folder: Path, tools: Tools, package: Path):
        self.folder = folder
        self.processes: list[subprocess.Popen] = []
        self.steps: dict[str, list[str]] = {"server": [], "client": []}
        shutil.copytree(package, folder / "conformance/sockstep")
        for name in ("templates", "peers"):
            if (PACKAGE.parent / name).exists():
                shutil.copytree(PACKAGE.parent / name,
                                folder / "conformance" / name)
        for name in ("conformance/cases", "build/src", "src", "docs",
                     "tests/mutants", f"lessons/{self.LESSON}"):
            (folder / name).mkdir(parents=True)
        (folder / "build/src/launch").symlink_to(tools.launch)
        (folder / "build/src/fault_preload.so").symlink_to(tools.preload)
        (folder / "build/src/libsockstep.a").symlink_to(
            ROOT / "build/src/libsockstep.a")

    def step(self, name: str, body: str, gaps: tuple[str, ...] = (),
             role: str = "server") -> None:
        """Add a step that is a Python script."""
        steps = self.steps[role]
        program = f"{role}-{len(steps) + 1}-{name}"
        source = self.folder / "lessons" / self.LESSON / f"{program}.c"
        source.write_text("/* The program is a script. */\n")
        python(self.folder / "build/lessons" / self.LESSON / program,
               _LISTENER + body if role == "server" else body)
        steps.append(f"[[{role}]]\nstep = {len(steps) + 1}\n"
                     f"name = \"{name}\"\nadds = \"something\"\n"
                     f"gaps = {json.dumps(list(gaps))}\n")
        (self.folder / "lessons" / self.LESSON / "lesson.toml").write_text(
            'title = "What is it?"\ndocument = "000"\nservice = "echo"\n'
            'transport = "tcp"\nport = 9090\nmessages = "many"\n'
            'clients = "in-turn"\n' + "".join(self.steps["server"]
                                              + self.steps["client"]))

    def cases(self, text: str, name: str = "test_tiny.py") -> None:
        """Write a module of cases; `tiny` makes one of a function."""
        (self.folder / "conformance/cases" / name).write_text(
            "import functools, os\nfrom sockstep.case import case\n"
            "from sockstep.failure import Failure, HarnessError\n"
            "tiny = functools.partial(case, role='server', "
            "group='Byte stream', source='S', hints=['First.', 'Second.'])\n" + text)

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG")
                if name in os.environ}
        return {**kept, "PYTHONPATH": str(self.folder / "conformance"),
                "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1",
                "SOCKSTEP_PROOF": "no"}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "sockstep", *words]

    def run(self, *words: str, **environment: str
            ) -> subprocess.CompletedProcess:
        """Run a command of the kit to its end."""
        return subprocess.run(
            self.command(*words), cwd=self.folder, text=True, timeout=120,
            capture_output=True, stdin=subprocess.DEVNULL,
            env={**self.environment(), **environment})

    def start(self, *words: str, **environment: str) -> subprocess.Popen:
        """Start a command of the kit in a session of its own."""
        process = subprocess.Popen(
            self.command(*words), cwd=self.folder, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
            env={**self.environment(), **environment})
        self.processes.append(process)
        return process

    def results(self) -> dict:
        return json.loads(
            (self.folder / "build/report/results.json").read_text())

    def verdicts(self) -> dict[str, str]:
        """Verdicts of the last run by program and case."""
        return {f"{record['program']} {record['case']}": record["verdict"]
                for record in self.results()["results"]}

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


#: The body of a sound server in Python.
ECHO = """
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True:
    connection, _ = listener.accept()
    with connection:
        try:
            while data := connection.recv(4096):
                connection.sendall(data)
        except ConnectionError:
            pass
"""
