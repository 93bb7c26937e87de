"""The lessons, the cases and the documents fit together.

Nothing is run here: what the programs truly do is what `make check` sees.
"""
from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest

from sockstep import catalogue, explain, foreign, run
from sockstep.case import Case, applies, case, load_cases
from sockstep.contract import (Lesson, LessonError, Step, load_lesson,
                               load_lessons, step_target)

from workshop import ROOT

LESSONS = load_lessons(ROOT)
CASES = load_cases(run.CASES)
LADDERS = [(lesson, steps) for lesson in LESSONS
           for steps in lesson.steps.values() if steps]
STEPS = [(lesson, step) for lesson, steps in LADDERS for step in steps]


def name_of(value) -> str:
    if isinstance(value, Lesson):
        return value.name
    if isinstance(value, Step):
        return value.program
    if isinstance(value, tuple):
        return value[0].role
    return value.slug if isinstance(value, Case) else str(value)


def test_there_is_something_to_look_at() -> None:
    assert len(LESSONS) >= 2 and len(CASES) >= 20 and len(STEPS) >= 20
    assert {step.role for _, step in STEPS} == {"server", "client", "resolve"}


@pytest.mark.parametrize(("lesson", "steps"), LADDERS, ids=name_of)
def test_the_ladder_goes_from_the_mirror_to_the_robust_step(
        lesson: Lesson, steps: tuple[Step, ...]) -> None:
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert (steps[0].name, steps[-1].name) == ("mirror", "robust")
    assert steps[-1].contract == lesson.contract
    assert not any(step.refactoring for step in (steps[0], steps[-1]))
    skeleton = lesson.folder / f"{steps[0].role}-0-start.c"
    assert skeleton.exists()


@pytest.mark.parametrize(("lesson", "steps"), LADDERS, ids=name_of)
def test_every_step_mends_something_and_breaks_nothing(
        lesson: Lesson, steps: tuple[Step, ...]) -> None:
    told = []
    for before, step in zip(steps, steps[1:]):
        if step.gaps - before.gaps:
            told.append(f"{step.program} breaks "
                        f"{sorted(step.gaps - before.gaps)}")
        mended = before.gaps - step.gaps
        if step.refactoring and mended:
            told.append(f"{step.program} is a refactoring and mends "
                        f"{sorted(mended)}")
        if not step.refactoring and not mended:
            told.append(f"{step.program} turns nothing green")
    assert told == []


@pytest.mark.parametrize(("lesson", "steps"), LADDERS, ids=name_of)
def test_the_last_step_has_no_gaps(lesson: Lesson, steps: tuple[Step, ...]
                                   ) -> None:
    assert sorted(steps[-1].gaps) == []


@pytest.mark.parametrize(("lesson", "step"), STEPS, ids=name_of)
def test_every_gap_is_a_case_that_is_asked(lesson: Lesson, step: Step
                                           ) -> None:
    target = step_target(step, ROOT)
    asked = {slug for slug, entry in CASES.items()
             if applies(entry, target, lesson.contract)}
    assert sorted(step.gaps - asked) == []


@pytest.mark.parametrize("entry", CASES.values(), ids=name_of)
def test_every_case_is_asked_by_a_lesson(entry: Case) -> None:
    assert any(entry.role == step.role and entry.asked_by(lesson.contract)
               for lesson, step in STEPS)


@pytest.mark.parametrize("entry", CASES.values(), ids=name_of)
def test_every_case_can_be_learnt_from(entry: Case) -> None:
    assert entry.requirement.endswith(".")
    assert "\n" not in entry.requirement and len(entry.requirement) < 250
    assert entry.why
    assert len(entry.hints) >= 2 and all(entry.hints)
    assert entry.source and entry.group and entry.by_hand
    assert entry.points > 0
    assert all(1 <= number <= 132 for number in entry.defects)


def test_the_requirements_are_fresh() -> None:
    """`make requirements` makes them anew."""
    written = (ROOT / "docs/requirements.md").read_text()
    assert written == explain.requirements(ROOT) + "\n"
    for slug in CASES:
        assert f"`{slug}`" in written


