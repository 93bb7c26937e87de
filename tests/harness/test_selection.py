"""selection: from the user's words to lessons, steps and cases."""
from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sockstep import selection
from sockstep.contract import Lesson, Step
from sockstep.selection import NoMatch

from workshop import IN_TURN


def lesson(name: str, **steps: list[str]) -> Lesson:
    return Lesson(Path("/kit/lessons") / name, "?", "000", IN_TURN, {
        role: tuple(Step(name, role, number, word,
                         Path(f"/kit/lessons/{name}/{role}-{number}-{word}.c"),
                         "", IN_TURN, frozenset(), False)
                    for number, word in enumerate(words, start=1))
        for role, words in steps.items()})


TWO = lesson("02-single-shot-echo", server=["mirror", "whole-send"],
             client=["mirror"])
THREE = lesson("03-repeating-echo", server=["mirror", "in-turn", "robust"],
               client=["mirror", "robust"])
TEN = lesson("10-tenth", server=["mirror"])
ALL = [TWO, THREE, TEN]
CASES = dict.fromkeys(["echo/short-send", "echo/split-message", "end/reset",
                       "echo/short", "long/echo/short-send"])


@pytest.mark.parametrize(("text", "due"), [
    (None, ALL), ("", ALL), (" , ", ALL), ("3", [THREE]), ("03", [THREE]),
    ("03-repeating-echo", [THREE]), ("repeating-echo", [THREE]),
    ("10", [TEN]), ("3 2", [THREE, TWO]), ("2,03", [TWO, THREE]),
    ("3 03 repeating-echo", [THREE])])
def test_lessons(text: str | None, due: list[Lesson]) -> None:
    assert selection.lessons(ALL, text) == due


@pytest.mark.parametrize("text", ["0", "1", "30", "echo", "3 4", "*", "-3"])
def test_unknown_lessons(text: str) -> None:
    with pytest.raises(NoMatch, match="no lesson is called"):
        selection.lessons(ALL, text)


@pytest.mark.parametrize(("text", "due"), [
    (None, ("server", "client", "resolve")), ("client", ("client",)),
    ("client server", ("client", "server"))])
def test_roles(text: str | None, due: tuple) -> None:
    assert selection.role(text) == due


@pytest.mark.parametrize(("roles", "text", "due"), [
    (("server",), None, ["server-1-mirror", "server-2-in-turn",
                         "server-3-robust"]),
    (("server",), "2", ["server-2-in-turn"]),
    (("server",), "in-turn", ["server-2-in-turn"]),
    (("server",), "2-in-turn", ["server-2-in-turn"]),
    (("server",), "server-2-in-turn", ["server-2-in-turn"]),
    (("server",), "server-2-in-turn.c", ["server-2-in-turn"]),
    (("server", "client"), "robust", ["server-3-robust", "client-2-robust"]),
    (("server", "client"), "2", ["server-2-in-turn", "client-2-robust"]),
    (("server",), "3,1", ["server-1-mirror", "server-3-robust"])])
def test_steps(roles: tuple, text: str | None, due: list[str]) -> None:
    found = selection.steps([THREE], roles, text)
    assert [step.program for step in found] == due


@pytest.mark.parametrize("text", ["4", "0", "1 9", "-1", "mirro", "server"])
def test_unknown_steps(text: str) -> None:
    """One unknown word is enough, whatever the others find."""
    with pytest.raises(NoMatch, match="no step is called"):
        selection.steps([THREE], ("server",), text)


@pytest.mark.parametrize(("text", "due"), [
    (None, list(CASES)), ("echo/short", ["echo/short"]),
    ("echo/short*", ["echo/short-send", "echo/short"]),
    ("*/reset", ["end/reset"]),
    ("end/* echo/short end/reset", ["end/reset", "echo/short"]),
    ("echo/s[hx]ort", ["echo/short"]), ("echo/shor?", ["echo/short"])])
def test_cases(text: str | None, due: list[str]) -> None:
    assert selection.cases(CASES, text) == due


@pytest.mark.parametrize(("text", "told"), [
    ("echo/short-sent", "did you mean echo/short-send"),
    ("reset", "did you mean end/reset"),
    ("echo/short-send x/*", "there is: echo/short-send"),
    ("ECHO/*", "no case is called 'ECHO/.'")])
def test_unknown_cases(text: str, told: str) -> None:
    with pytest.raises(NoMatch, match=told):
        selection.cases(CASES, text)


def test_many_names_are_cut() -> None:
    many = [dataclasses.replace(TEN, folder=Path(f"/kit/lessons/{n}-lesson"))
            for n in range(10, 99)]
    with pytest.raises(NoMatch) as caught:
        selection.lessons(many, "qqq")
    assert str(caught.value).endswith("...")
    assert len(str(caught.value)) < 700
