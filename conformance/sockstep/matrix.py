"""`make matrix`: is each case needed? Told in docs/mutants.md.

The mutants of a case are judged by every case of their lesson, one after the
other, until one is found that this case alone catches.  A case without such a
mutant, whose mutants others catch all, proves nothing that these do not:
tests/shared-cases.toml says why it is there all the same.  Cases under
Valgrind and with sanitizers, which take most of the time, and the sweep are
asked only of the mutants that name them.
"""
from __future__ import annotations

import argparse
import dataclasses
import time
import tomllib
from collections import defaultdict
from pathlib import Path

from . import prove, run, selection
from .case import Case, load_cases
from .console import Console
from .contract import Lesson, load_lessons
from .mutants import Mutant, load_mutants
from .transcript import count

REASONS = "tests/shared-cases.toml"


def main(root: Path, arguments: argparse.Namespace) -> int:
    console = Console()
    start = time.monotonic()
    lessons = load_lessons(root)
    cases = load_cases(run.CASES)
    reasons = _reasons(root, cases)
    slugs = selection.cases(cases, arguments.case)
    waiting: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in load_mutants(root):
        if mutant.case in slugs:
            waiting[mutant.case].append(mutant)
    number = {slug: len(mine) for slug, mine in waiting.items()}
    alone: dict[str, Mutant] = {}
    also: dict[str, set[str]] = {}
    runs, problems = 0, []
    while any(waiting.values()):
        chosen = [mine.pop(0) for mine in waiting.values() if mine]
        red, more, broken = _judged(root, chosen, lessons, cases,
                                    arguments.jobs, console)
        runs, problems = runs + more, problems + broken
        for mutant in chosen:
            others = red[mutant.name] - {mutant.case}
            also[mutant.case] = also.get(mutant.case, others) & others
            if red[mutant.name] == {mutant.case}:
                alone[mutant.case] = mutant
                del waiting[mutant.case]
    text = table(number, alone, also, reasons)
    if arguments.case is None and not problems:
        (root / "docs/mutants.md").write_text(text)
    else:
        console.line(text)
    problems += [f"{slug}: other cases catch each of its mutants, too: say "
                 f"why it is there in {REASONS}" for slug in number
                 if slug not in alone and also[slug] and slug not in reasons]
    problems += [f"{slug}: it is in {REASONS}, and {alone[slug].name} is "
                 "caught by it alone" for slug in reasons if slug in alone]
    for problem in problems:
        console.line(problem)
    console.line(f"matrix: {count(len(number), 'case')}, "
                 f"{count(runs, 'case run')}, "
                 f"{time.monotonic() - start:.0f} s")
    return 1 if problems else 0


def _reasons(root: Path, cases: dict[str, Case]) -> dict[str, str]:
    path = root / REASONS
    reasons = tomllib.loads(path.read_text()) if path.exists() else {}
    for slug in reasons:
        if slug not in cases:
            raise selection.NoMatch(f"{path}: no case is called {slug}")
    return reasons


def _judged(root: Path, mutants: list[Mutant], lessons: list[Lesson],
            cases: dict[str, Case], jobs: int, console: Console
            ) -> tuple[dict[str, set[str]], int, list[str]]:
    """The cases that catch each mutant, how many runs that took, and what
    broke the harness.
    """
    targets = [dataclasses.replace(target, gaps=[], cases=[
        slug for slug, entry in cases.items()
        if not entry.leaks and not entry.sweep or slug in target.cases])
        for target in prove.mutant_targets(root, mutants, lessons, jobs)]
    records, broken = prove.execute(
        prove.plan_of(root, targets, lessons, list(cases), cases, jobs),
        cases, jobs, console)
    lacking = prove.lacking_of(root, mutants, lessons)
    red: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record["verdict"] == "fail" and \
                record["case"] not in lacking[record["program"]]:
            red[record["program"]].add(record["case"])
    return red, len(records), broken


def table(number: dict[str, int], alone: dict[str, Mutant],
          also: dict[str, set[str]], reasons: dict[str, str]) -> str:
    """The text of docs/mutants.md; `also`: what catches each mutant, too."""
    rows = [f"| `{slug}` | {number[slug]} | {alone[slug].fault} | "
            f"`{alone[slug].name}` |" for slug in sorted(alone)]
    shared = [
        f"- `{slug}` ({count(number[slug], 'mutant')}"
        + (", caught by "
           + ", ".join(f"`{each}`" for each in sorted(also[slug])[:4])
           + f" as well): {reasons.get(slug, 'not looked at yet')}"
           if also[slug] else "): no other case catches all of them")
        for slug in sorted(number) if slug not in alone]
    return "\n".join([
        "# Is each case needed?", "",
        "Made by `make matrix`; do not edit. It judges the mutants of a case "
        "by every case of their lesson,",
        "one after the other, until one is found that no other case catches. "
        "Cases under Valgrind and with",
        "sanitizers and the fault sweep are asked only of the mutants that "
        "name them.", "",
        f"{count(sum(number.values()), 'mutant')} of "
        f"{count(len(number), 'case')}; {len(alone)} "
        f"{'has' if len(alone) == 1 else 'have'} one that no other case "
        "catches:", "",
        "| case | its mutants | what only this case sees | mutant |",
        "| --- | --- | --- | --- |", *rows, "",
        "Of these each mutant is caught by some other case as well; why they "
        "are there:", "", *shared, ""])
