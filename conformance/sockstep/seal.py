"""Whether the kit is still what it was: a submission could write to it.

Builds and programs run as the user to whom the kit belongs.  What they have
changed in it is found afterwards, and then nothing counts.
"""
from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from pathlib import Path

#: What judges, or is judged beside a submission.
_PARTS = ("conformance", "lessons", "src", "build/src", "build/lessons",
          "Makefile")
#: What Python has compiled.  It writes there itself while the runner works, so
#: that what is new there is no offence; but nobody trusts it.
_COMPILED = "build/pycache"

Seal = dict[str, str]


def seal(root: Path) -> Seal:
    """The digest of each file that counts, by its path below `root`."""
    found: Seal = {}
    for part in (*_PARTS, _COMPILED):
        top = root / part
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            with contextlib.suppress(FileNotFoundError):    # gone meanwhile
                if path.is_file():
                    found[os.path.relpath(path, root)] = digest(path)
    return found


@functools.cache
def _programs(root: Path) -> dict[int, list[Path]]:
    """The kit's own programs, built, by their sizes."""
    found: dict[int, list[Path]] = {}
    for path in sorted((root / "build/lessons").glob("*/*")):
        if path.suffix != ".d":
            found.setdefault(path.stat().st_size, []).append(path)
    return found


def kit_program(path: Path, root: Path) -> str:
    """Which program of the kit that file is, or is a copy of; '' if none."""
    try:
        size = path.stat().st_size
        for own in _programs(root).get(size, []):
            if own.samefile(path) or digest(own) == digest(path):
                return str(own.relative_to(root / "build"))
    except FileNotFoundError:               # the process has just ended
        pass
    return ""


def digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def broken(root: Path, before: Seal) -> list[str]:
    """The files that were changed, made or removed since.

    Those below build/ are removed, so that `make build` makes them anew, or
    Python, which has its own there: those are not among the answer.
    """
    after = seal(root)
    changed = [path for path in sorted(before.keys() | after.keys())
               if before.get(path) != after.get(path)]
    for path in changed:
        if path.startswith("build/"):
            (root / path).unlink(missing_ok=True)
    return [path for path in changed if not path.startswith(_COMPILED)]


def told(changed: list[str]) -> str:
    """One line for those who have the kit."""
    more = ", ..." if len(changed) > 3 else ""
    kept = [path for path in changed if not path.startswith("build/")]
    return f"the kit's own {', '.join(changed[:3])}{more}; " + (
        "take the kit from where you have it" if kept
        else "`make build` makes that anew")
