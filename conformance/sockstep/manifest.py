"""program.toml: how to build and start a program in any language.

The form is told in docs/contract.md.  The same file, with a list of what is
expected, describes the null and the foreign programs that prove the runner.
"""
from __future__ import annotations

import functools
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from . import build, confine, selection
from .case import Case, applies
from .contract import ROLES, Lesson, LessonError, Target

_ROLE_KEYS = {"build", "run", "needs", "port", "memory", "optional"}
_EXPECTED = ("gaps", "passes", "skips")     # tables of a slug and a reason
_PORT_MODES = ("zero", "held")
_MEMORY = ("own", "managed")


@dataclass(frozen=True)
class Entry:
    """One role of a manifest."""

    role: str
    run: list[str]
    build: list[list[str]]
    needs: list[str]
    port: str
    memory: str                 # managed: not the program's own to misuse
    # Of a null or a foreign program: slugs, each with the reason.
    gaps: dict[str, str]        # these fail
    passes: dict[str, str] | None       # all else fails; None: no such list
    skips: dict[str, str]       # these are not run
    optional: bool              # left out where a need is not installed

    def lacks(self) -> list[str]:
        """The commands that it needs and that are not installed."""
        return [need for need in self.needs if not shutil.which(need)]


@dataclass(frozen=True)
class Manifest:
    folder: Path
    lessons: list[str]
    about: str
    entries: list[Entry]


def load_manifest(path: Path) -> Manifest:
    """Read program.toml; a mistake in it raises LessonError."""
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise LessonError(f"{path}: {error}") from error
    if unknown := set(table) - {"lesson", "lessons", "about", *ROLES}:
        raise LessonError(f"{path}: unknown: {', '.join(sorted(unknown))}")
    lessons = [table["lesson"]] if "lesson" in table \
        else table.get("lessons", [])
    if not _is_words(lessons):
        raise LessonError(f"{path}: 'lesson' must be a name or a number in "
                          "quotes, 'lessons' a list of them")
    about = table.get("about", "")
    if not isinstance(about, str):
        raise LessonError(f"{path}: 'about' must be a sentence")
    entries = [_entry(role, table[role], f"{path}: [{role}]")
               for role in ROLES if role in table]
    if not entries:
        raise LessonError(f"{path}: neither [server] nor [client] is there")
    return Manifest(path.parent, lessons, about, entries)


def load_entry(folder: Path, role: str) -> Entry:
    """What program.toml in `folder` says of a role; LessonError if nothing."""
    path = folder / "program.toml"
    for entry in load_manifest(path).entries:
        if entry.role == role:
            return entry
    raise LessonError(f"{path}: it has no [{role}]")


def _entry(role: str, part, where: str) -> Entry:
    if not isinstance(part, dict):
        raise LessonError(f"{where} must be a table")
    if unknown := set(part) - _ROLE_KEYS - set(_EXPECTED):
        raise LessonError(f"{where}: unknown: {', '.join(sorted(unknown))}")
    command = part.get("run")
    if not _is_words(command) or not command:
        raise LessonError(f"{where}: 'run' must be a list of words, the "
                          "command first")
    steps = part.get("build", [])
    if not isinstance(steps, list) or \
            not all(_is_words(step) and step for step in steps):
        raise LessonError(f"{where}: 'build' must be a list of commands, "
                          "each a list of words")
    if not _is_words(part.get("needs", [])):
        raise LessonError(f"{where}: 'needs' must be a list of commands")
    for key, values in (("port", _PORT_MODES), ("memory", _MEMORY)):
        if part.get(key, values[0]) not in values:
            raise LessonError(f"{where}: '{key}' must be one of "
                              f"{', '.join(values)}")
    for key in _EXPECTED:
        listed = part.get(key, {})
        if not isinstance(listed, dict) or \
                not all(isinstance(why, str) and why
                        for why in listed.values()):
            raise LessonError(f"{where}: '{key}' must be a table of cases, "
                              "each with the reason")
    if not isinstance(part.get("optional", False), bool):
        raise LessonError(f"{where}: 'optional' must be true or false")
    return Entry(role, command, steps, part.get("needs", []),
                 part.get("port", "zero"), part.get("memory", "own"),
                 part.get("gaps", {}), part.get("passes"),
                 part.get("skips", {}), part.get("optional", False))


def _is_words(value) -> bool:
    return isinstance(value, list) and \
        all(isinstance(word, str) for word in value)


