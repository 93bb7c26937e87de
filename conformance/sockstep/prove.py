"""`make prove`: do the cases bite, and do sound programs pass?

Mutants: each must fail the very case that it names, for the reason that it
names.  Null programs must fail all that is not trivially theirs.  Foreign
programs must come out as tests/foreign says of each.
"""
from __future__ import annotations

import argparse
import hashlib
import time
from collections import Counter
from pathlib import Path

from . import build, golden, manifest, run, selection
from .case import load_cases
from .console import Console
from .contract import Lesson, Target, load_lessons
from .mutants import Mutant, load_mutants
from .tools import tools
from .transcript import count

PARTS = ("mutants", "null", "foreign")


def main(root: Path, arguments: argparse.Namespace) -> int:
    console = Console()
    lessons = load_lessons(root)
    cases = load_cases(run.CASES)
    slugs = selection.cases(cases, arguments.case)
    parts = [arguments.only] if arguments.only else PARTS
    good = True
    if "mutants" in parts:
        good &= _prove_mutants(root, lessons, cases, slugs, arguments,
                               console)
    for kind in ("null", "foreign"):
        if kind in parts:
            good &= _prove_programs(root, kind, lessons, cases, slugs,
                                    arguments.jobs, console)
    return 0 if good else 1


def _plan(root: Path, targets: list[Target], lessons: list[Lesson],
          slugs: list[str]) -> run.Plan:
    return run.Plan(targets, slugs, {lesson.name: lesson.contract
                                     for lesson in lessons}, tools(root),
                    # A null program need not fail under Valgrind as well.
                    leaks=any(target.kind != "null" for target in targets),
                    sweep=all(target.kind == "mutant" for target in targets))


def _execute(plan: run.Plan, cases: dict, jobs: int,
             console: Console) -> tuple[list[dict], list[str]]:
    """Run a plan with progress; the records, and what broke the harness."""
    total = sum(plan.runs(cases[slug], target) for target in plan.targets
                for slug in plan.slugs)
    records: list[dict] = []
    tally: Counter = Counter()

    def sink(record: dict) -> None:
        records.append(record)
        tally[record["verdict"]] += 1
        console.progress(len(records), total, tally,
                         f"{record['program']} {record['case']}")

    outcome = run.execute(plan, jobs, sink) if total else run.Outcome(True)
    console.clear_progress()
    if not outcome.complete:
        raise KeyboardInterrupt
    broken = list(outcome.broken)
    if len(records) != total:
        broken.append(f"{total} case runs were due and {len(records)} came")
    return records, broken


# -- mutants -------------------------------------------------------------------
def _prove_mutants(root: Path, lessons: list[Lesson], cases: dict,
                   slugs: list[str], arguments: argparse.Namespace,
                   console: Console) -> bool:
    start = time.monotonic()
    jobs = arguments.jobs
    every = load_mutants(root)
    problems = [f"{mutant.name} names no case: {mutant.case}"
                for mutant in every if mutant.case not in cases]
    bitten = {mutant.case for mutant in every}
    problems += [f"{slug} has no mutant: nothing shows that it bites"
                 for slug in slugs if slug not in bitten]
    chosen = [mutant for mutant in every if mutant.case in slugs]
    contracts = {lesson.name: lesson for lesson in lessons}
    targets = build.in_parallel(
        [lambda mutant=mutant: _mutant_target(root, mutant,
                                              contracts[mutant.lesson])
         for mutant in chosen], jobs)
    records, broken = _execute(_plan(root, targets, lessons, slugs), cases,
                               jobs, console)
    by_name = {mutant.name: mutant for mutant in chosen}
    caught = 0
    kept = golden.load(root)
    if unknown := set(kept) - {mutant.name for mutant in every}:
        problems.append(f"{golden.path(root).name} names no mutant: "
                        + ", ".join(sorted(unknown)))
    fresh = {record["program"]: golden.told(root, by_name[record["program"]],
                                            record)
             for record in records if record["program"] in kept
             and record["verdict"] != "n/a"}
    if arguments.golden:
        golden.write(root, fresh)
    problems += [f"{name}: what is told has changed (see `make golden`), "
                 f"from\n{kept[name]}\nto\n{text}"
                 for name, text in fresh.items()
                 if text != kept[name] and not arguments.golden]
    for record in records:
        mutant = by_name[record["program"]]
        told = f"{mutant.name} ({mutant.fault})"
        if record["verdict"] == "gap" and \
                record["evidence"]["kind"] == mutant.kind:
            caught += 1
        elif record["verdict"] == "gap":
            problems.append(f"{told}: {record['case']} is red for another "
                            f"reason: {record['evidence']['kind']} instead "
                            f"of {mutant.kind}: {record['message']}")
        elif record["verdict"] == "n/a":
            console.line(f"  not tried: {told}: {record['message']}")
        elif record["verdict"] == "error":
            problems.append(f"{told}: {record['message']}\n"
                            f"{record['evidence']['detail']}")
        else:
            problems.append(f"{told}: {record['case']} stays green")
    ran = {record["program"] for record in records}
    problems += [f"{mutant.name}: {mutant.case} is not asked of "
                 f"{mutant.lesson} {mutant.role}"
                 for mutant in chosen if mutant.name not in ran]
    _tell(console, problems + broken)
    console.line(f"mutants: {len(chosen)} built, {caught} caught by the case "
                 f"that they name, {len(chosen) - caught} not; "
                 f"{len(slugs)} cases, "
                 f"{len([slug for slug in slugs if slug in bitten])} with a "
                 f"mutant; {count(len(fresh), 'message')} as kept; "
                 f"{time.monotonic() - start:.1f} s")
    return not problems and not broken


