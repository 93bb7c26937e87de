"""`make check`: judge steps, or a submission."""
from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from . import (
    build, procfs, run, seal, selection, submission, turn, variants)
from .case import Case, load_cases
from .console import Console
from .contract import Lesson, Target, load_lessons, step_target
from .page import write_page
from .results import Results, environment
from .tools import tools
from .transcript import count


def main(root: Path, arguments: argparse.Namespace) -> int:
    if not procfs.supported():
        print("sockstep: the call numbers of this processor are not known; "
              "x86_64 and aarch64 are", file=sys.stderr)
        return 2
    all_lessons = load_lessons(root)
    cases = load_cases(run.CASES)
    chosen = selection.lessons(all_lessons, arguments.lesson)
    roles = selection.role(arguments.role)
    slugs = selection.cases(cases, arguments.case)
    with tempfile.TemporaryDirectory(prefix="submission.",
                                     dir=root / "build") as scratch:
        sealed = seal.seal(root) if arguments.submission else {}
        if arguments.submission:
            if arguments.step:
                raise selection.NoMatch("STEP= is for the steps of the kit; "
                                        "a submission has none")
            if arguments.turn == "yes":
                raise selection.NoMatch("TURN=yes is for the steps of the kit; "
                                        "a submission is asked all")
            targets = submission.targets(
                root, Path(arguments.submission), all_lessons,
                chosen if arguments.lesson else [], roles, Path(scratch))
            if changed := seal.broken(root, sealed):
                for target in targets:
                    target.build_error = "its build has changed " \
                        + seal.told(changed)
        else:
            targets = [step_target(step, root) for step in
                       selection.steps(chosen, roles, arguments.step)]
            targets = _able(targets)
            if arguments.turn == "yes":
                _leave_out(targets, all_lessons, cases, root,
                           bool(arguments.variant))
        if arguments.variant:
            targets = _variants(targets, root, arguments)
        plan = run.Plan(targets, slugs, {lesson.name: lesson.contract
                                         for lesson in all_lessons},
                        tools(root), arguments.leaks == "yes",
                        arguments.sweep,
                        run.fresh_seed() if arguments.seed is None
                        else arguments.seed)
        variants.sanitize(plan, cases, root, arguments.jobs)
        if arguments.variant:
            plan.tools = variants.tools(arguments.variant, root, plan.tools)
        return judge(plan, cases, all_lessons, root, arguments, sealed)


def _able(targets: list[Target]) -> list[Target]:
    """Those that this system lets run: it may forbid io_uring(7)."""
    rings = [target for target in targets if target.contract.calls == "ring"]
    why = procfs.lacks_io_uring() if rings else ""
    if not why:
        return targets
    print("sockstep: not judged, since this system has no io_uring for them "
          f"({why}): " + ", ".join(target.key for target in rings),
          file=sys.stderr)
    return [target for target in targets if target not in rings]


def _leave_out(targets: list[Target], lessons: list[Lesson],
               cases: dict[str, Case], root: Path, in_variant: bool) -> None:
    """Ask the slow cases by turn, but of the last steps all of them; of a
    variant, whose steps are judged without it as well, every case.
    """
    last = {f"{step.lesson}/{step.program}" for lesson in lessons
            for steps in lesson.steps.values() for step in steps[-1:]}
    slow = [slug for slug, entry in cases.items()
            if in_variant or turn.is_slow(entry)]
    commit = turn.of_commit(root)
    for number, target in enumerate(targets):
        target.cases = list(cases)
        if in_variant or target.key not in last:
            turn.leave_out(target, commit + number, slow)
    what = f"One in {turn.SHARE} of the cases of each program" if in_variant \
        else "The cases under Valgrind and with sanitizers: one in " \
        f"{turn.SHARE} of each step but the last"
    print(f"{what},\nby the turn of this commit; without TURN=yes all.")


