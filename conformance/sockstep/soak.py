"""`make soak N=..`: the same cases again and again, on a troubled machine.

A verdict that is not the one that the contract and lesson.toml have is false:
the programs and the cases do not change between two runs.  Each run has the
next of the troubles that were chosen; busy loops run beside all of them.
"""
from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from . import run, selection, variants
from .case import Case, load_cases
from .console import Console
from .contract import load_lessons, step_target
from .tools import tools
from .transcript import count


#: Memory that is taken and given back all the time, in bytes.
CHURN_BYTES = 1 << 30
LISTENERS = 100
#: Where no terminal shows the progress, a line tells of it so often.
LINE_SECONDS = 60.0


@contextlib.contextmanager
def _nothing_else() -> Iterator[None]:
    """Only the busy loops."""
    yield


@contextlib.contextmanager
def _memory() -> Iterator[None]:
    """A process takes much memory, touches it, and gives it back, for ever."""
    with _processes([[sys.executable, "-ISc",
                      f"while True: bytearray({CHURN_BYTES})"]]):
        yield


@contextlib.contextmanager
def _one_processor() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextlib.contextmanager
def _low_priority() -> Iterator[None]:
    """All that is run has the lowest priority; the busy loops have not.

    Who is not root can't raise it again: then the runs that follow keep it.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)


@contextlib.contextmanager
def _listeners() -> Iterator[None]:
    """A hundred other sockets listen."""
    with contextlib.ExitStack() as stack:
        for _ in range(LISTENERS):
            stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        yield


TROUBLES = {"busy": _nothing_else, "memory": _memory,
            "one-processor": _one_processor, "low-priority": _low_priority,
            "listeners": _listeners}


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
    variants.sanitize(plan, cases, root, arguments.jobs)
    troubles = selection.words(arguments.under) or list(TROUBLES)
    if unknown := [word for word in troubles if word not in TROUBLES]:
        raise selection.NoMatch(f"UNDER= has no '{unknown[0]}'; there is: "
                                + ", ".join(TROUBLES))
    console = Console()
    with _processes([["sh", "-c", "while :; do :; done"]] * arguments.load):
        return _soak(plan, cases, troubles, arguments, console)


@contextlib.contextmanager
def _processes(commands: list[list[str]]) -> Iterator[None]:
    """Run these commands, which never end, until the block does."""
    running: list[subprocess.Popen] = []
    try:
        for command in commands:
            running.append(subprocess.Popen(command,
                                            stdin=subprocess.DEVNULL))
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def _soak(plan: run.Plan, cases: dict[str, Case], troubles: list[str],
          arguments: argparse.Namespace, console: Console) -> int:
    start = told = time.monotonic()
    false: Counter = Counter()
    slowest: dict[str, float] = {}
    runs = done = 0
    first = run.fresh_seed() if arguments.seed is None else arguments.seed
    for runs in range(1, arguments.n + 1):
        tally: Counter = Counter()
        trouble = troubles[(runs - 1) % len(troubles)]
        plan.seed = (first + runs - 1) % (run.MOST_SEED + 1)

        def sink(record: dict) -> None:
            tally[record["verdict"]] += 1
            name = f"{record['case']} {record['program']}"
            slowest[name] = max(slowest.get(name, 0.0), record["seconds"])
            console.progress(runs, arguments.n, tally, name)
            if record["verdict"] in ("fail", "error"):
                false[name] += 1
                console.line(f"run {runs}, {trouble}, seed {plan.seed}: "
                             f"{record['verdict']} {name}: "
                             f"{record['message']}")
                console.line(record["evidence"]["detail"])

        with TROUBLES[trouble]():
            # By workers: else what makes the load were taken for something
            # that a program has left behind.
            outcome = run.execute(plan, cases, max(1, arguments.jobs), sink)
        done += sum(tally.values())
        if not console.live and time.monotonic() - told > LINE_SECONDS:
            told = time.monotonic()
            console.line(f"run {runs}: {done:,} case runs, "
                         f"{count(sum(false.values()), 'false verdict')}")
        if outcome.broken or not outcome.complete:
            console.line("\n".join(outcome.broken) or "interrupted")
            break
    whole = outcome.complete and not outcome.broken
    console.line(
        f"{count(runs, 'run')}, {count(done, 'case run')} in "
        f"{time.monotonic() - start:.0f} s with {arguments.load} busy loops "
        f"on {os.cpu_count()} processors and {arguments.jobs} jobs, under "
        f"{', '.join(troubles[:runs])}: "
        f"{count(sum(false.values()), 'false verdict')}")
    slow = sorted(slowest.items(), key=lambda item: -item[1])[:5]
    console.line("slowest: " + ", ".join(f"{name} {seconds:.2f}s"
                                         for name, seconds in slow))
    return 0 if done and whole and not false else 1
