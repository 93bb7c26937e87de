"""All that one case has on: programs, connections, and the one way to wait.

`Stage.wait` is the heart of the runner.  It returns as soon as what is waited
for has come, and it gives up as soon as the kernel says that it can't come any
more: the program has ended, or every thread of it is blocked without a timer
while nothing is under way on any connection.  Only a program that spins or
that has a timer running is given until the deadline.
"""
from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Callable

from . import closing, confine, crash, opened, procfs, sockdiag, spot, waiting
from .contract import Target
from .datagram import DatagramPeer, Flush
from .deadline import LEFT_SECONDS, SPIN_CPU_SECONDS, Deadline
from .failure import Failure, HarnessError, TooLate, Unsupported, mismatch
from .listener import LOOPBACK, Listener, UnixListener
from .peer import Peer, abort
from .procfs import Wait
from .program import Ending, Program, told_by, waits_of
from .services import SERVICES, Service
from .tools import Tools
from .transcript import Transcript, count
from .unix import UnixPeer, address as unix_address

#: The documents' own programs, in Python.
PEERS = Path(__file__).parent.parent / "peers"
#: ``program: what: why``, as the program contract asks for.
_COMPLAINT = re.compile(r"[^\s:][^:]*: [^:]*[^\s:][^:]*: .*\S")


