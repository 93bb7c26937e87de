"""The fault sweep: each call of a scenario goes wrong once, in each way.

The scenario is run once to count the calls.  Then it is run again for each of
them and each errno or short count that its manual page allows, and once with
SIGTERM just before it (servers).  What came out must be a correct beginning
or a clean failure: never a crash, a hang, a leak or a wrong byte; and a server
must go on to serve where the fault was one client's.
"""
from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import Callable, Iterator

from .deadline import hurry
from .failure import Failure, mismatch
from .faults import WATCH
from .peer import Peer
from .program import Program
from .roles import Client, Server
from .stage import Stage
from .transcript import count

#: What may go wrong with a call of each class: its manual page, ERRORS and
#: RETURN VALUE.  close(2) and shutdown(2) report after they have acted, and an
#: interrupted connect(2) goes on by itself.
FAULTS = {
    "socket": ("EMFILE", "ENFILE", "ENOBUFS"),
    "bind": ("EADDRINUSE", "EACCES"),
    "listen": ("EADDRINUSE",),
    "accept": ("EINTR", "ECONNABORTED", "EPROTO", "EMFILE", "ENFILE",
               "ENOBUFS", "ENOMEM"),
    "connect": ("late:EINTR", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH"),
    "recv": ("EINTR", "ECONNRESET", "ETIMEDOUT", "short:1"),
    "send": ("EINTR", "ECONNRESET", "EPIPE", "short:1"),
    "read": ("EINTR", "EIO", "short:1"),
    "write": ("EINTR", "EIO", "ENOSPC", "short:1"),
    "wait": ("EINTR", "ENOMEM"),
    "close": ("late:EINTR", "late:EIO"),
    "shutdown": ("late:ENOTCONN",),
    "sockopt": ("ENOPROTOOPT", "ENOMEM"),
    "malloc": ("ENOMEM",),
    "thread": ("EAGAIN",),
    "fork": ("EAGAIN", "ENOMEM"),
}
#: A datagram socket meets others: udp(7), ERRORS; send(2) on EPERM and
#: ENOBUFS.  A datagram is taken and given as a whole, so no count is short.
DATAGRAM_FAULTS = {
    **FAULTS,
    "recv": ("EINTR", "ECONNREFUSED", "ENOMEM"),
    "send": ("EINTR", "ECONNREFUSED", "ENETUNREACH", "EPERM", "ENOBUFS"),
}
#: What a server may end of, with status 1 and a message: it can't be set up,
#: or has no memory.  Everything else is one client's matter, or passes.
MAY_END = ("socket", "bind", "listen", "sockopt", "malloc", "thread")
_MAY_END_BY = {"wait": ("ENOMEM",), "fork": ("ENOMEM",)}
#: So much faster the time of a UDP client runs, which asks again and again.
_FASTER = 50
#: How an exchange may end when it was hit: not with wrong bytes, and not by
#: waiting for what can't come.
_CUT = ("end-of-stream", "reset", "refused", "exit")
#: Calls of one class that are made to fail; more are more of the same loop.
MOST_CALLS = 60


@dataclass
class Finding:
    plan: str
    kind: str
    message: str


@dataclass
class Sweep:
    """What a sweep has come to."""

    calls: int = 0              # calls of the scenario that can fail
    runs: int = 0               # runs with a planned fault
    provoked: int = 0           # ... in which it happened
    findings: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{count(self.calls, 'call')}, {count(self.runs, 'run')}, " \
               f"{count(self.provoked, 'fault')} provoked, " \
               f"{count(len(self.findings), 'finding')}"


def sweep(stage: Stage, run: Callable[[Stage, str], Program],
          signals: bool) -> Sweep:
    """Sweep over the scenario `run`, each time on a stage of its own.

    `run(stage, plan)` plays the scenario and judges it.  `signals`: SIGTERM
    before each call as well.  Where the stage has one plan to play, only
    that one is.  The stage's transcript is that of the first finding.
    """
    found = Sweep()
    calls = _counted(stage, run)
    found.calls = sum(calls.values())
    plans = [stage.only_plan] if stage.only_plan else \
        _plans(calls, stage.contract.transport, signals)
    for plan in plans:
        _once(stage, run, plan, found)
    return found


def _plans(calls: dict[str, int], transport: str, signals: bool
           ) -> Iterator[str]:
    faults = DATAGRAM_FAULTS if transport == "udp" else FAULTS
    for cls, number in calls.items():
        actions = faults[cls] + (("kill:SIGTERM",) if signals else ())
        for which in range(1, min(number, MOST_CALLS) + 1):
            for action in actions:
                yield f"{cls}@{which}={action}"


def _counted(stage: Stage, run: Callable[[Stage, str], Program]
             ) -> dict[str, int]:
    """How many calls of each class one process makes in the scenario.

    A failure here is one of the scenario without any fault.
    """
    inner = _stage(stage)
    try:
        program = run(inner, WATCH)
        inner.closing_questions()
        most: dict[str, int] = {}
        for call in program.calls():
            if call.cls in FAULTS:
                most[call.cls] = max(most.get(call.cls, 0), call.number)
        return most
    finally:
        inner.close()


def _once(stage: Stage, run: Callable[[Stage, str], Program], plan: str,
          found: Sweep) -> None:
    inner = _stage(stage)
    found.runs += 1
    try:
        program = run(inner, plan)
        inner.closing_questions()
        found.provoked += any(call.injected for call in program.calls())
    except Failure as failure:
        found.provoked += 1
        if not found.findings:
            stage.transcript = inner.transcript
        found.findings.append(Finding(plan, failure.kind, failure.message))
    finally:
        inner.close()


def _stage(outer: Stage) -> Stage:
    """A stage like `outer`, in a folder below its own."""
    place = outer.directory / "sweep"
    if place.exists():
        shutil.rmtree(place)
    return Stage(place, outer.tools, outer.target,
                 task_limit=outer.task_limit)


# -- servers -------------------------------------------------------------------
def run_server(stage: Stage, plan: str) -> Program:
    """Two clients that may be cut off, and one more that must be served."""
    cls, action = plan.split("@")[0], plan.split("=")[1]
    may_end = cls in MAY_END or action in _MAY_END_BY.get(cls, ()) or \
        stage.contract.ends_alone           # which has nobody else to serve
    server = Server.launch(stage, stage.target, ready=False, plan=plan)
    program = server.program
    program.plan_may_miss = program.may_end = True
    program.ended_by_harness = action.startswith("kill:")
    if not _listens(server):
        _expect_clean_end(stage, program, may_end, "at once")
        return program
    for seed in range(1 if server.target.contract.ends_alone else 2):
        _exchange(server, seed)
        if not _rests(server):
            break
    if program.alive() and _hit(program) and program.ended_by_harness:
        stage.wait_end(program)             # the signal must not be lost
    elif program.alive() and not server.target.contract.ends_alone:
        if _hit(program):
            _serves_the_next(server)
    elif not program.alive():
        ends_alone = server.target.contract.ends_alone
        _expect_clean_end(stage, program, may_end or ends_alone,
                          "after a fault")
    return program


def _listens(server: Server) -> bool:
    try:
        server.find()
    except Failure as failure:
        if failure.kind not in ("startup", "crash"):
            raise
        return False
    return True


def _exchange(server: Server, seed: int) -> None:
    """A client's exchange, which the fault may cut off."""
    peer = None
    try:
        peer = server.connect()
        server.exchange(seed, peer)
    except Failure as failure:
        # A datagram may be lost, and so may a line with the client, now
        # gone, that another was to hear of.
        lost = failure.kind == "stuck" and (
            server.target.contract.transport == "udp" or
            any(each.ended() for each in server.stage.peers))
        refused = failure.kind == "wrong-bytes" and peer and \
            bytes(getattr(peer, "got", b"")).find(b"[-] ") >= 0
        if failure.kind not in _CUT and not lost and not refused:
            raise
    finally:
        for each in server.stage.peers:
            each.close()


def _rests(server: Server) -> bool:
    server.quiet()
    return server.program.alive()


def _serves_the_next(server: Server) -> None:
    try:
        server.exchange(7).close()
    except Failure as failure:
        raise Failure(failure.kind, "after that the next client is not "
                      f"served: {failure.message}", failure.detail,
                      failure.mismatch) from None


def _hit(program: Program) -> bool:
    return any(call.injected for call in program.calls())


def _expect_clean_end(stage: Stage, program: Program, allowed: bool,
                      when: str) -> None:
    ending = stage.wait_end(program)
    crash = stage.crash_of(program)
    if crash:
        raise Failure("crash", f"{crash} {when}")
    if program.ended_by_harness:
        return                              # by SIGTERM; see closing
    if not allowed:
        raise Failure("exit", f"the {program.label} ended {when} "
                      f"({ending}), which one client's trouble is no reason "
                      "for")
    if ending.status not in (0, 1):
        raise Failure("exit", f"status 1 is due {when}; the {program.label} "
                      f"ended with {ending}")
    if ending.status == 1:
        stage.expect_complaint(program=program)


# -- clients -------------------------------------------------------------------
def run_client(stage: Stage, plan: str, whole: list[bytes]) -> Program:
    """One run of the client; `whole` keeps what it printed in the first one,
    and what it sent.

    Status 0 says that all came and all went; status 1 comes with a message.
    """
    service = stage.service
    if stage.contract.transport == "udp":
        plan += f"; {hurry(_FASTER)}"
    client = Client.launch(stage, stage.target, plan=plan,
                           **service.launch_options(stage))
    program = client.program
    program.plan_may_miss = True
    try:
        service.attend(client)
    except Failure as failure:
        if failure.kind not in _CUT:
            raise
    ending = stage.wait_end(program)
    if ending.signal is not None:
        raise Failure("crash", stage.crash_of(program) or
                      f"the client was {ending}")
    if ending.status not in (0, 1):
        raise Failure("exit", f"status 0 or 1 is due; the client ended with "
                      f"{ending}")
    # A datagram may be sent again; a stream is the same each time.
    sent = b"".join(bytes(peer.got) for peer in stage.peers
                    if isinstance(peer, Peer))
    if not whole:
        client.stage.expect_exit(0, program, "nothing has failed")
        whole.extend((program.stdout, sent))
    if ending.status == 1:
        stage.expect_complaint(program=program)
    elif program.stdout != whole[0]:
        raise Failure("output", "status 0 says that all went well, but the "
                      "output is not what it is without a fault",
                      f"standard output: {program.stdout!r} instead of "
                      f"{whole[0]!r}")
    elif sent != whole[1]:
        raise Failure("wrong-bytes", "status 0 says that all went well, but "
                      f"the server got {count(len(sent), 'byte')} of "
                      f"{len(whole[1]):,}", mismatch=mismatch(whole[1], sent))
    if not whole[0].startswith(program.stdout):
        raise Failure("output", "what was printed is no beginning of what "
                      f"is due: {program.stdout!r}")
    return program
