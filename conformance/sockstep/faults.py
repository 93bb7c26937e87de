"""Plans for the fault preload, and the calls that it logged.

The grammar of a plan stands in src/fault_plan.h; a plan is a string such as
``send@*=short:1; accept@1=EINTR`` and is passed in SOCKSTEP_FAULTS.
"""
from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PLAN_VARIABLE = "SOCKSTEP_FAULTS"
LOG_VARIABLE = "SOCKSTEP_CALLS"
NOT_REACHED = "the fault preload did not reach the program: it is linked " \
    "statically or drops LD_PRELOAD, so no fault can be provoked in it; link " \
    "it dynamically"
_LINE = re.compile(r"^(\d+) \d+ (\w+) (\d+) (.*)$")
_REACHED = re.compile(r"^\d+ \d+ reached - (.*)$", re.MULTILINE)
_SIGNAL = re.compile(r"^(\d+) \d+ inject - (.*)$")


@dataclass(frozen=True)
class Call:
    """One line of the preload's log."""

    pid: int
    cls: str                    # accept, send, recv ...
    number: int                 # the how-manieth of its class in the process
    text: str                   # function, arguments, result
    injected: bool

    def __str__(self) -> str:
        return f"{self.cls} {self.number}: {self.text}"

    def argument(self, name: str) -> str:
        """The value behind ``name=`` in the text, or ''."""
        found = re.search(rf"\b{name}=([^\s,)]+)", self.text)
        return found.group(1) if found else ""


def environment(plan: str, log: Path, preload: Path) -> dict[str, str]:
    return {"LD_PRELOAD": str(preload), PLAN_VARIABLE: plan,
            LOG_VARIABLE: str(log)}


#: A plan under which every call is logged and none goes wrong.
WATCH = "shutdown@1000000=ENOTCONN"


def plans_fault(plan: str) -> bool:
    """Whether the plan has an item that some call is to meet.

    ``clock@*=fast:N`` is none: it is in force all the time; nor is `WATCH`.
    """
    items = [item.strip() for item in re.split("[;\n]", plan)]
    return any("=" in item and not item.startswith("clock@") and
               item != WATCH for item in items)


def reached(log: Path) -> bool:
    """Whether the program loaded the preload (a static one can't).

    Valgrind and the shell that starts it, which come before it, do not count;
    the kit's launcher is linked statically.
    """
    if not log.exists():
        return False
    names = [Path(exe).name for exe in
             _REACHED.findall(log.read_text(errors="replace"))]
    while any(name.startswith("valgrind") for name in names):
        names.pop(0)
    return bool(names)


def double_closes(log: Path) -> list[str]:
    """Calls of close() that failed with EBADF, such as "close(fd=5)"."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return re.findall(r"^\d+ \d+ close - (.*) = -1 EBADF$", text, re.MULTILINE)


def calls(log: Path) -> list[Call]:
    """All calls logged so far, in order."""
    if not log.exists():
        return []
    found = []
    for line in log.read_text(errors="replace").splitlines():
        if match := _LINE.match(line):
            pid, cls, number, text = match.groups()
            found.append(Call(int(pid), cls, int(number), text,
                              "[injected" in text))
        elif match := _SIGNAL.match(line):  # a call that it may well end
            found.append(Call(int(match[1]), "inject", 0, match[2], True))
    return found
