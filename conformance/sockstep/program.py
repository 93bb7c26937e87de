"""One process under test: started, watched, ended, and nothing left over."""
from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from . import confine, faults, procfs, seal, valgrind, variants
from .deadline import VALGRIND_FACTOR, Deadline
from .failure import Failure, HarnessError
from .procfs import Wait
from .tools import ROOT, Tools
from .transcript import Transcript, shorten

#: Bytes of standard output and error that are looked at.
OUTPUT_BYTES = 1 << 20
#: Of so many processes it is seen to that they are watched.
MOST_WATCHED = 20
#: Bytes of the log of calls that mean a spin, well below its file's limit.
MAX_LOG_BYTES = confine.MAX_FILE_BYTES // 4
#: The end of standard error that a failure shows: bytes, different lines of
#: them, and characters of the last line.
_LAST_BYTES, _LAST_LINES, _LAST_WORDS = 4096, 6, 100


@dataclass(frozen=True)
class Ending:
    """How a process ended: an exit status, or the signal that killed it."""

    status: int | None
    signal: int | None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"killed by {procfs.signal_name(self.signal)}"
        return f"exit status {self.status}"


class Program:
    """A running program.

    Its standard output and error go to files in `directory`, where they can
    be read at any time; it works in an empty folder of its own.  Standard
    input is a pipe for clients, and for others with `typing`, else /dev/null.
    `files`: what it finds in files of the system, by their paths.

    All that is known of it comes by descriptors of the runner's own, which
    were there before it: it may put what it likes in the place of a file.
    """

    def __init__(self, argv: list[str], directory: Path, tools: Tools,
                 transcript: Transcript, *, label: str, role: str,
                 task_limit: confine.TaskLimit | None = None, plan: str = "",
                 under_valgrind: bool = False, watch_threads: bool = False,
                 find_crash: bool = False, nofile: int = 1024,
                 hold: int = 0, stdout: str | None = None,
                 typing: bool = False, variant: str = "",
                 files: dict[str, str] | None = None,
                 fsize: int = confine.MAX_FILE_BYTES,
                 environment: dict[str, str] | None = None):
        self.label = label
        self.role = role
        self.argv = argv
        self.directory = directory
        self.workplace = directory / "work"
        self.workplace.mkdir(parents=True)
        self.transcript = transcript
        self.plan = plan
        self.under_valgrind = under_valgrind
        self.watch_threads = watch_threads  # by Helgrind, under Valgrind
        self.find_crash = find_crash        # where it crashes is all
        self.factor = VALGRIND_FACTOR if under_valgrind else \
            variants.FACTOR if variant in variants.SANITIZERS else 1.0
        self.frozen = False
        self.ended_by_harness = False
        self.may_end = False                # the case asks how it ends
        self.killed = False                 # by SIGKILL of a case
        self.plan_may_miss = False          # a sweep runs past the last call
        self._ending: Ending | None = None
        self._typed = b""                   # input that the pipe has not taken
        self._input_over = False
        self._limit = task_limit
        self._descriptors: list[int] = []   # to be closed at the end
        self._heard = bytearray()           # from Valgrind, so far
        self._launch_said = b""

        env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"),
               "HOME": str(self.workplace), "TMPDIR": str(self.workplace),
               "LANG": "C.UTF-8", "TZ": "UTC"}
        env.update(environment or {})
        if variant in variants.SANITIZERS:
            env.update(variants.environment(self.directory, variant))
        self._calls = self._own_file("calls") if plan else -1
        if plan:
            env.update(faults.environment(plan, directory / "calls",
                                          tools.preload))
        self._preload = os.path.realpath(tools.preload) if plan else ""
        self._stdout = -1 if stdout else self._own_file("stdout")
        self._stderr = self._own_file("stderr")
        self._launch, told = self._own_pipe()
        self._valgrind, report = self._own_pipe() \
            if under_valgrind and not find_crash else (-1, -1)
        command = list(argv)
        if under_valgrind:
            command = valgrind.command(
                directory if find_crash else report, watch_threads) + command
        limits = [f"told={told}", f"nofile={nofile}", f"fsize={fsize}",
                  f"cpu={int(confine.MAX_CPU_SECONDS * self.factor)}"]
        if variant not in variants.SANITIZERS:  # one maps terabytes
            limits.append(f"as={confine.MAX_ADDRESS_SPACE}")
        if task_limit:
            limits += task_limit.launch_words()
        if hold:
            limits.append(f"hold={hold}")
        for number, (path, text) in enumerate((files or {}).items()):
            fresh = self.directory / f"file{number}"
            fresh.write_text(text)
            limits.append(f"file={path}:{fresh}")
        passed = [fd for fd in (told, report) if fd != -1]
        # A terminal must not become that of the runner: open(2), O_NOCTTY.
        out = os.open(stdout, os.O_WRONLY | os.O_NOCTTY) if stdout \
            else os.dup(self._stdout)
        try:
            self.process = subprocess.Popen(
                [str(tools.launch), *limits, "--", *command],
                stdin=subprocess.PIPE if typing or role == "client"
                else subprocess.DEVNULL, pass_fds=passed,
                stdout=out, stderr=self._stderr, cwd=self.workplace, env=env)
        finally:
            for fd in (out, *passed):
                os.close(fd)
        self.pid = self.process.pid
        self._pidfd = os.pidfd_open(self.pid)
        transcript.add("harness", label, "start",
                       note=" ".join([Path(argv[0]).name, *argv[1:]])
                       + (f"  under the plan {plan}" if plan else ""))

    @property
    def name(self) -> str:
        """How a sentence speaks of it: "the server 2"."""
        return self.label if self.label.startswith("the ") else \
            f"the {self.label}"

    # -- files ------------------------------------------------------------
    def _own_file(self, name: str) -> int:
        fd = os.open(self.directory / name,
                     os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._descriptors.append(fd)
        return fd

    def _own_pipe(self) -> tuple[int, int]:
        """A pipe from which this process reads, and never waits for it."""
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        self._descriptors.append(ours)
        return ours, theirs

    @property
    def call_log(self) -> Path:
        """The log of calls, by whatever name it has now."""
        return Path(f"/proc/self/fd/{self._calls}")

    @property
    def stdout(self) -> bytes:
        return self._beginning(self._stdout)

    @property
    def stderr(self) -> bytes:
        return self._beginning(self._stderr)

    @property
    def last_words(self) -> str:
        """The end of standard error, from the beginning of a line on."""
        size = os.fstat(self._stderr).st_size
        words = os.pread(self._stderr, _LAST_BYTES, max(0, size - _LAST_BYTES))
        if size > _LAST_BYTES:
            words = words.partition(b"\n")[2] or words
        return words.decode(errors="replace").strip()

    @staticmethod
    def _beginning(fd: int) -> bytes:
        return os.pread(fd, OUTPUT_BYTES, 0) if fd != -1 else b""

    def launch_failure(self) -> str:
        """What the launcher, and nobody else, said when it gave up."""
        with contextlib.suppress(BlockingIOError):      # it is at work
            self._launch_said += os.read(self._launch, 4096)
        return self._launch_said.decode(errors="replace")

    def _hear(self) -> None:
        """Take what Valgrind has said, so that it never waits for a reader.
        """
        while self._valgrind != -1 and \
                len(self._heard) < confine.MAX_FILE_BYTES:
            try:
                said = os.read(self._valgrind, 1 << 16)
            except BlockingIOError:
                return
            if not said:
                return
            self._heard += said

    def valgrind_log(self) -> bytes:
        """All that Valgrind has said of the process that was started."""
        self._hear()
        return bytes(self._heard)

    def valgrind_logs(self) -> list[bytes]:
        """What Valgrind has said of each process: see `valgrind.command`."""
        if not self.find_crash:
            return [self.valgrind_log()]
        return [path.read_bytes() for path
                in sorted(self.directory.glob("valgrind.*.xml"))]

    def calls(self) -> list[faults.Call]:
        """The calls that the preload logged so far."""
        return faults.calls(self.call_log)

    def double_closes(self) -> list[str]:
        """The calls of close() for what was not open, as the preload has them.
        """
        return faults.double_closes(self.call_log)

    def calls_without_end(self) -> bool:
        """Whether the log of calls is longer than any honest run's."""
        return self._calls != -1 and \
            os.fstat(self._calls).st_size > MAX_LOG_BYTES

    def left_files(self) -> list[str]:
        """What lies in the program's working folder, relative paths."""
        if self.workplace.is_symlink():     # it may lead anywhere
            return ["a link in place of the folder"]
        return sorted(str(path.relative_to(self.workplace))
                      for path in self.workplace.rglob("*"))

    # -- what the kernel says ----------------------------------------------
    def ending(self) -> Ending | None:
        """How the process ended; None while it lives.  It is reaped here."""
        self._hear()
        if self._ending is None:
            code = self.process.poll()
            if code is not None:
                self._ending = Ending(code, None) if code >= 0 \
                    else Ending(None, -code)
                self.transcript.add("program", self.label, "ended",
                                    note=str(self._ending))
        return self._ending

    def ended(self) -> str:
        """How it has ended and, if not well, what it said at the last."""
        ending = self.ending()
        last = self.last_words.rpartition("\n")[2].strip()
        if not last or ending is None or ending.status == 0:
            return str(ending)
        return f"{ending}, it said {shorten(last.encode(), _LAST_WORDS)}"

    def alive(self) -> bool:
        return self.ending() is None

    def tree(self) -> list[int]:
        """The program's process, all below it, and orphans of its session.

        Orphans are adopted by this process, the subreaper.  A dead one does
        not count: outside the runner init would have reaped it.
        """
        found = [self.pid, *procfs.descendants(self.pid)]
        for pid in procfs.children(os.getpid()):
            facts = procfs.stat(pid) if pid != self.pid else None
            if facts and facts.session == self.pid and \
                    facts.state not in "ZX":
                found += [pid, *procfs.descendants(pid)]
        return found

    def waits(self) -> list[Wait] | None:
        """What each thread waits in, or None if one may run right now."""
        return waits_of(self.tree)

    def expect_own(self) -> None:
        """A submission does its work itself."""
        for pid in self.tree()[:MOST_WATCHED]:
            kit = seal.kit_program(Path(f"/proc/{pid}/exe"), ROOT)
            if kit and procfs.socket_inodes(pid):
                raise Failure("borrowed", "it is the kit's own program that "
                              f"does the work here, {kit} (pid {pid})")

    def expect_watched(self) -> None:
        """What talks is what is watched: raises HarnessError if not.

        A program may start another one, which drops LD_PRELOAD or leaves
        Valgrind, and let that do the work.
        """
        deadline = Deadline(factor=self.factor)
        while told := self._escaped():
            # One that has just begun has not loaded the preload yet.
            if self.waits() is not None and self._escaped() or \
                    deadline.expired():
                raise HarnessError(told)
            self.pace(0.001)

    def _escaped(self) -> str:
        """What talks and is not watched as this program should be, or ''."""
        if not self._preload and not self.under_valgrind:
            return ""
        for pid in self.tree()[:MOST_WATCHED]:
            if not procfs.socket_inodes(pid):
                continue
            path, files = procfs.exe(pid), procfs.maps(pid)
            if not path or not files:
                continue                    # it is just ending
            if self.under_valgrind and not valgrind.is_tool(path):
                return f"{Path(path).name} (pid {pid}) was started by the " \
                    "program and runs outside of Valgrind, so its use of " \
                    "memory can't be seen"
            if self._preload and self._preload not in files:
                return faults.NOT_REACHED
        return ""

    def cpu_seconds(self) -> float:
        return sum(map(procfs.cpu_seconds, self.tree()))

    def socket_inodes(self) -> set[int]:
        """Inodes of all sockets that the program's processes hold."""
        found: set[int] = set()
        for pid in self.tree():
            found.update(procfs.socket_inodes(pid))
        return found

    def descriptors(self) -> dict[int, str]:
        return procfs.descriptors(self.pid)

    # -- acts --------------------------------------------------------------
    def signal(self, number: signal.Signals) -> None:
        self.transcript.add("harness", self.label, "signal",
                            note=number.name)
        self._kill(number)

    def _kill(self, number: int, pid: int = 0) -> None:
        """Signal the program's process, or `pid`, one of those below it."""
        try:
            if pid not in (0, self.pid):
                os.kill(pid, number)
            elif self._ending is None:
                signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass                            # it ended, or waits to be reaped

    def freeze(self, alone: bool = False) -> None:
        """Stop every thread: what comes now is met all at once later.

        The threads of its children too, which may be what serves a client;
        `alone`: only those of the process that was started.
        """
        deadline = Deadline(factor=self.factor)
        while running := [pid for pid in self._in_states("RSDIP")
                          if pid == self.pid or not alone]:
            if not self.alive():
                return
            if deadline.expired():
                raise HarnessError(f"{self.label} did not stop at SIGSTOP")
            for pid in running:
                self._kill(signal.SIGSTOP, pid)
            self.pace(0.0002)
        self.frozen = True
        self.transcript.add("harness", self.label, "freeze")

    def stopped(self) -> bool:
        """Whether it is stopped, such as by a plan's ``signal:SIGSTOP``."""
        return bool(self._in_states("T"))

    def thaw(self) -> None:
        self.transcript.add("harness", self.label, "thaw")
        self.frozen = False
        for pid in self.tree():
            self._kill(signal.SIGCONT, pid)

    def _in_states(self, states: str) -> list[int]:
        """The processes of the tree with a thread in one of `states`."""
        return [pid for pid in self.tree()
                if any(procfs.thread_state(pid, tid) in tuple(states)
                       for tid in procfs.threads(pid))]

    def type(self, data: bytes) -> bool:
        """Write to the program's standard input; False if nobody reads it.

        The pipe is given as much as it takes at once; the rest is written by
        `pump_input`, which every wait of the stage calls.
        """
        self._typed += data
        self.transcript.add("harness", "standard input", "type", data)
        return self.pump_input()

    def pump_input(self) -> bool:
        pending = self._typed
        stdin = self.process.stdin
        if stdin is None or stdin.closed:
            return False
        os.set_blocking(stdin.fileno(), False)
        while pending:
            try:
                written = os.write(stdin.fileno(), pending[:1 << 16])
            except BlockingIOError:
                break
            except BrokenPipeError:
                self._typed = b""
                return False
            pending = pending[written:]
        self._typed = pending
        if not pending and self._input_over:
            stdin.close()
        return True

    def input_pending(self) -> int:
        """Bytes typed that the pipe has not taken yet."""
        return len(self._typed)

    def end_input(self) -> None:
        """Close standard input once all that was typed is in the pipe."""
        if not self._input_over:
            self.transcript.add("harness", "standard input", "end")
        self._input_over = True
        self.pump_input()

    def pace(self, seconds: float, *more: int) -> None:
        """Wait a moment, less if the process ends or `more` get readable."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        for fd in more:
            poll.register(fd, select.POLLIN | select.POLLRDHUP)
        poll.poll(seconds * 1000)

    # -- the end -----------------------------------------------------------
    def kill(self) -> None:
        """Kill it and all of its children that stayed in its group."""
        if self._ending is None:            # else its number may be another's
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End whatever still lives of this program and reap it."""
        self.ended_by_harness = self.ended_by_harness or self.alive()
        if self._ending is None or procfs.descendants(os.getpid()):
            confine.end_all(lambda: [pid for pid in self.tree()
                                     if procfs.stat(pid)], self._limit)
        if self.process.stdin and not self.process.stdin.closed:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass                        # nobody is left to read it
        if self._ending is None:
            code = self.process.wait(60)
            self._ending = Ending(code, None) if code >= 0 \
                else Ending(None, -code)
        if self._pidfd >= 0:
            self._descriptors.append(self._pidfd)
            self._pidfd = -1
        while self._descriptors:
            os.close(self._descriptors.pop())


def waits_of(pids_now: Callable[[], list[int]]) -> list[Wait] | None:
    """What each thread of these processes waits in; None if one may run.

    The answer holds for one moment: every thread of every process that
    `pids_now` lists was blocked, and at a second look each was blocked still
    and had not run since.  (A thread that another has just woken has not run
    either, but it isn't blocked any more.)  Nor has one come: what starts
    another and blocks at once leaves it to run.
    """
    found, before = [], []
    pids, threads = pids_now(), {}
    for pid in pids:
        facts = procfs.stat(pid)
        if facts is None or facts.state in "ZX":
            continue
        threads[pid] = procfs.threads(pid)
        for tid in threads[pid]:
            before.append((pid, tid, procfs.turns(pid, tid)))
            wait = procfs.wait_of(pid, tid)
            state = procfs.thread_state(pid, tid)
            if state in ("Z", "X", ""):
                before.pop()                # it ended meanwhile
                continue
            if state in ("T", "t"):         # wherever it is, it stays there
                found.append(wait or Wait(pid, tid, "a stop by a signal",
                                          None, False))
            # A dying thread still shows the call in which it was killed.
            elif state != "S":
                return None
            elif procfs.is_io_worker(pid, tid):
                continue                    # the call it shows is not its own
            elif wait is None:
                return None
            else:
                found.append(wait)
    for pid, tid, turns in before:
        if procfs.thread_state(pid, tid) not in ("S", "T", "t") or \
                procfs.turns(pid, tid) != turns:
            return None
    if pids_now() != pids or any(procfs.threads(pid) != known
                                 for pid, known in threads.items()):
        return None
    return found or None                    # none: it starts, or has ended


def told_by(program: Program) -> str:
    """What the program wrote to standard error last, for a failure."""
    lines = []
    for line, same in itertools.groupby(program.last_words.splitlines()):
        again = len(list(same)) > 1
        lines.append(line[:200] + ("  (again and again)" if again else ""))
    return "standard error: " + "\n".join(lines[-_LAST_LINES:]) if lines \
        else ""
