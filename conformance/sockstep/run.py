"""One run of the cases over some programs, by pytest (and xdist).

`execute` hands a plan to pytest and gives each record to `sink` as soon as it
is there.  Records are plain data in the form of results.json.
"""
from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import secrets
import signal
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from . import confine, procfs
from .case import Case, applies
from .contract import Contract, Target
from .failure import Failure, Unsupported
from .tools import Tools

CASES = Path(__file__).parent.parent / "cases"
#: "no": who serves nobody may pass as well, for tests of the runner itself.
PROOF_VARIABLE = "SOCKSTEP_PROOF"
#: How often the workers are looked after.
GUARD_SECONDS = 0.3


#: Seeds are numbers from 0 up to this.
MOST_SEED = 999_999_999


def fresh_seed() -> int:
    """A seed that nobody can know before the run."""
    return secrets.randbelow(MOST_SEED + 1)


@dataclass
class Plan:
    """What is to be run: programs, and which cases of those that apply."""

    targets: list[Target]
    slugs: list[str]
    lesson_contracts: dict[str, Contract]
    tools: Tools
    leaks: bool = True
    sweep: str = "no"           # or yes, or the one plan that is played
    seed: int = 0               # of the bytes that are sent: see `data`
    proof: bool = field(        # who serves nobody passes nothing: `proof`
        default_factory=lambda: os.environ.get(PROOF_VARIABLE) != "no")

    def runs(self, entry: Case, target: Target) -> bool:
        """Whether this case is run on this program."""
        return entry.slug in self._slugs and not target.build_error and \
            (self.leaks or not entry.leaks) and \
            (self.sweep != "no" or not entry.sweep) and \
            (target.cases is None or entry.slug in target.cases) and \
            self.applies(entry, target)

    @staticmethod
    def tells(entry: Case, target: Target) -> bool:
        """Whether somebody reads what a failure of this case says.

        Nobody does that of a gap: then no time is spent on more words.
        """
        return target.told or entry.slug not in target.gaps

    def applies(self, entry: Case, target: Target) -> bool:
        return applies(entry, target, self.lesson_contracts[target.lesson])

    @property
    def _slugs(self) -> set[str]:
        return set(self.slugs)

    def as_text(self) -> str:
        return json.dumps({
            "targets": [target.as_json() for target in self.targets],
            "slugs": self.slugs, "leaks": self.leaks, "sweep": self.sweep,
            "seed": self.seed, "proof": self.proof,
            "lesson_contracts": {name: vars(contract) for name, contract
                                 in self.lesson_contracts.items()},
            "tools": {name: str(path) for name, path
                      in vars(self.tools).items()}})

    @classmethod
    def from_text(cls, text: str) -> "Plan":
        data = json.loads(text)
        return cls(
            [Target.from_json(entry) for entry in data["targets"]],
            data["slugs"],
            {name: Contract(**entry) for name, entry
             in data["lesson_contracts"].items()},
            Tools(**{name: Path(entry) for name, entry
                     in data["tools"].items()}), data["leaks"],
            data["sweep"], data["seed"], data["proof"])


def record_of(entry: Case, target: Target, seconds: float, errors: list,
              evidence: dict) -> dict:
    """The record of one case run: verdict, message, evidence.

    The verdict is that of the run alone; `settle` sets it against the gaps.
    """
    from .plugin import describe_error
    verdict, message, kind, detail, wrong = "pass", "", None, "", None
    if errors:
        first = errors[0]
        if isinstance(first, Failure):
            verdict, message, kind = "fail", first.message, first.kind
            detail = first.detail
            wrong = first.mismatch.as_json() if first.mismatch else None
        elif isinstance(first, Unsupported):
            verdict, message = "n/a", str(first)
        else:
            verdict, kind = "error", "harness"
            message = f"{type(first).__name__}: {first}".split("\n")[0]
            detail = describe_error(first)
        for other in errors[1:]:
            if isinstance(other, Failure):
                detail += f"\nafter that: {other.message}"
            elif not isinstance(other, Unsupported):
                verdict = "error"
                detail += f"\nafter that: {describe_error(other)}"
    sweep = " SWEEP=yes" if entry.sweep else ""
    evidence = {"kind": kind, "detail": detail.strip(), "mismatch": wrong,
                **evidence, "repeat": f"make check {target.repeat} "
                                      f"CASE={entry.slug}{sweep}"}
    return {"lesson": target.lesson, "role": target.role,
            "program": target.program, "case": entry.slug,
            "level": entry.level, "verdict": verdict, "points": entry.points,
            "seconds": round(seconds, 4), "message": message,
            "evidence": evidence}


def settle(record: dict, target: Target) -> dict:
    """Set the verdict against the gaps: strict in both ways."""
    if record["case"] in target.gaps:
        if record["verdict"] == "fail":
            record["verdict"] = "gap"
        elif record["verdict"] == "pass":
            record["verdict"] = "fail"
            record["message"] = "this case passes although it is listed as " \
                "a gap: take it out of the list"
    return record