class Stage:
    """The resources of one case run; `close` gives all of them back."""

    def __init__(self, directory: Path, tools: Tools, target: Target,
                 under_valgrind: bool = False,
                 task_limit: confine.TaskLimit | None = None,
                 told: bool = False, find_crash: bool = False):
        self.directory = directory
        self.tools = tools
        self.target = target
        self.role = target.role
        self.contract = target.contract
        self.under_valgrind = under_valgrind
        self.task_limit = task_limit
        self.told = told            # what fails is read: it may take longer
        self.find_crash = find_crash        # a second look: see `crash`
        self._limit = Deadline(crash.LOOK_SECONDS) if find_crash else None
        self.diag = sockdiag.SockDiag()
        self.closings = sockdiag.Closings() if told else None
        self.transcript = Transcript()
        self.programs: list[Program] = []
        self.assistants: list[Program] = []
        self.peers: list[Peer | DatagramPeer] = []
        self.sockets: list[socket.socket] = []
        self.findings: list[str] = []       # Valgrind's
        self.sweep: object = None           # what a fault sweep has come to
        self.only_plan = ""                 # the one that a sweep is to play
        self.flood_limit = 64 << 20
        self._count = 0
        self._names = 0                     # of AF_UNIX sockets, made so far
        self._flush: Flush | None = None    # where datagrams are sent
        directory.mkdir(parents=True)
        if task_limit:
            task_limit.reset()

    @property
    def service(self) -> Service:
        return SERVICES[self.contract.service]

    @property
    def subject(self) -> Program | None:
        """The program under test that was started last."""
        return self.programs[-1] if self.programs else None

    def look_at(self, program: Program) -> None:
        """Make `program` the subject, where several were started."""
        self.programs.remove(program)
        self.programs.append(program)

    # -- starting -----------------------------------------------------------
    def start(self, argv: list[str], **options) -> Program:
        """Start the program under test; `argv` is its whole command."""
        self._count += 1
        who = "resolver" if self.role == "resolve" else self.role
        label = who if self._count == 1 else f"{who} {self._count}"
        options.setdefault("under_valgrind", self.under_valgrind)
        options.setdefault("find_crash", self.find_crash)
        options.setdefault("variant", self.target.variant)
        program = Program(argv, self.directory / f"run{self._count}", self.tools,
                          self.transcript, label=label, role=self.role,
                          task_limit=self.task_limit, **options)
        self.programs.append(program)
        return program

    def assist(self, role: str, script: str, *arguments: str) -> Program:
        """Start one of the documents' Python programs, of the given role.

        It is no program under test: it is never judged, and it is ended with
        the stage.  All waits know of it: a program under test that rests
        is not stuck while its assistant still has something to do.
        """
        label = f"the document's {role}"
        program = Program(
            [sys.executable, "-I", "-S", "-B", str(PEERS / script),
             *arguments],
            self.directory / f"assistant{len(self.assistants) + 1}",
            self.tools, self.transcript, label=label, role=role,
            task_limit=self.task_limit)
        self.assistants.append(program)
        return program

    def wait_listening(self, program: Program,
                       transport: str = "") -> sockdiag.Row | sockdiag.UnixRow:
        """The program's listening socket, once the kernel shows one.

        For UDP, which knows no listening, its bound socket.  `transport`:
        another one than the contract's.
        """
        rows = {"tcp": self.diag.listeners, "unix": self.diag.unix_listeners,
                "udp": self.diag.datagram_sockets}[
                    transport or self.contract.transport]

        def listening() -> sockdiag.Row | sockdiag.UnixRow | None:
            inodes = program.socket_inodes()
            return next((row for row in rows() if row.inode in inodes),
                        None) if inodes else None

        try:
            row = self.wait(listening, None, f"{program.name} does not "
                            "listen", program=program)
        except Failure as failure:
            raise self._never_listened(program, failure) from None
        self.look_into(program)
        return row

    def look_into(self, program: Program) -> None:
        """The program itself is at work, and it is watched at that."""
        if self.target.kind == "submission":
            program.expect_own()
        program.expect_watched()

    def _never_listened(self, program: Program, failure: Failure) -> Failure:
        if failure.kind == "leak":              # it forks without end
            return failure
        ending = program.ending()
        detail = told_by(program)
        _not_started(program)
        if isinstance(failure, TooLate):
            return TooLate("startup", failure.message, detail)
        if ending and ending.signal is None:
            return Failure("startup", "the server ended before it listened "
                           f"({program.ended()})" + _own_port(program), detail)
        if ending:
            return Failure("crash", "the server was "
                           f"{ending} before it listened", detail)
        what = {"tcp": "listens on a TCP port", "udp": "binds a UDP socket",
                "unix": "listens on an AF_UNIX socket"}[
                     self.contract.transport]
        what = f"the server never {what}: {opened.told(program)}"
        if failure.kind == "spin":
            where, more = self.spin_place(program)
            return Failure("spin", f"{what}, and it burns processor time"
                           f"{where}", "\n".join(filter(None, (detail, more))))
        waits = program.waits()
        where = f"it waits in {self.describe(waits)}" if waits \
            else "it is busy with something else"
        return Failure("startup", f"{what}, and {where}", detail)

    def connect(self, address: tuple[str, int], receive_buffer: int = 0,
                send_buffer: int = 0, source: str = "",
                or_none: bool = False) -> Peer | None:
        """A connection of the harness to `address`.

        `receive_buffer` (bytes, before connect) makes a peer that soon takes
        no more, with the segments of an Ethernet (for the large ones of the
        loopback the kernel grants megabytes of send buffer); `send_buffer`
        one that soon has to wait; `source` is the local address to come from.
        `or_none`: None where the listening socket's queue has no room now.
        """
        label = f"client {len(self.peers) + 1}"
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        self.sockets.append(sock)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                            receive_buffer)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
        if send_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        if source:
            sock.bind((source, 0))
        sock.setblocking(False)
        self.transcript.add("harness", label, "connect",
                            note=f"to {address[0]} port {address[1]}")
        error = sock.connect_ex(address)

        def connected() -> bool:
            nonlocal error
            poll = select.poll()
            poll.register(sock, select.POLLOUT)
            if poll.poll(0):
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                return True
            return False

        deadline = Deadline(factor=self.factor())
        while not connected():
            if or_none:
                sock.close()
                return None
            if deadline.expired():
                raise Failure("refused", "the connection was not taken: the "
                              "queue of the listening socket is full, or "
                              "its backlog too small")
            poll = select.poll()
            poll.register(sock, select.POLLOUT)
            poll.poll(min(200, deadline.left() * 1000))
        if error and error != errno.ECONNRESET:
            raise Failure("refused", f"connect failed: {os.strerror(error)}")
        peer = Peer(self, sock, label, address)
        if error:                           # it was there, and is gone again
            peer.end = "reset"
        self.peers.append(peer)
        return peer

    def connect_unix(self, path: str, receive_buffer: int = 0,
                     send_buffer: int = 0) -> Peer:
        """A connection of the harness to an AF_UNIX server at `path`.

        `receive_buffer` has no meaning here, since the sender's buffer holds
        what is not read: unix(7).
        """
        label = f"client {len(self.peers) + 1}"
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sockets.append(sock)
        if send_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        sock.setblocking(False)
        self.transcript.add("harness", label, "connect", note=f"to {path}")
        deadline = Deadline(factor=self.factor())
        pause = 0.0
        while error := sock.connect_ex(unix_address(path)):
            # unix(7) has no queue of half-open connections: EAGAIN says that
            # the listening socket's is full, for the moment.
            if error != errno.EAGAIN or deadline.expired():
                raise Failure("refused",
                              f"connect failed: {os.strerror(error)}")
            self._pace(self.subject, None, 0, pause)
            pause = deadline.next_pause(pause)
        peer = UnixPeer(self, sock, label)
        self.peers.append(peer)
        return peer

    def open_datagrams(self, host: str, far: tuple | None,
                       label: str = "") -> DatagramPeer:
        """A UDP socket of the harness, bound to a free port of `host`."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sockets.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind((host, 0))
        if self._flush is None:
            self._flush = Flush()
        peer = DatagramPeer(self, sock, label or
                            f"client {len(self.peers) + 1}", far)
        self.peers.append(peer)
        return peer

    def listen_datagrams(self, host: str = LOOPBACK) -> DatagramPeer:
        """A UDP server of the harness's own, for a client under test."""
        return self.open_datagrams(host, None, "server")

    def listen_unix(self, path: str = "", backlog: int = 8) -> UnixListener:
        """An AF_UNIX server of the harness's own."""
        return UnixListener(self, path or self.unix_path(), backlog)

    def unix_path(self, name: str = "") -> str:
        """A path for a socket, outside of the programs' own folders.

        Without a `name` it is another one each time, so that the file that
        one server leaves behind is in no other's way.
        """
        folder = self.directory / "names"
        folder.mkdir(exist_ok=True)
        if not name:
            self._names += 1
            name = f"socket{self._names}"
        return str(folder / name)

    def listen(self, backlog: int = 8, **options) -> Listener:
        """A server of the harness's own, for a client under test.

        `backlog` -1: the port is held, but nobody listens there.
        """
        return Listener(self, backlog, **options)

    def hold_port(self) -> int:
        """A TCP port for a program that can't let the kernel choose one.

        It stays bound, at every address, as the program may take them all,
        so that the kernel gives it to nobody else; the program binds it
        besides, with SO_REUSEADDR: socket(7).
        """
        guard = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sockets.append(guard)
        guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        guard.bind(("", 0))
        return guard.getsockname()[1]

    def make_file(self, name: str, content: bytes, size: int = 0) -> Path:
        """A file of the harness's own, outside the programs' folders.

        `size`: it ends in a hole up to there, which takes no room on a disk.
        """
        path = self.directory / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if size:
            os.truncate(path, size)
        return path

    # -- what the kernel says -------------------------------------------------
    def factor(self) -> float:
        """How much slower than usual the programs may be (Valgrind)."""
        factor = max((program.factor for program in self.programs),
                     default=1.0)
        # No deadline of a second look is after its end.
        return factor if self._limit is None else min(
            factor, self._limit.left() / Deadline().seconds)

    def settled(self) -> bool:
        """Whether nothing is under way on any connection."""
        if self._flush:
            self._flush()
        return all(peer.settled() for peer in self.peers) and \
            all(self._assistant_rests(program) for program in self.assistants)

    def _assistant_rests(self, program: Program) -> bool:
        if not program.alive():
            return True
        program.pump_input()
        turns = _turns(program)
        if program.waits() is None:
            return False
        if self.contract.transport == "udp":
            return _turns(program) == turns     # `settled` has flushed them
        rows = self.diag.everything()
        inodes = program.socket_inodes()
        ports = {row.local[1] for row in rows if row.inode in inodes}
        return all(self.diag.link_settled(row.local, row.remote)
                   for row in rows if row.local[1] in ports
                   and row.state != sockdiag.LISTEN) and \
            _turns(program) == turns and program.waits() is not None

    def quiet_now(self, program: Program | None = None,
                  timers: bool = False) -> bool:
        """Whether nothing more can come without input (or a timer)."""
        waits = self._resting(program or self.subject)
        return waits is not None and (
            timers or not any(wait.timed for wait in waits))

    def _resting(self, program: Program) -> list[Wait] | None:
        if not self.settled():
            return None
        waits = program.waits()
        turns = _turns(program) if self.assistants else []
        if waits is None or not self.settled():
            return None
        # All were at rest in one moment only if this one did not run since,
        # and has not been woken.
        if self.assistants and (_turns(program) != turns or
                                program.waits() is None):
            return None
        return waits

    def turns(self) -> tuple[str, ...]:
        """A value that changes whenever the program has run."""
        return tuple(_turns(self.subject)) if self.subject else ()

    def _at_rest_for_good(self, program: Program) -> bool:
        """`quiet_now`, and no socket has a time limit set that will pass,
        nor the process a timer."""
        waits = program.waits()         # asked first, as it costs least
        if waits is None or any(wait.timed for wait in waits):
            return False
        return self.quiet_now(program) and not any(
            procfs.has_socket_timeout(wait) or
            procfs.has_timer(wait.pid, not program.under_valgrind)
            for wait in waits)

    def quiet(self, program: Program | None = None) -> None:
        """Wait until the program rests: all that was sent has been seen.

        A program that has ended is at rest as well; one that waits with a
        timer counts as resting.
        """
        program = program or self.subject
        deadline = Deadline(factor=self.factor())
        effort = _Effort(self, program)
        pause = 0.0
        while program.alive() or not self.settled():
            self._no_bomb(program)
            program.pump_input()
            left = program.input_pending()
            if self.quiet_now(program, timers=True):
                program.pump_input()
                if program.input_pending() == left:
                    return                  # it has read all, or reads no more
            self._no_spin(program, effort, deadline)
            program.pace(pause)
            pause = deadline.next_pause(pause)
        _not_started(program)

    def _no_spin(self, program: Program, effort: "_Effort",
                 deadline: Deadline) -> None:
        if effort.is_vain():
            where, detail = self.spin_place(program)
            raise Failure("spin", f"{program.name} spins: "
                          f"{effort.seconds():.1f} s of processor time "
                          f"without coming to rest{where}", detail=detail)
        if program.calls_without_end():
            raise _endless_calls(program)
        if deadline.expired():
            raise Failure("timeout", f"{program.name} did not come to rest "
                          f"in {deadline.seconds:.0f} s")

    def _no_bomb(self, program: Program | None) -> None:
        """Asked before all else: a look at each process takes too long."""
        if self.closings:
            self.closings.take()
        if self._limit and self._limit.expired():
            raise Failure("timeout", "the second look took too long")
        if program is not None and self.task_limit and \
                self.task_limit.exceeded():
            raise self._too_many_tasks(program)

    def _too_many_tasks(self, program: Program) -> Failure:
        # At once: so many leave little of the processor to the runner.
        for each in self.programs:
            each.kill()
        program.ended_by_harness = True
        confine.end_all(self._everybody, self.task_limit)
        return Failure("leak", "the program made more than "
                       f"{confine.MAX_TASKS} processes and threads; it was "
                       "stopped there")

    def spin_place(self, program: Program) -> tuple[str, str]:
        """Where a spinning program is, as a clause and line by line."""
        if not self.told or program.under_valgrind or program.frozen:
            return "", ""
        return spot.of_spin(program.tree())

    def wait(self, ready: Callable, peer: Peer | None, what: str,
             amount: Callable[[], str] | None = None, *,
             poll: int = select.POLLIN, missing: bytes | None = None,
             start: int = 0, program: Program | None = None):
        """Wait until `ready()` is true and return its value.

        `what` says what was missing when it can't become true any more; a
        `{}` in it is replaced by `amount()`.
        """
        program = program or self.subject
        deadline = Deadline(factor=self.factor())
        late = ""                   # what was to be said at the deadline
        effort, start_progress = None, None
        pause, rounds = 0.0, 0
        while True:
            self._no_bomb(program)
            value = ready()
            if value and late:
                raise self._too_late(late, deadline)
            if value:
                return value
            stopped = None
            if program is not None:
                program.pump_input()
                if not program.alive():
                    if self.settled() and not self._children_at_work():
                        stopped = "ended"
                elif not program.frozen and rounds and \
                        self._at_rest_for_good(program):
                    stopped = "stuck"
                elif program.calls_without_end():
                    raise _endless_calls(program)
                elif rounds > 20:
                    progress = self._progress()
                    if progress != start_progress:      # slow, but it works
                        effort, start_progress = _Effort(self, program), progress
                    if effort.is_vain():
                        stopped = "spin"
            if stopped is None and deadline.expired():
                stopped = "timeout"
                if self.told and not late:
                    # Once more as long: what comes late is not what never
                    # comes, and is told apart.
                    late = what.format(amount() if amount else "") or " "
                    deadline.extend()
                    continue
            if stopped:
                before = self._progress()
                if program is not None:
                    program.pump_input()
                value = ready()             # it may have come just before
                if value and late:
                    raise self._too_late(late, deadline)
                if value:
                    return value
                if stopped in ("stuck", "ended") and \
                        self._progress() != before:
                    continue                # ... or a part, with more to come
                if stopped == "stuck" and program.alive() and \
                        not self._at_rest_for_good(program):
                    continue                # a timer of the kernel's woke it
                told = what.format(amount() if amount else "")
                raise self._gave_up(stopped, told, program, deadline,
                                    missing, peer, start)
            self._pace(program, peer, poll, pause)
            pause = deadline.next_pause(pause)
            rounds += 1

    @staticmethod
    def _too_late(told: str, deadline: Deadline) -> Failure:
        """`told`: what was missing when the time allowed was over."""
        return TooLate("timeout", f"{told.strip()} within "
                       f"{deadline.seconds:.0f} s, the time allowed; what "
                       "was due came after "
                       f"{deadline.passed():.1f} s, right but too late")

    def _progress(self) -> list[tuple]:
        """What changes whenever something came or went."""
        return [(len(peer.got), peer.sent, peer.end) for peer in self.peers] \
            + [(program.input_pending(),) for program in self.programs]

    def waiting_for(self, program: Program) -> int:
        """How many clients wait in the kernel for its accept(), and how many
        that have left for its close(): less of them is progress, too.
        """
        if self.contract.transport == "udp":
            return 0
        inodes = program.socket_inodes()
        if self.contract.transport == "unix":
            return sum(row.receive_queue for row in self.diag.unix_listeners()
                       if row.inode in inodes)
        rows = self.diag.everything()
        own = [row for row in rows
               if row.state == sockdiag.LISTEN and row.inode in inodes]
        ports = {row.local[1] for row in own}
        return sum(row.receive_queue for row in own) + sum(
            row.state == sockdiag.CLOSE_WAIT and row.local[1] in ports
            for row in rows)

    @staticmethod
    def _pace(program: Program | None, peer: Peer | None, events: int,
              seconds: float) -> None:
        poll = select.poll()
        if program is not None and program._pidfd >= 0 and program.alive():
            poll.register(program._pidfd, select.POLLIN)
        if peer is not None and not peer.closed and peer.end is None \
                and events:
            poll.register(peer.sock, events)
        poll.poll(seconds * 1000)

    def _gave_up(self, stopped: str, told: str, program: Program,
                 deadline: Deadline, missing: bytes | None,
                 peer: Peer | None, start: int) -> Failure:
        wrong = None
        if missing is not None and peer is not None:
            wrong = mismatch(missing,
                             bytes(peer.got[start:start + len(missing)]))
        told = told + ", " if told else ""
        if stopped == "ended":
            _not_started(program)
            crash = self.crash_of(program)
            if crash:
                return Failure("crash", f"{told}{crash}", mismatch=wrong)
            return Failure("exit", f"{told}{program.name} has ended "
                           f"({program.ended()})", mismatch=wrong)
        if stopped == "stuck":
            return Failure("stuck", f"{told}then {self._both_wait(program)} "
                           "and nothing more can come", self._place(program),
                           mismatch=wrong)
        if stopped == "spin":
            where, detail = self.spin_place(program)
            return Failure("spin", f"{told}{program.name} burns processor "
                           f"time and gets no further{where}", detail=detail,
                           mismatch=wrong)
        waits = program.waits() if program else None
        where = f"; {program.name} is in {self.describe(waits)}" if waits \
            else ""
        return Failure("timeout", f"{told}nothing more came within "
                       f"{deadline.passed():.0f} s{where}", mismatch=wrong)

    def _both_wait(self, program: Program) -> str:
        """"the server waits in .., the document's client in ..": where both
        ends are programs, a deadlock has two.
        """
        waits = program.waits()
        where = self.describe(waits) if waits else "a call that it has just left"
        self.transcript.add("kernel", program.label, "rest",
                            note=f"waits in {where}")
        parts = [f"{program.name} waits in {where}"]
        for other in self.assistants:
            if waits := other.waits():
                where = waiting.describe(self, waits, links=True)
                self.transcript.add("kernel", other.label, "rest",
                                    note=f"waits in {where}")
                parts.append(f"{other.name} in {where}")
        text = ", ".join(dict.fromkeys(parts))
        return text + ("," if ", " in text else "")

    def _place(self, program: Program) -> str:
        """The lines of the source in which the threads wait."""
        if not self.told or program.under_valgrind:
            return ""
        places = [spot.of(wait.pid, wait.tid)
                  for wait in (program.waits() or [])[:spot.MOST_THREADS]]
        return "\n".join(f"{program.name} waits at {place}"
                         for place in dict.fromkeys(places) if place)

    def describe(self, waits: list[Wait] | None) -> str:
        """What the threads wait in, with descriptors told by their use."""
        return waiting.describe(self, waits or [])

    def crash_of(self, program: Program | None) -> str:
        """"the server was killed by SIGPIPE", or '' if it did not crash."""
        if program is None:
            return ""
        deadline = Deadline(factor=self.factor())
        pause = 0.0
        while program.alive() and not deadline.expired():
            if program.waits() is not None:
                return ""
            program.pace(pause)
            pause = deadline.next_pause(pause)
        ending = program.ending()
        if ending is None or ending.signal is None or program.ended_by_harness:
            return ""
        why = _SIGNALS.get(ending.signal, "")
        return f"{program.name} was {ending}" + (f" ({why})" if why
                                                      else "")

    # -- ends ---------------------------------------------------------------
    def wait_end(self, program: Program | None = None) -> Ending:
        """Wait until the program ends by itself."""
        program = program or self.subject
        self.wait(lambda: program.ending(), None,
                  f"{program.name} does not end", program=program)
        return program.ending()

    def expect_exit(self, status: int, program: Program | None = None,
                    why: str = "") -> None:
        """The program ends by itself, with `status`."""
        program = program or self.subject
        program.may_end = True
        because = f" ({why})" if why else ""
        try:
            ending = self.wait_end(program)
        except Failure as failure:
            raise Failure(failure.kind, f"exit status {status} is due"
                          f"{because}, but {failure.message}",
                          failure.detail) from None
        if ending.status == status:
            return
        _not_started(program)
        stderr = program.stderr.decode(errors="replace").strip()
        detail = f"standard error: {stderr[-500:]}" if stderr else \
            "nothing was written to standard error"
        if ending.signal is not None:
            raise Failure("crash", self.crash_of(program) or
                          f"{program.name} was {ending}", detail)
        raise Failure("exit", f"exit status {status} is due{because}; "
                      f"{program.name} ended with {ending}", detail)

    def expect_complaint(self, *reasons: str,
                         program: Program | None = None) -> None:
        """Standard error has a line ``program: what: why``.

        If `reasons` are given (texts as of strerror(3)), one must be in it,
        in the words of this C library or of musl.
        """
        program = program or self.subject
        text = program.stderr.decode(errors="replace").strip()
        lines = [line for line in text.splitlines() if _COMPLAINT.match(line)]
        if not lines or reasons and not any(
                word in line for line in lines for reason in reasons
                for word in (reason, _IN_MUSL.get(reason, reason))):
            reason = " or ".join(f'"{reason}"' for reason in reasons[:2])
            raise Failure(
                "output", f"{program.name} must say on standard error "
                "what failed and why, as in \"program: what: why\""
                + (f", here with {reason}" if reason else ""),
                told_by(program) or "nothing was written to standard error")

    def end_in_order(self, program: Program | None = None,
                     number: signal.Signals = signal.SIGTERM) -> Ending:
        """Ask the program to end by a signal and wait until it has."""
        program = program or self.subject
        program.ended_by_harness = True
        program.signal(number)
        try:
            return self.wait_end(program)
        except Failure as failure:
            if failure.kind == "leak":          # it forks without end
                raise
            raise Failure("exit", f"{program.name} ignores "
                          f"{number.name}: it goes on", failure.message) \
                from None

    def end_children(self) -> None:
        """Ask the processes that outlive a program to end, by SIGTERM.

        A server that makes one for each client may leave them at work.
        """
        asked: set[int] = set()
        while fresh := [pid for pid in self.left_over() if pid not in asked]:
            for pid in fresh:
                asked.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)

    def closing_questions(self) -> None:
        """What is asked after every case; see `closing`."""
        closing.ask(self)

    def left_over(self) -> list[int]:
        """Living processes that a program made and that outlive it.

        They are children of this process now, the subreaper.  The dead do
        not count: outside the runner init would have reaped them.
        """
        known = [program.pid for program in self.programs + self.assistants]
        found = [(pid, procfs.stat(pid)) for pid
                 in procfs.descendants(os.getpid()) if pid not in known]
        return [pid for pid, facts in found
                if facts and facts.state not in "ZX"]

    def port_stays_open(self, port: int) -> bool:
        """Whether somebody listens there after the program's end.

        What the kernel still does for one that was killed is waited for.
        """
        deadline = Deadline(LEFT_SECONDS, self.factor())
        while any(row.local[1] == port for row in self.diag.listeners()):
            if self.left_over() or deadline.expired():
                return True
            self._pace(None, None, 0, 0.001)
        return False

    def _everybody(self) -> list[int]:
        """Every process that a program of this stage made, and itself."""
        return [pid for pid in procfs.descendants(os.getpid())
                if procfs.stat(pid)]

    def _children_at_work(self) -> bool:
        """Whether what outlives the programs may still do something."""
        waits = waits_of(self.left_over)
        return bool(self.left_over()) and (
            waits is None or any(wait.timed for wait in waits))

    # -- giving back ---------------------------------------------------------
    def facts(self) -> dict:
        """What the kernel says of the last program, for the evidence."""
        program = self.subject
        if program is None:
            return {}
        facts: dict = {"argv": program.argv, "pid": program.pid}
        ending = program.ending()
        if ending:
            facts["ended"] = str(ending)
        else:
            waits = program.waits()
            facts["state"] = f"waits in {self.describe(waits)}" \
                if waits else "running"
            facts["descriptors"] = len(program.descriptors())
            facts["threads"] = len(procfs.threads(program.pid))
        return facts

    def close(self) -> None:
        """End and reap everything, close every socket, remove the files."""
        for sock in self.sockets:
            abort(sock)
        for program in self.programs + self.assistants:
            program.close()
        left = procfs.descendants(os.getpid())
        if left:
            confine.end_all(lambda: procfs.descendants(os.getpid()),
                            self.task_limit)
            confine.reap_adopted()
        self.diag.close()
        if self.closings:
            self.closings.close()
        if self._flush:
            self._flush.close()
        shutil.rmtree(self.directory, ignore_errors=False)


