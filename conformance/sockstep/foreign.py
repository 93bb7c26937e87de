"""docs/foreign.md: what each foreign program is known to fail, and why."""
from __future__ import annotations

from collections import Counter
from pathlib import Path

from . import manifest, run
from .case import MUST, Case, applies, load_cases
from .contract import Lesson, Target, load_lessons
from .transcript import count

FOLDER = "tests/foreign"


def foreign(root: Path) -> str:
    """The text of docs/foreign.md; nothing is built or run for it."""
    cases = load_cases(run.CASES)
    lessons = load_lessons(root)
    rows, sections, levels, programs = [], [], Counter(), 0
    for path in sorted((root / FOLDER).glob("*/program.toml")):
        program = manifest.load_manifest(path)
        name = path.parent.name
        sections += [f"## {name}", "", program.about, ""]
        for entry in program.entries:
            programs += 1
            targets = manifest.targets_of(program, entry, path.parent, root,
                                          lessons, cases, "foreign")
            found = _findings(entry.gaps, cases, targets)
            rows.append(_row(name, entry, targets, lessons, cases, found))
            levels.update(level for _slug, level, _where, _why in found)
            sections += _lists(entry, found, _findings(entry.skips, cases,
                                                       targets))
    return "\n".join([
        "# Programs by others", "",
        f"Made by `make requirements` from {FOLDER}/*/program.toml; do not "
        "edit.", "",
        f"`make prove` judges {count(programs, 'program')} that "
        "are no steps: sound programs in other shapes than the steps have, "
        "the documents' own, and servers and clients of well-known packages.",
        f"What each fails is listed there with its reason, and is all that it "
        f"may fail: {levels[MUST]} findings of the level MUST, "
        f"{levels.total() - levels[MUST]} of SHOULD. A case that is not asked "
        "has its reason, too.", "",
        "| program | role | lessons | asked | passes | fails MUST | fails "
        "SHOULD | not asked |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |", *rows, "",
        *sections])


def _findings(listed: dict[str, str], cases: dict[str, Case],
              targets: list[Target]) -> list[tuple[str, str, str, str]]:
    """(case, level, lessons, reason) for each key of a list."""
    found = []
    for key, why in listed.items():
        number, _, slug = key.rpartition(":")
        where = [number] if number else [
            target.lesson.split("-")[0] for target in targets
            if applies(cases[slug], target, target.contract)]
        found.append((slug, cases[slug].level, ", ".join(where), why))
    return found


def _row(name: str, entry: manifest.Entry, targets: list[Target],
         lessons: list[Lesson], cases: dict[str, Case],
         found: list[tuple[str, str, str, str]]) -> str:
    asked = gaps = skips = 0
    for target in targets:
        mine = {slug for slug, case in cases.items()
                if applies(case, target, target.contract) and not case.sweep}
        skips += len(mine - set(target.cases))
        asked += len(mine & set(target.cases))
        gaps += len(mine & set(target.gaps))
    numbers = ", ".join(target.lesson.split("-")[0] for target in targets)
    must = len([level for _slug, level, _where, _why in found
                if level == MUST])
    return f"| [{name}](#{name}) | {entry.role} | {numbers} | {asked} | " \
           f"{asked - gaps} | {must or ''} | {len(found) - must or ''} | " \
           f"{skips or ''} |"


def _lists(entry: manifest.Entry, found: list[tuple[str, str, str, str]],
           skipped: list[tuple[str, str, str, str]]) -> list[str]:
    lines = [f"The {entry.role} passes all that it is asked.", ""] \
        if not found else []
    for head, those in ((f"The {entry.role} fails", found),
                        (f"The {entry.role} is not asked", skipped)):
        if those:
            lines += [f"| {head} | level | lessons | why |",
                      "| --- | --- | --- | --- |",
                      *(f"| `{slug}` | {level} | {where} | {why} |"
                        for slug, level, where, why in those), ""]
    return lines
