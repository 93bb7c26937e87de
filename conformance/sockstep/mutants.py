"""Mutants: reference steps broken on purpose, to prove that cases bite.

A mutant is an exact, checked change of a reference step: the text to be
replaced must occur exactly once, the result must differ from its base and it
must compile.  It is judged by the case that it names, which must fail for the
reason that it names.
"""
from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from .failure import KINDS


class MutantError(ValueError):
    """A mutant does not apply any more, or is not well formed."""


@dataclass(frozen=True)
class Mutant:
    name: str                   # "server-stream/recv-once"
    case: str
    base: Path                  # relative to the top folder
    fault: str                  # one sentence
    kind: str                   # the failure's kind that is due
    source: str                 # the changed text

    @property
    def lesson(self) -> str:
        return self.base.parts[1]

    @property
    def role(self) -> str:
        return self.base.name.split("-")[0]


_KEYS = {"name", "case", "base", "fault", "kind", "edit"}


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
    if set(entry) != _KEYS:
        raise MutantError(f"{name}: it must have {', '.join(sorted(_KEYS))} "
                          f"and has {', '.join(sorted(entry))}")
    if entry["kind"] not in KINDS:
        raise MutantError(f"{name}: no kind of failure is called "
                          f"{entry['kind']}")
    base = Path(entry["base"])
    try:
        original = (root / base).read_text()
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
                  source)
