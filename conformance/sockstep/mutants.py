"""Mutants: sound programs broken on purpose, to prove that cases bite.

A mutant is an exact, checked change of its base, which is a reference step or
a sound program of another author (tests/foreign): the text to be replaced must
occur exactly once, the result must differ from its base and it must compile.
It is judged by the case that it names, which must fail for the reason that it
names.
"""
from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from .failure import KINDS


class MutantError(ValueError):
    """A mutant does not apply any more, or is not well formed."""


#: Where the programs of other authors are, each in a folder of its own.
FOREIGN = Path("tests/foreign")
_INCLUDE = re.compile(r'^#include "([^"]+)"\n', re.MULTILINE)
_KEYS = {"name", "case", "base", "fault", "kind", "edit"}


@dataclass(frozen=True)
class Mutant:
    name: str                   # "server-stream/recv-once"
    case: str
    base: Path                  # relative to the top folder
    fault: str                  # one sentence
    kind: str                   # the failure's kind that is due
    source: str                 # the changed text
    lesson: str                 # "03-repeating-echo"

    @property
    def role(self) -> str:
        return self.base.stem.split("-")[0]

    @property
    def is_foreign(self) -> bool:
        """Whether its base is no step: program.toml builds and starts it."""
        return self.base.is_relative_to(FOREIGN)

def load_mutants(root: Path) -> list[Mutant]:
    """All mutants of tests/mutants/*.toml, applied."""
    found: list[Mutant] = []
    for path in sorted((root / "tests" / "mutants").glob("*.toml")):
        try:
            with open(path, "rb") as file:
                table = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise MutantError(f"{path.name}: {error}") from error
        if set(table) != {"mutant"}:
            raise MutantError(f"{path.name}: it must hold [[mutant]] tables "
                              f"and holds: {', '.join(table) or 'nothing'}")
        for entry in table["mutant"]:
            found.append(_load(root, path.stem, entry))
    names = [mutant.name for mutant in found]
    for name in names:
        if names.count(name) > 1:
            raise MutantError(f"two mutants are called {name}")
    return found


def _load(root: Path, group: str, entry: dict) -> Mutant:
    name = f"{group}/{entry.get('name', '?')}"
    base = Path(entry.get("base", ""))
    # A foreign program may play its role in several lessons.
    due = _KEYS | ({"lesson"} if base.is_relative_to(FOREIGN) else set())
    if set(entry) != due:
        raise MutantError(f"{name}: it must have {', '.join(sorted(due))} "
                          f"and has {', '.join(sorted(entry))}")
    if entry["kind"] not in KINDS:
        raise MutantError(f"{name}: no kind of failure is called "
                          f"{entry['kind']}")
    try:
        original = _text(root, base)
    except OSError as error:
        raise MutantError(f"{name}: {error}") from error
    source = original
    for edit in entry["edit"]:
        if set(edit) != {"find", "replace"}:
            raise MutantError(f"{name}: an edit must have find and replace "
                              f"and has {', '.join(sorted(edit))}")
        times = source.count(edit["find"])
        if times != 1:
            first = edit["find"].strip().splitlines()[0] if edit["find"]\
                .strip() else ""
            raise MutantError(f"{name}: its text to be replaced occurs "
                              f"{times} times in {base}, not once: {first}")
        source = source.replace(edit["find"], edit["replace"])
    if source == original:
        raise MutantError(f"{name}: it does not differ from {base}")
    return Mutant(name, entry["case"], base, entry["fault"], entry["kind"],
                  source, _lesson(root, name, entry.get("lesson"), base))


def _text(root: Path, base: Path) -> str:
    """The text of a base; of a foreign one with the headers of its kind.

    Much of what can go wrong stands in these.
    """
    text = (root / base).read_text()
    if not base.is_relative_to(FOREIGN):
        return text

    def put_in(include: re.Match) -> str:
        header = root / FOREIGN / include[1]
        return header.read_text() if header.is_file() else include[0]

    return _INCLUDE.sub(put_in, text)


def _lesson(root: Path, name: str, number: str | None, base: Path) -> str:
    """The name of the lesson whose contract the mutant breaks."""
    if number is None:
        return base.parts[1]
    found = [path.parent.name for path
             in (root / "lessons").glob("*/lesson.toml")
             if number == path.parent.name.split("-")[0]]
    if len(found) != 1:
        raise MutantError(f"{name}: no lesson has the number {number}")
    return found[0]
