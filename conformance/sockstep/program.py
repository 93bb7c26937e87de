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

from . import confine, faults, procfs, valgrind, variants
from .deadline import VALGRIND_FACTOR, Deadline
from .failure import HarnessError
from .procfs import Wait
from .tools import Tools
from .transcript import Transcript, shorten

#: Bytes of standard output and error that are looked at.
OUTPUT_BYTES = 1 << 20
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

        env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"),
               "HOME": str(self.workplace), "TMPDIR": str(self.workplace),
               "LANG": "C.UTF-8", "TZ": "UTC"}
        env.update(environment or {})
        if variant in variants.SANITIZERS:
            env.update(variants.environment(self.directory))
        if plan:
            env.update(faults.environment(plan, self.call_log, tools.preload))
        command = list(argv)
        if under_valgrind:
            command = valgrind.command(self.directory, watch_threads,
                                       find_crash) + command
        limits = [f"nofile={nofile}", f"fsize={fsize}",
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
        # A terminal must not become that of the runner: open(2), O_NOCTTY.
        with open(stdout or self.stdout_path, "wb", opener=lambda path, flags:
                  os.open(path, flags | os.O_NOCTTY, 0o666)) as out, \
                open(self.stderr_path, "wb") as err:
            self.process = subprocess.Popen(
                [str(tools.launch), *limits, "--", *command],
                stdin=subprocess.PIPE if typing or role == "client"
                else subprocess.DEVNULL,
                stdout=out, stderr=err, cwd=self.workplace, env=env)
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
    @property
    def stdout_path(self) -> Path:
        return self.directory / "stdout"

    @property
    def stderr_path(self) -> Path:
        return self.directory / "stderr"

    @property
    def call_log(self) -> Path:
        return self.directory / "calls"

    @property
    def stdout(self) -> bytes:
        return self._head(self.stdout_path)

    @property
    def stderr(self) -> bytes:
        return self._head(self.stderr_path)

    @property
    def last_words(self) -> str:
        """The end of standard error, from the beginning of a line on."""
        with open(self.stderr_path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LAST_BYTES))
            words = file.read()
        if size > _LAST_BYTES:
            words = words.partition(b"\n")[2] or words
        return words.decode(errors="replace").strip()

    @staticmethod
    def _head(path: Path) -> bytes:
        if not path.exists():
            return b""
        with open(path, "rb") as file:
            return file.read(OUTPUT_BYTES)

    def calls(self) -> list[faults.Call]:
        """The calls that the preload logged so far."""
        return faults.calls(self.call_log)

    def double_closes(self) -> list[str]:
        """The calls of close() for what was not open, as the preload has them.
        """
        return faults.double_closes(self.call_log)

    def calls_without_end(self) -> bool:
        """Whether the log of calls is longer than any honest run's."""
        return bool(self.plan) and self.call_log.exists() and \
            self.call_log.stat().st_size > MAX_LOG_BYTES

    def left_files(self) -> list[str]:
        """What lies in the program's working folder, relative paths."""
        return sorted(str(path.relative_to(self.workplace))
                      for path in self.workplace.rglob("*"))

    # -- what the kernel says ----------------------------------------------
    def ending(self) -> Ending | None:
        """How the process ended; None while it lives.  It is reaped here."""
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
            os.close(self._pidfd)
            self._pidfd = -1


def waits_of(pids_now: Callable[[], list[int]]) -> list[Wait] | None:
    """What each thread of these processes waits in; None if one may run.

    The answer holds for one moment: every thread of every process that
    `pids_now` lists was blocked, and at a second look each was blocked still
    and had not run since.  (A thread that another has just woken has not run
    either, but it isn't blocked any more.)
    """
    found, before = [], []
    pids = pids_now()
    for pid in pids:
        facts = procfs.stat(pid)
        if facts is None or facts.state in "ZX":
            continue
        for tid in procfs.threads(pid):
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
            elif wait is None or state != "S":
                return None
            else:
                found.append(wait)
    for pid, tid, turns in before:
        if procfs.thread_state(pid, tid) not in ("S", "T", "t") or \
                procfs.turns(pid, tid) != turns:
            return None
    if pids_now() != pids:
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