class _Effort:
    """The processor time that a program has used since it last got on."""

    def __init__(self, stage: Stage, program: Program):
        self._stage = stage
        self._program = program
        self._start = program.cpu_seconds()
        self._waiting: int | None = None

    def seconds(self) -> float:
        return self._program.cpu_seconds() - self._start

    def is_vain(self) -> bool:
        """Whether that is so much that it spins.

        A server with a process for each client works long for a crowd: as
        long as fewer and fewer clients wait for it, it gets on.
        """
        limit = SPIN_CPU_SECONDS * self._program.factor
        used = self.seconds()
        if self._waiting is None and used > limit / 2:
            self._waiting = self._stage.waiting_for(self._program)
        if used <= limit:
            return False
        waiting = self._stage.waiting_for(self._program)
        if waiting >= self._waiting:
            return True
        self._start += used
        self._waiting = waiting
        return False


def _turns(program: Program) -> list[str]:
    return [procfs.turns(pid, tid) for pid in program.tree()
            for tid in procfs.threads(pid)]


def _not_started(program: Program) -> None:
    """Raise if the kit's own launcher or preload gave up, not the program."""
    ending = program.ending()
    if ending and (failure := program.launch_failure()):
        if failure.startswith("this machine forbids"):
            raise Unsupported(failure)
        raise HarnessError(f"launch: {failure}")
    stderr = program.stderr.decode(errors="replace").strip()
    if ending and ending.status == 125 and \
            stderr.startswith("fault_preload: "):
        if program.calls_without_end():     # its log has no room left
            raise _endless_calls(program)
        raise HarnessError(stderr)