def test_the_catalogue_is_fresh_and_whole() -> None:
    """Each fault has a case, or a reason why it can't have one."""
    written = (ROOT / "docs/catalogue.md").read_text()
    assert written == catalogue.catalogue(ROOT) + "\n"
    found = {number for entry in CASES.values() for number in entry.defects}
    for _group, faults in catalogue.load_faults():
        for fault in faults:
            assert (fault["number"] in found) != bool(fault.get("why_not")), \
                fault["fault"]


def test_what_is_told_of_foreign_programs_is_fresh() -> None:
    """Each of them has its section, and each finding its reason."""
    written = (ROOT / "docs/foreign.md").read_text()
    assert written == foreign.foreign(ROOT) + "\n"
    for path in (ROOT / "tests/foreign").glob("*/program.toml"):
        assert f"\n## {path.parent.name}\n" in written


def test_the_documents_are_mapped_to_what_there_is() -> None:
    """docs/documents.md names steps and cases that exist, and only those."""
    text = (ROOT / "docs/documents.md").read_text()
    steps = {(lesson.number, role, step.number): step.name
             for lesson in LESSONS for role in lesson.steps
             for step in lesson.steps[role]}
    for number, role, which, name in re.findall(
            r"(\d\d) (server|client|resolve) (\d+)(?: `([a-z0-9-]+)`)?",
            text):
        assert (number, role, int(which)) in steps, (number, role, which)
        assert name in ("", steps[number, role, int(which)]), name
    for slug in re.findall(r"`([a-z0-9-]+/[a-z0-9-]+)`", text):
        assert slug in CASES, slug


@pytest.mark.parametrize("lesson", LESSONS, ids=name_of)
def test_a_readme_tells_what_each_step_turns_green(lesson: Lesson) -> None:
    """Its tables are those of lesson.toml."""
    rows = re.findall(
        r"^\| \d+ \| \[(\w+)-(\d+)-([a-z-]+)\.c\]\([^)]*\) \|.*\| (.*) \|$",
        (lesson.folder / "README.md").read_text(), re.MULTILINE)
    told = {(role, int(number)): (name, green)
            for role, number, name, green in rows}
    for role, steps in lesson.steps.items():
        for before, step in zip((None, *steps), steps):
            name, green = told[role, step.number]
            assert name == step.name
            if before:
                _expect_told(green, before.gaps - step.gaps)


def _expect_told(text: str, mended: frozenset[str]) -> None:
    """Names and patterns; "..." says that there are more, then counted."""
    words = re.findall(r"`([^`]+/[^`]+)`", text)
    assert all(fnmatch.filter(mended, word) for word in words), text
    if "..." in text:
        assert text.startswith(f"{len(mended)}: "), text
    else:
        left = {slug for slug in mended
                if not any(fnmatch.fnmatch(slug, word) for word in words)}
        assert not left, text


def test_every_step_tells_what_it_changes() -> None:
    """The head comment: how to run it, what is new, what is still wrong."""
    told = []
    for lesson, step in STEPS:
        head = step.source.read_text().split("*/", 1)[0]
        due = ["Run:", "Still wrong:"]
        if step.number > 1:
            due.append(f"Changed since step {step.number - 1}:")
        told += [f"{step.lesson}/{step.program}: {word}" for word in due
                 if word not in head]
    assert told == []


