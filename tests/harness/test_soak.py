"""`make soak`: the same cases again and again, under each trouble in turn."""
from __future__ import annotations

import pytest

from workshop import ECHO, Project

_CASES = '''
@tiny("tiny/echo")
def test_echo(server):
    """What is sent comes back."""
    server.exchange()

@tiny("tiny/chance")
def test_chance(stage):
    """It fails once, in the third run."""
    with open(COUNT, "a+") as file:
        file.write("x")
        if file.tell() == BAD:
            raise Failure("reset", "by chance")
'''


@pytest.fixture
def kit(project: Project) -> Project:
    project.step("base", ECHO)
    return project


def soaked(kit: Project, bad: int, *words: str):
    kit.cases(f'COUNT, BAD = "{kit.folder}/count", {bad}\n' + _CASES)
    return kit.run("soak", "--n", "4", "--load", "1", "--jobs", "1", *words)


def test_all_is_well(kit: Project) -> None:
    done = soaked(kit, 0)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 runs, 8 case runs in" in done.stdout
    assert "0 false verdicts" in done.stdout
    assert "busy, memory, one-processor, low-priority:" in \
        " ".join(done.stdout.split())


def test_a_false_verdict(kit: Project) -> None:
    """It is told with the run, the trouble, and the seed to try again."""
    done = soaked(kit, 3, "--under", "busy listeners", "--seed", "70")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "run 3, busy, seed 72: fail tiny/chance server-1-base: by chance" \
        in done.stdout
    assert "1 false verdict" in done.stdout


def test_an_unknown_trouble(kit: Project) -> None:
    done = soaked(kit, 0, "--under", "flood")
    assert done.returncode == 2
    assert "UNDER= has no 'flood'; there is: busy" in done.stderr
