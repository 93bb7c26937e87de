"""results.json: the one result model, valid after each record.

The file is written as it grows: a record goes over the closing brackets and
new ones behind it, in one write, so that a killed run leaves a file that can
be read.  At the end all is written anew, to a new file under the same name:
what the programs have done to the old one does not matter.  The form is told in
docs/results.schema.json.
"""
from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

from .case import Case
from .contract import Lesson, Target

SCHEMA = "sockstep/results/1"


def environment(command: str, jobs: int, seed: int) -> dict:
    """What stands beside every measured number."""
    return {"kernel": f"{platform.system()} {platform.release()}",
            "cores": os.cpu_count(), "python": platform.python_version(),
            "compiler": _first_line(os.environ.get("CC") or "cc"),
            "valgrind": _first_line("valgrind"),
            "started": datetime.datetime.now(datetime.timezone.utc)
            .strftime("%Y-%m-%dT%H:%M:%SZ"),
            "seconds": 0.0, "jobs": max(1, jobs), "seed": seed,
            "complete": False,
            "command": command}


def _first_line(tool: str) -> str:
    if not shutil.which(tool):
        return "none"
    run = subprocess.run([tool, "--version"], capture_output=True, text=True,
                         check=False)
    return (run.stdout or run.stderr).splitlines()[0].strip()


class Results:
    """All records of a run, in memory and in a file that is always valid."""

    def __init__(self, path: Path, facts: dict, cases: dict[str, Case],
                 targets: list[Target], lessons: list[Lesson]):
        self.path = path
        self.environment = facts
        self.records: list[dict] = []
        self.score: dict | None = None
        programs: dict = {}
        for target in targets:
            entry = programs.setdefault(target.lesson, {
                "title": next((lesson.title for lesson in lessons
                               if lesson.name == target.lesson), ""),
                "programs": {}})
            entry["programs"].setdefault(target.role, []).append(
                target.program)
        self.lessons = programs
        self.cases = {slug: entry.as_json() for slug, entry in cases.items()}
        head = {"schema": SCHEMA, "lessons": programs, "cases": self.cases}
        text = json.dumps(head, ensure_ascii=False)[:-1] + \
            ',\n"results": ['
        self._written = [text.encode()]
        self._open(path)

    def _open(self, path: Path) -> None:
        """Write all that is there so far to a new file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)        # it may be a link to elsewhere
        self._file = open(path, "xb", buffering=0)
        self._end = 0
        for part in self._written:
            self._end += self._file.write(part)
        self._write_tail(b"")

    def _write_tail(self, record: bytes) -> None:
        tail = '\n],\n"environment": ' + json.dumps(self.environment)
        if self.score:
            tail += ',\n"score": ' + json.dumps(self.score)
        self._file.seek(self._end)
        self._file.write(record + tail.encode() + b"}\n")
        self._file.truncate()
        self._end += len(record)

    def add(self, record: dict) -> None:
        comma = "," if self.records else ""
        self.records.append(record)
        self._written.append((comma + "\n" + json.dumps(record)).encode())
        self._write_tail(self._written[-1])

    def finish(self, seconds: float, complete: bool,
               score: dict | None = None) -> None:
        """The last word on the run; without it the file says incomplete."""
        self.environment["seconds"] = round(seconds, 2)
        self.environment["complete"] = complete
        self.score = score
        self._file.close()
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        self._open(fresh)
        self._file.close()
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)        # no file can take its place
        os.replace(fresh, self.path)

    def as_json(self) -> dict:
        whole = {"schema": SCHEMA, "environment": self.environment,
                 "lessons": self.lessons, "cases": self.cases,
                 "results": self.records}
        if self.score:
            whole["score"] = self.score
        return whole
