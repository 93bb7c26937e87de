"""What a terminal shows: live progress, tables, failures told in full.

Colours and progress only on a terminal, and no colours where NO_COLOR is set
(https://no-color.org) or TERM is dumb; the words say everything by themselves.
"""
from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from typing import TextIO

from .case import Case
from .contract import Lesson, Target
from .failure import KINDS
from .transcript import count, mismatch_rows, two_columns, wrap

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32",
          "yellow": "33", "cyan": "36"}
_BUILD_LINES = 40
_VERDICT_COLOURS = {"pass": "green", "fail": "red", "gap": "yellow",
                    "error": "red", "n/a": "dim"}


class Console:
    """Writes to one stream, in the form that suits it."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty() and \
            os.environ.get("TERM", "dumb") != "dumb"
        self.colour = self.live and not os.environ.get("NO_COLOR")
        self.width = min(110, shutil.get_terminal_size((100, 24)).columns)
        self._progress = False

    def paint(self, text: str, *styles: str) -> str:
        if not self.colour or not text:
            return text
        codes = ";".join(_CODES[style] for style in styles)
        return f"\033[{codes}m{text}\033[0m"

    def line(self, text: str = "") -> None:
        self.clear_progress()
        self.stream.write(text + "\n")
        self.stream.flush()

    # -- progress -----------------------------------------------------------
    def progress(self, done: int, total: int, counts: Counter,
                 what: str) -> None:
        """One line that is written over; nothing where there is no screen."""
        if not self.live:
            return
        width = 24
        filled = width * done // max(1, total)
        bar = "━" * filled + " " * (width - filled)
        told = "  ".join(f"{number} {name}" for name, number
                         in counts.items() if number)
        text = f"{bar} {done}/{total}  {told}  "
        room = self.width - len(text) - 1
        text += what[:room] if room > 8 else ""
        self.stream.write("\r\033[K" + text[:self.width - 1])
        self.stream.flush()
        self._progress = True

    def clear_progress(self) -> None:
        if self._progress:
            self.stream.write("\r\033[K")
            self._progress = False

    # -- the kit's own steps ---------------------------------------------------
    def ladder(self, records: list[dict], targets: list[Target],
               lessons: list[Lesson]) -> None:
        """One row a step: its verdicts, and what it turned green.

        Steps of which nothing was asked have none.
        """
        by_program: dict[str, list[dict]] = {}
        for record in records:
            by_program.setdefault(f"{record['lesson']}/{record['program']}",
                                  []).append(record)
        wide = max((len(target.program) for target in targets), default=10)
        for lesson in lessons:
            mine = [target for target in targets
                    if target.lesson == lesson.name
                    and target.key in by_program]
            if not mine:
                continue
            self.line()
            self.line(self.paint(lesson.name, "bold") + "  " + lesson.title)
            self.line(self.paint(
                f"  {'':{wide}}  pass  gap fail error     time  "
                "turned green by this step", "dim"))
            for target in mine:
                self._ladder_row(target, lesson, wide,
                                 by_program.get(target.key, []))

    def _ladder_row(self, target: Target, lesson: Lesson, wide: int,
                    records: list[dict]) -> None:
        tally = Counter(record["verdict"] for record in records)
        seconds = sum(record["seconds"] for record in records)
        cells = []
        for verdict, width in (("pass", 5), ("gap", 5), ("fail", 5),
                               ("error", 6)):
            number = tally[verdict]
            text = f"{number if number else '·':>{width}}"
            cells.append(self.paint(text, _VERDICT_COLOURS[verdict]
                                    if number else "dim"))
        fresh = [slug for slug in self._mended(target, lesson)
                 if any(record["case"] == slug and
                        record["verdict"] == "pass" for record in records)]
        told = ", ".join(fresh[:2]) + (f" and {len(fresh) - 2} more"
                                       if len(fresh) > 2 else "")
        self.line(f"  {target.program:{wide}} {''.join(cells)} "
                  f"{seconds:7.2f}s  " + self.paint(told, "green"))

    @staticmethod
    def _mended(target: Target, lesson: Lesson) -> list[str]:
        steps = lesson.steps[target.role]
        for before, step in zip(steps, steps[1:]):
            if step.program == target.program:
                return sorted(before.gaps - step.gaps)
        return []

    # -- a submission ----------------------------------------------------------
    def marks(self, records: list[dict], cases: dict[str, Case]) -> None:
        """A line for each case, grouped; what failed says why."""
        roles = dict.fromkeys((record["lesson"], record["program"])
                              for record in records)
        for lesson, program in roles:
            mine = [record for record in records if record["lesson"] == lesson
                    and record["program"] == program]
            self.line()
            self.line(self.paint(f"{lesson} {program}", "bold"))
            if mine[0]["evidence"]["kind"] == "build":
                self._not_built(mine)
                continue
            for group in dict.fromkeys(cases[record["case"]].group
                                       for record in mine):
                self.line("  " + self.paint(group, "dim"))
                for record in mine:
                    if cases[record["case"]].group == group:
                        self._mark(record)

    def _not_built(self, records: list[dict]) -> None:
        """What the compiler or make said, once for all cases."""
        points = sum(record["points"] for record in records)
        lost = "its case fails" if len(records) == 1 else \
            f"all its {len(records)} cases fail"
        self.line(f"    {self.paint('FAIL', 'red')}  0/{points}  "
                  f"{records[0]['message']}: {lost}")
        words = records[0]["evidence"]["detail"].splitlines()
        self._block(words[:_BUILD_LINES])
        if len(words) > _BUILD_LINES:
            self._block([f"... and {len(words) - _BUILD_LINES} more lines"])

    def _mark(self, record: dict) -> None:
        verdict = record["verdict"]
        got = record["points"] if verdict == "pass" else 0
        mark = {"pass": "ok", "fail": "FAIL", "error": "ERROR"}.get(
            verdict, verdict)
        text = f"    {self.paint(f'{mark:5}', _VERDICT_COLOURS[verdict])} " \
               f"{got}/{record['points']}  {record['case']}"
        self.line(text)
        if verdict != "pass":
            self.line(self.paint(_fit(record["message"], self.width - 13,
                                      " " * 13), "dim"))

    # -- failures ---------------------------------------------------------------
    def failure(self, record: dict, entry: Case) -> None:
        """One failure in full: all that its author needs to go on."""
        evidence = record["evidence"]
        bad = self.paint(record["verdict"].upper(), "red", "bold")
        self.line()
        self.line(f"{bad}  {self.paint(record['case'], 'bold')}  "
                  f"{record['lesson']} {record['program']}  "
                  f"({entry.level}, {count(entry.points, 'point')})")
        self._paragraph("asked", entry.requirement)
        self._paragraph("seen", record["message"])
        if evidence.get("kind") in KINDS:
            self._paragraph("", f"({KINDS[evidence['kind']]})")
        if evidence.get("detail"):
            self._block([part for line in evidence["detail"].splitlines()
                         for part in wrap(line, self.width - 4)][:24])
        if evidence.get("mismatch"):
            self._block(mismatch_rows(evidence["mismatch"]))
        if evidence.get("transcript"):
            self.line()
            self._block(two_columns(evidence["transcript"],
                                    self.width - 4)[:60])
        process = evidence.get("process") or {}
        if process:
            self.line()
            self._paragraph("process", process.get("ended") or
                            process.get("state") or "not started")
        if evidence.get("faults"):
            self._paragraph("faults", evidence["faults"])
            self._block(evidence.get("calls", [])[-8:])
        if evidence.get("stderr", "").strip():
            self._paragraph("stderr", evidence["stderr"].strip()
                            .splitlines()[-1])
        self._paragraph("hint", entry.hints[0])
        self._paragraph("source", entry.source)
        self._paragraph("repeat", evidence.get("repeat", ""))
        self._paragraph("more", f"make explain CASE={record['case']}")

    def _paragraph(self, head: str, text: str) -> None:
        if text:
            self.line(f"  {self.paint(f'{head:8}', 'cyan')}"
                      + _fit(text, self.width - 10, " " * 10).lstrip())

    def _block(self, lines: list[str]) -> None:
        for text in lines:
            self.line("    " + _harmless(text))

    def brief(self, record: dict) -> None:
        """One failure in a line or two."""
        self.line(f"{self.paint(record['verdict'].upper(), 'red')}  "
                  f"{record['case']}  {record['lesson']} "
                  f"{record['program']}")
        self.line(_fit(record["message"], self.width - 6, " " * 6))
        self.line(self.paint(" " * 6 + record["evidence"].get("repeat", ""),
                             "dim"))

    def sweeps(self, records: list[dict]) -> None:
        """The figures of each fault sweep."""
        for record in records:
            if figures := record["evidence"].get("sweep"):
                self.line(f"{record['case']}: {record['lesson']} "
                          f"{record['program']}: {figures}")

    def slowest(self, records: list[dict], number: int = 3) -> None:
        slow = sorted(records, key=lambda record: -record["seconds"])
        self.line(self.paint("slowest: " + ", ".join(
            f"{record['case']} {record['program']} {record['seconds']:.2f}s"
            for record in slow[:number]), "dim"))


def _harmless(text: str) -> str:
    """What a program said, without what would steer the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\t"
                   else letter.encode("unicode_escape").decode()
                   for letter in text)


def _fit(text: str, width: int, indent: str) -> str:
    """Fold at blanks; later lines are indented."""
    lines, line = [], ""
    for word in map(_harmless, text.split()):
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return "\n".join(indent + part for part in [*lines, line])
