"""Where in its source a program crashed: the second look.

When a program was killed by a signal that a fault raises, and somebody reads
the verdict, its case is run once more with the program under Valgrind, whose
log has the stack.  The verdict stays that of the first run, and only that is
reported; the second gives its record the place, or says that it did not happen
again.  A program that was under Valgrind anyhow needs no second look.
"""
from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import procfs, valgrind
from .failure import Failure
from .valgrind import Crash

if TYPE_CHECKING:
    from .program import Program
    from .stage import Stage

SIGNALS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE,
           signal.SIGILL, signal.SIGPIPE)
#: Seconds that a second look may take on an idle machine, and how many of them
#: one program gets from each worker.
LOOK_SECONDS = 10.0
MOST_LOOKS = 10
#: In these ways a client meets the crash of a child process, which is its
#: parent's to know of.
_OF_A_CHILD = ("end-of-stream", "reset")


@dataclass
class Look:
    """What a second look is for, and what it has found."""

    signal: int                 # 0: that of a child process, if any
    crashes: list[Crash] = field(default_factory=list)


def crashed(stage: "Stage") -> "Program | None":
    """The program under test that was killed by a fault of its own."""
    return next((program for program in reversed(stage.programs)
                 if (ending := program.ending()) and
                 ending.signal in SIGNALS), None)


def note(stage: "Stage", failure: Failure) -> None:
    """Let the failure say, too, that the program crashed, if it does not."""
    if stage.told and failure.kind not in ("spin", "timeout") and \
            "killed by" not in failure.message:
        if text := stage.crash_of(stage.subject):
            failure.message += f"; {text}"


def look_for(stage: "Stage", failure: Failure) -> Look | None:
    """The look that the failure wants.  It is a second one, unless Valgrind's
    logs are there already: then it has found something.
    """
    target = stage.target
    if not stage.told or target.variant or target.memory != "own" or \
            not _is_binary(stage.subject):
        return None
    if program := crashed(stage):
        return Look(program.ending().signal, seen(stage))
    if failure.kind in _OF_A_CHILD and not stage.under_valgrind and any(
            procfs.has_had_children(program.pid)
            for program in stage.programs if program.alive()):
        return Look(0)
    return None


def _is_binary(program: "Program | None") -> bool:
    """Of a script Valgrind would tell where its interpreter is."""
    path = shutil.which(program.argv[0]) if program else None
    if path is None:
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def seen(stage: "Stage") -> list[Crash]:
    """What Valgrind's logs say of the programs of this stage."""
    own = Path(stage.target.source) if stage.target.source else None
    return [crash for program in stage.programs if program.under_valgrind
            for crash in valgrind.crashes(program.valgrind_logs(), own)]


def tell(record: dict, look: Look) -> None:
    """Put the place into the record of the first run."""
    fatal = [crash for crash in look.crashes if crash.signal in SIGNALS]
    same = next((crash for crash in fatal if crash.signal == look.signal),
                None)
    wrong = next((crash.before for crash in look.crashes if crash.before),
                 None)
    if same:
        _insert(record, same)
    elif fatal:
        who = "it" if look.signal else "a child process"
        record["message"] += f"; under Valgrind {who} was " + \
            _killed(fatal[0])
    elif look.signal and wrong:
        # Valgrind's own malloc() and free() survive what ends the C
        # library's.
        record["message"] += f"; what is wrong, by Valgrind: {wrong}"
    evidence = record["evidence"]
    if fatal:
        lines = (same or fatal[0]).told()
    elif look.signal and not wrong:
        lines = f"{procfs.signal_name(look.signal)} did not happen again in " \
            "a second run, under Valgrind, so no line can be told."
    else:
        return
    evidence["detail"] = "\n".join(filter(None, (evidence["detail"], lines)))


def _killed(crash: Crash) -> str:
    return f"killed by {procfs.signal_name(crash.signal)}" + \
        (f" at {crash.place}" if crash.place else "")


def _insert(record: dict, crash: Crash) -> None:
    """Behind "killed by SIGSEGV", if the message has it."""
    killed = f"killed by {procfs.signal_name(crash.signal)}"
    if killed in record["message"]:
        record["message"] = record["message"].replace(killed, _killed(crash),
                                                      1)
    else:
        record["message"] += f"; the program was {_killed(crash)}"
