"""`make soak N=..`: the same cases again and again, with busy processors.

A verdict that is not the one that the contract and lesson.toml have is false:
the programs and the cases do not change between two runs.
"""
from __future__ import annotations

import argparse
import os
import subprocess
import time
from collections import Counter
from pathlib import Path

from . import run, selection
from .case import load_cases
from .console import Console
from .contract import load_lessons, step_target
from .tools import tools
from .transcript import count


def main(root: Path, arguments: argparse.Namespace) -> int:
    lessons = load_lessons(root)
    cases = load_cases(run.CASES)
    chosen = selection.steps(
        selection.lessons(lessons, arguments.lesson),
        selection.role(arguments.role), arguments.step)
    plan = run.Plan([step_target(step, root) for step in chosen],
                    selection.cases(cases, arguments.case),
                    {lesson.name: lesson.contract for lesson in lessons},
                    tools(root), arguments.leaks == "yes")
    console = Console()
    busy = _burners(arguments.load)
    try:
        return _soak(plan, arguments, console)
    finally:
        for burner in busy:
            burner.kill()
            burner.wait()


def _burners(number: int) -> list[subprocess.Popen]:
    """Processes that keep so many processors busy until they are killed."""
    return [subprocess.Popen(["sh", "-c", "while :; do :; done"],
                             stdin=subprocess.DEVNULL)
            for _ in range(number)]


def _soak(plan: run.Plan, arguments: argparse.Namespace,
          console: Console) -> int:
    start = time.monotonic()
    false: Counter = Counter()
    slowest: dict[str, float] = {}
    runs = done = 0
    for runs in range(1, arguments.n + 1):
        tally: Counter = Counter()

        def sink(record: dict) -> None:
            tally[record["verdict"]] += 1
            name = f"{record['case']} {record['program']}"
            slowest[name] = max(slowest.get(name, 0.0), record["seconds"])
            console.progress(runs, arguments.n, tally, name)
            if record["verdict"] in ("fail", "error"):
                false[name] += 1
                console.line(f"run {runs}: {record['verdict']} {name}: "
                             f"{record['message']}")
                console.line(record["evidence"]["detail"])

        outcome = run.execute(plan, arguments.jobs, sink)
        done += sum(tally.values())
        if runs % 10 == 0 and not console.live:
            console.line(f"run {runs}: {done:,} case runs, "
                         f"{count(sum(false.values()), 'false verdict')}")
        if outcome.broken or not outcome.complete:
            console.line("\n".join(outcome.broken) or "interrupted")
            break
    whole = outcome.complete and not outcome.broken
    console.line(
        f"{count(runs, 'run')}, {count(done, 'case run')} in "
        f"{time.monotonic() - start:.0f} s with {arguments.load} busy loops "
        f"on {os.cpu_count()} processors and {arguments.jobs} jobs: "
        f"{count(sum(false.values()), 'false verdict')}")
    slow = sorted(slowest.items(), key=lambda item: -item[1])[:5]
    console.line("slowest: " + ", ".join(f"{name} {seconds:.2f}s"
                                         for name, seconds in slow))
    return 0 if done and whole and not false else 1