def not_built(entry: Case, target: Target) -> dict:
    """The record of a case whose program could not be built."""
    record = record_of(entry, target, 0.0, [], {})
    record["verdict"] = "fail"
    record["message"] = "the program could not be built"
    record["evidence"].update(kind="build", detail=target.build_error)
    return record


def not_asked(entry: Case, target: Target) -> dict:
    record = record_of(entry, target, 0.0, [], {})
    record["verdict"] = "n/a"
    record["evidence"] = {"kind": None}
    return record


class Collector:
    """The controller's plugin: it brings the plan, and takes the records.

    `folder` is that of the run.
    """

    def __init__(self, plan: Plan, folder: Path,
                 sink: Callable[[dict], None], workers: bool):
        self.plan = plan
        self.folder = folder
        self._targets = {target.key: target for target in plan.targets}
        self._sink = sink
        self._workers = workers
        self.broken: list[str] = []
        self.noticed: list[str] = []        # what was tried on the runner
        self.not_loaded = False             # a module of cases is broken

    def pytest_runtest_logreport(self, report) -> None:
        for name, record in report.user_properties:
            if name == "sockstep":
                target = self._targets[f"{record['lesson']}/"
                                       f"{record['program']}"]
                self._sink(settle(record, target))
        if report.when not in ("setup", "call", "teardown"):
            case = report.nodeid.rpartition("::")[2]
            self.noticed.append(f"a runner was killed in {case}, which has "
                                "no verdict: by the program, unless memory "
                                "ran out")

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.not_loaded = True
            self.broken.append(f"{report.nodeid}: {report.longrepr}")

    def pytest_keyboard_interrupt(self) -> None:
        """Pass it on: else execnet waits for what the workers are in."""
        if not self._workers:
            return
        for pid in procfs.descendants(os.getpid()):
            facts = procfs.stat(pid)
            if facts and facts.parent == os.getpid() and facts.state != "Z":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)

    def pytest_internalerror(self, excrepr) -> None:
        self.broken.append(str(excrepr))


class _Guard(threading.Thread):
    """Lets workers go on that a program has stopped: nobody else would.

    A program can send SIGSTOP to its parent, which is a worker.  Its
    programs are killed then, and the worker finds them so.  (Ctrl-Z stops
    this process as well, and what ends that lets all go on.)
    """

    def __init__(self, noticed: list[str]) -> None:
        super().__init__(name="guard", daemon=True)
        self._noticed = noticed
        self._over = threading.Event()

    def run(self) -> None:
        before: set[int] = set()
        while not self._over.wait(GUARD_SECONDS):
            stopped = {pid for pid in procfs.children(os.getpid())
                       if (facts := procfs.stat(pid)) and facts.state == "T"}
            for pid in stopped & before:
                self._noticed.append("a program stopped its runner (SIGSTOP) "
                                     "and was killed for that")
                confine.end_all(functools.partial(procfs.descendants, pid))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            before = stopped

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self.join()


@dataclass
class Outcome:
    """How the run as a whole went."""

    complete: bool
    broken: list[str] = field(default_factory=list)
    noticed: list[str] = field(default_factory=list)


def execute(plan: Plan, cases: dict[str, Case], jobs: int,
            sink: Callable[[dict], None]) -> Outcome:
    """Run the plan with `jobs` processes; 0 runs in this one.

    Ctrl-C ends the programs and leaves what was recorded so far; the outcome
    is then not complete.
    """
    import pytest
    noise = io.StringIO()
    # In memory where that can be had: a case makes and removes folders.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) and \
        "TMPDIR" not in os.environ else None
    with tempfile.TemporaryDirectory(prefix="sockstep.", dir=memory,
                                     ignore_cleanup_errors=True) as folder:
        collector = Collector(plan, Path(folder), sink, bool(jobs))
        arguments = ["-p", "sockstep.plugin", "-p", "no:cacheprovider",
                     "-p", "no:faulthandler", "-p", "no:logging",
                     "-c", os.devnull, "--rootdir", str(CASES.parent),
                     "--confcutdir", str(CASES.parent), "-s", "-q",
                     "--basetemp", str(Path(folder) / "pytest"),
                     "--tb=native",
                     *sorted({cases[slug].module for slug in plan.slugs})]
        if jobs:
            arguments += ["-n", str(jobs), "--max-worker-restart=4"]
        else:
            arguments += ["-p", "no:xdist"]
        # Without workers the programs are children of this process, and it
        # is the cases that stop them.
        with contextlib.redirect_stdout(noise), \
                _Guard(collector.noticed) if jobs else \
                contextlib.nullcontext():
            status = pytest.main(arguments, plugins=[collector])
    # pytest also calls it interrupted where a module could not be loaded.
    interrupted = status == pytest.ExitCode.INTERRUPTED and \
        not collector.not_loaded
    if not interrupted and status not in (
            pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED,
            pytest.ExitCode.NO_TESTS_COLLECTED):
        collector.broken.append(noise.getvalue()[-4000:])
    return Outcome(not interrupted, collector.broken, collector.noticed)