def _variants(targets: list[Target], root: Path,
              arguments: argparse.Namespace) -> list[Target]:
    """The programs built in that way, as far as they can be."""
    kind = arguments.variant
    able = [target for target in targets
            if target.build_error or variants.can_be(target, kind)]
    if left := [target.key for target in targets if target not in able]:
        print(f"sockstep: not with {kind}, since they need libraries beyond "
              f"libc, or are not built by the kit: {', '.join(left)}",
              file=sys.stderr)
    variants.make_library(kind, root)
    made = build.in_parallel(
        [lambda target=target: target if target.build_error else
         variants.made(target, kind, root) for target in able],
        arguments.jobs or 1)
    if kind == "address" and arguments.leaks == "no":
        for target in made:
            target.variant = "bounds"
    return made


def judge(plan: run.Plan, cases: dict, lessons: list[Lesson], root: Path,
          arguments: argparse.Namespace, sealed: seal.Seal) -> int:
    """Run the plan, show it, write the report; the exit status.

    `sealed`: the files of the kit that a submission must leave as they are.
    """
    console = Console()
    asked = [(cases[slug], target) for target in plan.targets
             for slug in plan.slugs]
    total = sum(plan.runs(entry, target) for entry, target in asked)
    unbuilt = [run.not_built(entry, target) for entry, target in asked
               if target.build_error and plan.applies(entry, target)]
    if total + len(unbuilt) == 0:
        print("sockstep: no case matches: the contract asks none of these "
              "cases of these programs"
              + ("" if plan.leaks else " (LEAKS=no leaves out those that "
                 "look for leaks)"), file=sys.stderr)
        return 2

    out = Path(arguments.out) if arguments.out else root / "build/report"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise selection.NoMatch(f"no report can be written to OUT={out}: "
                                f"{error.strerror}") from None
    results = Results(out / "results.json",
                      environment(_command(arguments, plan.seed),
                                  arguments.jobs, plan.seed),
                      cases, plan.targets, lessons)
    tally: Counter = Counter()
    start = time.monotonic()

    def sink(record: dict) -> None:
        results.add(record)
        tally[record["verdict"]] += 1
        console.progress(sum(tally.values()), total + len(unbuilt), tally,
                         f"{record['program']} {record['case']}")

    console.progress(0, total + len(unbuilt), tally, "starting")
    for record in unbuilt:
        sink(record)
    outcome = run.execute(plan, cases, min(arguments.jobs, total), sink) \
        if total else run.Outcome(True)
    seconds = time.monotonic() - start
    judged = list(results.records)
    changed = seal.broken(root, sealed) if sealed and total else []
    if changed:
        outcome.noticed.append("nothing of this run counts: a program has "
                               f"changed {seal.told(changed)}")
    complete = outcome.complete and not outcome.broken and not changed and \
        len(judged) == total + len(unbuilt)
    for entry, target in asked:
        if entry.role == target.role and not plan.applies(entry, target):
            results.add(run.not_asked(entry, target))
    submitted = bool(getattr(arguments, "submission", None))
    score = _score([] if changed else judged, plan, asked) if submitted \
        else None
    results.finish(seconds, complete, score)
    write_page(results.as_json(), out / "index.html")

    order = {slug: number for number, slug in enumerate(cases)}
    names = [target.key for target in plan.targets]
    judged.sort(key=lambda record: (
        names.index(f"{record['lesson']}/{record['program']}"),
        order[record["case"]]))
    bad = [record for record in judged
           if record["verdict"] in ("fail", "error")]
    if submitted:
        console.marks(judged, cases)
    else:
        console.ladder(judged, plan.targets, lessons)
    _tell_failures(console, bad, cases, submitted)
    _tell_end(console, judged, tally, total + len(unbuilt), seconds, outcome,
              plan.seed, out)
    if submitted:
        _tell_left_out(console, plan, cases)
    if score:
        console.line()
        console.line(console.paint(
            f"Score: {score['points']}/{score['of']}", "bold"))
    if not outcome.complete:
        return 130
    return 0 if not bad and complete else 1


