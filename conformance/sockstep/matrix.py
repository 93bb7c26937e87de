"""`make matrix`: every mutant against every case, into docs/mutants.md.

A case of which each mutant is also caught by other cases proves nothing that
these do not: it is listed, to be looked at.  Cases under Valgrind are asked
only of the mutants that name them, since they take most of the time.
"""
from __future__ import annotations

import argparse
import dataclasses
import time
from collections import defaultdict
from pathlib import Path

from . import prove, run, selection
from .case import load_cases
from .console import Console
from .contract import load_lessons
from .mutants import Mutant, load_mutants
from .transcript import count


def main(root: Path, arguments: argparse.Namespace) -> int:
    console = Console()
    start = time.monotonic()
    lessons = load_lessons(root)
    cases = load_cases(run.CASES)
    mutants = load_mutants(root)
    slugs = selection.cases(cases, arguments.case)
    chosen = [mutant for mutant in mutants if mutant.case in slugs]
    targets = [dataclasses.replace(target, gaps=[], cases=[
        slug for slug, entry in cases.items()
        if not entry.leaks and not entry.sweep or slug in target.cases])
        for target in prove.mutant_targets(root, chosen, lessons,
                                           arguments.jobs)]
    records, broken = prove.execute(
        prove.plan_of(root, targets, lessons, list(cases), cases,
                      arguments.jobs), cases, arguments.jobs, console)
    lacking = prove.lacking_of(root, chosen, lessons)
    red: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record["verdict"] == "fail" and \
                record["case"] not in lacking[record["program"]]:
            red[record["program"]].add(record["case"])
    text = table(chosen, red)
    if arguments.case is None and not broken:
        (root / "docs/mutants.md").write_text(text)
    else:
        console.line(text)
    for problem in broken:
        console.line(problem)
    console.line(f"matrix: {count(len(chosen), 'mutant')}, "
                 f"{count(len(records), 'case run')}, "
                 f"{time.monotonic() - start:.0f} s")
    return 1 if broken else 0


def table(mutants: list[Mutant], red: dict[str, set[str]]) -> str:
    """The text of docs/mutants.md; `red`: the cases that catch a mutant."""
    by_case: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        by_case[mutant.case].append(mutant)
    rows, shared = [], []
    for slug, mine in sorted(by_case.items()):
        alone = [each for each in mine if red[each.name] == {slug}]
        also = set.intersection(*(red[each.name] - {slug} for each in mine))
        bases = {each.base for each in mine}
        authors = {each.author for each in mine}
        rows.append(f"| `{slug}` | {len(mine)} | {len(bases)} | "
                    f"{len(authors)} | {len(alone)} | "
                    f"{', '.join(f'`{each}`' for each in sorted(also)[:4])} |")
        if not alone:
            shared.append(slug)
    return "\n".join([
        "# Which case catches which mutant", "",
        "Made by `make matrix`, which judges every mutant by every case of "
        "its lesson; do not edit.",
        "Cases that run under Valgrind, and the fault sweep, are asked only "
        "of the mutants that name them.", "",
        f"{count(len(mutants), 'mutant')} of {count(len(by_case), 'case')}; "
        f"{_have(len(by_case) - len(shared))} a mutant that no other case "
        "catches.", "",
        "| case | mutants | programs | authors | caught by it alone | "
        "each is caught by these too |",
        "| --- | --- | --- | --- | --- | --- |", *rows, "",
        "Of these cases each mutant is caught by another case as well:",
        "", *(f"- `{slug}`" for slug in shared), ""])


def _have(number: int) -> str:
    return f"{count(number, 'case')} {'has' if number == 1 else 'have'}"
