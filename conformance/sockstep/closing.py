"""The questions that are asked after every case, whatever it was about.

Did the program end as its contract has it?  Is a process or a file left
behind?  Is Valgrind's log there, and clean?  Was the planned fault provoked?
"""
from __future__ import annotations

import select
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from . import faults, procfs, valgrind, variants
from .deadline import LEFT_SECONDS, Deadline
from .failure import Failure, HarnessError
from .program import Program, told_by, waits_of

if TYPE_CHECKING:
    from .stage import Stage


def ask(stage: "Stage") -> None:
    """Ask all of them; the first bad answer is raised as a Failure.

    What can't be judged is raised as a HarnessError.
    """
    served = bool(stage.peers)
    # An end that came with the data a case waited for, or just after
    # them, would be a race: only one that the case asked for counts.
    talking = any(not (peer.closed or peer.half_closed or
                       peer.end and peer.end_looked_for)
                  for peer in stage.peers)
    _let_rest(stage)
    for program in stage.programs:
        stage.look_into(program)
    early = [program for program in stage.programs if not program.alive()
             and (talking or not served)]
    for peer in stage.peers:
        peer.close()
    _let_rest(stage)
    for program in stage.programs:
        _ask_end(stage, program, served, program in early)
    _ask_left_over(stage)
    for program in stage.programs:
        if program.under_valgrind:
            _ask_valgrind(stage, program)
        if program.plan:
            _ask_faults(program)
    if stage.target.variant:
        for failure in sanitizers_say(stage):
            raise failure


def _let_rest(stage: "Stage") -> None:
    """Let the servers come to rest, so that the answers are no race."""
    for program in stage.programs:
        if program.role == "server" and program.alive():
            try:
                stage.quiet(program)
            except Failure as failure:
                if failure.kind == "leak":      # it forks without end
                    raise
                # Whether it spins is asked by other cases.


def _ask_end(stage: "Stage", program: Program, served: bool,
             early: bool) -> None:
    """Whether the program ends, and ends well.

    A server that should serve for ever and ends once its client is gone
    is told so by the cases about turns; here it is only asked whether
    it ended too `early`: with a client connected, or before one came.
    """
    program.end_input()
    if program.alive():
        if program.role != "server" or (
                stage.contract.ends_alone and served
                and program is stage.subject):
            stage.wait_end(program)
        else:
            stage.end_in_order(program)
    ending = program.ending()
    if program.ended_by_harness:
        # A handler may put what the signal did into the status, as
        # shells do: 128 and its number.
        asked = (signal.SIGTERM, signal.SIGINT)
        if program.killed and ending.signal == signal.SIGKILL:
            return
        if ending.signal in asked or ending.status in (
                0, *(128 + number for number in asked)):
            return
        if ending.signal in (None, signal.SIGKILL) and program.may_end:
            return                      # the case has looked at it
        if ending.signal is None:
            raise Failure("exit", f"the {program.label} ended with "
                          f"{ending} after SIGTERM")
    if ending.signal is not None:
        crash = stage.crash_of(program) or f"{program.label} was {ending}"
        raise Failure("crash", crash)
    if program.role == "server" and early and not program.may_end and \
            not stage.contract.ends_alone:
        raise Failure("exit", f"the {program.label} ended by itself "
                      f"({ending}) though it should serve for ever",
                      told_by(program))


def _ask_left_over(stage: "Stage") -> None:
    """No process outlives the program; one that is ending may do so."""
    deadline = Deadline(LEFT_SECONDS, stage.factor())
    pause = 0.0
    while left := stage.left_over():
        waits = waits_of(stage.left_over)
        if deadline.expired() or waits and not any(wait.timed
                                                   for wait in waits):
            raise _outlived(left)
        select.poll().poll(pause * 1000)
        pause = deadline.next_pause(pause)
    if stage.contract.service == "file" and stage.role == "server":
        return                      # what it has received: the cases judge it
    for program in stage.programs:
        files = program.left_files()
        if files:
            raise Failure("leak", "files left behind in the working "
                          "folder: " + ", ".join(files[:5]))


def _outlived(left: list[int]) -> Failure:
    told = [f"{facts.name} (pid {facts.pid})" for facts
            in map(procfs.stat, left[:5]) if facts]
    number = "1 process" if len(left) == 1 else f"{len(left)} processes"
    return Failure("leak", f"{number} left behind: {', '.join(told)}")


def _ask_valgrind(stage: "Stage", program: Program) -> None:
    source = Path(stage.target.source) if stage.target.source else None
    found = valgrind.findings(program.valgrind_log(), source)
    if not found:
        return
    stage.findings += [f"{finding}\n  " + "\n  ".join(finding.stack[:8])
                      for finding in found]
    first = found[0]
    raise Failure("race" if program.watch_threads else
                  "leak" if first.is_leak else "memory",
                  f"Valgrind: {first}", stage.findings[0])


def sanitizers_say(stage: "Stage") -> list[Failure]:
    """What the sanitizers of a variant found in the programs so far.

    Files of the program's own are named without their folder, which is that
    of a copy.
    """
    own = f"{stage.target.source}/"
    found = [(line.replace(own, ""), report.replace(own, ""))
             for program in stage.programs for line, report
             in variants.findings(program.directory, program.stderr.decode(
                 errors="replace"))]
    stage.findings += [report for _line, report in found]
    return [Failure("leak" if "LeakSanitizer" in report else "memory", line,
                    report) for line, report in found[:1]]


def _ask_faults(program: Program) -> None:
    if not faults.reached(program.call_log):
        raise HarnessError(faults.NOT_REACHED)
    if faults.plans_fault(program.plan) and \
            not program.plan_may_miss and \
            not any(call.injected for call in program.calls()):
        raise HarnessError(
            f"the planned fault {program.plan} never happened: the "
            "program makes no such call through the C library (stdio on "
            "a socket and raw system calls are out of reach)")
