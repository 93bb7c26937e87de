"""`make prove`: do the cases bite, and do sound programs pass?

Mutants: each must fail the very case that it names, for the reason that it
names.  Null programs must fail all that is not trivially theirs.  Foreign
programs must come out as tests/foreign says of each.
"""
from __future__ import annotations

import argparse
import dataclasses
import hashlib
import shutil
import time
from collections import Counter
from pathlib import Path

from . import build, golden, manifest, run, selection, turn, variants
from .case import Case, load_cases
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
                                    arguments, console)
    return 0 if good else 1


def plan_of(root: Path, targets: list[Target], lessons: list[Lesson],
            slugs: list[str], cases: dict[str, Case], jobs: int) -> run.Plan:
    """The run of these cases over these programs, ready to be executed."""
    plan = run.Plan(targets, slugs, {lesson.name: lesson.contract
                                     for lesson in lessons}, tools(root),
                    # A null program need not fail under Valgrind as well.
                    leaks=any(target.kind != "null" for target in targets),
                    sweep="yes" if all(target.kind == "mutant"
                                       for target in targets) else "no")
    variants.sanitize(plan, cases, root, jobs)
    return plan


def execute(plan: run.Plan, cases: dict, jobs: int,
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

    outcome = run.execute(plan, cases, jobs, sink) if total \
        else run.Outcome(True)
    console.clear_progress()
    if not outcome.complete:
        raise KeyboardInterrupt
    broken = list(outcome.broken)
    if len(records) != total:
        broken.append(f"{total} case runs were due and {len(records)} came")
    return records, broken


# -- mutants -------------------------------------------------------------------
def mutant_targets(root: Path, mutants: list[Mutant], lessons: list[Lesson],
                   jobs: int) -> list[Target]:
    """All of them, built; each is to be judged by the case that it names."""
    contracts = {lesson.name: lesson for lesson in lessons}
    return build.in_parallel(
        [lambda mutant=mutant: _mutant_target(root, mutant,
                                              contracts[mutant.lesson])
         for mutant in mutants], jobs)


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
    chosen = _chosen(root, [mutant for mutant in every
                            if mutant.case in slugs], arguments.turn)
    kept = golden.Kept(root, {mutant.name: mutant for mutant in every}, cases)
    if arguments.golden:
        chosen = [mutant for mutant in chosen if kept.holds(mutant.name)]
    lacking = lacking_of(root, chosen, lessons)
    problems += [f"{mutant.name}: {mutant.base} fails {mutant.case} as it is"
                 for mutant in chosen if mutant.case in lacking[mutant.name]]
    targets = mutant_targets(root, chosen, lessons, jobs)
    for target in targets:
        target.told = kept.holds(target.program)
    records, broken = execute(plan_of(root, targets, lessons, slugs, cases,
                                      jobs), cases, jobs, console)
    by_name = {mutant.name: mutant for mutant in chosen}
    same, changed = kept.compare(records, arguments.golden)
    problems += changed
    green = [record["program"] for record in records
             if record["verdict"] in ("pass", "fail")]
    others, more_broken = _caught_by_others(
        root, [target for target in targets if target.program in green],
        lacking, lessons, cases, jobs, console)
    tally: Counter = Counter()
    for record in records:
        mutant = by_name[record["program"]]
        if record["verdict"] == "n/a":
            console.line(f"  not tried: {mutant.name} ({mutant.fault}): "
                         f"{record['message']}")
        elif _is_caught(record, mutant):
            tally["caught"] += 1
        else:
            red = record["verdict"] == "gap" or mutant.name in others
            tally["otherwise" if red else "missed"] += 1
            problems.append(_missed(mutant, record,
                                    others.get(mutant.name, [])))
    ran = {record["program"] for record in records}
    problems += [f"{mutant.name}: {mutant.case} is not asked of "
                 f"{mutant.lesson} {mutant.role}"
                 for mutant in chosen if mutant.name not in ran]
    _tell(console, problems + broken + more_broken)
    console.slowest(records, 5)
    console.line(f"mutants: {len(chosen)} built, {tally['caught']} caught by "
                 "the case and for the reason that they name, "
                 f"{tally['otherwise']} otherwise, {tally['missed']} missed; "
                 f"{time.monotonic() - start:.1f} s")
    if arguments.turn == "yes":
        console.line("         one of each case, by the turn of this commit; "
                     f"`make prove` judges all {len(every):,}")
    mine = [mutant for mutant in every if mutant.case in slugs]
    console.line(f"         {_spread(mine, slugs)}; {count(same, 'text')} "
                 "as kept")
    return not problems and not broken and not more_broken


def _chosen(root: Path, mutants: list[Mutant], by_turn: str) -> list[Mutant]:
    """All, or by the turn of the commit one of each case."""
    if by_turn == "no":
        return mutants
    commit = turn.of_commit(root)
    by_case: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        by_case.setdefault(mutant.case, []).append(mutant)
    return [mine[commit % len(mine)] for mine in by_case.values()]


def _is_caught(record: dict, mutant: Mutant) -> bool:
    """Whether its case is red, and for the reason that it names."""
    return record["verdict"] == "gap" and \
        record["evidence"]["kind"] == mutant.kind


def _missed(mutant: Mutant, record: dict, others: list[str]) -> str:
    told = f"{mutant.name} ({mutant.fault})"
    if record["verdict"] == "gap":
        return f"{told}: {record['case']} is red for another reason: " \
               f"{record['evidence']['kind']} instead of {mutant.kind}: " \
               f"{record['message']}"
    if record["verdict"] == "error":
        return f"{told}: {record['message']}\n{record['evidence']['detail']}"
    if record["case"] in others:
        return f"{told}: {record['case']} stays green, and goes red when it " \
               "is asked once more: something else than the fault decides"
    by = f"only {', '.join(others[:5])} " \
         f"{'goes' if len(others) == 1 else 'go'} red" if others \
        else "no case goes red"
    return f"{told}: {record['case']} stays green, {by}"


def _caught_by_others(root: Path, targets: list[Target],
                      lacking: dict[str, set[str]], lessons: list[Lesson],
                      cases: dict, jobs: int, console: Console
                      ) -> tuple[dict[str, list[str]], list[str]]:
    """For mutants that their own case lets pass: the cases that are red."""
    records, broken = execute(
        plan_of(root, [dataclasses.replace(target, cases=None, gaps=[])
                       for target in targets], lessons, list(cases), cases,
                jobs), cases, jobs, console)
    found: dict[str, list[str]] = {}
    for record in records:
        if record["verdict"] == "fail" and \
                record["case"] not in lacking[record["program"]]:
            found.setdefault(record["program"], []).append(record["case"])
    return found, broken


def lacking_of(root: Path, mutants: list[Mutant], lessons: list[Lesson]
               ) -> dict[str, set[str]]:
    """The cases that each mutant's base fails already, as it is."""
    steps = {step.source.relative_to(root): step.gaps for lesson in lessons
             for each in lesson.steps.values() for step in each}
    return {mutant.name: _foreign_gaps(root, mutant) if mutant.is_foreign
            else set(steps.get(mutant.base, ())) for mutant in mutants}


def _foreign_gaps(root: Path, mutant: Mutant) -> set[str]:
    entry = manifest.load_entry(root / mutant.base.parent, mutant.role)
    keys = [key.rpartition(":") for key in entry.gaps]
    return {slug for number, _, slug in keys
            if number in ("", mutant.lesson.split("-")[0])}


def _spread(mutants: list[Mutant], slugs: list[str]) -> str:
    """Of how many programs and authors the mutants of a case are."""
    bases: dict[str, set] = {slug: set() for slug in slugs}
    number: Counter = Counter(mutant.case for mutant in mutants)
    for mutant in mutants:
        bases[mutant.case].add(mutant.base)
    strangers = [mutant for mutant in mutants if mutant.is_foreign]
    return f"{count(len(slugs), 'case')}: " \
           f"{sum(number[slug] >= 3 for slug in slugs)} with three mutants " \
           f"or more, {sum(len(bases[slug]) >= 2 for slug in slugs)} on " \
           f"two programs or more; {len(strangers)} mutants in another " \
           f"author's style"


def _mutant_target(root: Path, mutant: Mutant, lesson: Lesson) -> Target:
    """Write and build a mutant; one that is there already is kept."""
    folder = root / "build" / "mutants" / mutant.name
    parts = [mutant.source, *build.compiler(), *build.CFLAGS]
    entry = None
    if mutant.is_foreign:
        origin = root / mutant.base.parent
        entry = manifest.load_entry(origin, mutant.role)
        parts += [path.read_text() for path in sorted(origin.rglob("*"))
                  if path.is_file()]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    stamp = folder / "stamp"
    if not stamp.exists() or stamp.read_text() != digest:
        if folder.exists():
            shutil.rmtree(folder)
        _build_mutant(root, mutant, folder, entry)
        stamp.write_text(digest)
    target = Target(mutant.lesson, mutant.role, mutant.name,
                    [str(folder / mutant.role)], lesson.contract,
                    gaps=[mutant.case], cases=[mutant.case], kind="mutant",
                    source=str(folder))
    if not entry:
        target.sources = [str(folder / f"{mutant.role}.c")]
    if entry:
        target.command = manifest.command_of(entry, folder, root)
        target.port_mode, target.memory = entry.port, entry.memory
    return target


def _build_mutant(root: Path, mutant: Mutant, folder: Path,
                  entry: manifest.Entry | None) -> None:
    try:
        if entry:
            shutil.copytree(root / mutant.base.parent, folder)
            (folder / mutant.base.name).write_text(mutant.source)
            manifest.build_entry(entry, folder, root)
        else:
            folder.mkdir(parents=True)
            source = folder / f"{mutant.role}.c"
            source.write_text(mutant.source)
            build.compile_program([source], folder / mutant.role, root,
                                  warnings=False)
    except build.BuildError as error:
        raise build.BuildError(f"mutant {mutant.name} can't be built:"
                               f"\n{error}") from None


# -- null and foreign programs -----------------------------------------------------
def _prove_programs(root: Path, kind: str, lessons: list[Lesson],
                    cases: dict, slugs: list[str],
                    arguments: argparse.Namespace, console: Console) -> bool:
    start = time.monotonic()
    jobs = arguments.jobs
    targets = manifest.expected_targets(root, root / "tests" / kind, lessons,
                                        cases, kind, jobs)
    if arguments.turn == "yes":
        commit = turn.of_commit(root)
        for number, target in enumerate(targets):
            turn.leave_out(target, commit + number, slugs)
    records, broken = execute(plan_of(root, targets, lessons, slugs, cases,
                                      jobs), cases, jobs, console)
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
    for told in manifest.left_out(root / "tests" / kind):
        console.line(f"  not tried: {told}")
    _tell(console, problems + broken)
    console.slowest(records, 5)
    console.line(f"{kind} programs: {len(targets)}, "
                 f"{count(len(records), 'case run')}, "
                 f"{len(problems)} not as told; "
                 f"{time.monotonic() - start:.1f} s")
    if arguments.turn == "yes":
        console.line(f"         one in {turn.SHARE} of the cases of each, by "
                     "the turn of this commit; `make prove` asks all")
    return not problems and not broken


def _tell(console: Console, problems: list[str]) -> None:
    for text in problems:
        console.line(console.paint("  not so: ", "red") + text)
