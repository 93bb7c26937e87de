"""From the user's words to lessons, steps and cases.

A word that matches nothing raises `NoMatch`, which names what comes nearest.
"""
from __future__ import annotations

import difflib
import fnmatch
import re

from .case import Case
from .contract import ROLES, Lesson, Step


class NoMatch(ValueError):
    """The user's word names nothing; the message says what there is."""


def words(text: str | None) -> list[str]:
    """The words of a list: parted by blanks or commas."""
    return [word for word in re.split(r"[\s,]+", text or "") if word]


def _no_match(what: str, word: str, names: list[str]) -> NoMatch:
    near = difflib.get_close_matches(word, names, n=4, cutoff=0.5) or \
        [name for name in names if word.strip("*") and
         word.strip("*").lower() in name.lower()][:4]
    if near:
        told = "did you mean " + " or ".join(near) + "?"
    else:
        told = "there is: " + ", ".join(names[:40]) + \
            (" ..." if len(names) > 40 else "")
    return NoMatch(f"no {what} is called '{word}'; {told}")


def lessons(all_lessons: list[Lesson], text: str | None) -> list[Lesson]:
    """Lessons by number (3, 03), folder or name; all without a word."""
    chosen = []
    for word in words(text):
        found = [lesson for lesson in all_lessons if word in (
            lesson.name, lesson.number, lesson.number.lstrip("0"),
            lesson.name.split("-", 1)[1])]
        if not found:
            raise _no_match("lesson", word,
                            [lesson.name for lesson in all_lessons])
        chosen += [lesson for lesson in found if lesson not in chosen]
    return chosen or list(all_lessons)


def role(text: str | None) -> tuple[str, ...]:
    for word in words(text):
        if word not in ROLES:
            raise _no_match("role", word, list(ROLES))
    return tuple(words(text)) or ROLES


def steps(chosen: list[Lesson], roles: tuple[str, ...],
          text: str | None) -> list[Step]:
    """Steps of these lessons and roles, by number, name or file.

    The word "last" chooses the last step of each role.
    """
    every = [step for lesson in chosen for each in roles
             for step in lesson.steps.get(each, ())]
    asked = words(text)
    matched = {word: [step for step in every if word in (
        str(step.number), step.name, f"{step.number}-{step.name}",
        step.program, step.source.name)] for word in asked}
    if "last" in matched:
        matched["last"] = [steps[-1] for lesson in chosen
                           for each in roles
                           if (steps := lesson.steps.get(each))]
    for word, found in matched.items():
        if not found:
            raise _no_match("step", word, list(dict.fromkeys(
                f"{step.number}-{step.name}" for step in every)))
    if not asked:
        return every
    return [step for step in every
            if any(step in found for found in matched.values())]


def cases(all_cases: dict[str, Case], text: str | None) -> list[str]:
    """Slugs by name or shell pattern; all without a word."""
    chosen: list[str] = []
    for word in words(text):
        found = [slug for slug in all_cases
                 if fnmatch.fnmatchcase(slug, word)]
        if not found:
            raise _no_match("case", word, list(all_cases))
        chosen += [slug for slug in found if slug not in chosen]
    return chosen or list(all_cases)
