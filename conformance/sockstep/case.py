"""What a case is, and the decorator that makes one of a test function.

The first paragraph of the function's docstring is the requirement; what
follows says why it matters.
"""
from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .contract import SANITIZERS, SERVICES, TRANSPORTS, Contract, Target

MUST, SHOULD = "MUST", "SHOULD"
_POINTS = {MUST: 2, SHOULD: 1}
#: The groups, in the order in which a learner meets them.
GROUPS = ("Byte stream", "Datagrams", "Text", "Files", "Broadcast",
          "Names and addresses", "Unix domain", "Life of a client", "Turns",
          "Many clients", "End of stream and reset",
          "Short writes and back-pressure", "Ports and life cycle",
          "Resources", "Signals", "Command line and text", "The document",
          "Fault sweep")
#: For cases that ask something of every service, on every transport, and of
#: every server that does not end with its first client.
EVERY_SERVICE = SERVICES
EVERY_TRANSPORT = TRANSPORTS
#: For cases about the stream alone, whose words are the same on both.
STREAMS = ("tcp", "unix")
FOR_EVER = ("in-turn", "many")
#: For cases about a line and its reply, whatever the reply is: a case has it
#: from `server.service.reply`.
LINES = ("echo", "uppercase")
_SLUG = re.compile(r"^[a-z0-9]+(?:-[a-z0-9]+)*/[a-z0-9]+(?:-[a-z0-9]+)*$")


@dataclass(frozen=True)
class Case:
    """One requirement.

    `hints` go from the gentle to the plain; `by_hand` is what to type to see
    the fault without the runner.  The other fields say which contracts ask
    for it: a case that a contract does not ask for is ``n/a`` there.
    """

    slug: str
    role: str
    level: str
    points: int
    group: str
    requirement: str
    why: str
    source: str
    hints: tuple[str, ...]
    by_hand: str
    defects: tuple[int, ...]    # numbers in docs/catalogue.md
    services: tuple[str, ...]
    transports: tuple[str, ...]
    messages: tuple[str, ...]
    clients: tuple[str, ...]
    plans: bool = False         # plans faults of accept, recv, send or waits
    starves: bool = False       # lets malloc() fail: no sanitizer bears that
    valgrind: bool = False      # the program is run under Valgrind
    leaks: bool = False         # left out by LEAKS=no
    sanitized: bool = False     # the program is built with ASan and UBSan
    sweep: bool = False         # run with SWEEP=yes only
    options: bool = False       # needs the options of the program contract
    module: str = ""            # the file that it stands in

    def asked_by(self, contract: Contract) -> bool:
        return contract.service in self.services and \
            contract.transport in self.transports and \
            contract.messages in self.messages and \
            contract.clients in self.clients

    def as_json(self) -> dict:
        return {"title": self.requirement, "requirement": self.requirement,
                "why": self.why, "role": self.role, "level": self.level,
                "source": self.source, "hint": self.hints[0],
                "points": self.points, "group": self.group}


def applies(case: Case, target: Target, lesson_contract: Contract) -> bool:
    """Whether `target` is judged by `case`.

    The lesson's contract decides, not that of an early step: what the step
    does not do yet is its gap.  What the fault preload can't reach, such as
    the operations of io_uring(7), the step's contract says.
    """
    return case.role == target.role and case.asked_by(lesson_contract) and \
        (target.has_options or not case.options) and \
        (target.contract.calls == "libc" or not case.plans) and \
        (target.variant not in SANITIZERS or not case.starves) and \
        (not case.sanitized or bool(target.sources and not target.variant)) \
        and \
        (target.memory == "own" or not (case.valgrind or case.starves))


def case(slug: str, *, role: str, group: str, source: str,
         hints: list[str] | str, by_hand: str = "", level: str = MUST,
         points: int | None = None, defects: tuple[int, ...] = (),
         services: tuple[str, ...] = ("echo",),
         transports: tuple[str, ...] = ("tcp",),
         messages: tuple[str, ...] = ("one", "many"),
         clients: tuple[str, ...] = ("one", "in-turn", "many"),
         plans: bool = False, starves: bool = False, valgrind: bool = False,
         leaks: bool = False, sanitized: bool = False, sweep: bool = False,
         options: bool = False) -> Callable:
    """Make a case of a test function; see `Case` for the parameters."""
    if not _SLUG.fullmatch(slug):
        raise ValueError(f"not a slug: {slug}")
    if level not in _POINTS:
        raise ValueError(f"{slug}: level is MUST or SHOULD")
    if group not in GROUPS:
        raise ValueError(f"{slug}: no group is called {group}")

    def decorate(function: Callable) -> Callable:
        text = inspect.getdoc(function)
        if not text:
            raise ValueError(f"{slug}: its docstring is its requirement")
        requirement, _, why = text.partition("\n\n")
        function.case = Case(
            slug=slug, role=role, level=level,
            points=_POINTS[level] if points is None else points,
            group=group, requirement=" ".join(requirement.split()),
            why=why.strip(), source=source,
            hints=(hints,) if isinstance(hints, str) else tuple(hints),
            by_hand=inspect.cleandoc(by_hand), defects=tuple(defects),
            services=services, transports=transports, messages=messages,
            clients=clients, plans=plans, starves=starves, valgrind=valgrind,
            leaks=leaks or valgrind or sanitized, sanitized=sanitized,
            sweep=sweep, options=options,
            module=function.__code__.co_filename)
        return function

    return decorate


def load_cases(folder: Path) -> dict[str, Case]:
    """All cases of the modules in `folder`, by slug, in order of groups."""
    found: dict[str, Case] = {}
    for path in sorted(folder.glob("test_*.py")):
        name = f"sockstep_cases_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        for member in vars(module).values():
            entry = getattr(member, "case", None)
            if isinstance(entry, Case):
                if entry.slug in found:
                    raise ValueError(f"two cases are called {entry.slug}")
                found[entry.slug] = entry
    return dict(sorted(found.items(),
                       key=lambda item: GROUPS.index(item[1].group)))
