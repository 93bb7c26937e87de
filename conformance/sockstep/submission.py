"""A submission: a folder of programs by someone else.

It holds server.c and/or client.c for one lesson, or folders named like the
lessons with those; files of its own beside them are built in.  A Makefile of
its own must make `server` and `client`; a program.toml says how to build and
start a program in any language.  The folder itself is left as it is: all is
built in a copy.
"""
from __future__ import annotations

import shutil
import sys
from pathlib import Path

from . import build, manifest, selection
from .contract import ROLES, Lesson, Target
from .selection import NoMatch

#: Bytes of a submission's folder that are copied at the most.
MAX_BYTES = 64 << 20
_MAKEFILES = ("GNUmakefile", "makefile", "Makefile")


def targets(root: Path, folder: Path, lessons: list[Lesson],
            chosen: list[Lesson], roles: tuple[str, ...]) -> list[Target]:
    """The programs of the submission, built; `chosen`: those of LESSON=."""
    if not folder.is_dir():
        raise NoMatch(f"there is no folder {folder}")
    pairs = [(lesson, folder / lesson.name) for lesson in chosen or lessons
             if (folder / lesson.name).is_dir()]
    if not pairs:
        pairs = [(_only_lesson(folder, lessons, chosen), folder)]
    found = []
    for lesson, part in pairs:
        found += _programs(root, folder, part, lesson, roles)
    if not found:
        sources = " and no ".join(f"{role}.c" for role in roles)
        raise NoMatch(f"{folder} has no {sources}, and no Makefile or "
                      "program.toml that makes one")
    return found


def _only_lesson(folder: Path, lessons: list[Lesson],
                 chosen: list[Lesson]) -> Lesson:
    path = folder / "program.toml"
    if not chosen and path.exists():
        named = manifest.load_manifest(path).lessons
        chosen = selection.lessons(lessons, " ".join(named)) if named else []
    if len(chosen) != 1:
        raise NoMatch(
            f"say which lesson {folder} is for: LESSON=NN, or name its "
            "folders like the lessons: "
            + ", ".join(lesson.name for lesson in lessons))
    return chosen[0]


def _programs(root: Path, folder: Path, part: Path, lesson: Lesson,
              roles: tuple[str, ...]) -> list[Target]:
    copy = root / "build" / "submission" / lesson.name
    _copy(part, copy)
    repeat = f"LESSON={lesson.number} SUBMISSION={folder}"
    made = []
    for role in roles:
        target = Target(lesson.name, role, role, [str(copy / role)],
                        lesson.contract, kind="submission",
                        source=str(copy), repeat=f"{repeat} ROLE={role}")
        try:
            if _build(root, copy, target):
                made.append(target)
        except build.BuildError as error:
            target.build_error = str(error)
            made.append(target)
    return made


def _copy(part: Path, copy: Path) -> None:
    size = sum(path.stat().st_size for path in part.rglob("*")
               if path.is_file())
    if size > MAX_BYTES:
        raise NoMatch(f"{part} holds {size >> 20} MiB; a submission may have "
                      f"{MAX_BYTES >> 20}")
    if copy.exists():
        shutil.rmtree(copy)
    shutil.copytree(part, copy, symlinks=True)


def _build(root: Path, copy: Path, target: Target) -> bool:
    """Build one role in `copy`; False if the submission has no such role."""
    role = target.role
    path = copy / "program.toml"
    if path.exists():
        for entry in manifest.load_manifest(path).entries:
            if entry.role == role:
                manifest.build_entry(entry, copy, root)
                target.command = manifest.command_of(entry, copy, root)
                target.port_mode = entry.port
                target.memory = entry.memory
                return True
        return False
    if any((copy / name).exists() for name in _MAKEFILES):
        return _make(copy, role)
    if not (copy / f"{role}.c").exists():
        return False
    others = [file for file in sorted(copy.glob("*.c"))
              if file.stem not in ROLES]
    words = build.compile_program([copy / f"{role}.c", *others], copy / role,
                                  root)
    if words:
        print(words, file=sys.stderr)       # warnings are for its author
    return True


def _make(copy: Path, role: str) -> bool:
    try:
        build.run(["make", "--no-print-directory", role], copy)
    except build.BuildError as error:
        if "No rule to make target" in str(error) and \
                f"'{role}'" in str(error):
            return False
        raise
    if not (copy / role).exists():
        raise build.BuildError(f"its Makefile's '{role}' made no file "
                               f"'{role}'")
    return True
