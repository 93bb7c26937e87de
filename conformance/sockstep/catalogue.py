"""docs/catalogue.md: every classic fault, and the cases that find it."""
from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

from . import run
from .case import Case, load_cases
from .contract import Lesson, LessonError, load_lessons
from .mutants import load_mutants

SOURCE = Path(__file__).parent.parent / "defects.toml"


def load_faults() -> list[tuple[str, list[dict]]]:
    """(group, its faults) in order; each has number, fault, maybe why_not."""
    with open(SOURCE, "rb") as file:
        groups = tomllib.load(file)["group"]
    numbers = [fault["number"] for group in groups
               for fault in group["faults"]]
    if numbers != list(range(1, len(numbers) + 1)):
        raise LessonError(f"{SOURCE.name}: the numbers do not run from 1 to "
                          f"{len(numbers)}")
    return [(group["name"], group["faults"]) for group in groups]


def catalogue(root: Path) -> str:
    """The text of docs/catalogue.md."""
    cases = load_cases(run.CASES).values()
    lessons = load_lessons(root)
    mutants = Counter(mutant.case for mutant in load_mutants(root))
    rows, found, total = [], 0, 0
    for group, faults in load_faults():
        rows += [f"## {group}", "",
                 "| no. | fault | case | level | lessons | mutants | source |",
                 "| --- | --- | --- | --- | --- | --- | --- |"]
        for fault in faults:
            mine = [entry for entry in cases
                    if fault["number"] in entry.defects]
            total += 1
            found += bool(mine)
            rows += _rows(fault, mine, lessons, mutants)
        rows.append("")
    return "\n".join([
        "# The catalogue of faults", "",
        "Made by `make requirements` from conformance/defects.toml and the "
        "cases; do not edit.",
        f"Of {total} classic faults of small socket programs {found} are "
        f"looked for by a case, {total - found} are not, with the reason.",
        "", *rows])


def _rows(fault: dict, cases: list[Case], lessons: list[Lesson],
          mutants: Counter) -> list[str]:
    if not cases:
        why = fault.get("why_not", "")
        return [f"| {fault['number']} | {fault['fault']} | none: {why} | | | "
                "| |"]
    rows = []
    for position, entry in enumerate(cases):
        head = f"| {fault['number']} | {fault['fault']} " if position == 0 \
            else "| | "
        asked = ", ".join(lesson.number for lesson in lessons
                          if entry.asked_by(lesson.contract)
                          and lesson.steps.get(entry.role))
        rows.append(f"{head}| `{entry.slug}` | {entry.level} | {asked} | "
                    f"{mutants[entry.slug]} | {entry.source} |"
                    .replace("\n", " "))
    return rows
