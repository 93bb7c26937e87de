"""Lessons, their steps, and the programs that are judged.

A lesson is a folder lessons/NN-name with a lesson.toml; what that file may
hold is told in docs/adding-a-lesson.md.
"""
from __future__ import annotations

import dataclasses
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROLES = ("server", "client", "resolve")
_STEP_FILE = re.compile(rf"^({'|'.join(ROLES)})-(\d+)-([a-z0-9-]+)\.c$")
SERVICES = ("greeting", "echo", "uppercase", "file", "broadcast")
TRANSPORTS = ("tcp", "udp", "unix")
#: Variants of a build whose own findings are failures; see `variants`.
SANITIZERS = ("address", "bounds", "thread")


class LessonError(ValueError):
    """A lesson.toml or a lesson's folder is not as it must be."""


@dataclass(frozen=True)
class Contract:
    """What a lesson asks of its programs."""

    service: str                # one of SERVICES
    transport: str              # one of TRANSPORTS
    port: int                   # the default port; 0 for unix
    messages: str               # one or many, on one connection
    clients: str                # one, in-turn, or many at once
    calls: str = "libc"         # ring: it sends and receives by io_uring(7)

    @property
    def ends_alone(self) -> bool:
        """Whether the server ends by itself when its only client is done."""
        return self.clients == "one"


_FIELDS = {item.name: item for item in dataclasses.fields(Contract)}
_VALUES = {"service": SERVICES, "transport": TRANSPORTS,
           "messages": ("one", "many"), "clients": ("one", "in-turn", "many"),
           "calls": ("libc", "ring")}


@dataclass(frozen=True)
class Step:
    """One numbered program of a lesson."""

    lesson: str                 # the folder's name
    role: str
    number: int
    name: str                   # "whole-send"
    source: Path
    adds: str                   # what it mends, one line
    contract: Contract
    gaps: frozenset[str]
    refactoring: bool

    @property
    def program(self) -> str:
        return f"{self.role}-{self.number}-{self.name}"


@dataclass(frozen=True)
class Lesson:
    folder: Path
    title: str
    document: str
    contract: Contract
    steps: dict[str, tuple[Step, ...]]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def number(self) -> str:
        return self.name.split("-", 1)[0]


@dataclass
class Target:
    """One program to be judged, in a form that can cross to a worker.

    `command` is an argument list in which ``{host}`` and ``{port}`` (or
    ``{path}``, for AF_UNIX) stand for the address, or, if it holds none of
    them, a program that takes the options of the program contract.
    `port_mode` is ``zero`` (the program is told -P 0 and the kernel chooses)
    or ``held`` (for programs that can't do that: the kernel gives the harness
    a port, which stays held while the program, which must set SO_REUSEADDR,
    binds it too).
    """

    lesson: str
    role: str
    program: str
    command: list[str]
    contract: Contract
    gaps: list[str] = field(default_factory=list)
    cases: list[str] | None = None      # only these, or all that apply
    kind: str = "step"          # step submission mutant null foreign
    source: str = ""            # the folder of its sources, for Valgrind
    sources: list[str] = field(default_factory=list)    # if the kit builds it
    sanitized: list[str] = field(default_factory=list)  # its other command
    port_mode: str = "zero"
    build_error: str = ""
    repeat: str = ""            # the words of `make check` that choose it
    memory: str = "own"         # or "managed", by an interpreter or a runtime
    variant: str = ""           # a key of variants.FLAGS, if it is built so
    told: bool = False          # what its gaps say is read, too

    @property
    def has_options(self) -> bool:
        """Whether it takes the options of the program contract."""
        return not any("{port}" in word or "{path}" in word
                       for word in self.command)

    @property
    def key(self) -> str:
        return f"{self.lesson}/{self.program}"

    def argv(self, host: str | None, port: int) -> list[str]:
        """The command line for an address; host None: the default."""
        if self.has_options:
            where = ["-H", host] if host is not None else []
            return [*self.command, *where, "-P", str(port)]
        return [word.replace("{host}", host or "0.0.0.0")
                .replace("{port}", str(port)) for word in self.command]

    def argv_unix(self, path: str) -> list[str]:
        """The command line for an AF_UNIX address: a path, or @name."""
        if self.has_options:
            return [*self.command, "-U", path]
        return [word.replace("{path}", path) for word in self.command]

    def argv_file(self, argv: list[str], file: Path | str) -> list[str]:
        """`argv` of a file client with the file to send, if there is one."""
        if file and self.has_options:
            return [*argv, "-F", str(file)]
        return [word.replace("{file}", str(file)) for word in argv]

    def as_json(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict) -> "Target":
        contract = Contract(**data.pop("contract"))
        return cls(contract=contract, **data)