def _mutant_target(root: Path, mutant: Mutant, lesson: Lesson) -> Target:
    """Write and compile a mutant; one that is there already is kept."""
    folder = root / "build" / "mutants" / mutant.name
    source = folder / f"{mutant.role}.c"
    program = folder / mutant.role
    stamp = folder / "stamp"
    digest = hashlib.sha256("\0".join(
        [mutant.source, *build.compiler(), *build.CFLAGS]).encode()
    ).hexdigest()
    if not program.exists() or not stamp.exists() or \
            stamp.read_text() != digest:
        folder.mkdir(parents=True, exist_ok=True)
        source.write_text(mutant.source)
        try:
            build.compile_program([source], program, root, warnings=False)
        except build.BuildError as error:
            raise build.BuildError(f"mutant {mutant.name} does not compile:"
                                   f"\n{error}") from None
        stamp.write_text(digest)
    return Target(mutant.lesson, mutant.role, mutant.name, [str(program)],
                  lesson.contract, gaps=[mutant.case], cases=[mutant.case],
                  kind="mutant", source=str(folder))


# -- null and foreign programs -----------------------------------------------------
def _prove_programs(root: Path, kind: str, lessons: list[Lesson],
                    cases: dict, slugs: list[str], jobs: int,
                    console: Console) -> bool:
    start = time.monotonic()
    targets = manifest.expected_targets(root, root / "tests" / kind, lessons,
                                        cases, kind)
    records, broken = _execute(_plan(root, targets, lessons, slugs), cases,
                               jobs, console)
    problems = [f"{record['lesson']}/{record['program']}: {record['case']}: "
                f"{record['verdict']}: {record['message']}"
                for record in records
                if record["verdict"] not in ("pass", "gap", "n/a")]
    ran = {f"{record['lesson']}/{record['program']}" for record in records}
    targets = [target for target in targets if target.key in ran]
    for target in targets:
        mine = Counter(record["verdict"] for record in records
                       if f"{record['lesson']}/{record['program']}"
                       == target.key)
        console.line(f"  {target.key:56} {mine['pass']:3} pass "
                     f"{mine['gap']:3} fail as told"
                     + (f" {mine['fail'] + mine['error']:3} otherwise"
                        if mine["fail"] + mine["error"] else ""))
    _tell(console, problems + broken)
    console.line(f"{kind} programs: {len(targets)}, "
                 f"{count(len(records), 'case run')}, "
                 f"{len(problems)} not as told; "
                 f"{time.monotonic() - start:.1f} s")
    return not problems and not broken


def _tell(console: Console, problems: list[str]) -> None:
    for text in problems:
        console.line(console.paint("  not so: ", "red") + text)
