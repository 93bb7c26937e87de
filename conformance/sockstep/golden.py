"""What learners are told, kept and compared: tests/golden/messages.txt.

The file names some of the mutants; under each stands what its case says.  It
is read as prose by people, and compared with what is said now by `make prove`.
`make golden` writes it anew for the names that stand in it.
"""
from __future__ import annotations

import re
from pathlib import Path

from .mutants import Mutant

_NAME = re.compile(r"^== (\S+?):?(?=\s)", re.MULTILINE)
#: Ports, process numbers, sizes of the kernel's buffers and the like.
_NUMBER = re.compile(r"\d[\d,]*\d\d|\d{3,}|\d+(?= runs)")
#: The folder of a run, and what made a path in it so long.
_FOLDER = re.compile(r"/[a-z/]+/sockstep\.\w+/worker\.\w+/\d+/")


def path(root: Path) -> Path:
    return root / "tests/golden/messages.txt"


def load(root: Path) -> dict[str, str]:
    """The text of each mutant that the file names."""
    file = path(root)
    text = file.read_text() if file.exists() else ""
    parts = re.split(r"^(?=== )", text, flags=re.MULTILINE)[1:]
    return {_NAME.match(part)[1]: part.strip() for part in parts}


def told(root: Path, mutant: Mutant, record: dict) -> str:
    """What the case says of the mutant, without what differs in each run."""
    evidence = record["evidence"]
    text = "  " + record["message"]
    text = text.replace(str(root) + "/", "")
    text = _FOLDER.sub("FOLDER/", text)
    return f"== {mutant.name}: {mutant.fault}\n" \
           f"{record['case']}, {evidence['kind']}\n" + _NUMBER.sub("N", text)


def write(root: Path, texts: dict[str, str]) -> None:
    """Replace what was told of these mutants; keep the others."""
    kept = {**load(root), **texts}
    path(root).parent.mkdir(exist_ok=True)
    path(root).write_text(
        "What the cases say of broken programs: `make golden` writes this.\n"
        "N stands for numbers that differ from run to run.\n\n"
        + "\n\n".join(kept[name] for name in sorted(kept)) + "\n")
