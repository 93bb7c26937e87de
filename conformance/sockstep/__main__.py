"""``python3 -m sockstep COMMAND``: what the Makefile's commands call."""
from __future__ import annotations

import argparse
import ctypes
import os
import re
import signal
import sys

from . import catalogue, check, confine, difference, explain, foreign, \
    matrix, procfs, prove, run, selection, soak, variants
from .build import BuildError
from .contract import LessonError, load_lessons
from .console import Console
from .mutants import MutantError
from .selection import NoMatch
from .tools import ROOT

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36


def _sweep(text: str) -> str:
    """yes, no, or the one plan that is to be played again."""
    if text not in ("yes", "no") and not re.fullmatch(r"\w+@\d+=\S+", text):
        raise argparse.ArgumentTypeError(
            f"SWEEP= is yes, no or a plan such as accept@1=EMFILE, not {text}")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sockstep")
    commands = parser.add_subparsers(dest="command", required=True)

    one = commands.add_parser("check", help="judge programs")
    for name in ("lesson", "role", "step", "case", "submission", "out"):
        one.add_argument(f"--{name}")
    one.add_argument("--leaks", choices=("yes", "no"), default="yes")
    one.add_argument("--jobs", type=_jobs, default=os.cpu_count() or 1)
    one.add_argument("--turn", choices=("yes", "no"), default="no")
    one.add_argument("--sweep", type=_sweep, default="no")
    one.add_argument("--variant", choices=sorted(variants.FLAGS))
    one.add_argument("--seed", type=_seed)

    one = commands.add_parser("prove", help="judge the cases")
    one.add_argument("--case")
    one.add_argument("--only", choices=prove.PARTS)
    one.add_argument("--turn", choices=("yes", "no"), default="no")
    one.add_argument("--golden", action="store_true")
    one.add_argument("--jobs", type=_jobs, default=os.cpu_count() or 1)

    one = commands.add_parser("matrix", help="each mutant by each case")
    one.add_argument("--case")
    one.add_argument("--jobs", type=_jobs, default=os.cpu_count() or 1)

    one = commands.add_parser("soak", help="check again and again")
    for name in ("lesson", "role", "step", "case"):
        one.add_argument(f"--{name}")
    one.add_argument("--leaks", choices=("yes", "no"), default="yes")
    one.add_argument("--jobs", type=_jobs, default=os.cpu_count() or 1)
    one.add_argument("--n", type=int, default=10)
    one.add_argument("--load", type=_jobs, default=os.cpu_count() or 1)
    one.add_argument("--under")
    one.add_argument("--seed", type=_seed)

    one = commands.add_parser("explain", help="tell of a case")
    one.add_argument("--case", required=True)

    commands.add_parser("requirements", help="print docs/requirements.md")
    commands.add_parser("catalogue", help="print docs/catalogue.md")
    commands.add_parser("foreign", help="print docs/foreign.md")

    one = commands.add_parser("diff", help="one step beside the next")
    for name in ("lesson", "role", "a", "b"):
        one.add_argument(f"--{name}")
    return parser


def _jobs(text: str) -> int:
    if not text.isdigit() or int(text) > 64:
        raise argparse.ArgumentTypeError("a number from 0 to 64")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) > run.MOST_SEED:
        raise argparse.ArgumentTypeError(f"a number up to {run.MOST_SEED}")
    return int(text)


def _diff(arguments: argparse.Namespace) -> int:
    lessons = selection.lessons(load_lessons(ROOT), arguments.lesson)
    numbers = [_number(getattr(arguments, name)) for name in "ab"]
    colour = Console().colour
    return max(difference.main(lesson.folder, role, *numbers, colour)
               for lesson in lessons
               for role in selection.role(arguments.role))


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdigit():
        raise NoMatch(f"A and B are numbers of steps; '{text}' is none")
    return int(text)


def main() -> int:
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Whatever a killed worker leaves behind becomes a child of this process.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # No program may look into this process, or write there: ptrace(2).
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    try:
        if arguments.command == "check":
            return check.main(ROOT, arguments)
        if arguments.command == "prove":
            return prove.main(ROOT, arguments)
        if arguments.command == "matrix":
            return matrix.main(ROOT, arguments)
        if arguments.command == "soak":
            return soak.main(ROOT, arguments)
        if arguments.command == "explain":
            return explain.main(ROOT, arguments)
        if arguments.command == "requirements":
            print(explain.requirements(ROOT))
            return 0
        if arguments.command == "catalogue":
            print(catalogue.catalogue(ROOT))
            return 0
        if arguments.command == "foreign":
            print(foreign.foreign(ROOT))
            return 0
        return _diff(arguments)
    except (NoMatch, LessonError, MutantError, BuildError) as error:
        print(f"sockstep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nsockstep: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:                 # `make diff | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        confine.end_all(lambda: procfs.descendants(os.getpid()))
        confine.reap_adopted()


if __name__ == "__main__":
    sys.exit(main())