def _own_port(program: Program) -> str:
    """What it means that a port is in use where any would do."""
    asked = program.argv[-2:] == ["-P", "0"]
    said = program.stderr.decode(errors="replace")
    return "; with -P 0 the kernel chooses a free port, so the server asks " \
        "for one of its own" if asked and any(
            words in said for words in ("Address already in use",
                                        _IN_MUSL["Address already in use"])) \
        else ""


def _endless_calls(program: Program) -> Failure:
    last = program.calls()[-3:]
    return Failure("spin", f"{program.name} spins: it makes calls without end, "
                   f"such as {last[-1].text}",
                   "the last calls:\n" + "\n".join(map(str, last)))


#: What musl's strerror(3) and gai_strerror(3) say in place of glibc's words.
_IN_MUSL = {
    "Address already in use": "Address in use",
    "Cannot assign requested address": "Address not available",
    "Too many open files": "No file descriptors available",
    "Network is unreachable": "Network unreachable",
    "No route to host": "Host is unreachable",
    "Connection timed out": "Operation timed out",
    "Cannot allocate memory": "Out of memory",
    "File name too long": "Filename too long",
    "Message too long": "Message too large",
    "Name or service not known": "Name does not resolve",
    "No address associated with hostname": "Name has no usable address",
    "Temporary failure in name resolution": "Try again",
    "Non-recoverable failure in name resolution": "Non-recoverable error",
}

_SIGNALS = {
    signal.SIGSEGV: "it used memory that is not its own",
    signal.SIGPIPE: "it wrote to a connection that the peer had closed, "
                    "and the default action of SIGPIPE ends the process",
    signal.SIGABRT: "abort(), often the C library's check of the heap or of "
                    "a buffer's size",
    signal.SIGXFSZ: "a file or its output grew above the limit: "
                    "setrlimit(2), RLIMIT_FSIZE",
    signal.SIGXCPU: "it used more processor time than the limit allows",
    signal.SIGKILL: "the kernel does that when memory runs out, and the "
                    "runner to a program that stops the runner",
    signal.SIGALRM: "its own alarm() went off without a handler",
    signal.SIGFPE: "an arithmetic fault, such as a division by zero",
    signal.SIGBUS: "a bad address",
    signal.SIGILL: "an illegal instruction",
}
