"""What learners are told, kept and compared: tests/golden.

Two files name some of the mutants.  messages.txt has what the case of each
says, with the detail; transcripts.txt has, for one of each kind of failure,
all that `make check` prints of it.  Both are read as prose by people, and
compared with what is said now by `make prove`.  `make golden` writes them anew
for the names that stand in them.
"""
from __future__ import annotations

import io
import re
from pathlib import Path

from .case import Case
from .console import Console
from .mutants import Mutant

_NAME = re.compile(r"^== (\S+?):?(?=\s)", re.MULTILINE)
#: What differs from run to run: the folder of a run, and what made a path in
#: it so long; where a program that spins was met; lines of mutants, which move
#: with their bases; what lies below them, which is the C library's; ports,
#: process numbers, sizes of the kernel's buffers.
_FOLDER = re.compile(r"/[a-z/]+/sockstep\.\w+/worker\.\w+/\d+/")
_MOSTLY = re.compile(r"mostly (in \w+\(\))?( ?at \S+ in \w+\(\))?")
_LOOKS = re.compile(r"(?:\d+ of \d+ looks: .*(?:\n|$))+")
_LINE = re.compile(r"\.c:\d+")
_FRAME = re.compile(r"^  (?!(?:server|client|resolve)\.c:)\S+(?: in \S+)?\(\)\n?",
                    re.MULTILINE)
_NUMBER = re.compile(r"(RFC \d+|127\.0\.0\.\d)|\d[\d,]*\d\d|\d{3,}"
                     r"|\d+(?= runs)|\d\.\d(?= s of processor time)")
_STAMP = re.compile(r"^( +)  0\.0(?=  )", re.MULTILINE)
#: Characters of a line of a transcript that is kept.
_WIDTH = 100
#: Parts of a record that are bytes, in hexadecimal.
_BYTES = ("data", "expected", "got")


_HEADS = {"messages.txt": "What the cases say of broken programs",
          "transcripts.txt": "What is printed of broken programs"}


class Kept:
    """The texts of both files, and what belongs to them."""

    def __init__(self, root: Path, mutants: dict[str, Mutant],
                 cases: dict[str, Case]):
        self._root = root
        self._mutants = mutants
        self._cases = cases
        self._files = {name: load(root / "tests/golden" / name)
                       for name in _HEADS}

    def holds(self, name: str) -> bool:
        """Whether what is told of the mutant is kept."""
        return any(name in texts for texts in self._files.values())

    def compare(self, records: list[dict], write_anew: bool
                ) -> tuple[int, list[str]]:
        """How many texts are as kept, and what is not as it should be.

        `write_anew`: the texts are written instead.
        """
        problems, same = [], 0
        for name, kept in self._files.items():
            if unknown := set(kept) - set(self._mutants):
                problems.append(f"{name} names no mutant: "
                                + ", ".join(sorted(unknown)))
            fresh = {record["program"]: self._text(name, record)
                     for record in records if record["program"] in kept
                     and record["verdict"] == "gap"}
            changed = {program: text for program, text in fresh.items()
                       if text != kept[program]}
            same += len(fresh) - len(changed)
            if write_anew:
                write(self._root / "tests/golden" / name, fresh)
                continue
            problems += [
                f"{program}: what is told has changed (see `make golden`), "
                f"from\n{kept[program]}\nto\n{text}"
                for program, text in changed.items()]
        return same, problems

    def _text(self, name: str, record: dict) -> str:
        mutant = self._mutants[record["program"]]
        if name == "messages.txt":
            return told(self._root, mutant, record)
        return shown(self._root, mutant, record,
                     self._cases[record["case"]])


def load(file: Path) -> dict[str, str]:
    """The text of each mutant that the file names."""
    text = file.read_text() if file.exists() else ""
    parts = re.split(r"^(?=== )", text, flags=re.MULTILINE)[1:]
    return {_NAME.match(part)[1]: part.strip() for part in parts}


def told(root: Path, mutant: Mutant, record: dict) -> str:
    """What the case says of the mutant, without what differs in each run."""
    record = _still(root, record)
    lines = [f"  {record['message']}"]
    lines += [f"    {line}".rstrip() for line
              in record["evidence"]["detail"].splitlines()]
    return f"== {mutant.name}: {mutant.fault}\n" \
           f"{record['case']}, {record['evidence']['kind']}\n" \
           + "\n".join(lines)


def shown(root: Path, mutant: Mutant, record: dict, entry: Case) -> str:
    """What `make check` prints of the mutant, as if a learner had made it."""
    record = _still(root, record)
    number = record["lesson"].split("-")[0]
    record.update(verdict="fail", program=mutant.role)
    # Whether its end or that of its connections is seen first is chance.
    record["evidence"].get("transcript", []).sort(
        key=lambda row: row["act"] == "ended")
    record["evidence"]["repeat"] = \
        f"make check LESSON={number} SUBMISSION=my-own ROLE={mutant.role} " \
        f"CASE={record['case']}"
    console = Console(io.StringIO())
    console.width = _WIDTH
    console.failure(record, entry)
    text = _STAMP.sub(lambda found: found[1] + "    N",
                      console.stream.getvalue())
    return f"== {mutant.name}: {mutant.fault}\n{text.strip()}"


def _still(root: Path, value):
    """A record, or a part of one, without what differs from run to run."""
    if isinstance(value, dict):
        return {key: 0 if key == "t" else part if key in _BYTES
                else _still(root, part) for key, part in value.items()}
    if isinstance(value, list):
        return [_still(root, part) for part in value]
    if not isinstance(value, str):
        return value
    value = value.replace(f"{root}/", "")
    value = _FOLDER.sub("FOLDER/", value)
    value = _MOSTLY.sub("mostly PLACE", value)
    value = _LOOKS.sub("N of N looks: PLACE\n", value)
    value = _FRAME.sub("", _LINE.sub(".c:N", value))
    return _NUMBER.sub(lambda found: found[1] or "N", value)



def write(file: Path, texts: dict[str, str]) -> None:
    """Replace what was told of these mutants; keep the others."""
    kept = {**load(file), **texts}
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        f"{_HEADS[file.name]}: `make golden` writes this.\n"
        "N stands for numbers that differ from run to run.\n\n"
        + "\n\n".join(kept[name] for name in sorted(kept)) + "\n")
