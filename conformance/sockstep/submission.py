"""A submission: a folder of programs by someone else.

It holds server.c and/or client.c for one lesson, or folders named like the
lessons with those; files of its own beside them are built in.  A Makefile of
its own must make `server` and `client`; a program.toml says how to build and
start a program in any language.  The folder itself is left as it is: all is
built in a copy.
"""
from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import sys
from pathlib import Path

from . import build, confine, manifest, procfs, seal, selection
from .contract import ROLES, Lesson, Target
from .selection import NoMatch

#: Bytes of a submission's folder that are copied at the most.
MAX_BYTES = 64 << 20
_MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
_COPIED = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)


def targets(root: Path, folder: Path, lessons: list[Lesson],
            chosen: list[Lesson], roles: tuple[str, ...],
            scratch: Path) -> list[Target]:
    """The programs of the submission, built in `scratch`.

    `chosen`: the lessons of LESSON=, none if it was not given.
    """
    if not folder.is_dir():
        raise NoMatch(f"there is no folder {folder}")
    pairs = [(lesson, folder / lesson.name) for lesson in chosen or lessons
             if (folder / lesson.name).is_dir()]
    if not pairs:
        pairs = [(_only_lesson(folder, lessons, chosen), folder)]
    found = []
    limit = confine.TaskLimit()
    try:
        for lesson, part in pairs:
            copy = scratch / lesson.name
            _copy(part, copy)
            found += _programs(root, folder, copy, lesson, roles, limit)
    finally:
        # What a build has left running must not meet what is judged.
        confine.end_all(lambda: procfs.descendants(os.getpid()), limit)
        confine.reap_adopted()
        limit.leave()
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


def _programs(root: Path, folder: Path, copy: Path, lesson: Lesson,
              roles: tuple[str, ...], limit: confine.TaskLimit
              ) -> list[Target]:
    repeat = f"LESSON={lesson.number} SUBMISSION={shlex.quote(str(folder))}"
    made = []
    for role in roles:
        target = Target(lesson.name, role, role, [str(copy / role)],
                        lesson.contract, kind="submission",
                        source=str(copy), repeat=f"{repeat} ROLE={role}")
        try:
            if _build(root, copy, target, limit):
                _refuse_borrowed(root, copy, target)
                made.append(target)
        except build.BuildError as error:
            target.build_error = str(error)
            made.append(target)
    return made


#: Where a machine has its interpreters, beside the folders of PATH.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/opt", "/nix", "/snap",
           sys.prefix, sys.base_prefix)


def _refuse_borrowed(root: Path, copy: Path, target: Target) -> None:
    """A submission is judged by a program of its own, not by another's."""
    system = [Path(place).resolve() for place in
              (*_SYSTEM, *os.get_exec_path()) if os.path.isabs(place)]
    for word in target.command:
        path = Path(word).resolve()
        if not os.path.isabs(word) or not path.is_file():
            continue
        if kit := seal.kit_program(path, root):
            raise build.BuildError(f"{word} is the kit's own {kit}")
        if not path.is_relative_to(copy.resolve()) and (
                path.is_relative_to(root.resolve()) or
                not any(map(path.is_relative_to, system))):
            raise build.BuildError(f"{word} is not in the submission's folder")


def _copy(part: Path, copy: Path) -> None:
    """Copy the files; links stay links, and what is no file is left out."""
    files = [path for path in part.rglob("*") if path.is_file()
             and not path.is_symlink() and ".git" not in path.parts]
    size = sum(path.stat().st_size for path in files)
    if size > MAX_BYTES:
        raise NoMatch(f"{part} holds {size >> 20} MiB; a submission may have "
                      f"{MAX_BYTES >> 20}")
    try:
        shutil.copytree(part, copy, symlinks=True, ignore=_left_out)
    except shutil.Error as error:
        source, _, why = error.args[0][0]
        raise NoMatch(f"{source} can't be copied: {why}") from error


def _left_out(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == ".git" or not stat.S_IFMT(
        os.lstat(Path(folder, name)).st_mode) in _COPIED]


def _build(root: Path, copy: Path, target: Target,
           limit: confine.TaskLimit) -> bool:
    """Build one role in `copy`; False if the submission has no such role."""
    role = target.role
    path = copy / "program.toml"
    if path.exists():
        for entry in manifest.load_manifest(path).entries:
            if entry.role == role:
                _tell(manifest.build_entry(entry, copy, root, limit))
                target.command = manifest.command_of(entry, copy, root)
                target.port_mode = entry.port
                target.memory = entry.memory
                return True
        return False
    if any((copy / name).exists() for name in _MAKEFILES):
        return _make(root, copy, role, limit)
    if not (copy / f"{role}.c").exists():
        return False
    others = [file for file in sorted(copy.glob("*.c"))
              if file.stem not in ROLES]
    sources = [copy / f"{role}.c", *others]
    _tell(build.compile_program(sources, copy / role, root, limit=limit))
    target.sources = [str(source) for source in sources]
    return True


def _make(root: Path, copy: Path, role: str, limit: confine.TaskLimit
          ) -> bool:
    try:
        # Its words are looked at, so they must not be translated.
        _tell(build.run(["make", "--no-print-directory", role], copy, limit,
                        LC_ALL="C", SOCKSTEP=str(root)))
    except build.BuildError as error:
        if re.search(rf"No rule to make target '{role}'\.", str(error)):
            return False
        raise
    if not (copy / role).exists():
        raise build.BuildError(f"its Makefile's '{role}' made no file "
                               f"'{role}'")
    return True


def _tell(words: str) -> None:
    """Warnings are for the author of the submission."""
    if "warning:" in words:
        print(words, file=sys.stderr)