def _score(judged: list[dict], plan: run.Plan, asked: list) -> dict:
    """Points of what passed, of all that is asked for and was chosen."""
    of = sum(entry.points for entry, target in asked
             if plan.applies(entry, target) and
             (plan.leaks or not entry.leaks) and
             (plan.sweep != "no" or not entry.sweep))
    got = sum(record["points"] for record in judged
              if record["verdict"] == "pass")
    return {"points": got, "of": of}


def _tell_left_out(console: Console, plan: run.Plan, cases: dict) -> None:
    """What a program.toml has kept from being asked, and what it is worth."""
    for target in plan.targets:
        usual = dataclasses.replace(target, memory="own", command=["usual"])
        left = [cases[slug] for slug in plan.slugs
                if plan.applies(cases[slug], usual) and
                not plan.applies(cases[slug], target)]
        if left:
            points = sum(entry.points for entry in left)
            console.line(f"not asked of the {target.role}, as its "
                         f"program.toml has it: {count(len(left), 'case')}, "
                         f"{count(points, 'point')}")


def _command(arguments: argparse.Namespace, seed: int) -> str:
    words = ["make", "check"]
    for name in ("lesson", "role", "step", "case", "submission"):
        value = getattr(arguments, name, None)
        if value:
            words.append(f"{name.upper()}={shlex.quote(value)}")
    if getattr(arguments, "leaks", None) == "no":
        words.append("LEAKS=no")
    if getattr(arguments, "sweep", "no") != "no":
        words.append(f"SWEEP={shlex.quote(arguments.sweep)}")
    if getattr(arguments, "variant", None):
        words.append(f"VARIANT={arguments.variant}")
    return " ".join([*words, f"SEED={seed}"])


def _tell_failures(console: Console, bad: list[dict], cases: dict,
                   submitted: bool) -> None:
    if submitted:                   # marks have told what was not built
        bad = [record for record in bad
               if record["evidence"]["kind"] != "build"]
    if not bad:
        return
    console.failure(bad[0], cases[bad[0]["case"]])
    if len(bad) > 1 and not submitted:      # marks have told them already
        console.line()
        for record in bad[1:25]:
            console.brief(record)
        if len(bad) > 25:
            console.line(f"... and {len(bad) - 25} more: see the report")


def _tell_end(console: Console, judged: list[dict], tally: Counter,
              total: int, seconds: float, outcome: run.Outcome,
              seed: int, out: Path) -> None:
    console.line()
    for text in outcome.broken:
        console.line(console.paint("the harness itself failed:", "red"))
        console.line(text)
    for text in outcome.noticed:
        console.line(console.paint("noticed: ", "red") + text)
    if not outcome.complete:
        console.line(f"interrupted: {len(judged)} of {total} case runs were "
                     "done; their results are kept")
    if len(judged) > 20:
        console.slowest(judged)
    console.sweeps(judged)
    if tally["n/a"]:
        why = next(record["message"] for record in judged
                   if record["verdict"] == "n/a")
        console.line(f"{count(tally['n/a'], 'case run')} could not be judged "
                     f"on this machine: {why}")
    console.line(
        f"{count(len(judged), 'case run')} in {seconds:.1f} s: "
        + console.paint(f"{tally['pass']} pass", "green")
        + (f", {tally['gap']} gaps as listed" if tally["gap"] else "")
        + ", " + console.paint(f"{tally['fail']} failed",
                               "red" if tally["fail"] else "dim")
        + (", " + console.paint(count(tally["error"], "error"), "red")
           if tally["error"] else ""))
    console.line(f"seed: {seed}; SEED={seed} sends the same bytes again")
    if out.resolve().is_relative_to(Path.cwd()):
        out = out.resolve().relative_to(Path.cwd())
    console.line(f"report: {out}/index.html, {out}/results.json")