def _filled(command: list[str], folder: Path, root: Path) -> list[str]:
    """The command with the folders and the interpreter put in."""
    places = {"{here}": str(folder), "{kit}": str(root),
              "{python}": sys.executable}
    filled = []
    for word in command:
        for name, value in places.items():
            word = word.replace(name, value)
        filled.append(word)
    return filled


def command_of(entry: Entry, folder: Path, root: Path) -> list[str]:
    """The command that starts the program from any folder."""
    return [str(folder / word[2:]) if word.startswith("./") else word
            for word in _filled(entry.run, folder, root)]


def build_entry(entry: Entry, folder: Path, root: Path,
                limit: confine.TaskLimit | None = None) -> str:
    """Run the build commands in `folder`; returns their words.

    Raises BuildError.
    """
    for need in entry.lacks():
        raise build.BuildError(f"{need} is needed and not installed")
    return "\n".join(build.run(_filled(command, folder, root), folder, limit)
                     for command in entry.build)


def left_out(folder: Path) -> list[str]:
    """The programs of `folder` that can't be judged here, and why."""
    return [f"{path.parent.name}-{entry.role}: {entry.lacks()[0]} is not "
            "installed" for path in sorted(folder.glob("*/program.toml"))
            for entry in load_manifest(path).entries
            if entry.optional and entry.lacks()]


def expected_targets(root: Path, folder: Path, lessons: list[Lesson],
                     cases: dict[str, Case], kind: str, jobs: int
                     ) -> list[Target]:
    """The programs of `folder`/*/program.toml, built, with what is expected.

    Without those that are `left_out`.
    """
    targets, builds = [], []
    for path in sorted(folder.glob("*/program.toml")):
        manifest = load_manifest(path)
        copy = root / "build" / kind / path.parent.name
        if copy.exists():
            shutil.rmtree(copy)
        shutil.copytree(path.parent, copy)
        for entry in manifest.entries:
            if not (entry.optional and entry.lacks()):
                builds.append(functools.partial(build_entry, entry, copy,
                                                root))
                targets += targets_of(manifest, entry, copy, root, lessons,
                                      cases, kind)
    build.in_parallel(builds, jobs)
    return targets


def targets_of(manifest: Manifest, entry: Entry, folder: Path, root: Path,
               lessons: list[Lesson], cases: dict[str, Case], kind: str
               ) -> list[Target]:
    """What one role is judged as, once for each lesson; `folder`: where the
    program lies.

    What a list names must be asked of it in one of the lessons.
    """
    path = manifest.folder / "program.toml"
    targets, asked = [], set()
    for lesson in selection.lessons(lessons, " ".join(manifest.lessons)):
        target = Target(
            lesson.name, entry.role, f"{manifest.folder.name}-{entry.role}",
            command_of(entry, folder, root), lesson.contract, kind=kind,
            source=str(folder), port_mode=entry.port, memory=entry.memory)
        target.gaps = _gaps(entry, target, lesson, cases, path)
        skips = _slugs(entry.skips, lesson, cases, path)
        target.cases = [slug for slug in cases if slug not in skips]
        targets.append(target)
        asked |= {key for slug, case in cases.items()
                  if applies(case, target, lesson.contract)
                  for key in (slug, f"{lesson.number}:{slug}")}
    for listed in (entry.gaps, entry.passes or {}, entry.skips):
        if idle := [key for key in listed if key not in asked]:
            raise LessonError(f"{path}: [{entry.role}] is not asked "
                              + ", ".join(idle))
    return targets


def _gaps(entry: Entry, target: Target, lesson: Lesson,
          cases: dict[str, Case], path: Path) -> list[str]:
    """The slugs that are to fail; a key may start with "03:"."""
    asked = [slug for slug, case in cases.items()
             if applies(case, target, lesson.contract)]
    if entry.passes is None:
        return _slugs(entry.gaps, lesson, cases, path)
    passes = _slugs(entry.passes, lesson, cases, path)
    return [slug for slug in asked if slug not in passes]


def _slugs(listed: dict[str, str], lesson: Lesson, cases: dict[str, Case],
           path: Path) -> list[str]:
    found = []
    for key in listed:
        number, _, slug = key.rpartition(":")
        if slug not in cases:
            raise LessonError(f"{path}: no case is called {slug}")
        if number in ("", lesson.number):
            found.append(slug)
    return found