# -- the form of a lesson ---------------------------------------------------------
GOOD = """
title = "What?"
document = "000"
service = "echo"
transport = "tcp"
port = 9090
messages = "many"
clients = "in-turn"

[[server]]
step = 1
name = "mirror"
adds = "all"
gaps = ["echo/one"]
clients = "one"

[[server]]
step = 2
name = "robust"
adds = "more"
gaps = []
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "lessons/01-tiny"
    made.mkdir(parents=True)
    (made / "lesson.toml").write_text(GOOD)
    for name in ("server-0-start", "server-1-mirror", "server-2-robust"):
        (made / f"{name}.c").touch()
    return made


def test_a_lesson(folder: Path) -> None:
    lesson = load_lesson(folder)
    first, second = lesson.steps["server"]
    assert (lesson.number, lesson.steps["client"]) == ("01", ())
    assert (first.contract.clients, second.contract.clients) == ("one",
                                                                 "in-turn")
    assert first.contract.ends_alone and not second.contract.ends_alone
    assert first.gaps == {"echo/one"}
    target = step_target(second, folder.parent.parent)
    assert target.argv("::1", 0) == [
        str(folder.parent.parent / "build/lessons/01-tiny/server-2-robust"),
        "-H", "::1", "-P", "0"]
    assert target.argv(None, 7)[1:] == ["-P", "7"]


@pytest.mark.parametrize(("find", "replace", "told"), [
    ("step = 2", "step = 3", "step 2 is due here"),
    ("step = 2", "step = 1", "step 2 is due here"),
    ("step = 2", 'step = "2"', "'step' must be int"),
    ('name = "robust"', 'name = "sound"', "there is no server-2-sound.c"),
    ('adds = "more"\n', "", "'adds' is missing"),
    ("gaps = []", "gap = []", "unknown: gap"),
    ("gaps = []\n", "", "'gaps' is missing"),
    ('title = "What?"\n', "", "'title' is missing"),
    ("port = 9090", 'port = "9090"', "'port' must be int"),
    ("[[server]]\nstep = 2", "[[server]]\nstep = 2\nstep = 2", "lesson.toml"),
    ("[[server]]\nstep = 2", "[[sever]]\nstep = 2", "unknown: sever")])
def test_mistakes_in_a_lesson(folder: Path, find: str, replace: str, told: str
                              ) -> None:
    path = folder / "lesson.toml"
    text = path.read_text()
    assert text.count(find) == 1
    path.write_text(text.replace(find, replace))
    with pytest.raises(LessonError, match=told):
        load_lesson(folder)


@pytest.mark.parametrize("name", ["server-3-more.c", "client-1-mirror.c",
                                  "server-x.c"])
def test_a_file_that_is_not_listed(folder: Path, name: str) -> None:
    (folder / name).touch()
    with pytest.raises(LessonError, match=f"{name} is not listed"):
        load_lesson(folder)


# -- the form of a case -----------------------------------------------------------
def test_a_case() -> None:
    @case("echo/short-send", role="server", group="Turns", source="S", hints="H",
          by_hand="\n    one\n      two\n", valgrind=True, level="SHOULD")
    def test_it(server):
        """It sends
        all of it.

        It matters.

        Much."""

    entry = test_it.case
    assert (entry.requirement, entry.why) == ("It sends all of it.",
                                              "It matters.\n\nMuch.")
    assert (entry.by_hand, entry.hints) == ("one\n  two", ("H",))
    assert (entry.points, entry.leaks) == (1, True)


@pytest.mark.parametrize(("slug", "level", "document", "told"), [
    ("echo", "MUST", "It is.", "not a slug"),
    ("echo/Short", "MUST", "It is.", "not a slug"),
    ("echo/-x", "MUST", "It is.", "not a slug"),
    ("echo/x\n", "MUST", "It is.", "not a slug"),
    ("echo/x", "MAY", "It is.", "MUST or SHOULD"),
    ("echo/x", "MUST", None, "docstring")])
def test_mistakes_in_a_case(slug: str, level: str, document: str | None,
                            told: str) -> None:
    def test_it():
        pass

    test_it.__doc__ = document
    with pytest.raises(ValueError, match=told):
        case(slug, role="server", group="Turns", source="S", hints="H",
             level=level)(test_it)


def test_an_unknown_group() -> None:
    with pytest.raises(ValueError, match="no group is called Tuns"):
        case("echo/x", role="server", group="Tuns", source="S", hints="H")


def test_the_order_of_cases(tmp_path: Path) -> None:
    """As a learner meets them, whatever the names of the files are."""
    for name, group in (("a", "Signals"), ("b", "Byte stream"),
                        ("c", "Turns")):
        (tmp_path / f"test_{name}.py").write_text(
            "from sockstep.case import case\n"
            f"@case('{name}/x', role='server', group='{group}', source='S', "
            "hints='H')\ndef test_it(server):\n    'It is.'\n")
    assert list(load_cases(tmp_path)) == ["b/x", "c/x", "a/x"]


def test_two_cases_of_one_name(tmp_path: Path) -> None:
    text = ("from sockstep.case import case\n"
            "@case('a/b', role='server', group='Turns', source='S', hints='H')\n"
            "def test_it(server):\n    'It is.'\n")
    for name in ("test_a.py", "test_b.py"):
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match="two cases are called a/b"):
        load_cases(tmp_path)
