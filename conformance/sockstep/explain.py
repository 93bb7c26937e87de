"""`make explain CASE=..`: what a case asks for, why, and how to see it."""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import run, selection
from .case import Case, load_cases
from .console import Console, _fit
from .contract import ROLES, load_lessons
from .mutants import load_mutants


def main(root: Path, arguments: argparse.Namespace) -> int:
    cases = load_cases(run.CASES)
    console = Console()
    for slug in selection.cases(cases, arguments.case):
        _tell(console, root, cases[slug])
    return 0


def requirements(root: Path) -> str:
    """docs/requirements.md: every case, in one table for each role."""
    lines = ["# Requirements", "",
             "Made by `make requirements` from the cases; do not edit. "
             "`make explain CASE=..`", "tells more of each: why it matters, "
             "hints, how to see it by hand.", ""]
    cases = load_cases(run.CASES).values()
    mutants = [mutant.case for mutant in load_mutants(root)]
    for role in ROLES:
        mine = [entry for entry in cases if entry.role == role]
        if not mine:
            continue
        lines += [f"## Of a {role}: {len(mine)} cases", "",
                  "| case | level | requirement | source | asked of | "
                  "mutants |", "| --- | --- | --- | --- | --- | --- |"]
        for entry in mine:
            lines.append(
                f"| `{entry.slug}` | {entry.level} | {entry.requirement} | "
                f"{entry.source} | {_asked_of(root, entry)} | "
                f"{mutants.count(entry.slug)} |".replace("\n", " "))
        lines.append("")
    return "\n".join(lines)


def _asked_of(root: Path, entry: Case) -> str:
    return ", ".join(lesson.number for lesson in load_lessons(root)
                     if entry.asked_by(lesson.contract))


def _tell(console: Console, root: Path, entry: Case) -> None:
    def paragraph(head: str, text: str) -> None:
        console.line(f"  {console.paint(f'{head:9}', 'cyan')}"
                     + _fit(text, console.width - 11, " " * 11).lstrip())

    console.line()
    console.line(f"{console.paint(entry.slug, 'bold')}  {entry.role}, "
                 f"{entry.level}, {entry.points} points, {entry.group}")
    paragraph("asked", entry.requirement)
    for text in entry.why.split("\n\n"):
        paragraph("why", text)
    paragraph("source", entry.source)
    faults = [mutant.fault for mutant in load_mutants(root)
              if mutant.case == entry.slug]
    for text in dict.fromkeys(faults):
        paragraph("catches", text)
    if entry.by_hand:
        console.line(f"  {console.paint('by hand', 'cyan')}")
        for text in entry.by_hand.splitlines():
            console.line("    " + text)
    _tell_hints(console, entry)


def _tell_hints(console: Console, entry: Case) -> None:
    """One hint at a time where somebody sits in front of it."""
    asks = console.live and sys.stdin.isatty()
    for number, hint in enumerate(entry.hints, start=1):
        if asks:
            console.stream.write(f"  hint {number} of {len(entry.hints)}: "
                                 "press Enter to see it, q to stop ")
            console.stream.flush()
            if sys.stdin.readline().strip():
                return
        console.line(f"  {console.paint(f'hint {number}', 'cyan')}   "
                     + _fit(hint, console.width - 11, " " * 11).lstrip())