def _need(table: dict, key: str, kind: type, where: str):
    if key not in table:
        raise LessonError(f"{where}: '{key}' is missing")
    if not isinstance(table[key], kind):
        raise LessonError(f"{where}: '{key}' must be {kind.__name__}")
    return table[key]


def load_lesson(folder: Path) -> Lesson:
    """Read lesson.toml and check it against the files beside it."""
    where = f"{folder.name}/lesson.toml"
    try:
        with open(folder / "lesson.toml", "rb") as file:
            table = tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise LessonError(f"{where}: {error}") from error
    if unknown := set(table) - {"title", "document", *ROLES} - set(_FIELDS):
        raise LessonError(f"{where}: unknown: {', '.join(sorted(unknown))}")
    contract = Contract(**{
        name: _field(table, name, where) for name, item in _FIELDS.items()
        if name in table or item.default is dataclasses.MISSING})
    steps = {role: tuple(_steps(folder, table, role, contract, where))
             for role in ROLES}
    return Lesson(folder, _need(table, "title", str, where),
                  _need(table, "document", str, where), contract, steps)


def _field(table: dict, name: str, where: str):
    """A field of the contract, one of the values that it may have."""
    value = _need(table, name, int if name == "port" else str, where)
    if name in _VALUES and value not in _VALUES[name]:
        raise LessonError(f"{where}: '{name}' must be one of "
                          + ", ".join(_VALUES[name]))
    return value


def _steps(folder: Path, table: dict, role: str, contract: Contract,
           where: str):
    known = {"step", "name", "adds", "gaps", "refactoring", *_FIELDS}
    listed = set()
    for position, entry in enumerate(table.get(role, []), start=1):
        number = _need(entry, "step", int, where)
        name = _need(entry, "name", str, where)
        here = f"{where}: {role} step {number}"
        if number != position:
            raise LessonError(f"{here}: step {position} is due here")
        if unknown := set(entry) - known:
            raise LessonError(f"{here}: unknown: {', '.join(sorted(unknown))}")
        source = folder / f"{role}-{number}-{name}.c"
        if not source.exists():
            raise LessonError(f"{here}: there is no {source.name}")
        listed.add(source.name)
        own = {key: _field(entry, key, here) for key in _FIELDS
               if key in entry}
        yield Step(folder.name, role, number, name, source,
                   _need(entry, "adds", str, here),
                   dataclasses.replace(contract, **own),
                   frozenset(_need(entry, "gaps", list, here)),
                   bool(entry.get("refactoring", False)))
    for file in sorted(folder.glob(f"{role}-*.c")):
        match = _STEP_FILE.match(file.name)
        if file.name not in listed and not (match and match[2] == "0"):
            raise LessonError(f"{where}: {file.name} is not listed")


def load_lessons(root: Path) -> list[Lesson]:
    """All lessons below `root`/lessons, in order."""
    return [load_lesson(path.parent) for path in
            sorted((root / "lessons").glob("*/lesson.toml"))]


def step_target(step: Step, root: Path) -> Target:
    build = root / "build" / step.source.relative_to(root).with_suffix("")
    return Target(
        lesson=step.lesson, role=step.role, program=step.program,
        command=[str(build)], contract=step.contract,
        gaps=sorted(step.gaps), source=str(step.source.parent),
        sources=[str(step.source)],
        repeat=f"LESSON={step.lesson.split('-')[0]} ROLE={step.role} "
               f"STEP={step.number}")
