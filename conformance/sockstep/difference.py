"""One step of a lesson beside the next, as a diff with a heading.

The heading says what a reader should look for before the lines are read: what
the later step says that it changed, how many lines that took, and which gaps
it mends.
"""

from __future__ import annotations

import difflib
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

CONTEXT_LINES = 3
WIDTH = 80

BOLD, RED, GREEN, CYAN, PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[m"


class NoSuchStep(Exception):
    """The lesson has no such role or step; the text says which there are."""


class Step(NamedTuple):
    """One step: its file, and what lesson.toml says of it."""

    number: int
    path: Path
    adds: str
    gaps: tuple[str, ...]

    @property
    def program(self) -> str:
        return self.path.stem


def main(
    lesson_dir: Path, role: str, a: int | None, b: int | None, colour: bool
) -> int:
    """Print step A beside step B and return the exit status.

    With neither A nor B each step is compared with its next, with one of the
    two the other is its neighbour.  COLOUR adds terminal colours.
    """
    try:
        text = "\n".join(differences(lesson_dir, role, a, b, colour))
    except NoSuchStep as error:
        print(f"diff: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


def differences(
    lesson_dir: Path, role: str, a: int | None, b: int | None, colour: bool
) -> Iterator[str]:
    """Yield the lines of the comparison, or of all comparisons."""
    steps = steps_of(lesson_dir, role)
    for position, (earlier, later) in enumerate(pairs(steps, a, b)):
        if position:
            yield ""
        yield from one_difference(lesson_dir, steps, earlier, later, colour)


def pairs(
    steps: dict[int, Step], a: int | None, b: int | None
) -> list[tuple[Step, Step]]:
    """Return the steps to compare."""
    if a is None and b is None:
        climb = [steps[number] for number in sorted(steps) if number > 0]
        if len(climb) < 2:
            raise NoSuchStep("there is no second step to compare with")
        return list(zip(climb, climb[1:]))
    first = b - 1 if a is None else a
    second = first + 1 if b is None else b
    for number in (first, second):
        if number not in steps:
            known = ", ".join(str(one) for one in sorted(steps))
            raise NoSuchStep(f"there is no step {number}; there are {known}")
    return [(steps[first], steps[second])]


def steps_of(lesson_dir: Path, role: str) -> dict[int, Step]:
    """Return the steps of a role by number, the skeleton (step 0) included."""
    with open(lesson_dir / "lesson.toml", "rb") as file:
        table = tomllib.load(file)
    entries: dict[int, dict[str, Any]] = {
        entry["step"]: entry for entry in table.get(role, [])
    }
    steps = {}
    for path in sorted(lesson_dir.glob(f"{role}-*.c")):
        match = re.fullmatch(rf"{re.escape(role)}-(\d+)-.+", path.stem)
        if match:
            number = int(match[1])
            entry = entries.get(number, {})
            steps[number] = Step(
                number, path, entry.get("adds", ""), tuple(entry.get("gaps", ()))
            )
    if not steps:
        raise NoSuchStep(f"{lesson_dir.name} has no steps in the role '{role}'")
    return steps


def one_difference(
    lesson_dir: Path, steps: dict[int, Step], a: Step, b: Step, colour: bool
) -> Iterator[str]:
    """Yield the heading and the diff of two steps."""
    before, after = a.path.read_text("utf-8"), b.path.read_text("utf-8")

    def dyed(dye: str, text: str) -> str:
        return f"{dye}{text}{PLAIN}" if colour else text

    yield dyed(BOLD, f"{lesson_dir.name}: {a.program} -> {b.program}")
    for number in sorted(steps):
        if a.number < number <= b.number:
            yield from said_by(steps[number])
    yield "lines: " + counted(before.splitlines(), after.splitlines())
    yield "code:  " + counted(code_lines(before), code_lines(after))
    yield from gap_lines(a, b)
    yield ""
    yield from patch(a, b, before, after, dyed)


def said_by(step: Step) -> Iterator[str]:
    """Yield what a step says of itself: lesson.toml's line, its own words."""
    if step.adds:
        yield f"step {step.number} adds: {step.adds}"
    changed = changed_since(step.path.read_text("utf-8"))
    if changed:
        yield from textwrap.wrap(
            f"step {step.number} says: {changed}", WIDTH,
            subsequent_indent="  ", break_on_hyphens=False, break_long_words=False,
        )


def gap_lines(a: Step, b: Step) -> Iterator[str]:
    """Yield which gaps went, which came, and which are left."""
    names = (
        ("mends", [gap for gap in a.gaps if gap not in b.gaps]),
        ("brings back", [gap for gap in b.gaps if gap not in a.gaps]),
        ("leaves", [gap for gap in b.gaps if gap in a.gaps]),
    )
    for word, gaps in names:
        if gaps:
            yield f"{word}: " + ", ".join(gaps)


def patch(
    a: Step, b: Step, before: str, after: str, dyed: Callable[[str, str], str]
) -> Iterator[str]:
    """Yield a unified diff, which patch(1) takes when it has no colours."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(),
        f"a/{a.path.name}", f"b/{b.path.name}", n=CONTEXT_LINES, lineterm="",
    )
    for position, line in enumerate(lines):
        if position < 2:
            yield dyed(BOLD, line)
        elif line.startswith("@@"):
            yield dyed(CYAN, line)
        elif line.startswith("-"):
            yield dyed(RED, line)
        elif line.startswith("+"):
            yield dyed(GREEN, line)
        else:
            yield line


def counted(before: list[str], after: list[str]) -> str:
    """Return how many lines were added and removed, in words."""
    lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
    added = sum(line.startswith("+") for line in lines)
    removed = sum(line.startswith("-") for line in lines)
    return f"{added} added, {removed} removed"


def changed_since(source: str) -> str:
    """Return the head comment's words about the step before.

    They begin with `Changed since step K:` and end with a blank line of the
    comment, with its next heading, or with the comment.
    """
    head = source.partition("*/")[0]
    lines = [re.sub(r"^\s*/?\*+ ?", "", line).rstrip() for line in head.splitlines()]
    found: list[str] = []
    for line in lines:
        if found:
            if not line or re.match(r"[A-Z][a-z ]*:", line):
                break
            found.append(line)
        elif match := re.match(r"Changed since step \d+:\s*(.*)", line):
            found.append(match[1])
    return " ".join(line.strip() for line in found if line)


# A comment, or something in which `/*` begins none.
COMMENT_OR_LITERAL = re.compile(
    r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL
)


def code_lines(source: str) -> list[str]:
    """Return the lines of C code without comments and blank lines."""

    def without(match: re.Match[str]) -> str:
        return match[0] if match[0][0] in "\"'" else " "

    bare = COMMENT_OR_LITERAL.sub(without, source)
    return [line.rstrip() for line in bare.splitlines() if line.strip()]
